"""Convolutions of maps smaller than their stride, in bf16: their gradients, against float64."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from dsd_bench.training import small_maps
from dsd_bench.training.device import make_context
from dsd_bench.training.layout import place

SMALL = {
    "one dimension": (nn.Conv1d(8, 16, 3, 2, 1), (16, 8, 1)),
    "wide steps": (nn.Conv1d(8, 16, 5, 4, 2), (16, 8, 3)),
    "two dimensions": (nn.Conv2d(64, 128, 3, 2, 1), (16, 64, 1, 1)),
    "narrow": (nn.Conv2d(16, 32, 3, 2, 1), (16, 16, 4, 1)),
    "no bias": (nn.Conv2d(16, 32, 3, 3, 1, bias=False), (16, 16, 2, 2)),
    "grouped": (nn.Conv2d(32, 32, 5, 2, 2, groups=4), (16, 32, 1, 1)),
    "depthwise": (nn.Conv2d(64, 64, 3, 2, 1, groups=64), (16, 64, 1, 1)),
    "three dimensions": (nn.Conv3d(8, 16, 3, 2, 1), (8, 8, 1, 1, 1)),
    "transposed": (nn.ConvTranspose2d(16, 32, 5, 3, 2), (16, 16, 1, 1)),
}
LARGE = {
    "as wide as the stride": (nn.Conv2d(16, 32, 3, 2, 1), (16, 16, 2, 2)),
    "no stride": (nn.Conv2d(16, 32, 3, 1, 1), (16, 16, 1, 1)),
    "no padding": (nn.Conv2d(16, 32, 1, 2), (16, 16, 1, 1)),
    "transposed": (nn.ConvTranspose2d(16, 32, 4, 2, 1), (16, 16, 3, 3)),
}


def gradients(layer: nn.Module, inputs: Tensor) -> tuple[Tensor, ...]:
    for one in range(6):  # what memory held before must not come out
        junk = [torch.full((size,), float("inf")) for size in (10**3, 10**4, 10**5 + one)]
        del junk
    with torch.autocast("cpu", torch.bfloat16, enabled=inputs.dtype is torch.float32):
        outputs = layer(inputs)
    weights = list(layer.parameters())
    return torch.autograd.grad(outputs.to(inputs.dtype).square().sum(), [inputs, *weights])


@pytest.mark.parametrize("last", [False, True], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("name", SMALL)
def test_gradients_are_those_of_float64(name: str, last: bool) -> None:
    layer, shape = copy.deepcopy(SMALL[name])
    if last and len(shape) != 4:
        pytest.skip("only images have layouts")
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    expected = gradients(copy.deepcopy(layer).double(), inputs.double().requires_grad_())
    small_maps.guard(layer)
    if last:
        layer = layer.to(memory_format=torch.channels_last)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    found = gradients(layer, inputs.requires_grad_())
    for one, right in zip(found, expected, strict=True):
        assert (one - right).abs().max() <= 1e-5 * right.abs().max()  # bf16 alone is off by 1e-3


@pytest.mark.parametrize("name", LARGE)
def test_other_convolutions_stay_in_bf16(name: str) -> None:
    layer, shape = copy.deepcopy(LARGE[name])
    small_maps.guard(layer)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(shape)).dtype is torch.bfloat16


def test_only_placed_networks_in_bf16_are_guarded() -> None:
    for precision, guarded in (("bf16", True), ("fp32", False)):
        context = make_context("cpu", 1, True, precision)
        layer = place(nn.Sequential(nn.Conv2d(4, 8, 3, 2, 1)), context)[0]
        assert ("forward" in vars(layer)) is guarded
        with torch.autocast("cpu", torch.bfloat16, enabled=guarded):
            assert layer(torch.randn(2, 4, 1, 1)).dtype is torch.float32


def test_a_copy_is_guarded_for_itself() -> None:
    layer = nn.Conv2d(4, 8, 3, 2, 1)
    small_maps.guard(layer)
    copied = copy.deepcopy(layer)
    with torch.no_grad():
        copied.weight.zero_()
        assert not torch.equal(copied(torch.ones(1, 4, 1, 1)), layer(torch.ones(1, 4, 1, 1)))

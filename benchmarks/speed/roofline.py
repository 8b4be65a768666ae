"""What the chip allows: floating-point operations and bytes against measured peaks.

Operations are counted as direct products throughout. A library may do a convolution with fewer
(Winograd: up to 2.25 times for 3x3); its convolutions are therefore among what the peak is the best
of, counted in the same way, so that no network's share exceeds 100 % by that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from benchmarks.speed.cases import Case
from benchmarks.speed.timing import timed
from dsd_bench.metrics.macs import count_step
from dsd_bench.training.device import ComputeContext


@dataclass(frozen=True)
class Peaks:
    """The most that this chip did just now.

    Attributes:
        flops: floating-point operations a second, the best of matrix products and convolutions.
        bytes: bytes a second of a large copy, read and written.
    """

    flops: float
    bytes: float


def peaks(context: ComputeContext) -> Peaks:
    """Measure both peaks in the precision of ``context``, the best of five each."""
    on_cpu = context.device.type == "cpu"
    source = torch.zeros(2**25 if on_cpu else 2**30, device=context.device, dtype=torch.uint8)
    target = torch.ones_like(source)
    copy = min(timed(lambda: target.copy_(source), context.device) for _ in range(5))
    work = [*_products(context, on_cpu), *_convolutions(context, on_cpu)]
    flops = max(
        count / min(timed(one, context.device) for _ in range(5)) for count, one in _warm(work)
    )
    return Peaks(flops, 2 * len(source) / copy)


Work = tuple[int, Callable[[], object]]
"""A number of operations, and what does them."""


def _warm(work: Sequence[Work]) -> Sequence[Work]:
    for _, one in work:
        one()
    return work


def _dtype(context: ComputeContext) -> torch.dtype:
    return torch.bfloat16 if context.precision == "bf16" else torch.float32


def _products(context: ComputeContext, on_cpu: bool) -> Iterator[Work]:
    """Yield square matrix products."""
    for side in (512, 1024, 2048) if on_cpu else (4096, 8192, 16384):
        a, b = (
            torch.randn(side, side, device=context.device, dtype=_dtype(context)) for _ in range(2)
        )
        yield 2 * side**3, partial(torch.mm, a, b, out=torch.empty_like(a))


def _convolutions(context: ComputeContext, on_cpu: bool) -> Iterator[Work]:
    """Yield 3x3 convolutions of the sizes that networks for small images have, in both layouts."""
    batch = 32 if on_cpu else 512
    for channels, side in ((64, 32), (128, 16), (256, 8), (512, 4)):
        images = torch.randn(batch, channels, side, side, device=context.device)
        weight = torch.randn(channels, channels, 3, 3, device=context.device)
        for layout in (torch.contiguous_format, torch.channels_last):
            given = [t.to(_dtype(context), memory_format=layout) for t in (images, weight)]
            count = 2 * batch * (side * channels * 3) ** 2
            yield count, partial(functional.conv2d, *given, padding=1)


def limit(case: Case, context: ComputeContext, found: Peaks) -> float:
    """Return the seconds of an epoch's forward and backward passes that the peaks allow.

    Bytes are those of the graph of convolutions and linear layers, everything between them
    done on the way: forward each reads input and weights and writes its output, backward it reads
    the output's gradient, input and weights and writes the gradients of weights and input.
    """
    model = case.model(context)
    image = torch.zeros(1, *case.shape, device=context.device)
    flops = 2 * count_step(model, image).total * case.images
    steps = -(-case.images // case.batch)
    size = 2 if context.precision == "bf16" else 4
    moved = size * (case.images * _features(model, image) + steps * _weights(model))
    return max(flops / found.flops, moved / found.bytes)


def _features(model: nn.Module, image: torch.Tensor) -> int:
    """Return the elements of feature maps that one image's forward and backward pass move."""
    moved = 0

    def add(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal moved
        # forward: input, output; gradient of weights: both again; of the input: both again
        moved += 3 * (inputs[0].numel() + output.numel())

    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(add) for layer in layers]
    model.eval()
    with torch.no_grad():
        model(image)
    for handle in handles:
        handle.remove()
    return moved


def _weights(model: nn.Module) -> int:
    """Return the elements of weights that a step's forward and backward pass move."""
    return 3 * sum(parameter.numel() for parameter in model.parameters())

"""What the chip allows: floating-point operations and bytes against measured peaks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from benchmarks.speed.cases import Case
from benchmarks.speed.timing import timed
from dsd_bench.metrics.macs import count_step
from dsd_bench.training.device import ComputeContext


@dataclass(frozen=True)
class Peaks:
    """The most that this chip did just now.

    Attributes:
        flops: floating-point operations a second of a large matrix product.
        bytes: bytes a second of a large copy, read and written.
    """

    flops: float
    bytes: float


def peaks(context: ComputeContext) -> Peaks:
    """Measure both peaks in the precision of ``context``, the best of five each."""
    side, count = (1024, 2**25) if context.device.type == "cpu" else (8192, 2**30)
    dtype = torch.bfloat16 if context.precision == "bf16" else torch.float32
    a, b = (torch.randn(side, side, device=context.device, dtype=dtype) for _ in range(2))
    source = torch.zeros(count, device=context.device, dtype=torch.uint8)
    target = torch.ones_like(source)
    product = min(
        timed(lambda: torch.mm(a, b, out=a.new_empty(side, side)), context.device) for _ in range(5)
    )
    copy = min(timed(lambda: target.copy_(source), context.device) for _ in range(5))
    return Peaks(2 * side**3 / product, 2 * count / copy)


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

"""The layout of images and convolutions: NCHW or NHWC (channels_last), chosen by rule.

On a CPU convolutions are 1.1 to 1.6 times faster in NHWC (docs/performance.md). The rule sees
nothing but the network and the precision, so neither the machine nor what runs beside changes it.
"""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from dsd_bench.config.run import Layout, Precision
from dsd_bench.training import small_maps
from dsd_bench.training.batch_norm import exact_forward, make_exact
from dsd_bench.training.device import ComputeContext


def on_cpu(model: nn.Module, precision: Precision) -> Layout:
    """Return the layout for ``model`` on a CPU.

    NHWC where at least half of its layers with weights are convolutions of images, and where
    single precision stays exact: each batch norm of images must be one that is
    (:mod:`dsd_bench.training.batch_norm`). bf16's own rounding is coarser than any of them.
    """
    layers = [part for part in model.modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    convolutions = sum(isinstance(layer, nn.Conv2d) for layer in layers)
    if not convolutions or 2 * convolutions < len(layers):
        return "nchw"
    return "nhwc" if precision == "bf16" or not inexact_norms(model) else "nchw"


def inexact_norms(model: nn.Module) -> list[str]:
    """Return the names of batch norms that are imprecise in NHWC on a CPU."""
    flat = nn.BatchNorm1d  # its input is no image
    return [
        name
        for name, part in model.named_modules()
        if isinstance(part, _BatchNorm)
        and not isinstance(part, flat)
        and exact_forward(part) is None
    ]


def place(model: nn.Module, context: ComputeContext) -> nn.Module:
    """Bring a new ``model`` to the context's device and layout; it is changed in place."""
    if context.device.type == "cpu":
        if context.plan.layout == "nhwc":
            make_exact(model)
        if context.precision == "bf16":
            small_maps.guard(model)
    return model.to(context.device, memory_format=context.memory_format)  # type: ignore[call-overload,no-any-return]

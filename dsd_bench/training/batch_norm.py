"""Batch norm whose statistics are exact in channels_last on a CPU.

torch's own adds up each channel there one value after the other in single precision: with 131,072
values a channel its running variance is off by 1e-5 to 1e-3, its weight's gradient by 1e-4 and
more. Here ``(N*H*W, C)`` is seen as ``(N*H*W / k, k*C)``, the same memory: torch's kernels reduce
few rows of many columns, and the ``k`` partial results of a channel, which are few, are put
together in double precision. Memory is read as often as by torch's own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import isqrt, log
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional

Forward = Callable[[Any, Tensor], Tensor]
ROWS = 32
"""Values that are added up one after the other, about; fewer of channels with few values, more
where there would be more than ``COLUMNS`` partial results."""
COLUMNS = 2**14
"""The most partial results at a time: that many stay in the fastest cache."""


def exact_forward(module: nn.Module) -> Forward | None:
    """Return what does ``module``'s batch norm exactly in channels_last, None if nothing does.

    It takes the place of the forward of a module whose class stays: whoever asks for its type, or
    traces it, sees torch's.
    """
    kind = type(module)
    if kind is nn.BatchNorm2d:
        return _plain
    if (kind.__module__, kind.__name__) == ("timm.layers.norm_act", "BatchNormAct2d"):
        return _activated
    return None


def make_exact(model: nn.Module) -> None:
    """Let every batch norm of ``model`` that can be exact in channels_last be so."""
    for module in model.modules():
        if (forward := exact_forward(module)) is not None:
            module.forward = MethodType(forward, module)


def _plain(module: Any, images: Tensor) -> Tensor:
    if not applies(module, images):
        return type(module).forward(module, images)  # type: ignore[no-any-return]
    return batch_norm(module, images)


def _activated(module: Any, images: Tensor) -> Tensor:
    """Do what timm's batch norm with an activation does."""
    if not applies(module, images):
        return type(module).forward(module, images)  # type: ignore[no-any-return]
    return module.act(module.drop(batch_norm(module, images)))  # type: ignore[no-any-return]


def applies(module: nn.Module, images: Tensor) -> bool:
    """Whether this is what torch's own kernel would do imprecisely."""
    return (
        (module.training or module.running_mean is None)
        and images.dtype is torch.float32
        and images.dim() == 4
        and images.device.type == "cpu"
        and images.numel() > images.shape[1]
        and images.is_contiguous(memory_format=torch.channels_last)
    )


def batch_norm(module: nn.BatchNorm2d, images: Tensor) -> Tensor:
    """Do what ``nn.BatchNorm2d.forward`` does in train mode, running statistics included."""
    normalised, mean, variance = _BatchNorm.apply(images, module.weight, module.bias, module.eps)
    tracks = module.training and module.track_running_stats
    if tracks and module.running_mean is not None and module.running_var is not None:
        share = module.momentum
        if module.num_batches_tracked is not None:
            module.num_batches_tracked.add_(1)
            if share is None:
                share = 1.0 / float(module.num_batches_tracked)
        values = images.numel() // images.shape[1]
        with torch.no_grad():
            module.running_mean.lerp_(mean, share or 0.0)
            module.running_var.lerp_(variance * (values / (values - 1)), share or 0.0)
    return normalised  # type: ignore[no-any-return]


@lru_cache(maxsize=1024)
def _parts(values: int, channels: int) -> int:
    """Return in how many parts to add up a channel of ``values`` values."""
    small = [k for k in range(1, isqrt(values) + 1) if values % k == 0]
    divisors = small + [values // k for k in small]
    wanted = min(ROWS, isqrt(values))
    fit = [k for k in divisors if k * channels <= COLUMNS and k < values]
    return min(fit, key=lambda k: abs(log(values / k / wanted)), default=1)


def _wide(images: Tensor, parts: int) -> Tensor:
    """Return ``(N, C, H, W)`` in channels_last as ``(N*H*W / parts, parts * C)``, uncopied."""
    return images.permute(0, 2, 3, 1).reshape(-1, parts * images.shape[1])


class _BatchNorm(Function):
    """Normalisation by a batch's own mean and variance, which are returned too."""

    @staticmethod
    def forward(
        ctx: Any, images: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        channels = images.shape[1]
        parts = _parts(images.numel() // channels, channels)
        means, variances = (
            found.view(parts, channels).double()
            for found in torch.batch_norm_update_stats(_wide(images, parts), None, None, 0.0)
        )
        centre = means.mean(0)
        variance = (variances.mean(0) + (means - centre).square_().mean(0)).float()
        mean = centre.float()
        ctx.save_for_backward(images, weight, mean, variance)
        ctx.eps, ctx.parts = eps, parts
        ctx.mark_non_differentiable(mean, variance)
        result = functional.batch_norm(images, mean, variance, weight, bias, False, 0.0, eps)
        return result, mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        images, weight, mean, variance = ctx.saved_tensors
        gradient, channels = gradients[0], images.shape[1]
        if torch.is_grad_enabled():  # a gradient of this gradient is wanted
            return (*_differentiable(gradient, images, weight, ctx.eps), None)
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        values, parts = images.numel() // channels, ctx.parts
        scale = (variance + ctx.eps).rsqrt_()
        found = torch.ops.aten.native_batch_norm_backward(
            *(_wide(gradient, parts), _wide(images, parts)),
            *(None, None, None, mean.repeat(parts), scale.repeat(parts)),
            *(True, ctx.eps, [False, True, True]),
        )
        of_weight, of_bias = (
            some.view(parts, channels).sum(0, dtype=torch.float64).float() for some in found[1:]
        )
        of_images = None
        if ctx.needs_input_grad[0]:
            slope = scale if weight is None else scale * weight
            # slope * (gradient - of_bias / n - normalised * of_weight / n)
            shares = (slope * of_weight).div_(-values), (slope * of_bias).div_(-values)
            of_images = functional.batch_norm(
                images, mean, variance, *shares, False, 0.0, ctx.eps
            ).addcmul_(gradient, slope.view(1, -1, 1, 1))
        given = ctx.needs_input_grad
        return of_images, of_weight if given[1] else None, of_bias if given[2] else None, None


def _differentiable(
    gradient: Tensor, images: Tensor, weight: Tensor | None, eps: float
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Return the gradients of images, weight and bias by operations that have gradients."""
    over, shape = (0, 2, 3), (1, -1, 1, 1)
    variance, mean = torch.var_mean(images, over, correction=0, keepdim=True)
    scale = (variance + eps).rsqrt()
    normalised = (images - mean) * scale
    of_weight = (gradient * normalised).sum(over)
    centred = gradient - gradient.mean(over, keepdim=True)
    centred = centred - normalised * (gradient * normalised).mean(over, keepdim=True)
    slope = scale if weight is None else scale * weight.view(shape)
    return slope * centred, None if weight is None else of_weight, gradient.sum(over)

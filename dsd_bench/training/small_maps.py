"""Convolutions of maps smaller than their stride, in bf16 on a CPU: computed in single precision.

oneDNN's bf16 kernels, as torch 2.14 has them on processors with AMX, leave those entries of such a
layer's weight gradient unwritten whose inputs are all padding: what the memory held before comes
out, NaN included. Seen in one, two and three dimensions, plain, grouped and transposed, in both
layouts, wherever the map is narrower than the stride, and nowhere else. The layers are tiny, so
single precision there costs nothing that could be measured; it is done on every CPU, so that the
processor does not decide.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd


def guard(model: nn.Module) -> None:
    """Let every convolution of ``model`` that may meet such a map compute it in fp32."""
    for module in model.modules():
        if isinstance(module, _ConvNd) and max(module.stride) > 1 and max(module.kernel_size) > 1:
            module.forward = MethodType(_forward, module)


def affected(module: _ConvNd, inputs: Tensor) -> bool:
    """Whether the weight gradient of ``module`` would be wrong for ``inputs`` in bf16.

    Of a transposed convolution it is the output that may be narrower than the stride.
    """
    sizes = inputs.shape[-len(module.stride) :]
    more = isinstance(module, _ConvTransposeNd)
    return any(size < step + more for size, step in zip(sizes, module.stride, strict=True))


def _forward(module: Any, inputs: Tensor) -> Tensor:
    forward = type(module).forward
    if not affected(module, inputs):
        return forward(module, inputs)  # type: ignore[no-any-return]
    with torch.autocast("cpu", enabled=False):
        return forward(module, inputs.float())  # type: ignore[no-any-return]

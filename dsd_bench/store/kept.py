"""A round's weights in few bytes: its masks as bits, and of masked parameters what is left.

The tensors of a round are the network's state by name, and its masks as ``masks/weights/NAME`` and
``masks/tied/NAME``. Packed they have the same names: a mask is uint8 ``(ceil(N / 8),)``, its
elements in row-major order, the first the highest bit, zeros after the last; a parameter that is
zero wherever its mask is false holds the other values alone, ``(kept,)``, in that order. The shapes
are in the file's state: ``{"packed": {"masks/weights/NAME": [...]}, "values": [NAME, ...]}``. All
bits come back, negative zeros and NaN too. A curve that keeps 80 % a round fills five dense models.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy
import torch
from torch import Tensor

MASKS = ("masks/weights/", "masks/tied/")

Tensors = dict[str, Tensor]


def pack(tensors: Mapping[str, Tensor]) -> tuple[Tensors, dict[str, Any]]:
    """Return ``tensors`` packed, on the CPU, and what :func:`unpack` needs to know."""
    held = {name: tensor.detach().cpu() for name, tensor in tensors.items()}
    shapes: dict[str, list[int]] = {}
    values: list[str] = []
    for name, mask in list(held.items()):
        if mask.dtype != torch.bool or not name.startswith(MASKS):
            continue
        shapes[name] = list(mask.shape)
        flat = mask.reshape(-1)
        held[name] = torch.from_numpy(numpy.packbits(flat.numpy()))
        weight = _masked(name)
        if weight in held and held[weight].shape == mask.shape:
            whole = held[weight].reshape(-1)
            if not _bytes(whole[~flat]).any():
                held[weight] = _raw(whole)[flat].view(whole.dtype)
                values.append(weight)
    return held, {"packed": shapes, "values": values}


def unpack(tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> Tensors:
    """Undo :func:`pack`; what was never packed comes back as it is.

    Raises:
        ValueError: if tensors and state do not fit each other.
    """
    held = dict(tensors)
    shapes, values = state.get("packed", {}), set(state.get("values", ()))
    if not isinstance(shapes, dict):
        raise ValueError("no shapes of masks")
    for name, shape in shapes.items():
        mask = _unpacked(held.get(name), shape)
        held[name] = mask.reshape(shape)
        weight = _masked(name)
        if weight in values:
            held[weight] = _spread(held.get(weight), mask).reshape(shape)
            values.remove(weight)
    if values:
        raise ValueError(f"no mask of {sorted(values)[0]!r}")
    return held


def _masked(name: str) -> str:
    """Return the name of the parameter that a mask belongs to."""
    return name.split("/", 2)[2] if name.startswith(MASKS) else ""


def _unpacked(bits: Tensor | None, shape: Any) -> Tensor:
    counts = isinstance(shape, list) and all(type(n) is int and n >= 0 for n in shape)
    size = math.prod(shape) if counts else -1
    if bits is None or bits.dtype != torch.uint8 or list(bits.shape) != [-(-size // 8)]:
        raise ValueError("a mask does not fit its shape")
    flat = torch.from_numpy(numpy.unpackbits(bits.numpy())).bool()
    if flat[size:].any():
        raise ValueError("a mask has bits beyond its end")
    return flat[:size]


def _spread(values: Tensor | None, mask: Tensor) -> Tensor:
    if values is None or list(values.shape) != [int(mask.sum())]:
        raise ValueError("values do not fit their mask")
    whole = torch.zeros(mask.shape, dtype=values.dtype)
    _raw(whole)[mask] = _raw(values)
    return whole


def _raw(values: Tensor) -> Tensor:
    """Return ``values`` seen as integers: of a float, an index may write another NaN."""
    size = values.element_size()
    whole = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return values.view(whole[size]) if size in whole else values


def _bytes(values: Tensor) -> Tensor:
    return values.contiguous().view(torch.uint8)

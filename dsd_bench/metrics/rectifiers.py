"""Which operations are on/off rectifiers, whatever they are called.

A rectifier gives exactly 0 for every input below some point ("off") and something else above it
("on"). ReLU is one, and so are ReLU6 (``hardtanh(0, 6)``), ``clamp(min=0)``, ``threshold(0, 0)``,
``maximum(x, 0)``, ``where(x > 0, x, 0)`` and the hard gates, which are ReLU6(x + 3) by definition.
Where it saturates above, it is on. Leaky ones, GELU, SiLU, tanh and ``clamp(-1, 1)`` are none.

The operations are those that reach a dispatch mode; functions and modules end in them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

aten = torch.ops.aten


def _zero(value: Any) -> bool:
    """Whether a number is 0, or a tensor holds nothing else."""
    return not value.any() if isinstance(value, Tensor) else value == 0


def _always(*_: Any, **__: Any) -> bool:
    return True


def _clamp(x: Tensor, min: Any = None, max: Any = None) -> bool:
    return min is not None and _zero(min) and (isinstance(max, Tensor | None) or max > 0)


def _hardtanh(x: Tensor, min_val: float = -1, max_val: float = 1) -> bool:
    return min_val == 0 < max_val


def _threshold(x: Tensor, threshold: float, value: float) -> bool:
    return value == 0 <= threshold


def _leaky(x: Tensor, negative_slope: float = 0.01) -> bool:
    return negative_slope == 0


def _maximum(x: Tensor, other: Tensor) -> bool:
    return _zero(x) != _zero(other)


def _fused(*_: Any, use_gelu: bool = False, **__: Any) -> bool:
    return not use_gelu


_PLAIN: Mapping[Any, Callable[..., bool]] = {
    **dict.fromkeys((aten.relu, aten.relu_, aten.hardsigmoid, aten.hardsigmoid_), _always),
    **dict.fromkeys((aten.hardswish, aten.hardswish_), _always),
    **dict.fromkeys((aten.clamp, aten.clamp_), _clamp),
    **dict.fromkeys((aten.clamp_min, aten.clamp_min_), _clamp),
    **dict.fromkeys((aten.hardtanh, aten.hardtanh_), _hardtanh),
    **dict.fromkeys((aten.threshold, aten.threshold_), _threshold),
    **dict.fromkeys((aten.leaky_relu, aten.leaky_relu_), _leaky),
    **dict.fromkeys((aten.maximum, aten.fmax), _maximum),
    aten._addmm_activation: _fused,
}
"""Operations that are rectifiers with the right arguments, which each test is given."""

_SIGNS = {aten.gt: True, aten.ge: True, aten.lt: False, aten.le: False}


class Found(NamedTuple):
    """A rectifier that is about to be applied.

    Attributes:
        counts: whether it is one this time; that may depend on a tensor's values.
        gate: > 0 where it is on, if its output does not say so.
    """

    counts: bool
    gate: Tensor | None = None


class Rectifiers:
    """Recognises rectifiers among the operations of one forward pass, shown to it in order.

    It remembers the masks that say where a tensor is above 0, so that ``x * (x > 0)`` counts.
    """

    def __init__(self) -> None:
        self._masks: dict[int, tuple[Tensor, Tensor, bool]] = {}

    def before(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Found | None:
        """Return what the operation ``func`` is as a rectifier, None if it is none."""
        packet = getattr(func, "overloadpacket", None)
        if packet in (aten.hardswish, aten.hardswish_):
            return Found(True, (args[0] + 3).clamp_min_(0))  # its output is negative up to 0
        if packet in _PLAIN:
            return Found(_PLAIN[packet](*args, **kwargs))
        return Found(True) if self._masked(packet, args) else None

    def after(self, func: Any, args: Sequence[Any], out: Any) -> None:
        """Take note of a mask that ``func`` has made."""
        packet = getattr(func, "overloadpacket", None)
        if packet in _SIGNS and _is_number_zero(args[1]):
            self._masks[id(out)] = out, args[0], _SIGNS[packet]
        elif packet is aten._to_copy and id(args[0]) in self._masks:
            self._masks[id(out)] = out, *self._masks[id(args[0])][1:]

    def _masked(self, packet: Any, args: Sequence[Any]) -> bool:
        """Whether an operation makes exactly those entries 0 that are not above 0."""
        if not self._masks:
            return False
        if packet is aten.where and len(args) == 3:
            mask, yes, no = args
            return (self._is_sign(mask, yes, True) and _zero(no)) or (
                self._is_sign(mask, no, False) and _zero(yes)
            )
        if packet in (aten.masked_fill, aten.masked_fill_):
            return self._is_sign(args[1], args[0], False) and _zero(args[2])
        if packet in (aten.index_put, aten.index_put_):  # x[x < 0] = 0
            one = len(args[1]) == 1
            return one and self._is_sign(args[1][0], args[0], False) and _zero(args[2])
        if packet in (aten.mul, aten.mul_):
            return self._is_sign(args[1], args[0], True) or self._is_sign(args[0], args[1], True)
        return False

    def _is_sign(self, mask: Any, of: Any, positive: bool) -> bool:
        """Whether ``mask`` is ``of > 0`` (``of < 0`` if not ``positive``)."""
        _, tensor, kind = self._masks.get(id(mask), (None, None, None))
        return tensor is not None and tensor is of and kind is positive


def _is_number_zero(value: Any) -> bool:
    """Whether a number or a tensor of one number is 0."""
    return (not isinstance(value, Tensor) or value.numel() == 1) and _zero(value)

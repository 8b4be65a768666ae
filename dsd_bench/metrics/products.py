"""Which weights take part in which products: every operation watched as it is carried out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from dsd_bench.metrics.passes import evaluating, without_compiler

_aten = torch.ops.aten
_MATRICES = {
    **dict.fromkeys((_aten.mm, _aten.bmm, _aten.mv), (0, 1)),
    **dict.fromkeys((_aten.addmm, _aten.baddbmm, _aten.addmv), (1, 2)),
}
"""The operations that multiply two matrices, and where these stand among the arguments."""
_COPIES = (_aten.clone, _aten._to_copy)
"""The operations whose result holds its argument's values in another layout, type or place."""


@contextmanager
def products(
    model: nn.Module, weights: Mapping[str, Tensor], others: Mapping[str, Tensor] | None = None
) -> Iterator[Products]:
    """Watch what ``model`` computes inside the block, in eval mode and without gradients.

    Attention and recurrent layers are computed by plain products: their fused kernels differ from
    device to device, and hide theirs.

    Args:
        model: any network; its train and eval flags come back after.
        weights: the parameters to look for, by name.
        others: further parameters; see :class:`Products`.
    """
    torch.clear_autocast_cache()  # copies of weights that were made before would be strangers
    counter = Products(weights, others or {})
    with evaluating(model), sdpa_kernel(SDPBackend.MATH), _plain_recurrence(model), counter:
        yield counter


@contextmanager
def _plain_recurrence(model: nn.Module) -> Iterator[None]:
    """Have LSTMs and their like made of plain products inside the block."""
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    backends: tuple[Any, ...] = (torch.backends.mkldnn, torch.backends.cudnn) if recurrent else ()
    enabled = [backend.enabled for backend in backends]
    try:
        for backend in backends:
            backend.enabled = False
        yield
    finally:
        for backend, before in zip(backends, enabled):
            backend.enabled = before


@without_compiler
class Products(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts multiply-accumulates, and those of each weight that is an operand itself.

    A weight is known by its storage, so it does not matter which module or function reads it:
    views (transposed, chunked, detached) share it, and plain copies (another type under autocast,
    another layout) are followed. Whatever is computed of it otherwise is another tensor. In a
    product of two weights neither is counted as one: it prepares a third.

    Attributes:
        total: of all products so far.
        layers: of each weight, by name, in order of first use: those of the forward pass, and
            those that its backward pass will take for the gradients that are asked for.
        touched: names of the weights that any operation has read.
        forward: whether products count for ``layers``; not so during the backward pass itself.
    """

    def __init__(self, weights: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0
        self.layers: dict[str, list[int]] = {}
        self.touched: set[str] = set()
        self.forward = True
        # Storages are kept, so that no other one is taken for them: an id is an object's for life.
        self._held: dict[int, tuple[Any, list[tuple[int, int, str]]]] = {}
        self._copies: set[int] = set()
        self._others = frozenset(others)
        for name, weight in (*weights.items(), *others.items()):
            self._hold(weight, name)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Carry out an operation, and count it if it is a product."""
        kind, kwargs = func.overloadpacket, kwargs or {}
        known = kind in _MATRICES or kind in (_aten.convolution, _aten.convolution_backward)
        if not known:  # in inference mode operations come here that are made of others
            with self:
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        out = func(*args, **kwargs)
        self.touched.update(filter(None, map(self._name, _tensors(args))))
        if kind in _MATRICES:
            left, right = (args[place] for place in _MATRICES[kind])
            macs = left.numel() * (right.shape[-1] if right.dim() > 1 else 1)
            self._count(macs, (left, right), (right, left))
        elif kind is _aten.convolution:
            macs = _convolution(args[0], args[1], out, args[6])
            self._count(macs, (args[1], args[0]))
        elif kind is _aten.convolution_backward:
            macs = _convolution(args[1], args[2], args[0], args[7])
            self.total += macs * (bool(args[10][0]) + bool(args[10][1]))
        else:
            self._follow(kind, args, out)
        return out

    def _count(self, macs: int, *roles: tuple[Tensor, Tensor]) -> None:
        """Count a product; ``roles`` are the ways to see it as (weight, what it weighs)."""
        self.total += macs
        if not self.forward:
            return
        for weight, other in roles:
            name, beside = self._name(weight), self._name(other)
            if name is not None and (
                beside is None or (beside in self._others and name not in self._others)
            ):
                found = self.layers.setdefault(name, [0, 0])
                found[0] += macs
                # each gradient takes as many products as the forward pass
                wanted = weight.requires_grad + other.requires_grad
                found[1] += macs * wanted * torch.is_grad_enabled()

    def _follow(self, kind: Any, args: tuple[Any, ...], out: Any) -> None:
        """Learn of a copy of a weight, and forget one that something else is written to."""
        written, source = None, None
        if kind in _COPIES:
            written, source = out, args[0]
        elif kind is _aten.copy_:
            written, source = args[:2]
        elif kind.__name__.endswith("_") and args:
            written = args[0]
        if not _has_storage(written):
            return
        name, key = self._name(source), id(written.untyped_storage())
        if key in self._held and key not in self._copies:
            return  # the weight itself stays itself, whatever its values
        if name is not None:
            self._hold(written, name)
            self._copies.add(key)
        elif key in self._copies:
            self._copies.remove(key)
            del self._held[key]

    def _hold(self, tensor: Tensor, name: str) -> None:
        """Know ``tensor``, which may be a part of its storage, from now on by ``name``."""
        storage = tensor.untyped_storage()
        start = int(tensor.storage_offset())
        reach = sum((int(n) - 1) * int(step) for n, step in zip(tensor.shape, tensor.stride()))
        self._held.setdefault(id(storage), (storage, []))[1].append((start, start + reach, name))

    def _name(self, tensor: Any) -> str | None:
        """Return the name of the weight that ``tensor`` is, or is a part or a copy of."""
        if not _has_storage(tensor):
            return None
        _, spans = self._held.get(id(tensor.untyped_storage()), (None, ()))
        begin = tensor.storage_offset() if spans else 0
        return next((name for first, last, name in spans if first <= begin <= last), None)


def _convolution(inputs: Tensor, weight: Tensor, outputs: Tensor, transposed: bool) -> int:
    """Return the products of one pass: every weight (of every group) meets every position."""
    positions = (inputs if transposed else outputs).shape[2:]
    return inputs.shape[0] * math.prod(positions) * weight.numel()


def _has_storage(value: Any) -> TypeGuard[Tensor]:
    return isinstance(value, Tensor) and value.layout is torch.strided


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """Yield the tensors among an operation's arguments, those within lists too."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)

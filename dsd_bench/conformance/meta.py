"""The device ``meta``, of shapes without numbers: what runs there makes no tensor elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dsd_bench.conformance.checks import Broken, Skipped
from dsd_bench.errors import describe
from dsd_bench.metrics.passes import without_compiler

_MOVES = (
    *(torch.ops.aten.copy_, torch.ops.aten._to_copy),
    *(torch.ops.aten.index, torch.ops.aten.index_put_, torch.ops.aten.index_put),
)
"""What takes tensors of several devices on every one."""

_READS = (
    "cannot be called on meta",
    "Cannot copy out of meta",
    "register_meta function for",
    "a meta tensor without",
    "convert meta device type",
)
"""What torch says where a number of ``meta`` is asked for."""


def reads_numbers(error: Exception) -> bool:
    """Whether ``error`` says that a number of a tensor on ``meta`` was asked for."""
    return isinstance(error, RuntimeError | TypeError) and any(w in str(error) for w in _READS)


@without_compiler
class _OneDevice(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses operations on tensors of several devices, which ``meta`` lets pass in place."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket not in _MOVES:
            given = tree_leaves((args, kwargs or {}))
            places = {t.device.type for t in given if isinstance(t, Tensor) and t.dim()}
            if len(places) > 1:
                name = func.overloadpacket.__name__
                raise RuntimeError(
                    f"{name} of tensors on the devices {' and '.join(sorted(places))}"
                )
        return func(*args, **(kwargs or {}))


@contextmanager
def without_values(may_read: bool = True) -> Iterator[None]:
    """Run a component's code on ``meta`` in the block.

    Args:
        may_read: whether it may ask for numbers; then the check does not apply. Else it waits for
            the device, which it must not.
    """
    try:
        with _OneDevice():  # type: ignore[no-untyped-call]
            yield
    except (Broken, Skipped):
        raise
    except Exception as error:  # whatever a component raises is what is told of it
        if not reads_numbers(error):
            raise Broken(f"on another device than the CPU it raises: {describe(error)}") from error
        if may_read:
            raise Skipped("it reads numbers, of which the device `meta` has none") from error
        what = "it waits for the device (.item(), bool(), ...)"
        raise Broken(f"{what}: {describe(error)}") from error

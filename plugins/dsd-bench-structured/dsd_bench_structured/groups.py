"""Groups of layers that share channels, and which weights go with each channel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Role = Literal["rows", "inputs", "scale", "beside"]
"""What a parameter is to a channel: weights that make it, weights that read it, the scale of a
batch norm, or another vector with an entry for it (a bias, a batch norm's shift)."""


@dataclass(frozen=True)
class Part:
    """What of one parameter belongs to the units of a group.

    Attributes:
        parameter: its name.
        role: see :data:`Role`.
        indices: int64 ``(n,)``: rows of the parameter (its first dimension), or input channels.
        units: int64 ``(n,)``: which unit each of them belongs to.
        groups: of a convolution, where the role is ``inputs``.
    """

    parameter: str
    role: Role
    indices: Tensor
    units: Tensor
    groups: int = 1

    def without(self, gone: Tensor, shape: Sequence[int]) -> Tensor:
        """Return a mask of ``shape``, False where a unit in ``gone``, bool ``(units,)``, lies."""
        keep = torch.ones(tuple(shape), dtype=torch.bool)
        chosen = self.indices[gone[self.units]]
        if self.role != "inputs":
            keep[chosen] = False
            return keep
        width = shape[1]
        blocks = keep.view(self.groups, shape[0] // self.groups, width, -1)
        blocks[chosen // width, :, chosen % width] = False
        return keep


@dataclass(frozen=True)
class Group:
    """Units that are pruned alike: the channels that some layers share, or a layer's heads.

    Attributes:
        units: how many there are, pruned or not.
        parts: the parameters that they consist of, in the model's order.
    """

    units: int
    parts: tuple[Part, ...]

    @property
    def name(self) -> str:
        """The first weight that makes its channels."""
        return next(part.parameter for part in self.parts if part.role == "rows")

    def having(self, role: Role) -> Iterator[Part]:
        """Yield the parts of one role."""
        return (part for part in self.parts if part.role == role)


def aligned(group: Group, every: Iterable[tuple[Tensor, Tensor, int]]) -> Group:
    """Join units so that every grouped convolution loses as many channels in all of its groups.

    Args:
        group: the units so far.
        every: for each side of a grouped convolution its channels, int64 ``(n,)``, their units
            and the number of channels that one of its groups has.
    """
    joined = torch.arange(group.units)
    changed = True
    while changed:
        before = joined.clone()
        for channels, units, size in every:
            lowest = torch.full((size,), group.units).scatter_reduce(
                0, channels % size, joined[units], "amin"
            )
            joined = joined.scatter_reduce(0, units, lowest[channels % size], "amin")
        joined = joined[joined]
        changed = not joined.equal(before)
    unit = joined.eq(torch.arange(group.units)).cumsum(0)[joined] - 1  # numbered without gaps
    parts = (Part(p.parameter, p.role, p.indices, unit[p.units], p.groups) for p in group.parts)
    return Group(int(unit.max()) + 1, tuple(parts))

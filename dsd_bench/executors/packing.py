"""How many runs fit on one GPU at once, by what the runs there were seen to take.

A worker tells after its first round: a graph of a step holds memory of its own, and measuring, many
images at a time, may take more than training. Later rounds take the same: pruned weights are zeros
and free nothing. It changes the time, never the numbers, and a guess that was too high costs a run
no more than being tried again, which running out of memory is anyway.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

ROOM = 0.9
"""The share of the free memory that may be filled."""
CONTEXT = 600_000_000
"""Bytes that a process takes on a GPU before it allocates: its CUDA context and kernels."""


@dataclass(frozen=True)
class Memory:
    """What a worker saw on its GPU in the first round of a run, in bytes.

    Attributes:
        used: the most that its allocator had reserved.
        free: what nobody had, this worker included.
    """

    used: int
    free: int

    @property
    def each(self) -> int:
        """What one more such run would take."""
        return self.used + CONTEXT

    def more(self, coming: int) -> int:
        """Return how many more runs fit beside ``coming`` ones that have not allocated yet."""
        return max(0, int(ROOM * self.free / self.each) - coming)


def measured(device: torch.device) -> Memory | None:
    """Return what this process was seen to take on a CUDA device; None on any other."""
    if device.type != "cuda":
        return None
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    return Memory(used=torch.cuda.max_memory_reserved(device), free=free)

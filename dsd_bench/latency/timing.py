"""Timing several calls side by side: interleaved, in an order drawn anew for each block."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import torch

Call = Callable[[], object]
LEAST = 0.005
"""Seconds that a call is repeated for within a block: beside them the clock costs nothing."""
WARM = 3
"""Calls before anything is timed."""


class Clock(Protocol):
    """Times a call."""

    def __call__(self, call: Call, times: int) -> float:
        """Call ``call`` that many times in a row and return the seconds of one."""


def cpu_clock(call: Call, times: int) -> float:
    """Return the wall-clock seconds of one of ``times`` calls."""
    begin = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - begin) / times


def cuda_clock(call: Call, times: int) -> float:
    """The same between two events of the GPU's own clock."""
    event: Callable[..., torch.cuda.Event] = torch.cuda.Event
    begin, end = event(enable_timing=True), event(enable_timing=True)
    begin.record()
    for _ in range(times):
        call()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1000 / times


def repetitions(call: Call, clock: Clock) -> int:
    """Warm a call up and return how often it is called within a block."""
    for _ in range(WARM):
        call()
    return max(1, min(1000, round(LEAST / max(clock(call, 1), 1e-7))))


def interleave(
    calls: Mapping[str, Call],
    blocks: int,
    clock: Clock,
    *,
    before: Callable[[str], None] = lambda name: None,
    after: Callable[[str, int], None] = lambda name, times: None,
    going: Callable[[int], bool] = lambda done: True,
) -> dict[str, list[float]]:
    """Time every call once a block and return its seconds, one value for each whole block.

    Args:
        calls: what is timed, by name.
        blocks: how many there are at most.
        clock: how a call is timed.
        before: is told what will be timed.
        after: is told what was, and how often it was called.
        going: asked after each block, with the number that are done, whether to go on.
    """
    times = {name: repetitions(call, clock) for name, call in calls.items()}
    found: dict[str, list[float]] = {name: [] for name in calls}
    draw, order = random.Random(0), list(calls)
    for done in range(1, blocks + 1):
        draw.shuffle(order)
        block = {}
        try:
            for name in order:
                before(name)
                block[name] = clock(calls[name], times[name])
                after(name, times[name])
        except KeyboardInterrupt:
            break
        for name, seconds in block.items():
            found[name].append(seconds)
        if not going(done):
            break
    return found

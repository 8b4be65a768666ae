"""Timing several things in turn, so that what disturbs one disturbs all."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial

import torch

SHORT = 0.2
"""Seconds that a turn lasts at least."""
Seconds = dict[str, list[float]]


def in_turn(
    things: Mapping[str, Callable[[], None]], repeats: int, device: torch.device
) -> Seconds:
    """Call everything once to warm up, then ``repeats`` times in turn; return seconds a call.

    What takes less than :data:`SHORT` is called several times each turn: others' turns have emptied
    the caches, and the first call fills them.
    """
    counts = {}
    for name, thing in things.items():
        thing()
        counts[name] = max(1, math.ceil(SHORT / max(timed(thing, device), 1e-6)))
    seconds: Seconds = {name: [] for name in things}
    for _ in range(repeats):
        for name, thing in things.items():
            count = counts[name]
            seconds[name].append(timed(partial(often, thing, count), device) / count)
    return seconds


def often(thing: Callable[[], None], count: int) -> None:
    """Call ``thing`` ``count`` times."""
    for _ in range(count):
        thing()


def timed(thing: Callable[[], object], device: torch.device) -> float:
    """Return how long ``thing`` takes, until the device has done it."""
    wait(device)
    start = time.perf_counter()
    thing()
    wait(device)
    return time.perf_counter() - start


def wait(device: torch.device) -> None:
    """Wait until the device has nothing left to do."""
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()


def ratio(seconds: Seconds, above: str, below: str) -> float:
    """Return the median over the repeats of one's time to the other's."""
    pairs = zip(seconds[above], seconds[below], strict=True)
    return statistics.median(a / b for a, b in pairs)

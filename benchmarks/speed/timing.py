"""Timing several things in turn, so that what disturbs one disturbs all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch

Seconds = dict[str, list[float]]


def in_turn(
    things: Mapping[str, Callable[[], None]], repeats: int, device: torch.device
) -> Seconds:
    """Call everything once to warm up, then ``repeats`` times in turn; return the seconds."""
    for thing in things.values():
        thing()
    seconds: Seconds = {name: [] for name in things}
    for _ in range(repeats):
        for name, thing in things.items():
            seconds[name].append(timed(thing, device))
    return seconds


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

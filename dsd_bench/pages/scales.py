"""From numbers to places in a figure, and where its ticks are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

LEFT, RIGHT = 52.0, 26.0
WIDTH = 640.0
TICKS = (0, 20, 50, 80, 90, 95, 98, 99, 99.5, 99.8, 99.9, 99.95, 99.98, 99.99)
"""Sparsities in % that may have a tick."""
APART = 60.0
"""How far ticks of the x axis are apart, at least."""


@dataclass(frozen=True)
class Across:
    """The x axis: logarithmic in the density, dense at the left."""

    lowest: float

    @staticmethod
    def around(sparsities: Iterable[float]) -> Across:
        """Return an axis that holds all ``sparsities`` below 1."""
        return Across(min((1 - one for one in sparsities if one < 1), default=0.5))

    def at(self, sparsity: float) -> float:
        """Return the place of a sparsity."""
        whole = -math.log(min(self.lowest, 0.99))
        share = -math.log(max(1 - sparsity, self.lowest)) / whole
        return LEFT + (WIDTH - LEFT - RIGHT) * min(share, 1.0)

    def ticks(self) -> list[tuple[float, str]]:
        """Return places and words of the ticks that have room."""
        found: list[tuple[float, str]] = []
        for tick in TICKS:
            place = self.at(tick / 100)
            room = not found or place - found[-1][0] >= APART
            if 1 - tick / 100 >= self.lowest * 0.999 and room:
                found.append((place, f"{tick:g}"))
        return found


@dataclass(frozen=True)
class Up:
    """The y axis of a panel, from ``low`` at ``bottom`` to ``high`` at ``top``."""

    low: float
    high: float
    top: float
    bottom: float

    def at(self, value: float) -> float:
        """Return the place of a value."""
        share = (value - self.low) / (self.high - self.low)
        return self.bottom - (self.bottom - self.top) * share

    def ticks(self) -> list[float]:
        """Return at most five round numbers within the axis."""
        step = step_of(self.high - self.low)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [step * at for at in range(first, last + 1)]


def up(values: Sequence[float], top: float, bottom: float) -> Up:
    """Return an axis that holds all values, with a little room."""
    low, high = min(values), max(values)
    room = 0.04 * (high - low) or 0.5
    return Up(low - room, high + room, top, bottom)


def step_of(span: float) -> float:
    """Return the distance of about four round ticks over a span."""
    power = 10.0 ** math.floor(math.log10(span / 4))
    return next(power * digit for digit in (1, 2, 2.5, 5, 10) if span / (power * digit) <= 5)

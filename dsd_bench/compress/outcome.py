"""The chosen round against the original: accuracies, classes, and how sure one can be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy
from numpy.typing import NDArray

from dsd_bench.compress.counts import Classes
from dsd_bench.export import wilson

Z = 1.959963984540054
"""Of intervals of 95 %."""

Flags = NDArray[numpy.bool_]


@dataclass(frozen=True)
class Share:
    """A share of images that are right, with Wilson's interval of 95 %.

    Attributes:
        value, low, high: 0..1.
        right, n: of so many images so many.
    """

    value: float
    low: float
    high: float
    right: int
    n: int


@dataclass(frozen=True)
class Change:
    """A later accuracy minus an earlier one, over the same images.

    Attributes:
        value: the difference, -1..1.
        low, high: Bonett and Price's interval of 95 %.
        lost, won: images that only the earlier network gets right, and only the later.
        p: of McNemar's exact test that both are equally good.
        n: images.
    """

    value: float
    low: float
    high: float
    lost: int
    won: int
    p: float
    n: int


@dataclass(frozen=True)
class OfClass:
    """What became of a class.

    Attributes:
        name: of the class.
        before, after: shares that are right; None without test images.
        change: between them.
        holm: the change's p after Holm's correction for all classes.
    """

    name: str
    before: Share | None
    after: Share | None
    change: Change | None
    holm: float | None


@dataclass(frozen=True)
class Outcome:
    """The chosen round against the original, on the test images.

    Attributes:
        before, after: all images.
        change: between them.
        balanced_before, balanced_after: means of the classes' shares, over those with images.
        classes: those that lost most first.
    """

    before: Share
    after: Share
    change: Change
    balanced_before: float
    balanced_after: float
    classes: tuple[OfClass, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


def share(right: int, n: int) -> Share:
    """Return a share with its interval (Wilson, 1927); ``n`` is at least 1."""
    return Share(right / n, *wilson(right / n, n), right, n)


def change(lost: int, won: int, n: int) -> Change:
    """Compare two networks over the same ``n`` images, at least 1.

    The interval is the adjusted Wald interval of Bonett and Price (2012), which holds for few
    images too: each kind of disagreement is counted once more, over two more images.

    Args:
        lost: images that only the earlier one gets right.
        won: images that only the later one gets right.
        n: all images.
    """
    down, up = (lost + 1) / (n + 2), (won + 1) / (n + 2)
    half = Z * math.sqrt((down + up - (up - down) ** 2) / (n + 2))
    middle = up - down
    low, high = max(-1.0, middle - half), min(1.0, middle + half)
    return Change((won - lost) / n, low, high, lost, won, mcnemar(lost, won), n)


def mcnemar(lost: int, won: int) -> float:
    """Return the two-sided p of McNemar's exact test; 1 where the two never differ."""
    differ, fewer = lost + won, min(lost, won)
    if not differ:
        return 1.0
    tail = sum(math.comb(differ, k) for k in range(fewer + 1))
    return min(1.0, float(2 * tail / 2**differ))


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values corrected for being several (Holm, 1979), in the same order."""
    order = sorted(range(len(values)), key=lambda at: values[at])
    found, worst = [0.0] * len(values), 0.0
    for rank, at in enumerate(order):
        worst = max(worst, min(1.0, (len(values) - rank) * values[at]))
        found[at] = worst
    return found


def compare(before: Flags, after: Flags, classes: Classes) -> Outcome:
    """Compare two networks on the test images.

    Args:
        before: bool ``(N,)``, which images the original gets right.
        after: and the chosen round.
        classes: with the images' classes ``(N,)``.
    """
    kinds = [_of_class(at, before, after, classes) for at in range(len(classes.names))]
    known = [at for at, one in enumerate(kinds) if one.change is not None]
    corrected = holm([one.change.p for one in kinds if one.change is not None])
    for at, p in zip(known, corrected):
        kinds[at] = OfClass(kinds[at].name, kinds[at].before, kinds[at].after, kinds[at].change, p)
    ranked = sorted(kinds, key=lambda one: (one.change is None, one.change and one.change.value))
    return Outcome(
        before=share(int(before.sum()), len(before)),
        after=share(int(after.sum()), len(after)),
        change=_change(before, after),
        balanced_before=_mean([one.before.value for one in kinds if one.before]),
        balanced_after=_mean([one.after.value for one in kinds if one.after]),
        classes=tuple(ranked),
    )


def _of_class(at: int, before: Flags, after: Flags, classes: Classes) -> OfClass:
    mine = classes.labels == at
    n = int(mine.sum())
    if not n:
        return OfClass(classes.names[at], None, None, None, None)
    one, other = before[mine], after[mine]
    shares = share(int(one.sum()), n), share(int(other.sum()), n)
    return OfClass(classes.names[at], *shares, _change(one, other), None)


def _change(before: Flags, after: Flags) -> Change:
    lost, won = int((before & ~after).sum()), int((after & ~before).sum())
    return change(lost, won, len(before))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)

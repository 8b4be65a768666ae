"""Whether a row agrees with its runs, run again: by the same numbers, or as near as luck allows.

Same id and same conditions: same bytes, so one image too many contradicts. Under other conditions
(another chip, another torch) sums round differently, the training takes another path, and
accuracies move by points. Then two figures are tested, over the seeds that were run again: the test
accuracy of the round that the row selects, and the mean test accuracy of the whole curve. The
mean difference from the rerun is held against how far they scatter, which is estimated from

- the reruns' own differences, and
- the row's seeds: what moves a figure between conditions is the path of the training, one of the
  things in which two seeds differ; so two runs of *one* seed differ by no more than two seeds do,
  ``sqrt(2)`` of the seeds' standard deviation.

Both together give the variance of a difference, each by its degrees of freedom (the form of Smyth
2004, as in :mod:`.ties`), and Student's test. An honest row is contradicted in at most
:data:`ALARM` of cases (``benchmarks/plan_study.py`` measures it). What is too small to be seen so
is said: the least change of the selected models' mean accuracy that would have been caught with
probability :data:`POWER`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dsd_bench.boards.conditions import differences
from dsd_bench.boards.schema import CheckedRow, CheckedSeed
from dsd_bench.stopping import below

ALARM = 0.01
"""How often, at most, an honest row is contradicted under other conditions."""
POWER = 0.95
"""With which probability a change of the size that is told is caught."""
ROUGH = 0.1
"""An outcome that could not have caught even such a change (0..1) decides nothing."""
LEAST = 3
"""Fewer degrees of freedom than that say nothing of a variance."""

SELECTED, CURVE = "selected", "curve"
FIGURES = {
    SELECTED: "the test accuracy of the selected round",
    CURVE: "the mean test accuracy of the curve",
}
"""What is tested under other conditions."""

Verdict = Literal["same", "agrees", "undecided", "contradicted"]


@dataclass(frozen=True)
class Again:
    """One seed of a row, run again.

    Attributes:
        seed: the seed.
        unlike: what of the conditions is not as the row says; [] if nothing is.
        difference: the first number that is not the row's; None if all are.
        accuracies: the rerun's test accuracies, in 0..1, round by round.
    """

    seed: int
    unlike: Sequence[str]
    difference: str | None
    accuracies: Sequence[float]


@dataclass(frozen=True)
class Outcome:
    """What reruns say of a row.

    Attributes:
        verdict: ``same`` (numbers), ``agrees``, ``undecided`` or ``contradicted``.
        seeds: those that speak: of ``same``, those with the same numbers.
        why: a sentence.
        catches: the least change of the selected models' mean accuracy, 0..1, that would have been
            caught with probability :data:`POWER`; None where nothing rests on a test.
    """

    verdict: Verdict
    seeds: tuple[int, ...]
    why: str
    catches: float | None = None


def again(claimed: CheckedSeed, found: CheckedSeed) -> Again:
    """Compare one seed of a row with its rerun."""
    return Again(
        seed=claimed.seed,
        unlike=differences([found], [claimed]),
        difference=first_difference(claimed, found),
        accuracies=found.rounds.test_accuracy,
    )


RECORDS = {"plan", "versions", "hardware", "code"}
"""What of a seed tells how it was computed, and is no result."""


def first_difference(claimed: CheckedSeed, found: CheckedSeed) -> str | None:
    """Return the first number of a seed that is not the row's: ``key: claimed, found``."""
    apart = RECORDS if claimed.ece and found.ece else RECORDS | {"ece"}  # reruns measure no more
    left, right = (one.model_dump(mode="json", exclude=apart) for one in (claimed, found))
    return _first(_fixed(left), _fixed(right), "") or _first(left, right, "")


FIXED = ("samples", "layers", "rounds.nonzero.0")
"""What of a seed follows from data, noise and model alone: no conditions move it."""


def _fixed(seed: dict[str, Any]) -> dict[str, Any]:
    first = seed["rounds"]["nonzero"][:1]
    return {key: seed[key] for key in FIXED[:2]} | {"rounds": {"nonzero": first}}


def _moved(one: Again) -> bool:
    """Whether conditions may be why a rerun differs; another plugin may bring another model."""
    fixed = one.difference is not None and one.difference.startswith(FIXED)
    return bool(one.unlike) and (not fixed or any("plugins: " in text for text in one.unlike))


def _first(claimed: Any, found: Any, key: str) -> str | None:
    """Return the first place where two JSON values differ."""
    if claimed == found:
        return None
    if isinstance(claimed, dict) and isinstance(found, dict) and claimed.keys() == found.keys():
        places: Any = claimed
    elif isinstance(claimed, list) and isinstance(found, list) and len(claimed) == len(found):
        places = range(len(claimed))
    else:
        return f"{key}: {_short(claimed)}, found {_short(found)}"
    inner = ((place, f"{key}.{place}" if key else str(place)) for place in places)
    told = (_first(claimed[place], found[place], name) for place, name in inner)
    return next(text for text in told if text)


def _short(value: Any) -> str:
    text = f"{len(value)} values" if isinstance(value, list) else str(value)
    return text if len(text) <= 24 else f"{text[:24]}..."


def judge(row: CheckedRow, reruns: Sequence[Again]) -> Outcome:
    """Judge a row by reruns of its seeds, at least one."""
    same = [one for one in reruns if one.difference is None]
    wrong = next((one for one in reruns if one.difference and not _moved(one)), None)
    if wrong is not None:
        where = "whatever the conditions" if wrong.unlike else "under the same conditions"
        why = f"{where} seed {wrong.seed} differs: {wrong.difference}"
        return Outcome("contradicted", (wrong.seed,), why)
    other = [one for one in reruns if one.difference is not None]
    if not other:
        return Outcome("same", tuple(one.seed for one in same), "every number is the same")
    return _tested(row, other)


def _tested(row: CheckedRow, reruns: Sequence[Again]) -> Outcome:
    """Judge by reruns under other conditions, whose numbers differ."""
    seeds = tuple(one.seed for one in reruns)
    apart, catches = differences_of(row, reruns), None
    for name, words in FIGURES.items():
        test = deviation(apart[name], scatter(row)[name], len(row.seeds) - 1)
        if test is None:
            continue
        if name == SELECTED:
            catches = test.catches
        if test.contradicts:
            side = "above" if test.mean > 0 else "below"
            why = f"{words} is {100 * abs(test.mean):.1f} points {side} the reruns' in the mean of "
            why += f"{len(seeds)}, and {100 * test.limit:.1f} is what conditions may do to it"
            return Outcome("contradicted", seeds, why, test.catches)
    if catches is None or catches > ROUGH:
        told = "" if catches is None else f"; {100 * catches:.0f} points could be hidden"
        return Outcome("undecided", seeds, f"too few seeds to tell{told}", catches)
    why = "no further off than other conditions may move it; "
    why += f"{100 * catches:.1f} points or more of the selected models' accuracy would have shown"
    return Outcome("agrees", seeds, why, catches)


def differences_of(row: CheckedRow, reruns: Sequence[Again]) -> dict[str, list[float]]:
    """Return by how much each figure of the row is above each rerun's, in 0..1."""
    claimed = {entry.seed: entry for entry in row.seeds}
    found: dict[str, list[float]] = {name: [] for name in FIGURES}
    for one in reruns:
        entry = claimed[one.seed]
        pairs = list(zip(entry.rounds.test_accuracy, one.accuracies))
        if entry.best_round < len(pairs):
            left, right = pairs[entry.best_round]
            found[SELECTED].append(left - right)
        found[CURVE].append(statistics.fmean(left - right for left, right in pairs))
    return found


@dataclass(frozen=True)
class Deviation:
    """One figure's test; all in 0..1.

    Attributes:
        mean: the mean difference.
        limit: how large it may be.
        catches: the least true difference that exceeds the limit with probability :data:`POWER`.
    """

    mean: float
    limit: float
    catches: float

    @property
    def contradicts(self) -> bool:
        """Whether the row and its reruns do not agree."""
        return below(self.limit, abs(self.mean))


def deviation(apart: Sequence[float], prior: float | None, freedom: int) -> Deviation | None:
    """Test whether differences are 0 in the mean.

    Args:
        apart: the differences, one for each seed.
        prior: their standard deviation as it is known without them; None if it is not.
        freedom: the degrees of freedom that it is known with.

    Returns:
        None where too little is known of how they scatter.
    """
    from scipy.special import stdtrit

    own = len(apart) - 1
    known = (freedom if prior is not None else 0) + max(own, 0)
    if not apart or known < LEAST:
        return None
    squares = freedom * prior**2 if prior is not None else 0.0
    squares += own * statistics.variance(apart) if own > 0 else 0.0
    error = math.sqrt(squares / known / len(apart))
    level = float(stdtrit(known, 1 - ALARM / 2 / len(FIGURES)))
    more = float(stdtrit(known, POWER))
    return Deviation(statistics.fmean(apart), level * error, (level + more) * error)


def scatter(row: CheckedRow) -> dict[str, float | None]:
    """Return a bound of how far each figure of one seed moves between conditions, in 0..1.

    None for a single seed. For the selected round the seeds' variance is that within each round
    that any of them selects, in the mean. Neither is below what an image more or less in each of
    the two runs gives, as seeds that are all right, or all at chance, say nothing of other
    conditions.
    """
    curves = [entry.rounds.test_accuracy for entry in row.seeds]
    if len(curves) < 2:
        return dict.fromkeys(FIGURES)
    least = math.sqrt(2) / row.seeds[0].samples.test
    shared = list(zip(*curves))
    chosen = {entry.best_round for entry in row.seeds if entry.best_round < len(shared)}
    within = [statistics.variance(shared[at]) for at in sorted(chosen)]
    means = statistics.variance([statistics.fmean(values) for values in zip(*shared)])
    selected = max(least, math.sqrt(2 * statistics.fmean(within))) if within else None
    return {SELECTED: selected, CURVE: max(least, math.sqrt(2 * means))}

"""Two methods from their run folders: what pairs them, and what the comparison says in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dsd_bench.analysis import accuracy_column, selected_round
from dsd_bench.analysis.paired import (
    ENOUGH,
    At,
    Difference,
    Lead,
    crossings,
    difference,
    floor_of,
    leads,
    read_at,
)
from dsd_bench.boards.methods import track_of
from dsd_bench.config.naming import seeds_word
from dsd_bench.config.run import RunConfig
from dsd_bench.errors import UsageError
from dsd_bench.reports.methods import Method
from dsd_bench.reports.words import percent, plural
from dsd_bench.store.correct import unpack
from dsd_bench.store.runs import StoredRun

MUST_AGREE = {
    "dataset": "data",
    "fingerprint": "contents of the data",
    "noise": "label noise",
    "data_seed": "how split and noise are drawn",
    "selection": "the part that selects",
}
"""What two methods must share to be paired; of the track's other parts a difference is told."""

Bits = dict[str, dict[int, dict[str, str | None]]]
"""By run id and round, which images are right (:func:`dsd_bench.store.correct.read_bits`)."""

Pair = tuple[StoredRun, StoredRun]


@dataclass(frozen=True)
class Comparison:
    """Two methods over the seeds that both have.

    Attributes:
        first, second: the methods.
        seeds: those that both have.
        column: the accuracy that is compared.
        rounds: the difference at each round of the first method, as far as both curves go.
        selected: of the selected models' accuracies.
        sparsity: of the selected models' sparsities.
        notes: what differs beside the methods, and what makes the comparison weak.
    """

    first: Method
    second: Method
    seeds: tuple[int, ...]
    column: str
    rounds: tuple[At, ...]
    selected: Difference
    sparsity: Difference
    notes: tuple[str, ...]

    @property
    def crossings(self) -> list[float]:
        """Sparsities at which the mean curves cross."""
        return crossings(self.rounds)

    @property
    def leads(self) -> list[Lead]:
        """Stretches of rounds by who is significantly higher."""
        return leads(self.rounds)


def compare(first: Method, second: Method, bits: Bits | None = None) -> Comparison:
    """Compare two methods, seed by seed.

    Args:
        first: its rounds say where curves are read.
        second: likewise.
        bits: which images are right, where known: then intervals are never below what the test
            images alone give.

    Raises:
        UsageError: if they cannot be paired: with the reason.
    """
    notes = _check_tracks(first, second)
    pairs = _pairs(first, second)
    column = accuracy_column([run for pair in pairs for run in pair])
    seeds = tuple(one.seed for one, _ in pairs)
    if len(seeds) < ENOUGH:
        notes.append(_few(len(seeds)))
    chosen = [tuple(map(_chosen, pair)) for pair in pairs]
    return Comparison(
        first=first,
        second=second,
        seeds=seeds,
        column=column,
        rounds=tuple(_rounds(pairs, column, bits or {})),
        selected=difference(
            [one[column] for one, _ in chosen],
            [other[column] for _, other in chosen],
            _floor(pairs, [(one["round"], other["round"]) for one, other in chosen], bits or {}),
        ),
        sparsity=difference(
            [one["sparsity"] for one, _ in chosen], [other["sparsity"] for _, other in chosen]
        ),
        notes=tuple(notes),
    )


def _few(count: int) -> str:
    if count == 1:
        return "one seed: how much seeds differ is not known, so nothing is tested"
    return f"only {count} seeds in common: intervals are wide; at least {ENOUGH} are wanted"


def _check_tracks(first: Method, second: Method) -> list[str]:
    """Refuse what has other data; return notes on what else differs."""
    ours, theirs = (
        track_of(RunConfig.from_json(one.runs[0].config)).model_dump(mode="json")
        for one in (first, second)
    )
    differ = [key for key in ours if ours[key] != theirs[key]]
    apart = [MUST_AGREE[key] for key in differ if key in MUST_AGREE]
    if apart:
        raise UsageError(
            f"'{first.label}' and '{second.label}' cannot be paired: {', '.join(apart)} differ "
            f"({first.setting}; {second.setting}); compare methods on the same data"
        )
    told = ", ".join(differ)
    return [f"beside the methods, {told} differ"] if told else []


def _pairs(first: Method, second: Method) -> list[Pair]:
    """Return the runs of common seeds."""
    other = {(run.seed, run.config["data_seed"]): run for run in second.runs}
    pairs = [
        (run, found)
        for run in first.runs
        if (found := other.get((run.seed, run.config["data_seed"])))
    ]
    if not pairs:
        told = [seeds_word(run.seed for run in one.runs) for one in (first, second)]
        raise UsageError(
            f"'{first.label}' and '{second.label}' have no seed in common: {told[0]} against "
            f"{told[1]}; run the missing ones with --seeds"
        )
    return pairs


def _chosen(run: StoredRun) -> dict[str, Any]:
    chosen = selected_round(run)
    return next(row for row in run.rows if row["round"] == chosen)


def _rounds(pairs: Sequence[Pair], column: str, bits: Bits) -> list[At]:
    """Compare at each round of the first method that all its seeds and the second's curves have."""
    found = []
    for place in range(min(len(one.rows) for one, _ in pairs)):
        rows = [one.rows[place] for one, _ in pairs]
        read = [read_at(two.rows, row["sparsity"], column) for (_, two), row in zip(pairs, rows)]
        known = [one for one in read if one]
        if len(known) < len(pairs) or any(row.get(column) is None for row in rows):
            continue
        twins = [twin for _, twin in known]
        met = [(row["round"], twin["round"]) for row, twin in zip(rows, twins) if twin]
        floor = _floor(pairs, met, bits) if len(met) == len(pairs) else 0.0
        values = [float(row[column]) for row in rows]
        apart = difference(values, [value for value, _ in known], floor)
        sparsity = sum(row["sparsity"] for row in rows) / len(rows)
        found.append(At(rows[0]["round"], sparsity, None in twins, apart))
    return found


def _floor(pairs: Sequence[Pair], rounds: Sequence[tuple[int, int]], bits: Bits) -> float:
    """Return the least variance by the test images; 0 where the bits are not all there."""
    differ, images = [], []
    for pair, at in zip(pairs, rounds):
        texts = [
            bits.get(run.run_id, {}).get(index, {}).get("test") for run, index in zip(pair, at)
        ]
        counts = [(run.result or {}).get("samples", {}).get("test") for run in pair]
        if not all(texts) or counts[0] != counts[1] or not isinstance(counts[0], int):
            return 0.0
        try:
            one, other = (unpack(text or "", counts[0]) for text in texts)
        except ValueError:
            return 0.0
        differ.append(int((one != other).sum()))
        images.append(counts[0])
    return floor_of(differ, images)


def sentences(found: Comparison) -> list[str]:
    """Say in plain words what is seen along the curves, and of the selected models."""
    names = {1: found.first.label, -1: found.second.label}
    return [_along(found, names), _selected(found, names)]


def _along(found: Comparison, names: dict[int, str]) -> str:
    if not found.rounds:
        return "The two curves have no sparsity in common."
    if len(found.seeds) < 2:
        return "One seed in common: the curves are shown, and nothing is tested."
    told = [_stretches(found.leads, leader, names[leader]) for leader in (1, -1)]
    if not any(told):
        return "At no sparsity are the two told apart."
    if len(found.leads) == 1:
        only = found.leads[0]
        return (
            f"{names[only.leader]} is higher at every sparsity, by {_span(only.least, only.most)}."
        )
    rest = any(not one.leader for one in found.leads)
    return "; ".join(filter(None, told)) + ("; elsewhere the two are not told apart." * rest or ".")


def _stretches(found: Sequence[Lead], leader: int, name: str) -> str:
    """Say where one method is higher and by how much; empty if nowhere."""
    own = [one for one in found if one.leader == leader]
    if not own:
        return ""
    where = " and ".join(map(_where, own))
    span = _span(min(one.least for one in own), max(one.most for one in own))
    return f"{name} is higher {where} % sparsity, by {span}"


def _where(one: Lead) -> str:
    start, end = percent(one.start), percent(one.end)
    return f"at {start}" if one.rounds == 1 else f"from {start} to {end}"


def _span(least: float, most: float) -> str:
    low, high = percent(least), percent(most)
    return f"{high} points" if low == high else f"{low} to {high} points"


def _selected(found: Comparison, names: dict[int, str]) -> str:
    apart = found.selected
    means = f"{percent(apart.first)} against {percent(apart.second)} %"
    over = f"over {plural(apart.n, 'seed')}"
    if apart.p is None or apart.low is None or apart.high is None:
        return f"Selected models: {means}, {over}."
    interval = f"95 % interval {points(apart.low)} to {points(apart.high)}, {p_word(apart.p)}"
    if apart.leader:
        what = f"{names[apart.leader]} is better by {percent(abs(apart.mean))} points"
    else:
        what = f"not told apart; the difference is {points(apart.mean)} points"
    return f"Selected models: {what} ({means}, {over}; {interval})."


def points(value: float) -> str:
    """Write a difference of fractions in points with its sign."""
    return f"{100 * value + 0.0:+.1f}"


def p_word(value: float) -> str:
    """Write a p-value: ``p = 0.0213``; those below 0.0001 as ``p < 0.0001``."""
    return f"p = {value:.4f}" if value >= 1e-4 else "p < 0.0001"

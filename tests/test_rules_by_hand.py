"""Rules replayed over rows: every quantity against numbers that were worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from board_runs import config, write_run

from dsd_bench.boards.files import read_row
from dsd_bench.boards.ranking import Line, rank
from dsd_bench.boards.replayed import Curve, Method, Rule, chosen, methods_of, stopped
from dsd_bench.boards.rows import submit
from dsd_bench.boards.schema import BoardRow, Rounds, SeedResult
from dsd_bench.errors import RunError

DIPS = (0.70, 0.60, 0.40, 0.75, 0.80)
"""Light, then critical in rounds 1 and 2, then sweet."""


class After:
    """A stop rule: after this round."""

    def __init__(self, last: int | None) -> None:
        self.last = last

    def first(self, rounds: Any, score: str) -> int | None:
        return self.last


class Takes:
    """A chooser: this round."""

    def __init__(self, place: int) -> None:
        self.place = place

    def choose(self, rounds: Any, score: str) -> int:
        return self.place


def curve(
    test: Sequence[float],
    val: Sequence[float] | None = None,
    nonzero: Sequence[int] = (100, 80, 60, 50, 40),
    macs: Sequence[float | None] | None = None,
    effective: Sequence[float | None] | None = None,
    epochs: tuple[float, float] | None = (10, 4),
) -> Curve:
    """Return the curve of one seed; without macs, 1 of each weight of an image."""
    count = len(test)
    left = list(nonzero[:count])
    columns: dict[str, Any] = {name: [None] * count for name in Rounds.model_fields}
    columns |= {
        "nonzero": left,
        "sparsity": [1 - one / left[0] for one in left],
        "test_accuracy": list(test),
        "val_accuracy": list(test if val is None else val),
        "macs_dense": [left[0]] * count if macs is None else list(macs),
        "macs_effective": left if effective is None else list(effective),
    }
    entry = SeedResult.model_construct(rounds=Rounds.model_construct(**columns))
    return Curve(entry, "val_accuracy", epochs)


def method(*curves: Curve, critical: set[int] | None = None) -> Method:
    made = Method(None, None, curves)  # type: ignore[arg-type]
    vars(made)["critical"] = critical  # it is computed once
    return made


def after(last: int | None, *methods: Method) -> dict[str, Any]:
    return dict(stopped(Rule("it", After(last)), methods).values)


def takes(place: int, *methods: Method) -> dict[str, Any]:
    return dict(chosen(Rule("it", Takes(place)), methods).values)


# --- stop rules -----------------------------------------------------------------------------


def test_what_stopping_costs_and_saves() -> None:
    """The best of the first three on validation is round 1; on test round 4 is the best of all."""
    one = method(curve((0.70, 0.66, 0.72, 0.50, 0.90), (0.60, 0.65, 0.61, 0.40, 0.70)))
    found = after(2, one)
    assert found["regret"].mean == pytest.approx(0.90 - 0.66)
    assert found["trainings"].mean == pytest.approx(2 / 5)
    assert found["macs"].mean == pytest.approx(2 * 4 / (10 + 4 * 4))
    spent = [10 * 100, 4 * 80, 4 * 60, 4 * 50, 4 * 40]
    assert found["effective"].mean == pytest.approx((200 + 160) / sum(spent))
    assert found.get("dip") is None


@pytest.mark.parametrize(("last", "saved"), [(0, 4 / 5), (3, 1 / 5), (4, 0), (None, 0)])
def test_a_rule_that_stops_after_a_round_trains_it(last: int | None, saved: float) -> None:
    found = after(last, method(curve(DIPS)))
    assert found["trainings"].mean == pytest.approx(saved)


def test_a_single_training_can_be_saved_by_nobody() -> None:
    found = after(None, method(curve(DIPS[:1])))
    assert (found["trainings"].mean, found["macs"].mean, found["regret"].mean) == (0, 0, 0)


@pytest.mark.parametrize(("last", "share"), [(0, 0), (1, 0), (2, 1), (3, 0), (None, 0)])
def test_the_last_trained_round_is_in_the_dip_or_not(last: int | None, share: float) -> None:
    assert after(last, method(curve(DIPS), critical={2}))["dip"].mean == share


def test_of_equal_rounds_the_first_is_the_best() -> None:
    one = curve((0.5, 0.6, 0.7, 0.8, 0.9), (0.5, 0.7, 0.7, 0.7, 0.6))
    assert [one.best(count) for count in range(1, 6)] == [0, 1, 1, 1, 1]
    assert after(3, method(one))["regret"].mean == pytest.approx(0.9 - 0.6)


def test_what_a_row_lacks_is_unknown() -> None:
    known = curve(DIPS)
    for place in range(5):
        macs = [None if n == place else 100 for n in range(5)]
        found = after(1, method(curve(DIPS, macs=macs)), method(known))
        assert found["macs"].n == 1
        assert found["effective"].n == 2
    assert after(1, method(curve(DIPS, epochs=None))).get("macs") is None
    assert after(1, method(curve(DIPS, macs=[0] * 5, effective=[0] * 5))).get("macs") is None


def test_rows_of_trainings_that_end_dense_do_not_tell_sparse_costs() -> None:
    """One round that counts as dense is enough: what the other rounds are of is not known."""
    for place in range(1, 5):
        effective = [100 if n in (0, place) else 40 for n in range(5)]
        found = after(1, method(curve(DIPS, effective=effective)))
        assert found["macs"].n == 1
        assert found.get("effective") is None


# --- choosers -------------------------------------------------------------------------------


def test_what_a_choice_costs_and_saves() -> None:
    """Round 1 is the best on validation, round 4 on test; round 3 is chosen."""
    one = method(curve((0.70, 0.85, 0.72, 0.80, 0.90), (0.60, 0.70, 0.61, 0.65, 0.64)))
    found = takes(3, one)
    assert found["lost"].mean == pytest.approx(0.05)
    assert found["regret"].mean == pytest.approx(0.10)
    assert found["fewer"].mean == pytest.approx(1 - 50 / 80)
    assert found["sparsity"].mean == pytest.approx(0.5)


# --- means ----------------------------------------------------------------------------------


def test_seeds_are_averaged_first_and_methods_count_alike() -> None:
    """Regrets 0, 0 and 0.3 of one method, 0.2 of another: means 0.1 and 0.2, and 0.15 of them."""
    flat, fallen = curve((0.9, 0.5)), curve((0.5, 0.8))
    other = curve((0.6, 0.8))
    methods = (method(flat, flat, fallen), method(other))
    found = stopped(Rule("it", After(0)), methods)
    regret = found.values["regret"]
    assert regret is not None
    assert (regret.mean, regret.n) == (pytest.approx(0.15), 2)
    assert regret.std == pytest.approx(0.1 / 2**0.5)
    assert found.curves == 4


class Needs(After):
    """A rule that cannot read short curves."""

    def first(self, rounds: Any, score: str) -> int | None:
        if len(rounds) < 5:
            raise RunError("too short")
        return self.last


def test_curves_that_a_rule_cannot_read_do_not_count() -> None:
    methods = (method(curve(DIPS), curve(DIPS[:3])), method(curve(DIPS[:3])))
    found = stopped(Rule("it", Needs(1)), methods)
    assert found.curves == 1
    regret = found.values["regret"]
    assert regret is not None
    assert (regret.mean, regret.n) == (pytest.approx(0.1), 1)


# --- which curves count ---------------------------------------------------------------------


def lines_of(folder: Path, *changes: Any, test: Sequence[float] = DIPS) -> tuple[Line, ...]:
    runs = []
    for own in changes:
        told = test[: own.get("rounds", 4) + 1]
        made = [config(seed, **own) for seed in range(6)]
        runs += [write_run(folder / "runs", one, told, images=1000) for one in made]
    return rank([read_row(path) for path in submit(runs, folder / "boards")]).lines


def test_methods_that_differ_in_how_far_they_prune_are_two(tmp_path: Path) -> None:
    assert len(methods_of(lines_of(tmp_path, {}, {"rounds": 3}))) == 2


def test_epochs_are_those_of_the_schedule_and_of_the_method(tmp_path: Path) -> None:
    """200 of the dense training, then 50 and 7 with all weights again."""
    plain, redense = methods_of(lines_of(tmp_path, {}, {"redense_epochs": 7}))
    told = {one.row.method.redense_epochs: one.curves[0].epochs for one in (plain, redense)}
    assert told == {0: (200, 50), 7: (200, 57)}


def with_seeds(row: BoardRow, change: Any) -> BoardRow:
    seeds = [change(place, entry) for place, entry in enumerate(row.seeds)]
    return row.model_copy(update={"seeds": seeds})


def test_methods_with_a_rule_do_not_count_though_it_never_stopped_them(tmp_path: Path) -> None:
    row = lines_of(tmp_path, {})[0].row
    rule = row.method.stop.model_copy(update={"name": "patience", "version": 2})
    with_rule = row.model_copy(update={"method": row.method.model_copy(update={"stop": rule})})
    assert methods_of(rank([with_rule]).lines) == []


def test_seeds_that_a_rule_ended_do_not_count(tmp_path: Path) -> None:
    row = lines_of(tmp_path, {})[0].row

    def change(place: int, entry: Any) -> Any:
        return entry.model_copy(update={"stopped_by": "patience"}) if place < 2 else entry

    (found,) = methods_of(rank([with_seeds(row, change)]).lines)
    assert [curve.entry.seed for curve in found.curves] == [2, 3, 4, 5]


def test_the_dip_is_that_of_the_rounds_that_all_seeds_have(tmp_path: Path) -> None:
    row = lines_of(tmp_path, {})[0].row

    def change(place: int, entry: Any) -> Any:
        if place:
            return entry
        columns = entry.rounds.model_dump()
        short = Rounds.model_construct(**{name: values[:4] for name, values in columns.items()})
        return entry.model_copy(update={"rounds": short, "best_round": 3})

    (found,) = methods_of(rank([with_seeds(row, change)]).lines)
    assert [len(curve.rows) for curve in found.curves] == [4, 5, 5, 5, 5, 5]
    assert found.critical == {1, 2}

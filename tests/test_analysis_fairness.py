"""Does the net interpolate, are its trainings whole, and what may then be claimed?"""

from __future__ import annotations

from typing import Any

import pytest

from dsd_bench.analysis import Evidence, dense_key, dodge, fairness
from dsd_bench.analysis.descent import Descent
from dsd_bench.analysis.evidence import CANNOT_TELL, DOUBLE_DESCENT, NO_DOUBLE_DESCENT
from dsd_bench.components import Component
from dsd_bench.params import Params
from dsd_bench.plugins import catalogue


class Taught(Params):
    teacher: str = "best"


PARTS = {
    ("perturber", "none"): Component("none", "a:B", "", sets_back=False),
    ("perturber", "fresh"): Component("fresh", "a:B", "", sets_back=True),
    ("perturber", "silent"): Component("silent", "a:B", ""),
    ("regularizer", "decay"): Component("decay", "a:B", "", changes_targets=False),
    ("regularizer", "smooth"): Component("smooth", "a:B", "", changes_targets=True),
    ("regularizer", "quiet"): Component("quiet", "a:B", ""),
    ("regularizer", "taught"): Component(
        "taught", "a:B", "", Taught, teacher=True, changes_targets=False
    ),
}


def lookup(kind: str, name: str) -> Component | None:
    return PARTS.get((kind, name))


def config(
    *regularizers: str, perturber: str = "none", start: bool = False, **protocol: Any
) -> dict[str, Any]:
    pruner = {"at_initialisation": True} if start else {}
    schedule = {"rounds": 20, "dense_epochs": 200, "retrain_epochs": 50, "lr": 0.1}
    return {
        "dataset": {"name": "digits", "version": 1, "params": {"n": 1}},
        "fingerprint": "f",
        "noise": {"name": "none"},
        "model": {"name": "mlp"},
        "pruner": {"name": "magnitude", **pruner},
        "perturber": {"name": perturber},
        "regularizers": [{"name": name} for name in regularizers],
        "protocol": schedule | protocol,
    }


def rows(*fits: float | None) -> list[list[dict[str, Any]]]:
    return [[{"round": 0, "train_accuracy": fit}] for fit in fits]


@pytest.mark.parametrize(
    ("fits", "interpolates"),
    [((0.97,), True), ((0.9699,), False), ((0.95, 1.0), True), ((0.9, 1.0), False), ((), None)],
)
def test_a_vanilla_run_is_its_own_twin(fits: tuple[float, ...], interpolates: bool | None) -> None:
    found = fairness(config(), rows(*fits), lookup, [(config(), rows(0.1))])
    assert found.interpolates is interpolates
    assert (found.mark == "") is (interpolates is not False)


def test_the_note_says_how_much_is_fitted() -> None:
    (note,) = fairness(config(), rows(0.79), lookup).notes
    assert "79.0 %" in note
    assert "does not interpolate" in note


def test_nothing_is_said_where_all_is_well() -> None:
    assert fairness(config(), rows(1.0), lookup).notes == ()


@pytest.mark.parametrize("name", ["taught", "smooth", "quiet", "not-installed"])
def test_a_net_with_other_targets_is_judged_by_its_vanilla_twin(name: str) -> None:
    ours, twin = config("decay", name), (config(), rows(1.0))
    assert fairness(ours, rows(0.6), lookup, [twin]).interpolates is True
    alone = fairness(ours, rows(0.6), lookup)
    assert (alone.fit, alone.fit_of, alone.interpolates) == (None, None, None)
    assert "unknown" in alone.notes[0]


def test_a_twin_that_does_not_interpolate_tells_against_its_student() -> None:
    found = fairness(config("taught"), rows(0.99), lookup, [(config(), rows(0.79, 0.81))])
    assert (found.fit, found.fit_of) == (pytest.approx(0.8), "twin")
    assert "vanilla twin" in found.notes[0]


def test_without_a_twin_a_penalised_net_is_judged_by_itself_and_with_one_by_the_twin() -> None:
    assert fairness(config("decay"), rows(0.77), lookup).interpolates is False
    twin = (config(), rows(1.0))
    assert fairness(config("decay"), rows(0.77), lookup, [twin]).interpolates is True


@pytest.mark.parametrize(
    "other",
    [
        config(dense_epochs=100),
        config("decay"),
        config() | {"model": {"name": "mlp", "params": {"hidden": [64]}}},
        config() | {"dataset": {"name": "digits", "version": 1, "params": {"n": 2}}},
        config() | {"noise": {"name": "symmetric"}},
    ],
)
def test_what_has_another_dense_net_is_no_twin(other: dict[str, Any]) -> None:
    assert fairness(config("taught"), rows(0.6), lookup, [(other, rows(1.0))]).fit is None


@pytest.mark.parametrize(
    "other",
    [
        config(rounds=5, retrain_epochs=7, selection="test"),
        config(perturber="fresh"),
        config() | {"seed": 9, "pruner": {"name": "random"}, "stop": {"name": "patience"}},
    ],
)
def test_what_comes_after_the_dense_training_makes_no_other_twin(other: dict[str, Any]) -> None:
    assert fairness(config("taught"), rows(0.6), lookup, [(other, rows(1.0))]).fit == 1.0


def test_where_the_data_lie_makes_no_other_twin() -> None:
    def at(place: str) -> dict[str, Any]:
        params = {"path": place, "n": 1}
        return config() | {
            "dataset": {"name": "d", "version": 1, "params": params, "places": ["path"]}
        }

    assert dense_key(at("here")) == dense_key(at("there"))


@pytest.mark.parametrize(
    ("perturber", "retrain", "expected"),
    [
        ("none", 50, False),
        ("fresh", 50, True),
        ("fresh", 199, True),
        ("fresh", 200, False),
        ("fresh", 300, False),
        ("silent", 50, None),
        ("silent", 200, False),
        ("not-installed", 50, None),
    ],
)
def test_weights_set_back_need_whole_trainings(
    perturber: str, retrain: int, expected: bool | None
) -> None:
    found = fairness(config(perturber=perturber, retrain_epochs=retrain), rows(1.0), lookup)
    assert found.stopped_early is expected
    assert len(found.notes) == (expected is not False)


@pytest.mark.parametrize(
    ("perturber", "expected"), [("fresh", None), ("none", False), ("silent", None)]
)
def test_without_a_dense_training_whole_ones_cannot_be_told(
    perturber: str, expected: bool | None
) -> None:
    found = fairness(config(perturber=perturber, dense_epochs=0), rows(1.0), lookup)
    assert found.stopped_early is expected
    assert any("no dense training" in note for note in found.notes) == (expected is None)
    assert ("perhaps stopped early" in found.mark) == (expected is None)


@pytest.mark.parametrize("perturber", ["none", "fresh", "silent"])
@pytest.mark.parametrize(
    ("retrain", "dense", "expected"), [(50, 200, True), (200, 200, False), (50, 0, None)]
)
def test_a_pruner_at_initialisation_sets_back_whatever_the_perturber_does(
    perturber: str, retrain: int, dense: int, expected: bool | None
) -> None:
    protocol = {"retrain_epochs": retrain, "dense_epochs": dense}
    at_start = config(perturber=perturber, start=True, **protocol)
    assert fairness(at_start, rows(1.0), lookup).stopped_early is expected


def evidence(verdict: Any) -> Evidence:
    return Evidence(verdict, f"so it is: {verdict}", Descent())


@pytest.mark.parametrize(
    ("perturber", "expected"),
    [("fresh", "stopped early"), ("silent", "cannot tell"), ("none", "dodged")],
)
def test_what_is_stopped_early_never_dodges(perturber: str, expected: str) -> None:
    fair = fairness(config(perturber=perturber), rows(1.0), lookup)
    falls, dips = evidence(NO_DOUBLE_DESCENT), evidence(DOUBLE_DESCENT)
    assert dodge(falls, dips, fair).verdict == expected
    assert all(note in dodge(falls, dips, fair).reason for note in fair.notes)
    assert dodge(dips, dips, fair).verdict == "not dodged"
    assert dodge(falls, falls, fair).verdict == "nothing to dodge"
    assert dodge(evidence(CANNOT_TELL), dips, fair).verdict == "cannot tell"


def test_the_built_in_components_declare_themselves() -> None:
    perturbers = {e.component.name: e.component.sets_back for e in catalogue().entries("perturber")}
    assert {name: perturbers[name] for name in ("none", "rewind", "reinit")} == {
        "none": False,
        "rewind": True,
        "reinit": True,
    }
    for entry in catalogue().entries("regularizer"):
        if entry.distribution == "dsd-bench":
            declared = entry.component.changes_targets
            assert declared is not None or entry.component.teacher


@pytest.mark.parametrize("name", ["sets_back", "changes_targets"])
def test_a_declaration_is_a_truth_value(name: str) -> None:
    wrong: Any = {name: "no"}
    with pytest.raises(ValueError, match=f"{name} must be True, False or None"):
        Component("x", "a:B", "", **wrong)


def curve(*points: tuple[float, float | None]) -> list[dict[str, Any]]:
    return [
        {"round": number, "sparsity": sparsity, "train_accuracy": fit}
        for number, (sparsity, fit) in enumerate(points)
    ]


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(0.0, 1.0), (0.2, 0.99), (0.5, 0.9), (0.6, 0.99)], (0.5, 0.9)),  # half is in
        ([(0.0, 1.0), (0.2, 0.9), (0.5, 0.97), (0.6, 0.5)], None),  # the sparsest of them decides
        ([(0.0, 1.0), (0.51, 0.5)], None),  # less than half is left at once: not known
        ([(0.0, 0.9), (0.4, 0.5)], None),  # does not interpolate to begin with
        ([(0.0, 1.0), (0.4, None)], None),
        ([(0.0, None), (0.4, 0.5)], None),
    ],
)
def test_trainings_that_fit_no_more_are_suspected(
    points: list[tuple[float, float | None]], expected: tuple[float, float] | None
) -> None:
    found = fairness(config(), [curve(*points)], lookup)
    assert found.unfit == expected
    assert found.stopped_early is (None if expected else False)
    for other in (config(retrain_epochs=200), config(perturber="fresh", retrain_epochs=200)):
        assert fairness(other, [curve(*points)], lookup).unfit == expected  # longer is not enough
    for other in (config("decay"), config(perturber="fresh"), config(perturber="silent")):
        assert fairness(other, [curve(*points)], lookup).unfit is None


def test_the_seeds_mean_is_suspected_and_the_note_says_what_to_do() -> None:
    seeds = [curve((0.0, 1.0), (0.4, 0.98), (0.49, fit)) for fit in (1.0, 0.9, 0.98)]
    found = fairness(config(), seeds, lookup)
    assert found.unfit == (pytest.approx(0.49), pytest.approx(0.96))
    (note,) = found.notes
    assert "at 49 % sparsity it fits 96.0 % of its labels" in note
    assert note.endswith("a larger --retrain-epochs tells")
    assert found.mark == "perhaps stopped early"
    falls, dips = evidence(NO_DOUBLE_DESCENT), evidence(DOUBLE_DESCENT)
    assert dodge(falls, dips, found).verdict == "cannot tell"
    assert dodge(dips, dips, found).verdict == "not dodged"

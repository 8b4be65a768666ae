"""Verdicts, phases, measures, memorisation: synthetic curves with known answers, recorded ones."""

from __future__ import annotations

import itertools
import json
import math
import random
import statistics
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import isotonic_regression

from benchmarks.verdict_errors import scatter, wrong
from dsd_bench.analysis import (
    CANNOT_TELL,
    DOUBLE_DESCENT,
    NO_DOUBLE_DESCENT,
    area,
    compression,
    crossing,
    descent,
    dodge,
    judge,
    mean_curve,
    memorisation,
    phase_of,
    phases,
    unimodal,
)
from dsd_bench.analysis.evidence import rising, standard_errors
from dsd_bench.analysis.memorisation import DROP
from dsd_bench.stopping.builtin import EntropyGateParams

Rows = list[dict[str, Any]]
ACCURACIES = st.lists(st.integers(0, 100).map(lambda value: value / 100), max_size=12)
DIPPING = [0.63, 0.62, 0.60, 0.58, 0.60, 0.70, 0.75, 0.72, 0.60]


def rows_of(values: list[float], **columns: list[float | None]) -> Rows:
    return [
        {"round": index, "sparsity": 1 - 0.8**index, "test_accuracy": value}
        | {name: column[index] for name, column in columns.items()}
        for index, value in enumerate(values)
    ]


def recorded(name: str) -> list[Rows]:
    path = Path(__file__).parent / "recorded" / f"{name}.jsonl"
    lines = map(json.loads, path.read_text("utf-8").splitlines())
    return [list(rows) for _, rows in itertools.groupby(lines, key=lambda row: row["seed"])]


def accuracies(seeds: list[Rows]) -> list[list[float]]:
    return [[row["test_accuracy"] for row in rows] for rows in seeds]


# -- depth


@given(ACCURACIES, st.floats(-1, 1))
def test_depth_does_not_change_with_the_level(curve: list[float], shift: float) -> None:
    moved = [value + shift for value in curve]
    assert descent(moved).depth == pytest.approx(descent(curve).depth, abs=1e-9)


@given(ACCURACIES)
def test_reversing_a_curve_swaps_fall_and_rise(curve: list[float]) -> None:
    assert descent(curve[::-1]).depth == pytest.approx(descent(curve).depth)


@given(ACCURACIES.filter(len))
def test_curves_without_a_dip_are_those_that_the_null_fits(curve: list[float]) -> None:
    fit = unimodal(curve)
    assert descent(fit).depth == pytest.approx(0, abs=1e-12)
    misfit = sum((a - b) ** 2 for a, b in zip(curve, fit))
    assert (misfit < 1e-20) == (descent(curve).depth == 0)


STEPS = st.lists(st.integers(0, 4).map(lambda count: count / 7), max_size=9)


@given(ACCURACIES | STEPS)
def test_the_null_is_the_first_of_the_nearest_over_all_places_of_the_top(
    curve: list[float],
) -> None:
    def squares(fit: list[float]) -> float:
        return math.fsum((a - b) ** 2 for a, b in zip(fit, curve))

    tops = range(len(curve) + 1)
    fits = [rising(curve[:top]) + rising(curve[top:][::-1])[::-1] for top in tops]
    assert unimodal(curve) == min(fits, key=squares)


@given(ACCURACIES.filter(len))
def test_pooling_is_isotonic_regression(curve: list[float]) -> None:
    assert rising(curve) == pytest.approx(list(isotonic_regression(curve).x))


# -- the verdict


@given(ACCURACIES.filter(len).map(sorted), st.booleans())
def test_monotone_curves_have_neither_double_descent_nor_phases(
    curve: list[float], falling: bool
) -> None:
    curve = curve[::-1] if falling else curve
    evidence = judge([curve, curve], n_test=597)
    assert evidence.verdict == NO_DOUBLE_DESCENT
    assert phases(mean_curve([rows_of(curve)]), evidence) == []


def test_a_deep_dip_over_several_seeds_is_double_descent() -> None:
    evidence = judge([[value + 0.01 * seed for value in DIPPING] for seed in range(3)], 597)
    assert evidence.verdict == DOUBLE_DESCENT
    assert evidence.descent.depth == pytest.approx(0.05)
    assert evidence.chance is not None
    assert evidence.chance < 0.05
    assert [round(seed.depth, 6) for seed in evidence.seeds] == [0.05] * 3


def test_a_dip_within_the_threshold_cannot_be_told_with_few_images() -> None:
    evidence = judge([DIPPING], 300)
    assert evidence.verdict == CANNOT_TELL
    assert "more seeds or test images" in evidence.reason


def test_a_small_dip_of_a_large_test_set_is_no_double_descent() -> None:
    evidence = judge([[0.7, 0.699, 0.7, 0.6]] * 3, 10_000)
    assert evidence.verdict == NO_DOUBLE_DESCENT
    assert evidence.reason == "depth 0.1 points, within the 1.1 that noise explains"


def test_seeds_that_scatter_more_than_the_test_set_explains_are_not_believed() -> None:
    draw = random.Random(1)
    curves = [[draw.gauss(value, 0.05) for value in DIPPING] for _ in range(3)]
    evidence = judge(curves, 10_000)
    assert evidence.threshold is not None
    assert evidence.descent.depth > evidence.threshold
    assert evidence.verdict == CANNOT_TELL
    assert "by chance" in evidence.reason or "chance gives as much" in evidence.reason


def test_a_stopped_curve_cannot_show_that_there_is_no_dip() -> None:
    falling = [0.7, 0.65, 0.6]
    assert judge([falling], 597).verdict == NO_DOUBLE_DESCENT
    assert judge([falling], 597, stopped_early=True).verdict == CANNOT_TELL
    assert judge([DIPPING], 10_000, stopped_early=True).verdict == DOUBLE_DESCENT


def test_without_test_set_or_rounds_nothing_can_be_told() -> None:
    assert judge([DIPPING], None).verdict == CANNOT_TELL
    assert judge([], 597).verdict == CANNOT_TELL


def test_standard_errors_are_those_of_the_test_or_of_the_seeds() -> None:
    equal = standard_errors([DIPPING, DIPPING], DIPPING, 3, 100)
    assert equal[0] == pytest.approx(math.sqrt(0.63 * 0.37 / 200))
    # two seeds that differ by +-e in turn, level taken off: the residuals are +-e / 2
    wave = [0.1 * (-1) ** index for index in range(7)]
    curves = [DIPPING[:], [a + b for a, b in zip(DIPPING, [*wave, 0.0, 0.0])]]
    centred = [value - statistics.fmean(wave) for value in wave]
    variance = 2 * sum((value / 2) ** 2 for value in centred) / 6
    means = [statistics.fmean(values) for values in zip(*curves)]
    assert max(means[4:]) == means[6]
    assert standard_errors(curves, means, 3, 10**9)[0] == pytest.approx(math.sqrt(variance / 2))


@pytest.mark.parametrize(("noise", "most"), [(0.0, 0.06), (0.02, 0.12)])
def test_false_positives_of_flat_then_falling_curves(noise: float, most: float) -> None:
    """What docs/analysis.md states: 3 seeds, 597 images, 21 rounds, seeds' own scatter or none."""
    draw = numpy.random.default_rng(0)
    curve = numpy.r_[numpy.full(11, 0.65), numpy.linspace(0.65, 0.4, 10)]
    trials = 120
    found = 0
    for _ in range(trials):
        true = curve + draw.normal(0, noise, (3, 21))
        seen = draw.binomial(597, true) / 597
        found += judge(seen.tolist(), 597).verdict == DOUBLE_DESCENT
    assert found / trials <= most


def test_one_seed_says_that_its_scatter_is_unknown() -> None:
    told = "one seed does not tell how far trainings scatter"
    assert judge([DIPPING], 10_000).reason.endswith(told)
    assert judge([[0.7, 0.699, 0.7, 0.6]], 10_000).reason.endswith(told)
    assert told not in judge([DIPPING] * 3, 10_000).reason
    assert told not in judge([DIPPING], 300).reason  # which cannot tell anyway


def test_what_is_wrong_of_one_seed_and_of_neighbours_that_move_together() -> None:
    """What docs/analysis.md states of them."""
    draw = numpy.random.default_rng(0)
    lasting = scatter(draw, 2000, 0.02, "lasts")
    assert lasting.std(axis=0) == pytest.approx(numpy.full(21, 0.02), rel=0.1)
    assert numpy.corrcoef(lasting[:, 9], lasting[:, 10])[0, 1] == pytest.approx(0.6, abs=0.06)
    assert wrong(draw, 60, "flat", 1, 597, 0.02) > 0.3
    assert wrong(draw, 60, "flat", 5, 10_000, 0.01, "lasts") <= 0.1


def test_a_real_dip_of_eight_points_is_found_with_three_seeds() -> None:
    draw = numpy.random.default_rng(0)
    curve = numpy.r_[
        numpy.linspace(0.66, 0.58, 8), numpy.linspace(0.6, 0.75, 7), numpy.full(6, 0.7)
    ]
    verdicts = [
        judge((draw.binomial(597, curve, (3, 21)) / 597).tolist(), 597).verdict for _ in range(40)
    ]
    assert verdicts.count(DOUBLE_DESCENT) >= 36


# -- phases


def test_phases_of_a_curve_with_known_crossings() -> None:
    rows = rows_of([0.70, 0.70, 0.60, 0.50, 0.60, 0.80, 0.80, 0.60])
    evidence = judge(accuracies([rows] * 3), 10_000)
    light, critical, sweet, collapsed = phases(mean_curve([rows] * 3), evidence)
    # D = 0.2: light ends at 0.65, half way from round 1 to round 2; so does sweet at 0.75
    assert light.end == pytest.approx(1 - 0.8**1.5)
    assert critical.end == pytest.approx(1 - 0.8**3)
    assert sweet.end == pytest.approx(1 - 0.8**6.25)
    assert [one.rounds for one in (light, critical, sweet, collapsed)] == [
        (0, 1),
        (2, 3),
        (4, 6),
        (7, 7),
    ]
    assert [one.name for one in (light, critical, sweet, collapsed)] == [
        "light",
        "critical",
        "sweet",
        "collapsed",
    ]


def test_a_curve_that_ends_at_its_best_does_not_collapse() -> None:
    rows = rows_of([0.7, 0.5, 0.8])
    found = phases(mean_curve([rows] * 3), judge(accuracies([rows] * 3), 10_000))
    assert [phase.name for phase in found] == ["light", "critical", "sweet"]
    assert found[-1].end == rows[-1]["sparsity"]


def test_phases_follow_each_other_and_hold_every_round() -> None:
    seeds = recorded("vanilla")
    curve = mean_curve(seeds)
    found = phases(curve, judge(accuracies(seeds), 597))
    assert all(a.end == b.start for a, b in itertools.pairwise(found))
    assert all(phase_of(point, found) for point in curve)
    assert phase_of(None, found) is None


# -- dodging


def test_dodging_needs_something_to_dodge() -> None:
    dips = judge([DIPPING] * 3, 10_000)
    falls = judge([[0.7, 0.65, 0.6]] * 3, 10_000)
    unknown = judge([DIPPING], 100)
    assert dodge(falls, dips).verdict == "dodged"
    assert dodge(dips, dips).verdict == "not dodged"
    assert dodge(falls, falls).verdict == "nothing to dodge"
    assert dodge(unknown, dips).verdict == "cannot tell"
    assert dodge(dips, unknown).verdict == "cannot tell"
    assert "depth 5.0 points" in dodge(falls, dips).reason
    assert "(3 seeds)" in dodge(falls, dips).reason


# -- measures


def test_area_of_a_line_in_log_density_is_its_middle() -> None:
    curve = mean_curve([rows_of([0.9, 0.8, 0.7, 0.6, 0.5])])
    assert area(curve) == pytest.approx(0.7)
    assert area(curve, until=0.8**2) == pytest.approx(0.8)
    assert area(curve, until=0.8**2.5) == pytest.approx((0.9 + 0.65) / 2)
    assert area(curve, until=0.1) is None
    assert area(curve[:1]) is None


@given(st.lists(st.floats(0, 1), min_size=2, max_size=10), st.floats(0, 1))
def test_area_lies_between_the_extremes_and_a_level_adds_itself(
    values: list[float], level: float
) -> None:
    told = area(mean_curve([rows_of(values)]))
    assert told is not None
    assert min(values) - 1e-9 <= told <= max(values) + 1e-9
    moved = area(mean_curve([rows_of([value + level for value in values])]))
    assert moved == pytest.approx(told + level)


def test_area_leaves_out_a_net_without_weights() -> None:
    rows = rows_of([0.9, 0.7, 0.1])
    rows[2]["sparsity"] = 1.0
    assert area(mean_curve([rows])) == pytest.approx(0.8)


def test_compression_is_the_sparsest_round_near_each_seed_s_dense_net() -> None:
    seeds = [rows_of([0.80, 0.70, 0.795, 0.70]), rows_of([0.70, 0.69, 0.65, 0.60])]
    found = compression(mean_curve(seeds), seeds, "test_accuracy", within=0.01)
    assert found.seeds == pytest.approx((1 - 0.8**2, 1 - 0.8))
    assert found.mean is not None
    assert found.mean.round == 0  # means: 75, 69.5, 72.25, 65
    wide = compression(mean_curve(seeds), seeds, "test_accuracy", within=0.03)
    assert wide.mean is not None
    assert wide.mean.round == 2


def test_crossings_are_interpolated_in_log_density() -> None:
    assert crossing((0.0, 1.0), (0.75, 0.0), 0.5) == pytest.approx(0.5)
    assert crossing((0.5, 1.0), (1.0, 0.0), 0.5) == 1.0


# -- memorisation


def test_half_of_the_fit_is_gone_between_two_rounds() -> None:
    rows = rows_of(
        DIPPING[:5],
        train_accuracy_noisy=[0.8, 0.8, 0.6, 0.2, 0.1],
        train_accuracy_clean=[1.0, 1.0, 0.9, 0.8, 0.7],
        entropy=[0.80, 0.84, 0.79, 0.77, 0.75],
    )
    found = memorisation([(7, rows)])
    assert found is not None
    (one,) = found.seeds
    assert (one.seed, one.forgets, one.entropy_round, one.bottom_round) == (7, True, 4, 3)
    assert one.round == pytest.approx(2.5)
    assert one.sparsity == pytest.approx(1 - 0.8**2.5)
    assert one.clean_fit == 0.8
    assert found.entropy_after is not None
    assert found.entropy_after.mean == pytest.approx(1.5)
    assert found.bottom_after is not None
    assert found.bottom_after.mean == pytest.approx(0.5)


def test_a_net_that_never_fits_wrong_labels_forgets_nothing() -> None:
    rows = rows_of([0.8, 0.7], train_accuracy_noisy=[0.1, 0.02], entropy=[None, None])
    found = memorisation([(0, rows)])
    assert found is not None
    assert (found.seeds[0].forgets, found.round, found.seeds[0].entropy_round) == (
        False,
        None,
        None,
    )


def test_a_net_that_keeps_its_fit_forgets_nothing() -> None:
    found = memorisation([(0, rows_of([0.8, 0.7], train_accuracy_noisy=[1.0, 0.9]))])
    assert found is not None
    assert found.seeds[0].round is None


def test_without_known_wrong_labels_there_is_no_memorisation() -> None:
    assert memorisation([(0, rows_of([0.8, 0.7], train_accuracy_noisy=[None, None]))]) is None


def test_the_entropy_s_fall_is_the_gate_s() -> None:
    assert EntropyGateParams().drop == DROP


# -- recorded curves


def test_the_recorded_vanilla_curve() -> None:
    seeds = recorded("vanilla")
    evidence = judge(accuracies(seeds), 597)
    assert evidence.verdict == DOUBLE_DESCENT
    assert evidence.descent.bottom == 8
    assert evidence.descent.depth == pytest.approx(0.0491, abs=1e-4)
    assert evidence.threshold == pytest.approx(0.0466, abs=1e-4)
    told = memorisation([(rows[0]["seed"], rows) for rows in seeds])
    assert told is not None
    assert told.round is not None
    assert told.round.mean == pytest.approx(10.1, abs=0.05)


@pytest.mark.parametrize("name", ["kd-best", "kd-dense"])
def test_recorded_distillation_dodges(name: str) -> None:
    vanilla = judge(accuracies(recorded("vanilla")), 597)
    assert dodge(judge(accuracies(recorded(name)), 597), vanilla).verdict == "dodged"


def test_the_best_pruned_teacher_s_student_does_not_memorise() -> None:
    told = memorisation([(rows[0]["seed"], rows) for rows in recorded("kd-best")])
    assert told is not None
    assert not any(one.forgets for one in told.seeds)


def test_recorded_random_pruning_has_no_dip_and_forgets_early() -> None:
    seeds = recorded("random")
    assert judge(accuracies(seeds), 597).verdict == NO_DOUBLE_DESCENT
    told = memorisation([(rows[0]["seed"], rows) for rows in seeds])
    assert told is not None
    assert told.round is not None
    assert told.round.mean < 5

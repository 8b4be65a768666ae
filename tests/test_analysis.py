"""Curves over seeds: the dip, the mean, the summary; and which runs belong together."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsd_bench.analysis import (
    depth_threshold,
    descent,
    images_tested,
    mean_curve,
    selected_round,
    spread,
    summarise,
)
from dsd_bench.errors import UsageError
from dsd_bench.store import StoredRun

VANILLA = [66.3, 64.4, 62.6, 59.4, 58.3, 58.8, 61.0, 64.0, 67.6, 71.0, 74.5, 75.6, 75.5]


def brute_force_depth(curve: list[float]) -> float:
    return max(
        (min(max(curve[:j]), max(curve[j + 1 :])) - curve[j] for j in range(1, len(curve) - 1)),
        default=0.0,
    )


def rows_of(test: list[float | None], val: list[float] | None = None) -> tuple[dict[str, Any], ...]:
    val = val or [0.5] * len(test)
    return tuple(
        {
            "round": index,
            "sparsity": 1 - 0.8**index,
            "train_accuracy": 0.9,
            "val_accuracy": val[index],
            "test_accuracy": accuracy,
        }
        for index, accuracy in enumerate(test)
    )


def stored(
    rows: tuple[dict[str, Any], ...],
    seed: int = 0,
    result: dict[str, Any] | None = None,
    selection: str = "val",
    rounds: int | None = 20,
) -> StoredRun:
    config = {"seed": seed, "protocol": {"selection": selection, "rounds": rounds}}
    return StoredRun(f"{seed:016x}", Path("runs"), config, rows, result)


@given(st.lists(st.floats(0, 1, width=16), max_size=12))
def test_depth_is_the_brute_force_maximum(curve: list[float]) -> None:
    found = descent(curve)
    assert found.depth == pytest.approx(max(0.0, brute_force_depth(curve)))


@given(st.lists(st.integers(0, 9), max_size=12))
def test_bottom_has_the_fall_and_the_rise_it_claims(curve: list[int]) -> None:
    found = descent(curve)
    if found.bottom is None:
        assert found.depth == 0
        return
    assert found.fall == max(curve[: found.bottom]) - curve[found.bottom]
    assert found.rise == max(curve[found.bottom + 1 :]) - curve[found.bottom]
    assert found.depth == min(found.fall, found.rise) > 0


@pytest.mark.parametrize("curve", [[], [1], [1, 2, 3], [3, 2, 1], [1, 3, 2], [2, 2, 2]])
def test_curves_without_a_dip(curve: list[float]) -> None:
    assert (descent(curve).depth, descent(curve).bottom) == (0, None)


def test_the_paper_s_shape_dips_at_its_lowest_point() -> None:
    found = descent(VANILLA)
    assert found.bottom == 4
    assert found.depth == pytest.approx(66.3 - 58.3)
    assert found.rise == pytest.approx(75.6 - 58.3)


def test_first_of_equally_deep_bottoms() -> None:
    assert descent([3, 1, 2, 1, 3]).bottom == 1


def test_rounding_makes_neither_a_dip_nor_a_deeper_one() -> None:
    assert 0.3 - 0.1 != 0.4 - 0.2
    assert descent([0.4, 0.2, 0.4, 0.3, 0.1, 0.3]).bottom == 1
    assert descent([0.3, 0.1, 0.3, 0.4, 0.2, 0.4]).bottom == 1
    above = statistics.fmean([0.1, 0.2, 0.3])
    assert above != 0.2
    assert descent([above, 0.2, above]).bottom is None
    assert descent([0.2, above, 0.2]).bottom is None


def test_threshold_is_four_standard_errors_of_the_mean() -> None:
    assert depth_threshold(0.583, 597, 3) == pytest.approx(4 * math.sqrt(0.583 * 0.417 / (597 * 3)))


def test_mean_curve_gives_sample_deviation_and_range() -> None:
    curve = mean_curve([rows_of([0.5]), rows_of([0.6]), rows_of([0.8])])
    (point,) = curve
    assert point.mean == pytest.approx(1.9 / 3)
    assert point.std == pytest.approx(statistics.stdev([0.5, 0.6, 0.8]))
    assert (point.low, point.high, point.n) == (0.5, 0.8, 3)


def test_mean_curve_counts_the_seeds_that_reached_a_round() -> None:
    curve = mean_curve([rows_of([0.5, 0.4, 0.7]), rows_of([0.6, 0.6])])
    assert [point.n for point in curve] == [2, 2, 1]
    assert curve[2].std is None
    assert curve[2].mean == 0.7


def test_mean_curve_leaves_out_what_was_not_measured() -> None:
    curve = mean_curve([rows_of([0.5, None]), rows_of([None, None])])
    assert [(point.round, point.n) for point in curve] == [(0, 1)]


def test_spread_of_one_value_has_no_deviation() -> None:
    assert spread([]) is None
    only = spread([0.5])
    assert only is not None
    assert only.std is None


def test_best_round_is_the_recorded_one() -> None:
    run = stored(rows_of([0.1, 0.2], val=[0.9, 0.1]), result={"best_round": 1})
    assert selected_round(run) == 1


@pytest.mark.parametrize("recorded", [7, "<b>", [1]])
def test_a_best_round_that_is_none_of_the_run_s_is_refused(recorded: Any) -> None:
    run = stored(rows_of([0.1, 0.2]), result={"best_round": recorded})
    with pytest.raises(UsageError, match="no round of the run"):
        selected_round(run)


@pytest.mark.parametrize("samples", ["x", {}, {"test": "many"}])
def test_a_result_without_the_size_of_the_test_part_is_refused(samples: Any) -> None:
    run = stored(rows_of([0.1]), result={"best_round": 0, "samples": samples})
    with pytest.raises(UsageError, match=r"samples\.test"):
        images_tested([run])


def test_best_round_so_far_is_the_first_of_equals() -> None:
    assert selected_round(stored(rows_of([0.1] * 3, val=[0.2, 0.7, 0.7]))) == 1
    assert selected_round(stored(())) is None


def test_selection_on_test_judges_by_test() -> None:
    run = stored(rows_of([0.1, 0.9], val=[0.9, 0.1]), selection="test")
    assert selected_round(run) == 1


def summary_of(*curves: list[float], n_test: int | None = 597, **kwargs: Any) -> Any:
    runs = [stored(rows_of(list(curve)), seed, **kwargs) for seed, curve in enumerate(curves)]
    return summarise(runs, n_test)


def test_summary_of_double_descent() -> None:
    curve = [value / 100 for value in VANILLA]
    found = summary_of(curve, [value + 0.01 for value in curve])
    assert found.double_descent is True
    assert found.dip.round == 4
    assert found.sweet.round == 11
    assert found.dense.mean == pytest.approx(0.668)
    assert found.dense.std == pytest.approx(statistics.stdev([0.663, 0.673]))


def test_the_sweet_spot_lies_after_the_dip_even_if_the_light_phase_is_better() -> None:
    found = summary_of([0.9, 0.5, 0.8, 0.7])
    assert found.double_descent is True
    assert found.sweet.round == 2


def test_a_dip_within_noise_is_not_double_descent() -> None:
    found = summary_of([0.85, 0.84, 0.85, 0.6])
    assert found.double_descent is False
    assert found.sweet.round == 0


def test_without_the_test_set_s_size_a_dip_cannot_be_judged() -> None:
    found = summary_of([0.9, 0.5, 0.8], n_test=None)
    assert found.threshold is None
    assert found.double_descent is None


def test_a_curve_that_only_falls_needs_no_threshold() -> None:
    assert summary_of([0.9, 0.8, 0.7], n_test=None).double_descent is False


def test_statistics_use_the_rounds_that_all_seeds_share() -> None:
    found = summary_of([0.9, 0.5, 0.8, 0.9], [0.9, 0.5])
    assert len(found.curve) == 4
    assert len(found.shared) == 2
    assert found.descent.bottom is None


def test_selected_models_are_those_that_validation_chose() -> None:
    runs = [
        stored(rows_of([0.1, 0.2, 0.3], val=[0.1, 0.9, 0.2]), 0),
        stored(rows_of([0.4, 0.5, 0.6], val=[0.1, 0.2, 0.9]), 1),
    ]
    found = summarise(runs)
    assert [(one.seed, one.round, one.accuracy) for one in found.selected] == [
        (0, 1, 0.2),
        (1, 2, 0.6),
    ]
    assert found.selected_accuracy is not None
    assert found.selected_accuracy.mean == pytest.approx(0.4)


def test_runs_without_test_data_are_judged_by_validation() -> None:
    found = summarise([stored(rows_of([None, None], val=[0.5, 0.6]))], n_test=597)
    assert found.column == "val_accuracy"
    assert found.selected[0].accuracy == 0.6


def test_the_test_set_s_size_says_nothing_of_a_validation_curve() -> None:
    found = summarise([stored(rows_of([None] * 3, val=[0.9, 0.5, 0.8]))], n_test=597)
    assert found.dip is not None
    assert found.double_descent is None


def test_runs_without_rounds_are_left_out() -> None:
    found = summarise([stored(rows_of([0.5])), stored((), seed=1)])
    assert found.seeds == 1
    assert summarise([stored(())]).dense is None


def test_a_stop_rule_saves_the_trainings_that_were_left() -> None:
    result = {"best_round": 0, "stopped_by": "patience", "reason": "no gain in 2 rounds"}
    (end,) = summary_of([0.5, 0.4, 0.3], result=result).stopped
    assert (end.round, end.saved, end.reason) == (2, 18, "no gain in 2 rounds")


def test_saved_trainings_are_unknown_without_a_number_of_rounds() -> None:
    result = {"best_round": 0, "stopped_by": "patience"}
    (end,) = summary_of([0.5, 0.4], result=result, rounds=None).stopped
    assert end.saved is None


def test_a_curve_after_which_nothing_is_left_to_prune_is_a_whole_one() -> None:
    result = {"best_round": 0, "stopped_by": "nothing-left", "reason": "no weight is left"}
    found = summary_of([0.5, 0.4, 0.3], result=result)
    (end,) = found.stopped
    assert (end.reason, end.saved, end.by, end.cut) == (
        *("no weight is left", None, "nothing-left"),
        False,
    )
    assert found.evidence.reason == "the curve does not fall and recover"
    rule = summary_of([0.5, 0.4, 0.3], result={**result, "stopped_by": "patience"})
    assert rule.stopped[0].cut
    assert rule.evidence.reason == "no dip until a stop rule ended the curve"


@pytest.mark.parametrize("stopped_by", ["rounds", "target-sparsity", None])
def test_a_run_that_went_all_the_way_was_not_stopped(stopped_by: str | None) -> None:
    found = summary_of([0.5, 0.4], result={"best_round": 0, "stopped_by": stopped_by})
    assert found.stopped == []

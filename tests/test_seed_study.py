"""The study of fresh seeds: its depth is the package's, its power that of the stated model."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import numpy
import pytest

from benchmarks import seed_study
from dsd_bench import configure
from dsd_bench.analysis import depth_threshold, descent, judge
from dsd_bench.store.runs import StoredRun

RECORDED = Path(__file__).parent / "recorded" / "vanilla.jsonl"


def curves(depth: float, noise: float, seeds: int = 40) -> list[list[float]]:
    draw = numpy.random.default_rng(1)
    truth = numpy.array([0.65, 0.65, 0.65 - depth, 0.7, 0.75, 0.6])
    found: list[list[float]] = (truth + draw.normal(0, noise, (seeds, 6))).tolist()
    return found


def test_depths_are_those_of_the_package() -> None:
    made = curves(0.03, 0.02)
    ratios = seed_study.Model(made, 597)._ratios(numpy.array(made), 6)
    for curve, ratio in zip(made, ratios):
        found = descent(curve)
        if found.bottom is not None:
            threshold = depth_threshold(curve[found.bottom], 597, 6)
            assert ratio == pytest.approx(found.depth / threshold)


def test_power_grows_with_seeds_and_with_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("SIMULATED", 60), ("REFITS", 20)):
        monkeypatch.setattr(seed_study, name, value)
    model = seed_study.Model(curves(0.06, 0.02), 597)
    few, bound = model.power(3)
    many, _ = model.power(8)
    assert 0 < bound <= few < many
    assert many > 0.99
    assert seed_study.Model(curves(0.3, 0.01), 597).power(3)[1] == 1.0
    assert seed_study.Model(curves(-0.02, 0.001), 597).power(3)[0] < 0.01


def test_fixed_depths_average_to_the_mean_curve_s_depth() -> None:
    made = curves(0.05, 0.02)
    means = numpy.array(made).mean(0).tolist()
    assert sum(seed_study.fixed_depths(made)) / len(made) == pytest.approx(descent(means).depth)


def test_the_gate_is_replayed_on_a_vanilla_curve() -> None:
    lines = [json.loads(line) for line in RECORDED.open(encoding="utf-8")]
    rows = tuple({**line, "nonzero": 1} for line in lines if line["seed"] == 2)
    config = configure(seed=2)
    result = {"stopped_by": "rounds", "reason": "all 20 rounds are done"}
    run = StoredRun(config.run_id, Path("runs"), config.to_json(), rows, result)
    kept = seed_study.gate(run)
    assert (kept.lost, kept.same, kept.stopped) == (0.0, True, True)


def test_runs_alike_are_those_of_other_seeds_alone() -> None:
    recorded = Path(__file__).parent.parent / "docs" / "recorded" / "runs"
    found = seed_study.like(recorded / "abe8b3d38fc237a7", recorded)
    assert [run.seed for run in found] == list(range(len(found)))
    assert {run.config["noise"]["name"] for run in found} == {"symmetric"}
    assert [run.run_id for run in found].count("abe8b3d38fc237a7") == 1
    others = [run for run in recorded.iterdir() if run.name not in {one.run_id for one in found}]
    assert len(others) > len(found) >= 5


def test_the_seeds_of_real_images_are_those_of_the_page() -> None:
    docs = Path(__file__).parent.parent / "docs"
    run = docs / "recorded" / "runs" / "abe8b3d38fc237a7"
    found = seed_study.like(run, docs / "recorded" / "seeds")
    assert [one.seed for one in found] == list(range(15))
    curves_ = seed_study.accuracies(found)
    depths = [100 * depth for depth in seed_study.fixed_depths(curves_)]
    alone = [judge([curve], 10_000) for curve in curves_]
    fits = [one.rows[0]["train_accuracy"] for one in found]
    whole = judge(curves_, 10_000)
    text = " ".join((docs / "seeds.md").read_text(encoding="utf-8").split())
    assert {one.verdict for one in alone} == {"double descent"}
    own = [100 * one.descent.depth for one in alone]
    for told in (
        f"is {100 * whole.descent.depth:.1f} points against a threshold of "
        f"{100 * (whole.threshold or 0):.1f}",
        f"is {statistics.fmean(depths):.2f} ± {statistics.stdev(depths):.2f} points",
        f"({min(own):.1f} to {max(own):.1f} points, against 1.9)",
        f"they fit {100 * min(fits):.1f} % of their labels",
    ):
        assert told in text
    assert {round(100 * (one.threshold or 0), 1) for one in alone} == {1.9}
    power = seed_study.Model(curves_, 10_000).power(5)
    assert f"| 5 | {100 * power[0]:.1f} % | {100 * power[1]:.1f} % |" in text

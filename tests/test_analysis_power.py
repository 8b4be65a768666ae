"""How many seeds would decide: closed forms, simulation, and what is said."""

from __future__ import annotations

import json
import math
import random
import statistics
from pathlib import Path

import pytest

from dsd_bench.analysis import judge
from dsd_bench.analysis.power import MOST, Limits, more_seeds

FAR = 1e9
RECORDED = Path(__file__).parent / "recorded"


def test_a_known_depth_needs_the_seeds_that_bring_the_limit_below_it() -> None:
    depth, claim = 0.04, 0.1  # claim / sqrt(n) < depth from n = 6.25 on
    found = more_seeds([depth], 0.0, Limits(claim, FAR, 0.05))
    assert (found.likely, found.sure, found.double_descent) == (7, 7, 1.0)


def test_a_denial_counts_as_a_decision() -> None:
    found = more_seeds([0.01], 0.0, Limits(FAR, 0.1, 0.05))  # 0.1 / sqrt(n) <= 0.04: n = 6.25
    assert (found.likely, found.sure, found.double_descent) == (7, 7, 0.0)


def test_where_both_limits_meet_everything_is_decided() -> None:
    found = more_seeds([0.03, 0.05], 0.01, Limits(0.08, 0.04, 0.05))
    assert found.sure is not None
    assert found.sure <= math.ceil((0.12 / 0.05) ** 2)


def test_what_more_seeds_cannot_decide_is_said() -> None:
    found = more_seeds([1e-4, -1e-4], 0.05, Limits(FAR, FAR, 0.05))
    assert (found.likely, found.sure, found.double_descent) == (None, None, None)
    assert f"more than {MOST} seeds" in found.words


@pytest.mark.parametrize(("depths", "least"), [([0.04, 0.02, 0.05], 0.01), ([0.03, 0.04], 0.03)])
def test_the_probability_is_that_of_the_stated_model(depths: list[float], least: float) -> None:
    """Draw true depths and new seeds: at `likely` seeds 80 % are decided, with one less, fewer."""
    limits = Limits(0.09, 0.06, 0.05)
    found = more_seeds(depths, least, limits)
    deviation = max(statistics.stdev(depths), least)
    assert found.deviation == deviation
    draw, now, mean = random.Random(3), len(depths), statistics.fmean(depths)

    def decided(seeds: int) -> float:
        hits = 0
        for _ in range(4000):
            true = draw.gauss(mean, deviation / math.sqrt(now))
            new = [draw.gauss(true, deviation) for _ in range(seeds - now)]
            depth = statistics.fmean([*depths, *new])
            root = math.sqrt(seeds)
            hits += depth > limits.claim / root or depth + limits.error / root <= limits.matters
        return hits / 4000

    assert found.likely is not None
    assert found.sure is not None
    assert decided(found.likely) > 0.8 - 0.03
    assert decided(found.sure) > 0.95 - 0.02
    if found.likely > now + 1:
        assert decided(found.likely - 1) < 0.8 + 0.03


def flat_and_dipped(depth: float, seeds: int, noise: float, seed: int = 0) -> list[list[float]]:
    draw = random.Random(seed)
    truth = [0.65] * 5 + [0.65 - depth] + [0.7] * 5
    return [[draw.gauss(value, noise) for value in truth] for _ in range(seeds)]


def test_only_what_cannot_be_told_for_want_of_seeds_has_a_number() -> None:
    told = judge(flat_and_dipped(0.2, 3, 0.01), 597)
    assert (told.verdict, told.more) == ("double descent", None)
    unclear = judge(flat_and_dipped(0.04, 2, 0.01), 597)
    assert unclear.verdict == "cannot tell"
    assert unclear.more is not None
    assert unclear.more.now == 2
    assert judge(flat_and_dipped(0.04, 2, 0.01), None).more is None, "the test's size is unknown"
    cut = judge([[0.7, 0.6, 0.65]] * 9, 10**6, stopped_early=True)
    assert (cut.verdict, cut.more) == ("double descent", None)
    flat = judge([[0.7, 0.6, 0.5]], 597, stopped_early=True)
    assert (flat.verdict, flat.more) == ("cannot tell", None), "no seeds would help"


def test_scatter_asks_for_more_seeds() -> None:
    def sure(apart: float) -> int:
        found = more_seeds([0.04 - apart, 0.04, 0.04 + apart], 0.01, Limits(0.08, FAR, 0.05))
        return found.sure or MOST

    assert sure(0.005) <= sure(0.02) < sure(0.1)


def test_the_depths_are_those_of_the_mean_curve_s_rounds() -> None:
    curves = [[0.70, 0.66, 0.80, 0.6], [0.70, 0.68, 0.72, 0.6]]
    more = judge(curves, 597).more
    assert more is not None
    binomial = math.sqrt(2 * 0.67 * 0.33 / 597)
    assert more.deviation == pytest.approx(max(statistics.stdev([0.04, 0.02]), binomial))


def test_one_real_seed_asks_for_what_the_real_experiment_needs() -> None:
    lines = [json.loads(line) for line in (RECORDED / "vanilla.jsonl").open(encoding="utf-8")]
    asked = []
    for seed in range(3):
        curve = [line["test_accuracy"] for line in lines if line["seed"] == seed]
        more = judge([curve], 597).more
        if more is not None:
            asked.append(more.sure)
    assert asked, "one seed of this experiment cannot tell"
    assert all(sure is not None and 3 <= sure <= 8 for sure in asked)


def test_words_never_claim_certainty() -> None:
    found = more_seeds([0.04], 0.0, Limits(0.1, FAR, 0.05))
    assert "double descent: 99 %" in found.words

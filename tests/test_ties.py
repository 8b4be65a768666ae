"""Places and ties: the statistic, its critical value, and how often boards are wrong."""

from __future__ import annotations

import itertools
import math
import statistics

import numpy
import pytest
from scipy.stats import t as student

from benchmarks.board_errors import board
from dsd_bench.boards.ties import DRAWS, PRIOR, compare, disagreements


def accuracies(*methods: list[float]) -> numpy.ndarray:
    return numpy.array(methods)


def nothing(count: int) -> numpy.ndarray:
    return numpy.zeros((count, count))


def test_two_methods_are_compared_by_students_paired_test() -> None:
    random = numpy.random.default_rng(1)
    for seeds in (5, 6, 10):
        found = compare(random.normal(0.8, 0.02, (2, seeds)), nothing(2), 600 * seeds)
        assert found.critical == pytest.approx(student.ppf(0.975, seeds - 1), rel=0.08)


def test_the_error_is_moderated_by_the_median_of_all_pairs() -> None:
    random = numpy.random.default_rng(2)
    values = random.normal(0.8, 0.02, (5, 6)) * numpy.linspace(0.9, 1.1, 5)[:, None]
    found = compare(values, nothing(5), 3600)
    variances = {
        pair: statistics.variance([a - b for a, b in zip(*values[list(pair)], strict=True)])
        for pair in itertools.combinations(range(5), 2)
    }
    middle = statistics.median(variances.values())
    for (one, other), variance in variances.items():
        error = math.sqrt((PRIOR * middle + 5 * variance) / (PRIOR + 5) / 6)
        assert found.error[one, other] == pytest.approx(error)
        mean = statistics.fmean(values[one]) - statistics.fmean(values[other])
        assert found.better[one, other] == (mean > found.critical * error)
        assert found.better[other, one] == (-mean > found.critical * error)


def test_the_error_is_no_less_than_the_images_give() -> None:
    # always one image of 100 apart: no scatter at all, but that is what luck with an image gives
    first = [0.80, 0.81, 0.79, 0.80, 0.82]
    values = accuracies(first, [value - 0.01 for value in first])
    differ = numpy.array([[0.0, 5.0], [5.0, 0.0]])
    found = compare(values, differ, 500)
    assert found.error[0, 1] == pytest.approx(math.sqrt(5) / 500)
    assert not found.better.any()  # 0.01 / 0.00447 = 2.24 errors
    far = compare(accuracies(first, [value - 0.1 for value in first]), 10 * differ, 500)
    assert far.better.tolist() == [[False, True], [False, False]]


def test_the_same_answers_are_no_difference() -> None:
    values = accuracies([0.8, 0.81, 0.79, 0.8, 0.82], [0.8, 0.81, 0.79, 0.8, 0.82])
    found = compare(values, nothing(2), 500)
    assert not found.better.any()
    assert found.places == [1, 1]


def test_places_count_who_is_better() -> None:
    level = numpy.array([0.9, 0.5, 0.9, 0.7])[:, None]
    random = numpy.random.default_rng(3)
    found = compare(level + random.normal(0, 0.005, (4, 6)), nothing(4), 3600)
    assert found.places == [1, 4, 1, 3]
    assert compare(level[:1] + numpy.zeros((1, 6)), nothing(1), 3600).places == [1]


def test_disagreements_are_counted() -> None:
    bits = numpy.random.default_rng(4).random((7, 1001)) < 0.8
    found = disagreements(bits)
    for one, other in itertools.product(range(7), repeat=2):
        assert found[one, other] == (bits[one] ^ bits[other]).sum()


def test_the_same_boards_give_the_same_places() -> None:
    values = numpy.random.default_rng(5).normal(0.8, 0.02, (6, 6))
    first, again = (compare(values, nothing(6), 3600) for _ in range(2))
    assert first.critical == again.critical
    assert (first.better == again.better).all()


@pytest.mark.parametrize(("methods", "seeds"), [(2, 6), (12, 5)])
def test_equal_methods_are_hardly_ever_told_apart(
    methods: int, seeds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dsd_bench.boards.ties.DRAWS", DRAWS // 10)
    random = numpy.random.default_rng(6)
    wrong = sum(bool(board(random, methods, seeds).better.any()) for _ in range(80))
    assert wrong <= 12  # at 5 % more than that comes once in 2,000 times


def test_a_better_method_is_seen() -> None:
    random = numpy.random.default_rng(7)
    found = [board(random, 12, 6, ahead=0.12) for _ in range(5)]
    assert all(one.better[0, 1:].all() for one in found)
    assert all(one.places[0] == 1 for one in found)

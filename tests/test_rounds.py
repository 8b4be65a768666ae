"""What rules have in common: comparing with a limit, and columns of rounds; by hand."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsd_bench.errors import RunError
from dsd_bench.rounds import MARGIN, Columns, below, column


@pytest.mark.parametrize("images", [10, 597, 10_000, 50_000, 1_281_167])
def test_one_image_less_is_below_and_none_is_not(images: int) -> None:
    assert below((images // 2 - 1) / images, images // 2 / images)
    assert not below(images // 2 / images, images // 2 / images)
    assert not below(images // 2 / images, (images // 2 - 1) / images)


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.integers(0, 1000))
def test_decimals_are_compared_as_on_paper(value: int, best: int, tolerance: int) -> None:
    on_paper = Fraction(value, 10_000) < Fraction(best, 10_000) - Fraction(tolerance, 1000)
    assert below(value / 10_000, best / 10_000 - tolerance / 1000) == on_paper


def test_what_is_apart_by_the_margin_is_a_tie() -> None:
    assert not below(1 - MARGIN, 1)
    assert not below(1 - MARGIN / 2, 1)
    assert below(1 - 2 * MARGIN, 1)


def test_a_column_is_of_fractions_whatever_the_rows_hold() -> None:
    found = column([{"a": 1, "b": None}, {"a": 0.5}, {"a": 0}], "a", "it")
    assert found == [1.0, 0.5, 0.0]
    assert [type(value) for value in found] == [float] * 3


@pytest.mark.parametrize(
    ("rows", "number"),
    [
        ([{"a": None}, {"a": 1}], 0),
        ([{"a": 1}, {}, {"a": 2}, {}], 1),  # the first of them, and not only the last is looked at
        ([{"round": 7, "a": 1}, {"round": 8}, {"round": 9}], 8),  # as the row calls itself
        ([{}], 0),
    ],
)
def test_the_first_round_that_lacks_a_column_is_named(
    rows: list[dict[str, Any]], number: int
) -> None:
    with pytest.raises(RunError) as error:
        column(rows, "a", "the stop rule 'x'")
    assert str(error.value) == f"the stop rule 'x' needs 'a', which round {number} lacks"


@pytest.mark.parametrize(
    ("name", "hint"),
    [("entropy", "this model has none"), ("val_accuracy", "is there a validation part")],
)
def test_a_hint_says_why_a_column_may_be_absent(name: str, hint: str) -> None:
    with pytest.raises(RunError, match=f"which round 0 lacks: .*{hint}"):
        column([{}], name, "it")


# -- rounds that are held by column

VALUES = st.none() | st.integers(0, 3) | st.floats(0, 1)


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=6), st.data())
def test_rounds_by_column_are_a_list_of_rows(values: list[Any], data: st.DataObject) -> None:
    rows = [{"round": place, "a": a, "b": b} for place, (a, b) in enumerate(values)]
    held = Columns({name: [row[name] for row in rows] for name in ("round", "a", "b")})
    begin, end = data.draw(st.integers(0, 6)), data.draw(st.integers(-6, 6))
    for found, expected in ((held, rows), (held[begin:end], rows[begin:end])):
        assert list(found) == expected
        assert len(found) == len(expected)
        assert [found[place] for place in range(-len(found), len(found))] == 2 * expected
        for name in ("a", "b", "c"):
            for _ in range(2):  # the second time it is remembered
                assert _column(found, name) == _column(expected, name)
    with pytest.raises(IndexError):
        held[len(rows)]


def _column(rounds: Any, name: str) -> Any:
    try:
        found = column(rounds, name, "it")
    except RunError as error:
        return str(error)
    return found, [type(value) for value in found]

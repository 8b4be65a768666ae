"""Rows of strangers are hostile until validated; ``python -m tests.hostile_rows`` tries more."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hostile_rows import (
    KINDS,
    Court,
    Row,
    consistent,
    encode_any,
    leaves,
    max_drop,
    put,
    select,
    told,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dsd_bench.boards.figure import NAME as FIGURE
from dsd_bench.boards.figure import figure
from dsd_bench.boards.files import check_text, parse
from dsd_bench.boards.ranking import rank
from dsd_bench.boards.rules import NAME as RULES
from dsd_bench.boards.rules import page
from dsd_bench.boards.schema import BoardRow
from dsd_bench.errors import UsageError

SOME = 2
"""Rows of each kind, beside those of the documented command."""


@pytest.fixture(scope="module")
def court(tmp_path_factory: pytest.TempPathFactory) -> Court:
    return Court(tmp_path_factory.mktemp("court") / "boards")


@pytest.mark.parametrize("kind", [*KINDS, "places"])
def test_rows_of_a_kind_are_refused_and_change_no_board(court: Court, kind: str) -> None:
    verdicts = [court.try_row(kind, 10_000 + number) for number in range(SOME)]
    assert [one.problem for one in verdicts] == [None] * SOME


def test_a_row_that_is_accepted_is_noticed(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    """The court is no rubber stamp: a row that is as good as its neighbours changes the board."""
    number = next(n for n, text in enumerate(court.texts) if n and "magnitude" in court.places[n])
    found = court._judge("good", lambda: court._put(court.texts[number], court.places[number]))
    assert found.problem == "accepted, and a board has changed"


def test_the_court_looks_at_every_generated_file(court: Court) -> None:
    assert {Path(name).name for name in court.before} == {"README.md", RULES, FIGURE}


def test_what_newer_rows_tell_is_no_reason_to_refuse_them(court: Court) -> None:
    """Else the kinds that spoil it would be refused for something else."""
    for row in court.rows:
        parse(encode_any(told(copy.deepcopy(row))), "row")


@given(st.sampled_from(sorted(KINDS)), st.integers(0, 2**63))
@settings(max_examples=100, deadline=None)
def test_no_spoilt_row_changes_a_board(court: Court, kind: str, number: int) -> None:
    assert court.try_row(kind, number).problem is None


# -- what rows tell beside their curves


def drawn_pages(rows: list[BoardRow]) -> tuple[str | None, str]:
    """Return the page of rules and the figure of a board of these rows."""
    ranking = rank(rows)
    return page(ranking.lines), figure(ranking)


LIKELY = (
    st.integers(1, 10**6)
    | st.floats(0, 1)
    | st.sampled_from(["release", "dirty", "5e" * 32, "ece", "ece+bins-15", "0.2.0", None])
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def beside_curves(row: Row) -> list[tuple[Any, ...]]:
    """Return the places of what newer rows tell, one of a kind."""
    kinds = {
        tuple(key for key in at if not isinstance(key, int)): at
        for at, _ in leaves(row)
        if at[0] == "tried" or (at[0] == "seeds" and at[2] in ("code", "ece"))
    }
    return sorted(kinds.values(), key=str)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_what_a_row_tells_beside_its_curves_changes_no_rule(court: Court, data: Any) -> None:
    number = data.draw(st.integers(1, len(court.rows) - 1))
    row = told(copy.deepcopy(court.rows[number]))
    before = drawn_pages([parse(encode_any(row), "row")])
    at = data.draw(st.sampled_from(beside_curves(row)))
    text = encode_any(put(row, at, data.draw(LIKELY | ANYTHING)))
    try:
        changed = check_text(text, Path("row.json"))
    except UsageError:
        verdict = court._judge("drawn", lambda: court._put(text, court.places[number]))
        assert verdict.problem is None
    else:
        assert drawn_pages([changed]) == before


def whole(court: Court) -> list[Row]:
    """Return rows of curves that no rule stopped and of which the best round was chosen."""
    plain = [row for row in court.rows[1:] if "chooser" not in row["method"]]
    return [row for row in plain if row["method"]["stop"]["name"] == "never"]


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_chooser_adds_no_curve_and_must_choose_its_round(court: Court, data: Any) -> None:
    """The reference: accuracies are counts, sparsity rises, so the last good round is the one."""
    plain = data.draw(st.sampled_from(whole(court)))
    drop = data.draw(st.floats(0, 0.5))
    row = copy.deepcopy(plain)
    row["config"]["chooser"] = max_drop(drop=drop)
    row = consistent(row)
    part = row["track"]["selection"]
    chosen = []
    for entry in row["seeds"]:
        images, scores = entry["samples"][part], entry["rounds"][f"{part}_accuracy"]
        behind = [max(scores) * images - score * images for score in scores]
        assume(all(abs(one - drop * images) > 1e-4 for one in behind))
        chosen.append(max(place for place, one in enumerate(behind) if one < drop * images))
        select(entry, chosen[-1])
    one, other = parse(encode_any(plain), "plain"), parse(encode_any(row), "row")
    assert drawn_pages([one, other])[0] == drawn_pages([one])[0]
    place = data.draw(st.integers(0, len(chosen) - 1))
    last = len(row["seeds"][place]["rounds"]["sparsity"]) - 1
    wrong = data.draw(st.integers(0, last))
    assume(wrong != chosen[place])
    select(row["seeds"][place], wrong)
    says = f"seeds.{place}.best_round: {wrong}, but 'max-drop' chooses {chosen[place]}"
    with pytest.raises(UsageError, match=says):
        parse(encode_any(row), "row")


def test_the_documented_command_says_what_it_found() -> None:
    page = (Path(__file__).parent.parent / "docs" / "boards.md").read_text()
    assert "python -m tests.hostile_rows --rows 1900" in page

"""Rows of strangers are hostile until validated; ``python -m tests.hostile_rows`` tries more."""

from __future__ import annotations

from pathlib import Path

import pytest
from hostile_rows import KINDS, Court

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


def test_the_documented_command_says_what_it_found() -> None:
    page = (Path(__file__).parent.parent / "docs" / "boards.md").read_text()
    assert "python -m tests.hostile_rows --rows 1250" in page

"""Generating the boards of a folder, writing them, and checking that they are what rows give."""

from __future__ import annotations

from pathlib import Path

from dsd_bench.boards.render import board, index
from dsd_bench.boards.schema import BoardRow, read_row, row_path
from dsd_bench.errors import UsageError, collect
from dsd_bench.store.files import write_atomic

NAME = "README.md"


def read_boards(leaderboards_dir: Path) -> dict[str, list[BoardRow]]:
    """Read every row file below a folder, by track slug; both sorted by name.

    Raises:
        UsageError: every row file that is damaged, or does not belong where it lies.
    """
    if not leaderboards_dir.is_dir():
        raise UsageError(f"{leaderboards_dir}: no such folder; `dsd-bench submit RUN` makes one")
    boards: dict[str, list[BoardRow]] = {}
    problems: list[str] = []
    for path in sorted(leaderboards_dir.glob("*/rows/*.json")):
        try:
            row = _placed(path, leaderboards_dir)
            rows = boards.setdefault(path.parts[-3], [])
            if rows and rows[0].track != row.track:
                raise UsageError(f"{path}: is of another track than the rows beside it")
            rows.append(row)
        except UsageError as error:
            problems.append(str(error))
    collect(problems)
    return boards


def _placed(path: Path, leaderboards_dir: Path) -> BoardRow:
    """Read a row and check that it lies where its contents belong."""
    row = read_row(path)
    place = row_path(row).as_posix()
    if path.relative_to(leaderboards_dir).as_posix() != place:
        raise UsageError(f"{path}: by its contents its place is {leaderboards_dir / place}")
    return row


def generate(leaderboards_dir: Path) -> dict[Path, str]:
    """Return the text of every generated file: a board for each track and the index.

    Raises:
        UsageError: if there is no such folder, or a row file is not what it should be.
    """
    boards = read_boards(leaderboards_dir)
    texts = {leaderboards_dir / slug / NAME: board(rows) for slug, rows in boards.items()}
    return {leaderboards_dir / NAME: index(boards), **texts}


def write(leaderboards_dir: Path) -> list[Path]:
    """Write the generated files that are missing or differ, and return their paths.

    Files that nothing generates any more are left to people; :func:`check` names them.
    """
    texts = generate(leaderboards_dir)
    changed = {path: text for path, text in texts.items() if _text(path) != text}
    for path, text in changed.items():
        write_atomic(path, text.encode())
    return list(changed)


def check(leaderboards_dir: Path) -> list[str]:
    """Return one sentence for each file that is not what the rows give; [] if all is well.

    Named are row files that cannot be used, boards that are missing or differ, and files called
    ``README.md`` below the folder that nothing generates.
    """
    try:
        texts = generate(leaderboards_dir)
    except UsageError as error:
        return [str(error)]
    strays = set(leaderboards_dir.rglob(NAME)) - set(texts)
    found = [problem for path, text in texts.items() if (problem := _compare(path, text))]
    return found + [f"{path}: nothing generates it; delete it" for path in sorted(strays)]


def _compare(path: Path, text: str) -> str | None:
    if not path.exists():
        return f"{path}: missing; run `dsd-bench leaderboard`"
    if _text(path) != text:
        return f"{path}: differs from what its rows give; run `dsd-bench leaderboard`"
    return None


def _text(path: Path) -> str | None:
    """Return the text of a file, None if there is none that can be read."""
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None

"""Generating the boards of a folder, writing them, and checking that they are what rows give."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from dsd_bench.boards import verified
from dsd_bench.boards.agreement import Outcome
from dsd_bench.boards.ahead import Ahead
from dsd_bench.boards.figure import NAME as FIGURE
from dsd_bench.boards.figure import figure
from dsd_bench.boards.files import read_plain, read_row, refuse_links, row_files
from dsd_bench.boards.known import Known
from dsd_bench.boards.places import row_path
from dsd_bench.boards.ranking import Ranking, rank
from dsd_bench.boards.render import board, index
from dsd_bench.boards.rules import NAME as RULES
from dsd_bench.boards.rules import page
from dsd_bench.boards.schema import BoardRow, CheckedRow
from dsd_bench.errors import UsageError, collect
from dsd_bench.store.files import write_atomic

NAME = "README.md"


@dataclass
class Found:
    """What lies below a boards' folder.

    Attributes:
        rows: the rows that can be used, by track slug; both sorted by name.
        problems: one for each thing that cannot be used.
        broken: the slugs of tracks with such a thing; what their boards should say is unknown.
        outcomes: of rows that somebody has run again, by row path.
    """

    rows: dict[str, list[BoardRow]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    outcomes: dict[PurePosixPath, Outcome] = field(default_factory=dict)


def find_rows(leaderboards_dir: Path) -> Found:
    """Read every row file below a folder; a bad one hides no other.

    Raises:
        UsageError: if there is no such folder.
    """
    if not leaderboards_dir.is_dir():
        raise UsageError(f"{leaderboards_dir}: no such folder; `dsd-bench submit RUN` makes one")
    found, known = Found(), Known()
    _read(leaderboards_dir, found, known)
    known.keep()
    found.rows = {slug: rows for slug, rows in found.rows.items() if rows}
    found.problems += _without_row(leaderboards_dir)
    return found


@contextmanager
def _without_collecting() -> Iterator[None]:
    """Let Python not look for garbage: all that is read stays, and would be looked through."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


def _read(leaderboards_dir: Path, found: Found, known: Known) -> None:
    """Add every row file below a folder."""
    paths = list(row_files(leaderboards_dir))
    with Ahead(leaderboards_dir, known) as ahead:
        for place, path in enumerate(paths):
            ahead.go_on(len(paths) - place)
            _add(path, leaderboards_dir, found, known)


def _add(path: Path, leaderboards_dir: Path, found: Found, known: Known) -> None:
    """Add one row file, or what is wrong with it."""
    slug = path.relative_to(leaderboards_dir).parts[0]
    rows = found.rows.setdefault(slug, [])
    try:
        row = _usable(path, leaderboards_dir, rows, known)
        rows.append(row)
        if told := _outcome(path, row):
            found.outcomes[row_path(row)] = told
    except UsageError as error:
        found.problems.append(str(error))
        found.broken.add(slug)


def _outcome(path: Path, row: BoardRow) -> Outcome | None:
    """Return what reruns of a row gave, None if nobody has run it again."""
    told = verified.outcome_path(path)
    if told is None or not (told.exists() or told.is_symlink()):
        return None
    refuse_links(told)
    if not isinstance(row, CheckedRow):
        raise UsageError(
            f"{told}: nobody can run a row of schema {row.row_schema} again; delete it"
        )
    return verified.outcome(row, verified.read(told, row))


def _without_row(leaderboards_dir: Path) -> list[str]:
    """Name outcome files that are about no row, and links in their way, which are not followed."""
    told = []
    for folder in sorted(leaderboards_dir.glob(f"*/{verified.FOLDER}")):
        if folder.is_symlink():
            told.append(f"{folder}: is a link, which is not followed; delete it")
        elif not folder.parent.is_symlink():
            strays = [
                one for one in sorted(folder.glob("*")) if not verified.row_file(one).exists()
            ]
            told += [f"{path}: there is no such row; delete it" for path in strays]
    return told


def _usable(
    path: Path, leaderboards_dir: Path, beside: Sequence[BoardRow], known: Known
) -> BoardRow:
    """Read a row; check that it lies where it belongs, fits those beside it and can be shown."""
    row = read_row(path, known)
    place = row_path(row).as_posix()
    if path.relative_to(leaderboards_dir).as_posix() != place:
        raise UsageError(f"{path}: by its contents its place is {leaderboards_dir / place}")
    if beside and beside[0].track != row.track:
        raise UsageError(f"{path}: is of another track than the rows beside it")
    if isinstance(row, CheckedRow):
        checked = next((other for other in beside if isinstance(other, CheckedRow)), row)
        if _sizes(checked) != _sizes(row):
            raise UsageError(f"{path}: has other sample counts than the rows beside it")
    return row


def _sizes(row: CheckedRow) -> tuple[int, int, int]:
    samples = row.seeds[0].samples
    return samples.train, samples.val, samples.test


def generate(leaderboards_dir: Path) -> dict[Path, str]:
    """Return the text of every generated file: each track's board and figure, and the index.

    Raises:
        UsageError: if there is no such folder, or row files are not what they should be: all.
    """
    found = find_rows(leaderboards_dir)
    collect(found.problems)
    texts = _texts(found, leaderboards_dir)
    collect(found.problems)
    return texts


def _texts(found: Found, leaderboards_dir: Path) -> dict[Path, str]:
    """Return the generated files that are known: without those of broken tracks.

    A row that cannot be shown is the last resort's: it breaks its track, and is named.
    """
    texts: dict[Path, str] = {}
    whole: dict[str, Ranking] = {}
    for slug, rows in found.rows.items():
        if slug in found.broken:
            continue
        folder = leaderboards_dir / slug
        try:
            whole[slug] = rank(rows, found.outcomes)
            texts |= {folder / name: text for name, text in _pages(whole[slug]).items()}
        except Exception as error:  # whatever a row makes of the drawing: its track alone is broken
            found.problems += _culprits(rows, leaderboards_dir) or [_unshown(folder, error)]
            found.broken.add(slug)
    return texts if found.broken else {leaderboards_dir / NAME: index(whole), **texts}


def _pages(ranking: Ranking) -> dict[str, str]:
    """Return the generated files of one track, by name."""
    rules = page(ranking.lines)
    pages = {NAME: board(ranking), FIGURE: figure(ranking)}
    return pages | ({RULES: rules} if rules else {})


def _culprits(rows: Sequence[BoardRow], leaderboards_dir: Path) -> list[str]:
    """Name the rows of a track that cannot be shown alone."""
    told = []
    for row in rows:
        try:
            _pages(rank([row]))
        except Exception as error:  # the same, of this row
            told.append(_unshown(leaderboards_dir / row_path(row), error))
    return told


def _unshown(path: Path, error: Exception) -> str:
    return f"{path}: cannot be shown: {type(error).__name__}: {error}"


def write(leaderboards_dir: Path) -> list[Path]:
    """Write the generated files that are missing or differ, and return their paths.

    Files that nothing generates any more are left to people; :func:`check` names them.
    """
    with _without_collecting():
        texts = generate(leaderboards_dir)
    changed = {path: text for path, text in texts.items() if _text(path) != text}
    for path, text in changed.items():
        write_atomic(path, text.encode())
    return list(changed)


def check(leaderboards_dir: Path) -> list[str]:
    """Return one sentence for each thing that is not what the rows give; [] if all is well.

    Named are row files that cannot be used, boards, figures and pages of rules that are missing or
    differ, and files of their names below the folder that nothing generates.
    """
    try:
        with _without_collecting():
            found = find_rows(leaderboards_dir)
            texts = _texts(found, leaderboards_dir)
    except UsageError as error:
        return [str(error)]
    names = (NAME, FIGURE, RULES)
    unknown = {leaderboards_dir / slug / name for slug in found.broken for name in names}
    unknown |= {leaderboards_dir / NAME} if found.broken else set()
    depths = ("", "*/", "*/*/")  # as deep as anybody writes, not as deep as folders can be
    there = {path for at in depths for name in names for path in leaderboards_dir.glob(at + name)}
    strays = there - set(texts) - unknown
    differ = [problem for path, text in texts.items() if (problem := _compare(path, text))]
    extra = [f"{path}: nothing generates it; delete it" for path in sorted(strays)]
    return found.problems + differ + extra


def _compare(path: Path, text: str) -> str | None:
    if not path.exists():
        return f"{path}: missing; run `dsd-bench leaderboard`"
    if _text(path) != text:
        return f"{path}: differs from what its rows give; run `dsd-bench leaderboard`"
    return None


def _text(path: Path) -> str | None:
    """Return the text of a plain file, None if there is none that can be read."""
    try:
        return read_plain(path)
    except UsageError:
        return None

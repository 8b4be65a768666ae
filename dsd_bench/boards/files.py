"""Row files: their one text, and reading them, which trusts nothing.

A row file is untrusted input: it may come from a stranger's pull request. Its bytes are the one
JSON text of its contents, and its path follows from its contents, so a row can neither say
two things at once nor lie on the board of another track.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unicodedata import category

from pydantic import BaseModel, ValidationError

from dsd_bench.boards.known import Known
from dsd_bench.boards.schema import OLD_SCHEMA, SCHEMA, BoardRow, CheckedRow
from dsd_bench.boards.verify import problems
from dsd_bench.errors import UsageError, collect, plain
from dsd_bench.store.reading import MOST_DIGITS, large, parse_object, read_text

MOST_NUMBER = 1e38
"""About the largest that fp32 knows; nothing that is measured or configured is beyond it."""
MOST_BYTES = 8 * 2**20
"""Longer than any file of a board: 50 seeds of 500 rounds have 7 MB."""
MOST_MARKS = 4
"""Accents and the like on one letter; no language has more."""
_DEEP = "\n" + " " * 30
"""Rows are nested half as deep."""


def odd(text: str) -> bool:
    """Whether :func:`absurd` must look at what a JSON text holds.

    So it is of every text with a number beyond :data:`MOST_NUMBER`, or with a character that may be
    refused, and of few others.
    """
    ascii = text.isascii() and text.replace("\n", "").isprintable()
    return not ascii or "\\" in text or large(text, 29, 2)


def parse(value: str | Mapping[str, Any], where: str) -> BoardRow:
    """Build a row from JSON text or from a dictionary of JSON values.

    Raises:
        UsageError: every mistake at once, each with ``where`` and its key.
    """
    try:
        body = parse_object(value) if isinstance(value, str) else value
    except ValueError as error:
        raise UsageError(f"{where}: not JSON: {error}") from None
    if not isinstance(value, str) or odd(value):
        collect([f"{where}: {text}" for text in absurd(body, "")])
    schema = body.get("schema")
    if schema not in (OLD_SCHEMA, SCHEMA) or isinstance(schema, bool):
        raise UsageError(f"{where}: schema: no row of schema {OLD_SCHEMA} or {SCHEMA}")
    try:
        row = (CheckedRow if schema == SCHEMA else BoardRow).model_validate(body)
    except ValidationError as error:
        raise UsageError("\n".join(explain(error, where))) from None
    collect([f"{where}: {text}" for text in problems(row)])
    return row


def absurd(value: Any, key: str) -> Iterator[str]:
    """Yield where there are numbers that nothing has, or characters that hide or steer."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            inner = f"{key}.{plain(name)}" if key else plain(name)
            yield from absurd(name, inner)
            yield from absurd(item, inner)
    elif isinstance(value, list | tuple):
        for place, item in enumerate(value):
            yield from absurd(item, f"{key}.{place}")
    elif isinstance(value, str) and value.encode("utf-8", "ignore").decode() != value:
        yield f"{key}: holds half a character (a lone surrogate)"
    elif isinstance(value, str) and plain(value) != value:
        yield f"{key}: holds a control, direction or invisible character: {plain(value)[:80]}"
    elif isinstance(value, str) and _stacked(value):
        yield f"{key}: has over {MOST_MARKS} marks on one letter, which cover the lines around"
    elif isinstance(value, int | float) and not -MOST_NUMBER <= value <= MOST_NUMBER:
        yield f"{key}: a number beyond {MOST_NUMBER:g}"


def _stacked(text: str) -> bool:
    """Whether so many marks are on one letter that they reach beyond its line."""
    if text.isascii():
        return False
    marks = "".join("m" if category(letter) in ("Mn", "Me") else " " for letter in text)
    return "m" * (MOST_MARKS + 1) in marks


def explain(error: ValidationError, where: str) -> list[str]:
    """Return one ``where: key: what is wrong`` for each mistake that pydantic found."""
    found = []
    for item in error.errors(include_url=False):
        key = ".".join(plain(part) for part in item["loc"] if part not in ("int", "float"))
        text = item["msg"].removeprefix("Value error, ")
        found.append(f"{where}: {key}: {text}" if key else f"{where}: {text}")
    return list(dict.fromkeys(found))


def read_row(path: Path, known: Known | None = None) -> BoardRow:
    """Read and check one row file.

    Args:
        path: the file.
        known: rows that need not be checked again; those that pass are added.

    Raises:
        UsageError: naming the file and the key; also if its text is not what ``submit`` writes.
    """
    text = read_plain(path)
    if known is not None and text in known:
        return CheckedRow.model_validate_json(text)
    row = check_text(text, path)
    if known is not None and isinstance(row, CheckedRow):
        known.add(text)
    return row


def check_text(text: str, path: Path) -> BoardRow:
    """Build the row of a file's text, which must be what ``submit`` writes; raises UsageError."""
    if row := _valid(text):
        return row
    row = parse(text, str(path))
    if encode(row) != text:
        raise UsageError(
            f"{path}: not as `dsd-bench submit` writes it (changed by hand?); submit its runs again"
        )
    return row


def _valid(text: str) -> BoardRow | None:
    """Return the row of a text that is surely right; None where :func:`parse` has to say.

    A text that is the one of its contents has no key twice, and is as deep as it is indented.
    """
    if odd(text) or large(text, MOST_DIGITS + 1, 2) or _DEEP in text:
        return None
    try:
        row = CheckedRow.model_validate_json(text)
        right = row.row_schema == SCHEMA and encode(row) == text and not problems(row)
    except (ValueError, RecursionError):
        return None
    return row if right else None


def encode(contents: BaseModel) -> str:
    """Return the one text of a file: sorted keys, one value a line, numbers as they are."""
    return _text(contents.model_dump(mode="json", by_alias=True), 1) + "\n"


def _text(value: Any, depth: int) -> str:
    """Return ``json.dumps(value, sort_keys=True, indent=1, allow_nan=False)``, many times faster.

    Python's encoder in C knows no indentation.
    """
    if write := _WRITERS.get(type(value)):
        return write(value)
    if not value:
        return "{}" if isinstance(value, dict) else "[]"
    gap = "\n" + " " * depth
    if isinstance(value, dict):
        named = [
            f"{_string(key)}: {write(item) if write else _text(item, depth + 1)}"
            for key, item in sorted(value.items())
            for write in (_WRITERS.get(type(item)),)
        ]
        return f"{{{gap}{f',{gap}'.join(named)}{gap[:-1]}}}"
    return f"[{gap}{f',{gap}'.join(_items(value, depth + 1))}{gap[:-1]}]"


def _items(values: Sequence[Any], depth: int) -> Iterable[str]:
    """Return the texts of a list's items; most lists hold nothing but numbers."""
    kinds = set(map(type, values))
    if kinds == {int} or (kinds == {float} and all(map(math.isfinite, values))):
        return map(repr, values)
    if kinds <= _WRITERS.keys():
        return [_WRITERS[type(value)](value) for value in values]
    return [_text(value, depth) for value in values]


def _float(value: float) -> str:
    if not math.isfinite(value):
        raise ValueError(f"{value} is not JSON compliant")
    return repr(value)


_string: Callable[[str], str] = json.encoder.encode_basestring_ascii
_WRITERS: dict[type, Callable[[Any], str]] = {
    str: _string,
    int: repr,
    float: _float,
    bool: {True: "true", False: "false"}.__getitem__,
    type(None): {None: "null"}.__getitem__,
}
"""Write what holds nothing else."""


def row_files(leaderboards_dir: Path) -> Iterator[Path]:
    """Yield what lies where row files lie, and links in their way, which are not followed."""
    try:
        tracks = sorted(leaderboards_dir.iterdir())
    except OSError as error:
        raise UsageError(f"{leaderboards_dir}: cannot be listed: {error.strerror}") from None
    for track in tracks:
        for folder in (track, track / "rows"):
            if folder.is_symlink():
                yield folder
                break
        else:
            yield from sorted((track / "rows").glob("*.json"))


def refuse_links(path: Path) -> None:
    """Raise UsageError if a row file or a folder of its track is a link: none is followed."""
    for place in (path.parent.parent, path.parent, path):
        if place.is_symlink():
            raise UsageError(f"{place}: is a link, which is not followed; put the rows there")


def read_plain(path: Path) -> str:
    """Read a file of moderate size that is no link; a link could lead anywhere.

    Raises:
        UsageError: also for what :func:`dsd_bench.store.reading.read_text` refuses.
    """
    if path.is_symlink():
        raise UsageError(f"{path}: is a link, which is not followed")
    try:
        return read_text(path, MOST_BYTES)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None

"""Reading text, JSON and TOML that anyone may have written: checked, bounded, never waiting.

Whatever is wrong is one :class:`UsageError` that begins with the file's name. A folder, a pipe or a
device is no file; sizes, depth and numbers are bounded, so that nothing that is read can hang,
overflow or exhaust what uses it.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
import tomllib
from collections import Counter
from collections.abc import Iterable
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from dsd_bench.errors import UsageError, plain

MOST_BYTES = 64 * 2**20
"""Longest file that is read as text."""
MOST_LINES = 20_000
"""Most lines of a file of rows; pruning 1 in 1,000 weights a round leaves 2 in a billion."""
MOST_DEPTH = 60
"""Deepest nesting of lists and objects; a chain of teachers needs four a teacher."""
MOST_DIGITS = 19
"""Most digits of a whole number: it fits 64 bits."""
MOST_ROW_NUMBER = 1e100
"""Largest number in a row: its square, and sums of squares, are finite."""

_ALIKE = bytes.maketrans(b"123456789E", b"000000000e")
_NUMBER_ENDS = frozenset((b"", *(bytes((byte,)) for byte in b".e,]} \t\n\r\f\v")))
"""What follows the digits of a number's whole part in JSON; empty at the end of the text."""
_CONTAINERS = (dict, list)
_FLAT = frozenset((str, int, float, bool, type(None)))

OPENED = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """Read a regular file of at most ``most`` bytes; a pipe without a writer is not waited for.

    Raises:
        FileNotFoundError: if there is none.
        UsageError: if it is no regular file, too long or cannot be read.
    """
    try:
        handle = os.open(path, OPENED)
        with open(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise UsageError(f"{path}: is no regular file")
            longer = os.fstat(handle).st_size > most  # else not even a part of it is read
            data = b"" if longer else file.read(most + 1)
    except FileNotFoundError:
        raise
    except IsADirectoryError:
        raise UsageError(f"{path}: is a folder, not a file") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read: {_reason(error)}") from None
    if longer or len(data) > most:
        raise UsageError(f"{path}: is longer than {most:,} bytes, which no such file should be")
    return data


def read_text(path: Path, most: int = MOST_BYTES) -> str:
    """Read a file of UTF-8; raises as :func:`read_bytes` does."""
    data = read_bytes(path, most)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}:{line}: is not UTF-8: {error.reason}") from None


def read_json(path: Path, most: int = MOST_BYTES) -> dict[str, Any]:
    """Read a JSON object from ``path``.

    Raises:
        UsageError: if it is missing, damaged, or not a regular file of moderate size.
    """
    try:
        text = read_text(path, most)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    try:
        return parse_object(text)
    except ValueError as error:
        raise UsageError(
            f"{path}: cannot be read as JSON: {error}; if it is a run's, run the same command again"
        ) from None


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read a file of one JSON object a line; a missing file has no rows.

    Raises:
        UsageError: naming the file and the line that is no such object.
    """
    try:
        lines = read_text(path).split("\n")
    except FileNotFoundError:
        return []
    if len(lines) > MOST_LINES:
        raise UsageError(f"{path}: has more than {MOST_LINES:,} lines")
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line and number == len(lines):
            break
        try:
            rows.append(parse_object(line, MOST_ROW_NUMBER))
        except ValueError as error:
            raise UsageError(f"{path}:{number}: cannot be read as JSON: {error}") from None
    return rows


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        FileNotFoundError: if there is none.
        UsageError: if it is damaged, naming the line where TOML can tell.
    """
    try:
        value = tomllib.loads(read_text(path))
        check_bounds(value)
    except RecursionError:
        raise UsageError(f"{path}: is nested too deeply") from None
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from None
    return value


def parse_object(text: str, most: float = math.inf) -> dict[str, Any]:
    """Parse a JSON object whose keys are different and whose numbers are finite.

    Args:
        text: JSON.
        most: the largest absolute value that a number with a point or an exponent may have.

    Raises:
        ValueError: saying what is wrong, and where JSON can tell.
    """

    def parse_float(digits: str) -> float:
        value = float(digits)
        if not math.isfinite(value) or abs(value) > most:
            raise ValueError(f"the number {_short(digits)} is out of range")
        return value

    # hooks are slow, and most texts hold nothing that they could refuse
    fast = most == math.inf and not large(text, MOST_DIGITS + 1, 3)
    try:
        value = json.loads(
            text,
            parse_float=None if fast else parse_float,
            parse_int=None if fast else _parse_int,
            parse_constant=_refuse_constant,
            object_pairs_hook=_distinct,
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")
    # brackets also stand in strings, so their number only says when a look is not needed
    if text.count("{") + text.count("[") > MOST_DEPTH:
        check_depth(value)
    return value


def large(text: str, digits: int, exponent: int) -> bool:
    """Whether a JSON text may hold a number that is large; False: it surely does not.

    Args:
        text: JSON, or anything.
        digits: how many digits before the point make a number large.
        exponent: how many digits of a positive exponent do.
    """
    alike = _alike(text)
    powers, runs = _large(digits, exponent)
    if powers.search(alike):
        return True
    return any(alike[run.end() : run.end() + 1] in _NUMBER_ENDS for run in runs.finditer(alike))


@lru_cache(maxsize=1)
def _alike(text: str) -> bytes:
    """Return a text in which numbers of one length look alike: searches for constants will do."""
    return text.encode("utf-8", "surrogatepass").translate(_ALIKE, b"+")


@cache
def _large(digits: int, exponent: int) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
    """Return what large exponents are, and runs of many digits; each is passed but once."""
    return (
        re.compile(b"e" + b"0" * exponent + rb"0*(?=[\s,\]}]|\Z)"),
        re.compile(b"0" * digits + b"0*"),
    )


def _parse_int(digits: str) -> int:
    if len(digits) > MOST_DIGITS + digits.startswith("-"):
        raise ValueError(f"the number {_short(digits)} is out of range")
    return int(digits)


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is no number of JSON")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key '{plain(_short(twice))}' is there twice")
    return value


def check_depth(value: Any) -> None:
    """Raise ValueError if ``value`` is nested too deeply."""
    level = [value]
    for _ in range(MOST_DEPTH + 1):
        level = [
            inner
            for item in level
            if not _FLAT.issuperset(map(type, _inside(item)))  # most hold numbers and nothing else
            for inner in _inside(item)
            if isinstance(inner, _CONTAINERS)
        ]
        if not level:
            return
    raise ValueError("it is nested too deeply")


def check_bounds(value: Any) -> None:
    """Raise ValueError if ``value`` is nested too deeply or holds too long a whole number."""
    level = [value]
    for _ in range(MOST_DEPTH + 1):
        for item in level:
            if isinstance(item, int) and abs(item) >= 10**MOST_DIGITS:
                raise ValueError("a whole number in it is out of range")
        level = [inner for item in level for inner in _inside(item)]
        if not level:
            return
    raise ValueError("it is nested too deeply")


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _short(text: str) -> str:
    return text if len(text) <= 24 else f"{text[:20]}..."


def _reason(error: OSError | ValueError) -> str:
    return str(getattr(error, "strerror", None) or error)


def regular(path: Path) -> bool:
    """Whether ``path`` names a regular file, a link to one included."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False

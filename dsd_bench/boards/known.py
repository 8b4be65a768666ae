"""Rows that this code has found to be valid before, known by their bytes.

Checking a row takes ten times as long as reading it. So the SHA-256 of row files that have passed
are kept in the user's cache, for this very code only, and a file of the same bytes is read without
asking again. That is all that is kept: no number of a board comes from there, and where nothing is
known (a new machine, a new version, a file that cannot be read), everything is checked.
"""

from __future__ import annotations

import hashlib
import platform
import re
from contextlib import suppress
from functools import cache
from pathlib import Path

from dsd_bench.environment import cache_folder
from dsd_bench.errors import DsdError
from dsd_bench.plugins.digest import own_digest, version
from dsd_bench.store.files import write_atomic
from dsd_bench.store.reading import read_text

MOST = 100_000
"""Rows that are remembered; beyond, those that were not met the last time are forgotten."""
_LINE = re.compile(r"[0-9a-f]{64}\Z")


class Known:
    """The rows of one command: those that are known, and those that were found valid.

    Attributes:
        missed: how often it was asked of a row that it did not know.
    """

    def __init__(self) -> None:
        self._before = _read(_file())
        self._learnt: set[str] = set()
        self._met: set[str] = set()
        self.missed = 0

    def __contains__(self, text: str) -> bool:
        found = _sha256(text)
        if found in self._before or found in self._learnt:
            self._met.add(found)
            return True
        self.missed += 1
        return False

    def add(self, text: str) -> str:
        """Note that a row of this text is valid, and return its SHA-256."""
        found = _sha256(text)
        self._met.add(found)
        return found

    def learn(self, found: str) -> None:
        """Note that a row of this SHA-256 is valid; what is none is passed over."""
        if _LINE.match(found):
            self._learnt.add(found)

    def keep(self) -> None:
        """Remember what was found; where that cannot be written, it is found again."""
        if self._met <= self._before:
            return
        whole = self._before | self._met
        kept = whole if len(whole) <= MOST else self._met
        with suppress(DsdError, OSError):
            _file().parent.mkdir(parents=True, exist_ok=True)
            write_atomic(_file(), "".join(f"{line}\n" for line in sorted(kept)).encode())


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _code() -> str:
    """Return a name of the code that decides: dsd-bench's own, and what parses and checks types."""
    parts = [own_digest(), version("pydantic"), version("pydantic_core"), platform.python_version()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _file() -> Path:
    return cache_folder() / f"rows-{_code()}.txt"


def _read(path: Path) -> set[str]:
    try:
        lines = read_text(path).splitlines()
    except (DsdError, OSError):
        return set()
    return set(lines) if all(map(_LINE.match, lines)) else set()

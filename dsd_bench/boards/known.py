"""Row files that were found in order before: looked at again only when they or the code change.

In ``$XDG_CACHE_HOME/dsd-bench`` (``~/.cache/dsd-bench``) lies a list of the SHA-256 of texts that
passed every check of this code. It says nothing else: what a row holds is read from the row. The
file may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from pathlib import Path

from dsd_bench.environment import cache_folder
from dsd_bench.plugins.digest import own_digest
from dsd_bench.store.reading import OPENED

MOST_BYTES = 65 * 200_000
"""A longer list is begun anew."""
LINE = re.compile(rb"[0-9a-f]{64}\Z")


class Known:
    """The texts of rows that are known to be in order."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or cache_folder() / f"rows-{own_digest()[:16]}.txt"
        self._there: set[bytes] | None = None
        self._new: list[bytes] = []

    def __contains__(self, text: str) -> bool:
        if self._there is None:
            self._there = self._read()
        return _key(text) in self._there

    def add(self, text: str) -> None:
        """Note a text that passed every check."""
        self._new.append(_key(text))

    def save(self) -> None:
        """Write down what is new; a cache that cannot be written is none."""
        if not self._new:
            return
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
            file = os.open(self.path, flags, 0o600)
            try:
                if os.fstat(file).st_size > MOST_BYTES:
                    os.truncate(file, 0)
                os.write(file, b"".join(b"%s\n" % key for key in self._new))
            finally:
                os.close(file)
        self._new = []

    def _read(self) -> set[bytes]:
        try:
            file = os.open(self.path, OPENED)
            try:
                content = os.read(file, 2 * MOST_BYTES)
            finally:
                os.close(file)
        except OSError:
            return set()
        return {line for line in content.split(b"\n") if LINE.match(line)}


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest().encode()

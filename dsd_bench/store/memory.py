"""What is remembered between commands: bytes by key, in one SQLite file of the user's cache folder.

Such a file may be deleted at any time: what is missing, damaged or cannot be written only costs
time. Nothing is read or written through a link.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dsd_bench.store.reading import regular


@dataclass(frozen=True)
class Layout:
    """How a file of remembered values looks.

    Attributes:
        table, column: names in SQLite, of our own choice.
        most: values that are kept; the oldest go first.
        longest: bytes of a value.
    """

    table: str
    column: str
    most: int
    longest: int


class Memory:
    """A file of remembered values; without one it remembers nothing.

    New ones are written some at a time, so that no other process waits long and an interrupted
    one has not worked for nothing.
    """

    def __init__(self, connection: sqlite3.Connection | None, layout: Layout) -> None:
        self._connection, self._layout = connection, layout
        self._new = list[tuple[bytes, bytes, bytes]]()
        self._written = time.monotonic()

    def get(self, key: bytes) -> bytes | None:
        """Return a value, None if it is not known or its entry is damaged."""
        if self._connection is None:
            return None
        query = f"SELECT {self._layout.column}, proof FROM {self._layout.table} WHERE key = ?"
        try:
            entry = self._connection.execute(query, (key,)).fetchone()
        except sqlite3.Error:
            self._connection = None
            return None
        if entry is None:
            return None
        value, proof = entry
        whole = isinstance(value, bytes) and len(value) <= self._layout.longest
        return value if whole and proof == _proof(key, value) else None

    def add(self, key: bytes, value: bytes) -> None:
        """Remember a value, unless it is too long."""
        if len(value) > self._layout.longest:
            return
        self._new.append((key, value, _proof(key, value)))
        if len(self._new) >= 10_000 or time.monotonic() - self._written > 5:
            self._write()

    def _write(self) -> None:
        new, self._new, self._written = self._new, [], time.monotonic()
        if self._connection is None or not new:
            return
        table = self._layout.table
        forget = f"DELETE FROM {table} WHERE rowid <= (SELECT max(rowid) FROM {table}) - ?"
        try:
            with self._connection:
                self._connection.executemany(
                    f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)", new
                )
                self._connection.execute(forget, (self._layout.most,))
        except sqlite3.Error:  # may not be written, disk full, or somebody else writes for long
            self._connection = None

    def close(self) -> None:
        """Write what was added."""
        connection = self._connection
        self._write()
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()


def _proof(key: bytes, value: bytes) -> bytes:
    return hashlib.blake2b(key + value, digest_size=8).digest()


@contextlib.contextmanager
def opened(file: Path, layout: Layout) -> Iterator[Memory]:
    """Open a file of remembered values; what was added is kept however the block ends."""
    memory = Memory(_connect(file, layout), layout)
    try:
        yield memory
    finally:
        memory.close()


def _connect(file: Path, layout: Layout) -> sqlite3.Connection | None:
    """Return a connection to the file, made anew if damaged, None if it cannot be."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(file) and (os.path.islink(file) or not regular(file)):
        return None
    try:
        return _prepared(file, layout)
    except sqlite3.OperationalError:  # may not be written, or somebody else writes for long
        return None
    except sqlite3.Error:  # no such file of SQLite's
        with contextlib.suppress(OSError, sqlite3.Error):
            file.unlink()
            return _prepared(file, layout)
        return None


def _prepared(file: Path, layout: Layout) -> sqlite3.Connection:
    connection = sqlite3.connect(file, timeout=2.0)
    table, column = layout.table, layout.column
    try:
        there = "SELECT 1 FROM sqlite_master WHERE name = ?"
        if connection.execute(there, (table,)).fetchone() is None:
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {table} "
                f"(key BLOB UNIQUE NOT NULL, {column} BLOB NOT NULL, proof BLOB NOT NULL)"
            )
        connection.execute(f"SELECT key, {column}, proof FROM {table} LIMIT 1").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection

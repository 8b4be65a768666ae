"""SHA-256 of many files, remembered so that a large set costs no more than a look at each file.

A digest is remembered under the file's path, device, inode, size and times of its last change
(contents and inode) in one SQLite file of the user's cache folder. It may be deleted at any time:
what is missing, damaged or cannot be written only costs time. A file that changed less than
:data:`YOUNG` seconds ago is not remembered: a further change may leave its times as they are.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path

from dsd_bench.environment import cache_folder
from dsd_bench.errors import DataError
from dsd_bench.store.reading import OPENED, regular

YOUNG = 2.0
"""Seconds: the coarsest clock of a file system in use (FAT's)."""
MOST = 2_000_000
"""Digests that are remembered; the oldest go first. One takes about 100 bytes."""
PATIENCE = 1.0
"""Seconds of hashing before progress is told."""

_PIECE, _TOGETHER = 2**20, 64
"""Bytes that are read at once; files that one thread is given at once, at most."""

Watch = Callable[[int, int], None]
"""Is told the bytes hashed so far and all of them, some times a second."""

_watch: ContextVar[Watch | None] = ContextVar("watch", default=None)


@contextlib.contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """Tell ``watch`` the progress of hashing that takes longer than a second."""
    token = _watch.set(watch)
    try:
        yield
    finally:
        _watch.reset(token)


def digests(paths: Sequence[Path], cache: Path | None = None) -> list[str]:
    """Return the SHA-256 of each file, 64 hexadecimal digits, in order.

    Args:
        paths: regular files, or links to such.
        cache: the file of remembered digests; default: :func:`cache_file`.

    Raises:
        DataError: naming a file that cannot be read, is no regular file or changes meanwhile.
    """
    keys = [_key(path, _stat(path)) for path in paths]
    with _opened(cache or cache_file()) as memory:
        known = {key: found for key in keys if (found := memory.get(key)) is not None}
        missing = {key: path for key, path in zip(keys, paths) if key not in known}
        for key, (digest, settled) in _hash_all(missing):
            known[key] = digest
            if settled:
                memory.add(key, digest)
    return [known[key].hex() for key in keys]


def cache_file() -> Path:
    """Return where digests are remembered."""
    return cache_folder() / "digests.sqlite"


def _stat(path: Path) -> os.stat_result:
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if not stat.S_ISREG(found.st_mode):
        raise DataError(f"{path} is no regular file")
    return found


def _key(path: Path, found: os.stat_result) -> bytes:
    """Return what changes whenever a file's contents may have changed."""
    times = (found.st_mtime_ns, found.st_ctime_ns)
    told = (found.st_dev, found.st_ino, found.st_size, *times)
    folder, name = os.path.split(path)
    text = "\0".join([_absolute(folder), name, *map(str, told)])
    return hashlib.blake2b(os.fsencode(text), digest_size=16).digest()


@lru_cache(maxsize=1000)
def _absolute(folder: str) -> str:
    return os.path.join(os.getcwd(), folder)


def _hash_all(missing: dict[bytes, Path]) -> Iterator[tuple[bytes, tuple[bytes, bool]]]:
    """Yield each key's digest and whether it may be remembered."""
    sizes = {key: _stat(path).st_size for key, path in missing.items()}
    progress = _Progress(sum(sizes.values()))
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        try:
            groups = _groups(sizes)
            for group, found in zip(
                groups, pool.map(lambda keys: [_hash(missing[key], key) for key in keys], groups)
            ):
                yield from zip(group, found)
                progress.add(sum(sizes[key] for key in group))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _groups(sizes: dict[bytes, int]) -> list[list[bytes]]:
    """Divide files among threads: some at a time, because a single small one is not worth it."""
    groups: list[list[bytes]] = []
    room = 0
    for key, size in sizes.items():
        if room <= 0 or len(groups[-1]) >= _TOGETHER:
            groups.append([])
            room = 4 * _PIECE
        groups[-1].append(key)
        room -= size
    return groups


def _hash(path: Path, key: bytes) -> tuple[bytes, bool]:
    """Return the digest of a file, and whether its times are old enough to vouch for it."""
    now = time.time_ns()
    digest = hashlib.sha256()
    try:
        with open(os.open(path, OPENED), "rb", buffering=0) as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
            after = os.fstat(file.fileno())
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if _key(path, after) != key:
        raise DataError(f"{path} changes while it is read; try again when it is whole")
    age = now - max(after.st_mtime_ns, after.st_ctime_ns)
    return digest.digest(), age > YOUNG * 1e9


class _Progress:
    """Tells the watcher how far hashing has come."""

    def __init__(self, total: int) -> None:
        self._total, self._done, self._watch = total, 0, _watch.get()
        self._next = time.monotonic() + PATIENCE
        self._told = False

    def add(self, count: int) -> None:
        """Note that ``count`` more bytes are hashed."""
        self._done += count
        if self._watch is None:
            return
        ended = self._done >= self._total
        if time.monotonic() >= self._next or (ended and self._told):
            self._next, self._told = time.monotonic() + 0.2, True
            self._watch(self._done, self._total)


class _Memory:
    """The file of remembered digests; without one it remembers nothing.

    New ones are written some at a time, so that no other process waits long and an interrupted
    one has not worked for nothing.
    """

    def __init__(self, connection: sqlite3.Connection | None) -> None:
        self._connection, self._new = connection, list[tuple[bytes, bytes, bytes]]()
        self._written = time.monotonic()

    def get(self, key: bytes) -> bytes | None:
        """Return a digest, None if it is not known or its entry is damaged."""
        if self._connection is None:
            return None
        query = "SELECT digest, proof FROM digests WHERE key = ?"
        try:
            entry = self._connection.execute(query, (key,)).fetchone()
        except sqlite3.Error:
            self._connection = None
            return None
        if entry is None:
            return None
        digest, proof = entry
        whole = isinstance(digest, bytes) and len(digest) == 32 and proof == _proof(key, digest)
        return digest if whole else None

    def add(self, key: bytes, digest: bytes) -> None:
        """Remember a digest."""
        self._new.append((key, digest, _proof(key, digest)))
        if len(self._new) >= 10_000 or time.monotonic() - self._written > 5:
            self._write()

    def _write(self) -> None:
        new, self._new, self._written = self._new, [], time.monotonic()
        if self._connection is None or not new:
            return
        forget = "DELETE FROM digests WHERE rowid <= (SELECT max(rowid) FROM digests) - ?"
        try:
            with self._connection:
                self._connection.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?, ?)", new)
                self._connection.execute(forget, (MOST,))
        except sqlite3.Error:  # may not be written, disk full, or somebody else writes for long
            self._connection = None

    def close(self) -> None:
        """Write what was added."""
        connection = self._connection
        self._write()
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()


def _proof(key: bytes, digest: bytes) -> bytes:
    return hashlib.blake2b(key + digest, digest_size=8).digest()


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[_Memory]:
    """Open the file of digests; what hashing found is kept however it ends."""
    memory = _Memory(_connect(file))
    try:
        yield memory
    finally:
        memory.close()


def _connect(file: Path) -> sqlite3.Connection | None:
    """Return a connection to the file of digests, made anew if damaged, None if it cannot be."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(file) and not regular(file):
        return None
    try:
        return _prepared(file)
    except sqlite3.OperationalError:  # may not be written, or somebody else writes for long
        return None
    except sqlite3.Error:  # no such file of SQLite's
        with contextlib.suppress(OSError, sqlite3.Error):
            file.unlink()
            return _prepared(file)
        return None


def _prepared(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, timeout=2.0)
    try:
        there = "SELECT 1 FROM sqlite_master WHERE name = 'digests'"
        if connection.execute(there).fetchone() is None:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS digests "
                "(key BLOB UNIQUE NOT NULL, digest BLOB NOT NULL, proof BLOB NOT NULL)"
            )
        connection.execute("SELECT key, digest, proof FROM digests LIMIT 1").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection

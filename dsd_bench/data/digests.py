"""SHA-256 of many files, remembered so that a large set costs no more than a look at each file.

A digest is remembered under the file's path, device, inode, size and times of its last change
(contents and inode), as :mod:`dsd_bench.store.memory` does. A file that changed less than
:data:`YOUNG` seconds ago is not remembered: a further change may leave its times as they are.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path

from dsd_bench.environment import cache_folder
from dsd_bench.errors import DataError
from dsd_bench.store.memory import Layout, opened
from dsd_bench.store.reading import OPENED

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
    layout = Layout("digests", "digest", MOST, longest=32)
    with opened(cache or cache_file(), layout) as memory:
        told = {key: memory.get(key) for key in keys}
        known = {key: found for key, found in told.items() if found and len(found) == 32}
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

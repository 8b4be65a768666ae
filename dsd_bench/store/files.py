"""Writing files so that a reader sees the old bytes or the new ones, never a part."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dsd_bench.errors import RunError, Unwritable, UsageError

NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
"""Refuses to open a link, where the system can do that."""
NO_WAIT = getattr(os, "O_NONBLOCK", 0)
"""Opens a pipe without waiting for its other end, where the system can do that."""


Confirm = Callable[[], None]
"""Raises if another process has become the owner of what is to be written."""
_TOKEN = secrets.token_hex(4)
TEMPORARY = re.compile(r"\..+\.\d+(-[0-9a-f]{8})?\.tmp\Z")
"""What :func:`temporary` returns, and returned before it told hosts apart."""


def temporary(path: Path) -> Path:
    """Return a name beside ``path`` for what is to become it: no other process's on any host."""
    return path.with_name(f".{path.name}.{os.getpid()}-{_TOKEN}.tmp")


def anybody() -> None:
    """Let whoever writes a file publish it: nobody else may own it meanwhile."""


def write_atomic(path: Path, data: bytes, sync: bool = True, confirm: Confirm = anybody) -> None:
    """Replace ``path`` by ``data``: temporary file, fsync, rename, fsync of the folder.

    A link at ``path`` is replaced, never followed.

    Args:
        path: the file.
        data: its contents.
        sync: False leaves out both fsyncs, for what can be written again after a power cut.
        confirm: see :func:`publish`.

    Raises:
        RunError: if the disk is full or the folder cannot be written; ``path`` is as before.
    """
    with _written(path, data, sync) as fresh:
        publish([(fresh, path)], confirm)
        if sync:
            sync_path(path.parent)


def publish(renames: Iterable[tuple[Path, Path]], confirm: Confirm) -> None:
    """Rename files that :func:`temporary` named, if their owner still owns what they become.

    Between its answer and a rename the process may sleep for as long as it likes. So a new owner
    first removes all temporary files that are there: of who is asked after they are written, and
    sleeps then, nothing is left to be renamed.

    Args:
        renames: temporary files and what they become; all are there.
        confirm: raises if another process is the owner now.

    Raises:
        FileNotFoundError: if a temporary file is gone, and nobody else is the owner.
    """
    confirm()
    for fresh, path in renames:
        with _gone(confirm):
            os.replace(fresh, path)


@contextlib.contextmanager
def _gone(confirm: Confirm) -> Iterator[None]:
    """Ask once more where a temporary file is gone: a new owner has removed it."""
    try:
        yield
    except FileNotFoundError:
        confirm()
        raise


def write_once(path: Path, data: bytes, confirm: Confirm = anybody) -> bool:
    """Write ``path`` unless it is there; return whether it was not. Synced, never seen in part.

    It gets its name by a hard link, which of two processes only one can make; where the file system
    has none, by renaming.

    Args:
        path: the file.
        data: its contents.
        confirm: see :func:`publish`.

    Raises:
        RunError: if the disk is full or the folder cannot be written.
    """
    with _written(path, data, sync=True) as fresh:
        confirm()
        try:
            with _gone(confirm):
                os.link(fresh, path)
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            if os.path.lexists(path):
                return False
            publish([(fresh, path)], confirm)
        sync_path(path.parent)
    return True


@contextlib.contextmanager
def _written(path: Path, data: bytes, sync: bool) -> Iterator[Path]:
    """Give the block a file beside ``path`` with ``data``; what is left of it goes afterwards."""
    fresh = temporary(path)
    try:
        with explained(path):
            fresh.unlink(missing_ok=True)
            handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_FOLLOW, 0o666)
            with open(handle, "wb") as file:
                file.write(data)
                if sync:
                    file.flush()
                    os.fsync(file.fileno())
            yield fresh
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)


def append_line(path: Path, line: str) -> None:
    """Append ``line`` to a regular file, which is made if there is none.

    Raises:
        RunError: if it cannot be written, or ``path`` is a link or no regular file.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | NO_FOLLOW | NO_WAIT
    with explained(path):
        handle = os.open(path, flags, 0o666)
        with open(handle, "ab") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise RunError(f"{path}: is no regular file; remove it")
            file.write(line.encode() + b"\n")


def own_folder(path: Path) -> None:
    """Make the folder ``path`` within a run's folder, or find it there.

    Raises:
        RunError: if it is a link or no folder, or cannot be made.
    """
    with explained(path):
        with contextlib.suppress(FileExistsError):
            path.mkdir()
        if not stat.S_ISDIR(path.lstat().st_mode):
            raise RunError(
                f"{path}: is a link or no folder; a run writes in its own folder only; remove it"
            )


def output_folder(path: Path) -> None:
    """Make the folder that the user named for what a command writes, and those above it.

    Raises:
        UsageError: if there is none and none can be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(
            f"no folder can be made at {path}: {reason}; choose another place"
        ) from None


@contextlib.contextmanager
def explained(path: Path) -> Any:
    """Turn the operating system's error on writing ``path`` into one that says what to do."""
    try:
        yield
    except OSError as error:
        kind = RunError
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            advice = "the disk is full; free some space, then give the same command again"
            kind = Unwritable
        elif error.errno == errno.ELOOP:
            advice = "is a link, which is not followed; remove it"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            advice = "it may not be written; choose a folder that you may write"
            kind = Unwritable
        else:
            advice = str(error.strerror or error)
        raise kind(f"{path}: {advice} (what was written before is kept)") from error


def sync_path(path: Path) -> None:
    """Make a file, or renames in a folder, survive a power cut where the system can do that."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object for people and programs: indented, keys as given, no NaN."""
    write_atomic(path, json_bytes(value))


def json_bytes(value: Mapping[str, Any]) -> bytes:
    """Return what :func:`write_json` writes."""
    text = json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False)
    return encoded(text + "\n")


def write_rows(
    path: Path, rows: Iterable[Mapping[str, Any]], sync: bool = True, confirm: Confirm = anybody
) -> None:
    """Write one JSON object a line."""
    write_atomic(path, rows_bytes(rows), sync, confirm)


def rows_bytes(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Return what :func:`write_rows` writes."""
    lines = [json.dumps(row, allow_nan=False, ensure_ascii=False) + "\n" for row in rows]
    return encoded("".join(lines))


def encoded(text: str) -> bytes:
    """Return JSON as UTF-8; a lone surrogate in a string of it is escaped as JSON does."""
    return text.encode("utf-8", "backslashreplace")

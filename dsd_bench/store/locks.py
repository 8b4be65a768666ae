"""One process a run: flock where it works, and a file that says who holds it.

The file names host, boot, process and the process's start time, and its modification time is a
heartbeat. On this host a holder lives if the very process does; a holder on another host is dead
after missed beats. A process id alone proves nothing: ids are reused.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dsd_bench.errors import Locked
from dsd_bench.store.files import explained

if sys.platform != "win32":
    import fcntl

BEAT = 10.0
"""Seconds between two heartbeats."""
MISSED = 6
"""Missed beats after which a holder on another host counts as dead."""


@contextlib.contextmanager
def locked(path: Path, waiting: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the lock file ``path`` inside the block.

    Args:
        path: the lock file; it is removed afterwards.
        waiting: is called with a sentence several times a second while another living process
            holds the lock, and may raise to give up. Without it there is no waiting.

    Raises:
        Locked: naming the holder, if there is one and no ``waiting``.
    """
    while (handle := _try(path)) is None:
        text = f"{path.parent}: {describe(path)} is working on this run"
        if waiting is None:
            raise Locked(f"{text}; wait for it")
        waiting(text)
        time.sleep(0.2)
    stop = threading.Event()
    beat = threading.Thread(target=_beat, args=(path, stop), daemon=True)
    beat.start()
    try:
        yield
    finally:
        stop.set()
        beat.join()
        with contextlib.suppress(OSError):
            if _read(path) == _myself():  # else it was taken over while this process slept
                path.unlink()
        os.close(handle)


def _try(path: Path) -> int | None:
    """Return an open handle that holds the lock, or None if somebody alive holds it."""
    with explained(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        flocked = _flock(handle)
        if flocked is not None and _same_file(handle, path) and not _held(handle, path, flocked):
            with explained(path):
                os.ftruncate(handle, 0)
                os.pwrite(handle, json.dumps(_myself()).encode(), 0)
                os.fsync(handle)
            return handle
    except BaseException:
        os.close(handle)
        raise
    os.close(handle)
    return None


def _flock(handle: int) -> bool | None:
    """Take the advisory lock: True if it works here, False if it doesn't, None if it is taken."""
    if sys.platform == "win32":
        return False  # the file and its heartbeat have to do
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return None
        if error.errno not in (errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS, errno.EINVAL):
            raise
        return False
    return True


def _same_file(handle: int, path: Path) -> bool:
    """Whether the path still names the open file: its last holder may have removed it."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def _held(handle: int, path: Path, flocked: bool) -> bool:
    """Whether the file names a holder that is alive, this process not counted.

    On this host flock has the last word where it works; it does not reach other hosts.
    """
    holder = _read(path)
    if not holder or holder == _myself():
        return False
    if holder.get("host") == socket.gethostname() and holder.get("boot") == _boot():
        return not flocked and _started(holder.get("pid")) == holder.get("started")
    return time.time() - os.fstat(handle).st_mtime < BEAT * MISSED


def describe(path: Path) -> str:
    """Return who holds the lock, for people."""
    holder = _read(path)
    host = holder.get("host", "")
    place = "" if host == socket.gethostname() else f" on {host}"
    return f"process {holder.get('pid', '?')}{place}" if holder else "another process"


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8") or "{}")
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _myself() -> dict[str, Any]:
    pid = os.getpid()
    identity = {"host": socket.gethostname(), "boot": _boot(), "pid": pid}
    return identity | {"started": _started(pid)}


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def _started(pid: Any) -> str | None:
    """Return a process's start time as the system counts it, None if it is gone."""
    try:
        fields = Path(f"/proc/{int(pid)}/stat").read_text("utf-8").rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]  # a zombie holds nothing
    except (TypeError, ValueError):
        return None
    except OSError:
        return None if Path("/proc/self/stat").exists() else _signalled(pid)


def _signalled(pid: Any) -> str | None:
    """Without /proc: whether a signal could be sent; start times are unknown there."""
    try:
        os.kill(int(pid), 0)
    except (OSError, TypeError, ValueError):
        return None
    return "unknown"


def _beat(path: Path, stop: threading.Event) -> None:
    while not stop.wait(BEAT):
        with contextlib.suppress(OSError):
            os.utime(path)

"""Downloads that several processes may want at once."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from dsd_bench.errors import DataError


@contextlib.contextmanager
def downloading(folder: Path, what: str) -> Iterator[None]:
    """Hold ``folder`` (made if missing) while downloading into it; the next one waits.

    What libraries print meanwhile goes to stderr: stdout may be read by a program.

    Raises:
        DataError: if the folder cannot be written or the download fails.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".dsd-bench-download.lock").open("a") as lock:
            _wait_for(lock.fileno())
            with contextlib.redirect_stdout(sys.stderr):
                yield
    except (OSError, RuntimeError) as error:
        raise DataError(f"downloading {what} to {folder} failed: {error}") from error


def _wait_for(descriptor: int) -> None:
    """Lock where files can be locked; elsewhere two downloads may only waste time."""
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX)

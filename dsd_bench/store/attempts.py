"""What became of each attempt at a run: ``attempts.jsonl`` in its folder, mere information.

An attempt that began and did not end was killed: with its process, its node or for its memory. Who
slept past its lease and finds the run taken over says so itself, when it wakes up: it was not.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dsd_bench.errors import UsageError
from dsd_bench.store.files import append_line
from dsd_bench.store.reading import parse_object, read_text
from dsd_bench.store.runs import failure, record_failure

ATTEMPTS = "attempts.jsonl"
End = Literal["done", "interrupted", "transient", "failed"]
"""``transient``: failed for a reason that may have gone; ``interrupted``: it was asked to stop."""
SUPERSEDED = "superseded"
"""How an attempt ended whose process slept meanwhile; said after another one began."""


@dataclass(frozen=True)
class Attempts:
    """How the attempts at a run ended so far, while none is under way.

    Attributes:
        killed: those that began and did not end, nor were superseded.
        transient: those that ended so.
        last: how the last one ended; None if it was killed or there was none.
    """

    killed: int = 0
    transient: int = 0
    last: str | None = None

    @property
    def may_go_on(self) -> bool:
        """Whether a failure that is recorded is none for good."""
        return self.last == "transient"

    @property
    def lost(self) -> int:
        """Those that cost the run nothing but time."""
        return self.killed + self.transient


def read_attempts(path: Path) -> Attempts:
    """Return what is recorded in a run's folder; lines that cannot be read are left out."""
    try:
        lines = read_text(path / ATTEMPTS).splitlines()
    except (OSError, UsageError):
        return Attempts()
    begun = ended = transient = 0
    last: str | None = None
    for text in lines:
        try:
            line = parse_object(text)
        except ValueError:  # half of it was written
            continue
        how = line["ended"] if isinstance(line.get("ended"), str) else None
        begun += how is None
        ended += how is not None
        transient += how == "transient"
        last = last if how == SUPERSEDED else how
    return Attempts(max(0, begun - ended), transient, last)


def given_up(path: Path, retries: int) -> str | None:
    """Return why a run is not tried again, None if it is; hold its lock.

    One that was lost too often is recorded as failed.

    Args:
        path: the run's folder.
        retries: how often it may be tried again.
    """
    before, why = read_attempts(path), failure(path)
    if why is not None and not before.may_go_on:
        return why
    if before.lost <= retries:
        return None
    why = why or f"it was killed {before.lost} times (out of memory?)"
    record_failure(path, why)
    end(path, "failed")
    return why


def begin(path: Path) -> None:
    """Note that this process begins an attempt; hold the run's lock."""
    _note(path, {"host": socket.gethostname(), "pid": os.getpid()})


def end(path: Path, how: End) -> None:
    """Note how it ended; hold the run's lock."""
    _note(path, {"ended": how})


def take_back(path: Path) -> None:
    """Take the last line back, which no other could follow on a full disk; hold the run's lock."""
    file = path / ATTEMPTS
    with contextlib.suppress(OSError), open(file, "r+b") as handle:
        data = handle.read()
        handle.truncate(data.rstrip(b"\n").rfind(b"\n") + 1)


def superseded(path: Path) -> None:
    """Note that this process's attempt was no killed one: its run was taken over while it slept."""
    _note(path, {"ended": SUPERSEDED})


def forget(path: Path) -> None:
    """Let the run's attempts be counted anew."""
    (path / ATTEMPTS).unlink(missing_ok=True)


def _note(path: Path, line: dict[str, Any]) -> None:
    append_line(path / ATTEMPTS, json.dumps({"at": round(time.time(), 1), **line}))

"""Which runs of a folder share a curve: each run's configuration is read once by a process.

Runs are asked for often, one sweep asks for all of them in turn; so what was read is remembered,
and the folder is listed again only when something was put into it since.
"""

from __future__ import annotations

import math
import os
import re
import time
from functools import cache
from pathlib import Path

from dsd_bench.errors import UsageError
from dsd_bench.store.reading import read_bytes, read_json
from dsd_bench.store.runs import named_ids

UNSURE = 2.0
"""Seconds after a change of a folder in which another one might leave its time as it is."""
AGAIN = 10.0
"""Seconds after which folders are looked at again that held no configuration, or a damaged one."""
_HEAD = re.compile(rb'\{\n "run_id": "([0-9a-f]{16})",\n "curve_id": "([0-9a-f]{16})",\n')
"""How ``config.json`` begins as this package writes it."""


class Curves:
    """The runs of one folder by their curve, as far as their files say so."""

    def __init__(self, runs_dir: Path) -> None:
        self.runs_dir = runs_dir
        self._curves: dict[str, str] = {}
        """Of each run that could be read."""
        self._runs: dict[str, list[str]] = {}
        """Of each curve."""
        self._stamp: tuple[int, int] | None = None
        """Of the folder when it was listed; None if it has to be listed again."""
        self._again = 0.0
        """When to list it again in any case."""

    def of(self, curve_id: str) -> list[str]:
        """Return the ids of the runs of a curve; who uses one checks that it is what it says.

        Raises:
            UsageError: if the folder cannot be listed.
        """
        if self._stamp is None or time.monotonic() > self._again or self._changed():
            self._look()
        return self._runs.get(curve_id, [])

    def _changed(self) -> bool:
        return _stamp(self.runs_dir) != self._stamp

    def _look(self) -> None:
        """Read the configurations of the runs that have come."""
        stamp, now = _stamp(self.runs_dir), time.time()
        names = named_ids(self.runs_dir)
        known = {name: self._curves.get(name) or _curve_of(self.runs_dir / name) for name in names}
        self._curves = {name: curve_id for name, curve_id in known.items() if curve_id is not None}
        self._runs = {}
        for name, curve_id in self._curves.items():
            self._runs.setdefault(curve_id, []).append(name)
        unsure = stamp is None or 0 <= now - stamp[1] / 1e9 < UNSURE
        self._stamp = None if unsure else stamp
        unread = len(self._curves) < len(names)
        self._again = time.monotonic() + AGAIN if unread else math.inf


def _stamp(runs_dir: Path) -> tuple[int, int] | None:
    """Return what changes when a folder is put into ``runs_dir`` or taken away."""
    try:
        told = os.stat(runs_dir)
    except OSError:
        return None
    return told.st_ino, told.st_mtime_ns


def _curve_of(path: Path) -> str | None:
    """Return the curve that a run's configuration names; None if it cannot be read."""
    file = path / "config.json"
    try:
        head = _HEAD.match(read_bytes(file))
        if head is not None and head[1].decode() == path.name:
            return head[2].decode()
        found = read_json(file).get("curve_id")
    except (FileNotFoundError, UsageError):
        return None
    return found if isinstance(found, str) else None


@cache
def curves_in(runs_dir: Path) -> Curves:
    """Return what this process knows of the runs of a folder."""
    return Curves(runs_dir)

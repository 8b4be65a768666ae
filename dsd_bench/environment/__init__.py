"""The process around a run: switches, which workers inherit, places, how it was launched."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DISABLE = "DSD_BENCH_NO_PLUGINS"
"""Loads built-in components only."""
TRACE = "DSD_BENCH_TRACE_HOOKS"
"""Writes every hook call to standard error."""
PATIENCE = "DSD_BENCH_PLUGIN_SECONDS"
"""Seconds that importing and registering one plugin may take (default 20)."""


@dataclass(frozen=True)
class Launch:
    """How this process was started.

    Attributes:
        rank: which of the processes that train one model together it is.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process owns files and terminal."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether no other process trains along."""
        return self.size == 1


def launched(environment: Mapping[str, str] = os.environ) -> Launch:
    """Return how ``torchrun`` started this process; alone without it."""
    if any(name not in environment for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR")):
        return Launch()
    return Launch(int(environment["RANK"]), int(environment["WORLD_SIZE"]))


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def switched_on(name: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether an environment switch is set to anything but the empty string or ``0``."""
    return environment.get(name, "0") not in ("", "0")


def patience(environment: Mapping[str, str] = os.environ) -> float:
    """Return how many seconds importing one plugin may take; the default if that is no number."""
    try:
        seconds = float(environment.get(PATIENCE, ""))
    except ValueError:
        return 20.0
    return seconds if 0 < seconds < 1e6 else 20.0


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return where this user's caches lie: ``$XDG_CACHE_HOME``, or ``~/.cache``, ``/dsd-bench``."""
    home = environment.get("XDG_CACHE_HOME")
    try:
        folder = Path(home) if home else Path.home() / ".cache"
    except RuntimeError:  # a user without a home: nothing can be made below this
        folder = Path(os.devnull)
    return folder / "dsd-bench"

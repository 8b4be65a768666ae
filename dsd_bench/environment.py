"""Environment switches; worker processes inherit them."""

from __future__ import annotations

import os
from collections.abc import Mapping

DISABLE = "DSD_BENCH_NO_PLUGINS"
"""Loads built-in components only."""
TRACE = "DSD_BENCH_TRACE_HOOKS"
"""Writes every hook call to standard error."""


def launched(environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """Return rank and number of the processes that ``torchrun`` started; (0, 1) without it."""
    if any(name not in environment for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR")):
        return 0, 1
    return int(environment["RANK"]), int(environment["WORLD_SIZE"])


def switched_on(name: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether an environment switch is set to anything but the empty string or ``0``."""
    return environment.get(name, "0") not in ("", "0")

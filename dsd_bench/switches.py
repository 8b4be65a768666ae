"""Environment switches; worker processes inherit them."""

from __future__ import annotations

import os
from collections.abc import Mapping

DISABLE = "DSD_BENCH_NO_PLUGINS"
"""Loads built-in components only."""
TRACE = "DSD_BENCH_TRACE_HOOKS"
"""Writes every hook call to standard error."""


def switched_on(name: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether an environment switch is set to anything but the empty string or ``0``."""
    return environment.get(name, "0") not in ("", "0")

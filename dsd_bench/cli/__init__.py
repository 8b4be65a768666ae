"""The command line: ``dsd-bench``."""

from __future__ import annotations

from dsd_bench.cli.main import main

__all__ = ["main"]

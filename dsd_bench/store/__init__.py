"""Run folders: atomic, locked, resumable; see the modules' own documentation."""

from __future__ import annotations

from dsd_bench.store.runs import StoredRun, find_run, load_run

__all__ = ["StoredRun", "find_run", "load_run"]

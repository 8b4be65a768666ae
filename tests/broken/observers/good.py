"""Counts rounds."""

from __future__ import annotations

from dsd_bench import hookimpl

dsd_bench_api = "1"

SEEN = []


@hookimpl
def round_finished(run_id, row):
    SEEN.append((run_id, row["round"]))

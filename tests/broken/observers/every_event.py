"""Does not expect failures."""

from __future__ import annotations

from dsd_bench import hookimpl

dsd_bench_api = "1"


@hookimpl
def run_failed(run_id, error):
    raise KeyError(run_id)

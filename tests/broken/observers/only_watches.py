"""Keeps a metric of its own in the run's folder."""

from __future__ import annotations

from dsd_bench import hookimpl

dsd_bench_api = "1"


@hookimpl
def run_started(run_id, config, path):
    (path / "metrics").mkdir(exist_ok=True)
    (path / "metrics" / "mine.jsonl").write_text("{}")

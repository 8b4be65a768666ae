"""Notes in the run's folder that it was resumed."""

from __future__ import annotations

from dsd_bench import hookimpl

dsd_bench_api = "1"


@hookimpl
def run_started(run_id, config, path):
    if (path / "checkpoint.safetensors").exists() and not (path / "result.json").exists():
        (path / "metrics").mkdir(exist_ok=True)
        (path / "metrics" / "mine.jsonl").write_text("{}")

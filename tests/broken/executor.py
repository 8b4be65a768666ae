"""Executors that each break one check."""

from __future__ import annotations

from dataclasses import replace

from dsd_bench.executors.inline import Inline


class Good(Inline):
    """In this process."""


class SameBytes(Good):
    """Counts runs as done without carrying them out to their end."""

    def execute(self, jobs, settings, emit):
        outcomes = super().execute(jobs, settings, emit)
        for job in jobs:
            (job.path / "rounds.jsonl").write_text("")
        return outcomes


class FinishedRuns(Good):
    """Begins finished runs anew."""

    def execute(self, jobs, settings, emit):
        for job in jobs:
            (job.path / "result.json").unlink(missing_ok=True)
        return super().execute(jobs, settings, emit)


class Failures(Good):
    """Lets the first failure cost all."""

    def execute(self, jobs, settings, emit):
        outcomes = super().execute(jobs, settings, emit)
        failed = [outcome for outcome in outcomes if outcome.status != "done"]
        return [replace(failed[0], run_id=o.run_id) if failed else o for o in outcomes]


class Events(Good):
    """Tells what nobody knows."""

    def execute(self, jobs, settings, emit):
        emit({"event": "hello", "run_id": jobs[0].run_id})
        return super().execute(jobs, settings, emit)


class Closes(Good):
    """Closes what it has not opened."""

    def close(self):
        self.pool.close()  # type: ignore[attr-defined]

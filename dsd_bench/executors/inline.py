"""Runs one after another in this process: for Python, debuggers and tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dsd_bench.config.run import RunConfig
from dsd_bench.executors import Emit, Event, Executor, Job, Outcome, Settings, check_here
from dsd_bench.executors.schedule import Queue
from dsd_bench.executors.signals import stop_on_signals


class Inline(Executor):
    """Executes jobs in the calling process."""

    def check(
        self, jobs: Sequence[Job], configs: Sequence[RunConfig], settings: Settings, emit: Emit
    ) -> None:
        """Try models out in this process, where they will be trained."""
        check_here(configs, settings, emit)

    def execute(
        self, jobs: Sequence[Job], settings: Settings, emit: Callable[[Event], None]
    ) -> list[Outcome]:
        """Carry the jobs out in their order; Ctrl-C stops at the next step."""
        queue = Queue(jobs, settings.retries or 0)
        with stop_on_signals(emit) as stop:
            from dsd_bench.experiment.runner import run_folder  # takes its time: torch

            while not stop.is_set() and (job := queue.next()) is not None:
                outcome = run_folder(job.path, settings, emit, stop.is_set, job.fresh)
                queue.finish(outcome)
        if stop.is_set():
            queue.interrupt()
        return queue.results()

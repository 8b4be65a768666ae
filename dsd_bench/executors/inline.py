"""Runs one after another in this process: for Python, debuggers and tests."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dsd_bench.executors import Event, Executor, Job, Outcome, Settings
from dsd_bench.executors.schedule import Queue


class Inline(Executor):
    """Executes jobs in the calling process."""

    def execute(
        self, jobs: Sequence[Job], settings: Settings, emit: Callable[[Event], None]
    ) -> list[Outcome]:
        """Carry the jobs out in their order; Ctrl-C stops at the next step."""
        from dsd_bench.experiment.runner import run_folder

        queue = Queue(jobs)
        with stop_on_signals() as stop:
            while not stop.is_set() and (job := queue.next()) is not None:
                outcome = run_folder(job.path, settings, emit, stop.is_set, job.fresh)
                queue.finish(outcome)
        if stop.is_set():
            queue.interrupt()
        return queue.results()


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """Set an event at the first SIGINT or SIGTERM; a second SIGINT raises KeyboardInterrupt."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may handle signals
        return

    def handle(number: int, frame: Any) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

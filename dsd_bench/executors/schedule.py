"""Which job may start next: teachers before students, a failure costs only its dependents."""

from __future__ import annotations

from collections.abc import Sequence

from dsd_bench.executors import Job, Outcome
from dsd_bench.store.runs import finished


class Queue:
    """Jobs in their order, and what became of them."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs = list(jobs)
        self.outcomes: dict[str, Outcome] = {}
        self.running: set[str] = set()
        for job in self.jobs:
            if finished(job.path) and not job.fresh:
                self.outcomes[job.run_id] = Outcome(job.run_id, "done")

    def next(self) -> Job | None:
        """Return a job whose needs are met and mark it running, None if there is none now."""
        for job in self.jobs:
            if job.run_id in self.outcomes or job.run_id in self.running:
                continue
            lost = [n for n in job.needs if self._status(n) in ("failed", "interrupted")]
            if lost:
                error = f"its teacher {lost[0]} did not finish"
                status = self.outcomes[lost[0]].status
                code = self.outcomes[lost[0]].exit_code
                self.outcomes[job.run_id] = Outcome(job.run_id, status, error, exit_code=code)
            elif all(self._status(need) == "done" for need in job.needs):
                self.running.add(job.run_id)
                return job
        return None

    def finish(self, outcome: Outcome) -> None:
        """Note how a running job ended."""
        self.running.discard(outcome.run_id)
        self.outcomes[outcome.run_id] = outcome

    def interrupt(self) -> None:
        """Mark every job that has not ended as interrupted."""
        for job in self.jobs:
            waiting = Outcome(job.run_id, "interrupted", "not finished", exit_code=130)
            self.outcomes.setdefault(job.run_id, waiting)

    @property
    def unfinished(self) -> int:
        """Number of jobs without an outcome."""
        return len(self.jobs) - len(self.outcomes)

    def results(self) -> list[Outcome]:
        """Return the outcomes in the jobs' order."""
        return [self.outcomes[job.run_id] for job in self.jobs]

    def _status(self, run_id: str) -> str:
        if run_id in self.outcomes:
            return self.outcomes[run_id].status
        known = any(job.run_id == run_id for job in self.jobs)
        return "waiting" if known else "done"

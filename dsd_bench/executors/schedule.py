"""Which job may start next: teachers before students, a failure costs only its dependents.

Of the jobs of one curve only one is at work at a time: the next then begins with its rounds,
instead of training the same beside it.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from dsd_bench.executors import Job, Outcome
from dsd_bench.store.runs import finished


class Queue:
    """Jobs in their order, and what became of them; each is looked at once for each of its needs.

    What a job needs and what is not among the jobs counts as done.

    Args:
        jobs: in their order.
        retries: how often a job has another turn that failed for a reason that may have gone.
    """

    def __init__(self, jobs: Sequence[Job], retries: int = 0) -> None:
        self.jobs = list(jobs)
        self._turns = dict.fromkeys((job.run_id for job in self.jobs), retries)
        self.outcomes: dict[str, Outcome] = {}
        self._place = {job.run_id: place for place, job in enumerate(self.jobs)}
        self._unmet = {
            job.run_id: {need for need in job.needs if need in self._place} for job in self.jobs
        }
        self._students: dict[str, list[str]] = {}
        for run_id, needs in self._unmet.items():
            for need in needs:
                self._students.setdefault(need, []).append(run_id)
        self._curves: dict[str, str] = {}
        """The job that is at work on each curve."""
        self._behind: dict[str, list[int]] = {}
        """Places of the jobs that wait for it, by curve."""
        self._ready = [place for place, job in enumerate(self.jobs) if not self._unmet[job.run_id]]
        for job in self.jobs:
            if finished(job.path) and not job.fresh:
                self.finish(Outcome(job.run_id, "done"))

    def next(self) -> Job | None:
        """Return the first job whose needs are met, which is running then; None if there is none.

        None also while others run whose students are left, or whose curve the others share.
        """
        while self._ready:
            job = self.jobs[heapq.heappop(self._ready)]
            if job.run_id in self.outcomes:
                continue
            if job.curve and self._curves.setdefault(job.curve, job.run_id) != job.run_id:
                self._behind.setdefault(job.curve, []).append(self._place[job.run_id])
                continue
            return job
        return None

    def allow(self, retries: int) -> None:
        """Give every job at least so many turns more, from now on."""
        for run_id, left in self._turns.items():
            self._turns[run_id] = max(left, retries)

    def finish(self, outcome: Outcome) -> bool:
        """Note how a job ended; one that failed or was interrupted takes its students along.

        Returns:
            whether it has another turn instead.
        """
        self._let_go(self.jobs[self._place[outcome.run_id]])
        if outcome.transient and self._turns[outcome.run_id]:
            self._turns[outcome.run_id] -= 1
            heapq.heappush(self._ready, self._place[outcome.run_id])
            return True
        self.outcomes[outcome.run_id] = outcome
        for student in self._students.get(outcome.run_id, ()):
            if student in self.outcomes:
                continue
            if outcome.status == "done":
                self._unmet[student].discard(outcome.run_id)
                if not self._unmet[student]:
                    heapq.heappush(self._ready, self._place[student])
            else:
                error = f"its teacher {outcome.run_id} did not finish"
                code = outcome.exit_code
                self.finish(Outcome(student, outcome.status, error, exit_code=code))
        return False

    def _let_go(self, job: Job) -> None:
        """Let another job have the curve that ``job`` was at work on."""
        if self._curves.get(job.curve) == job.run_id:
            del self._curves[job.curve]
            for place in self._behind.pop(job.curve, ()):
                heapq.heappush(self._ready, place)

    def interrupt(self) -> None:
        """Mark every job that has not ended as interrupted."""
        for job in self.jobs:
            waiting = Outcome(job.run_id, "interrupted", "not finished", exit_code=130)
            self.outcomes.setdefault(job.run_id, waiting)

    @property
    def unfinished(self) -> int:
        """Number of jobs without an outcome."""
        return len(self.jobs) - len(self.outcomes)

    @property
    def abreast(self) -> int:
        """How many of the jobs without an outcome can be at work together, teachers aside."""
        left = (job for job in self.jobs if job.run_id not in self.outcomes)
        return len({job.trains for job in left})

    def results(self) -> list[Outcome]:
        """Return the outcomes in the jobs' order."""
        return [self.outcomes[job.run_id] for job in self.jobs]

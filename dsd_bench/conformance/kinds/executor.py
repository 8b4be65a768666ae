"""Checks of executors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dsd_bench.conformance.checks import Broken, Skipped, blaming, check, demand
from dsd_bench.conformance.runs import SETTINGS, finished, new_folder, results_of, small
from dsd_bench.conformance.subjects import Subject
from dsd_bench.executors import Event, Executor, Job, Outcome
from dsd_bench.executors.planning import plan, prepare_folders
from dsd_bench.store import runs as stored


def _jobs(subject: Subject, seeds: Sequence[int]) -> list[Job]:
    folder = new_folder(subject)
    planned = plan([small(seed=seed, rounds=1) for seed in seeds], folder)
    prepare_folders(planned, folder)
    return [item.job for item in planned]


def _carried_out(subject: Subject, jobs: Sequence[Job], events: list[Event]) -> list[Outcome]:
    """Let a new executor check and carry out ``jobs`` as the command line does."""
    executor: Executor = subject.make()
    if why := executor.absent():
        raise Skipped(why)
    with blaming("carrying out runs it raises"):
        try:
            if not all(stored.finished(job.path) for job in jobs):
                executor.check(jobs, [small(rounds=1)], SETTINGS, events.append)
            outcomes = executor.execute(jobs, SETTINGS, events.append)
        finally:
            executor.close()
    ids = [getattr(outcome, "run_id", None) for outcome in outcomes]
    demand(ids == [job.run_id for job in jobs], "its outcomes are not one a job, in their order")
    return outcomes


@check("executor")
def same_bytes(subject: Subject) -> None:
    """Runs that it carries out have the bytes of those in this process."""
    jobs = _jobs(subject, (0, 1))
    for outcome in _carried_out(subject, jobs, []):
        demand(outcome.status == "done", f"a run ends as {outcome.status}: {outcome.error}")
    for seed, job in enumerate(jobs):
        here, there = finished(subject, seed=seed, rounds=1), results_of(job.path)
        for name, content in results_of(here.path).items():
            demand(there.get(name) == content, f"a run that it carried out differs in {name}")


@check("executor")
def finished_runs(subject: Subject) -> None:
    """A run that is finished stays as it is and counts as done."""
    jobs = _jobs(subject, (0,))
    _carried_out(subject, jobs, [])
    before = {path: path.stat().st_mtime_ns for path in jobs[0].path.iterdir() if path.is_file()}
    [again] = _carried_out(subject, jobs, [])
    demand(again.status == "done", f"a finished run ends as {again.status}: {again.error}")
    after = {path: path.stat().st_mtime_ns for path in before}
    changed = [path.name for path in before if before[path] != after[path] and _matters(path)]
    demand(not changed, f"it writes to a finished run: {', '.join(changed)}")


def _matters(path: Path) -> bool:
    return path.name not in ("lock", "log.txt")


@check("executor")
def failures(subject: Subject) -> None:
    """A run that fails is told with its error, and costs no other one."""
    jobs = _jobs(subject, (0, 1))
    (jobs[0].path / "config.json").write_text("{}")
    bad, good = _carried_out(subject, jobs, [])
    demand(bad.status == "failed", f"a run without a configuration ends as {bad.status}")
    demand(bad.error and bad.exit_code, "a failed run has no error, or exit_code 0")
    demand(good.status == "done", f"beside a run that fails, another ends as {good.status}")


@check("executor")
def events(subject: Subject) -> None:
    """What it tells meanwhile are events of known kinds, with the ids of their runs."""
    jobs, told = _jobs(subject, (0,)), list[Event]()
    _carried_out(subject, jobs, told)
    known = {"started", "progress", "round", "finished", "failed", "note"}
    for event in told:
        kind = event.get("event")
        demand(kind in known, f"it tells the event {kind!r}; there are: {', '.join(sorted(known))}")
        right = kind == "note" or event.get("run_id") == jobs[0].run_id
        demand(right, f"the event '{kind}' has not the id of its run")


@check("executor")
def closes(subject: Subject) -> None:
    """It can be closed whatever it has begun, twice too."""
    executor: Executor = subject.make()
    try:
        executor.close()
        executor.close()
    except Exception as error:  # whatever it raises, the command would have ended by it
        raise Broken(f"closed before it has begun anything it raises {error!r}") from error

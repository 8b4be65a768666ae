"""Several workers on one GPU, by the memory that runs there were seen to take."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dsd_bench.executors import Event, Job, Settings
from dsd_bench.executors import local as module
from dsd_bench.executors.local import _Pool
from dsd_bench.executors.packing import CONTEXT, Memory, measured
from dsd_bench.executors.schedule import Queue

GB = 10**9


class Worker:
    """Stands in for a worker process."""

    def __init__(self, settings: Settings, inbox: Any) -> None:
        self.settings, self.ready, self.leaving, self.measured = settings, True, False, False
        self.job: Job | None = None
        self.jobs: list[str] = []

    def send_job(self, job: Job) -> None:
        self.jobs.append(job.run_id)

    def send(self, message: Any) -> None: ...


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Return a function that makes a pool with a first worker on GPUs."""
    monkeypatch.setattr(module, "_Worker", Worker)
    monkeypatch.setattr(module, "available_cores", lambda: 16)

    def make(runs: int = 40, gpus: int = 1, notes: list[Event] | None = None, **told: Any) -> _Pool:
        jobs = [Job(f"{number:016x}", tmp_path / str(number)) for number in range(runs)]
        settings = Settings(**told)
        found = _Pool(settings, (notes if notes is not None else []).append, Queue(jobs))
        found.open = True
        found._start(1)
        found._ready(found.workers[0], {"event": "ready", "device": "cuda:0", "count": gpus})
        return found

    return make


def tell(pool: _Pool, worker: Any, used: float, free: float) -> None:
    """Let a worker say what it saw."""
    message = {"event": "memory", "used": int(used * GB), "free": int(free * GB)}
    pool.inbox.put((worker, message))
    pool._handle(timeout=0.1)


def test_as_many_as_the_free_memory_holds() -> None:
    memory = Memory(used=2 * GB - CONTEXT, free=20 * GB)
    assert memory.each == 2 * GB
    assert [memory.more(coming) for coming in (0, 4, 9, 12)] == [9, 5, 0, 0]


def test_the_first_run_says_how_many_fit_beside_it(pool: Any) -> None:
    notes: list[Event] = []
    found = pool(notes=notes)
    assert len(found.workers) == 1
    tell(found, found.workers[0], used=3.4, free=20)
    assert len(found.workers) == 1 + 4
    assert notes[-1]["text"] == "device auto: a run takes 4.0 GB; 5 side by side"


@pytest.mark.parametrize("beside", [True, False])
def test_a_run_that_does_not_fit_beside_others_has_one_more_turn(pool: Any, beside: bool) -> None:
    notes: list[Event] = []
    found = pool(runs=2, notes=notes)
    worker = found.workers[0]
    if beside:
        tell(found, worker, used=3.4, free=20)
    short = {"event": "outcome", "status": "failed", "error": "out of memory", "transient": True}
    for _ in range(2):
        found.inbox.put((worker, {**short, "run_id": f"{0:016x}", "exit_code": 1}))
        found._handle(timeout=0.1)
    assert worker.jobs.count(f"{0:016x}") == 1 + beside
    told = [note["text"] for note in notes if "run_id" in note]
    assert told == ["out of memory; once more"] * beside
    assert found.todo.outcomes[f"{0:016x}"].error == "out of memory"


def test_workers_that_have_not_allocated_yet_are_counted(pool: Any) -> None:
    found = pool()
    tell(found, found.workers[0], used=3.4, free=20)
    tell(found, found.workers[1], used=3.4, free=16)  # three of four still to come: 3.6 - 3
    assert len(found.workers) == 5


def test_a_larger_run_starts_no_more(pool: Any) -> None:
    found = pool()
    tell(found, found.workers[0], used=3.4, free=2)
    assert len(found.workers) == 1


def test_no_more_than_cores_and_than_runs(pool: Any) -> None:
    found = pool()
    tell(found, found.workers[0], used=0.4, free=140)
    assert len(found.workers) == 16
    found = pool(runs=3)
    tell(found, found.workers[0], used=0.4, free=140)
    assert len(found.workers) == 3


def test_each_gpu_is_filled_by_what_was_seen_there(pool: Any) -> None:
    found = pool(gpus=2)
    assert [worker.settings.device for worker in found.workers] == ["cuda:0", "cuda:1"]
    tell(found, found.workers[1], used=3.4, free=9)
    devices = [worker.settings.device for worker in found.workers]
    assert devices == ["cuda:0", "cuda:1", "cuda:1", "cuda:1"]


def test_who_says_how_many_gets_as_many(pool: Any) -> None:
    found = pool(jobs=1)
    tell(found, found.workers[0], used=0.4, free=140)
    assert len(found.workers) == 1


def test_nothing_starts_once_a_stop_was_asked_for(pool: Any) -> None:
    found = pool()
    found.stop.set()
    tell(found, found.workers[0], used=0.4, free=140)
    assert len(found.workers) == 1


def test_what_is_measured_is_the_allocators_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (7, 9))
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 5)
    assert measured(torch.device("cuda:0")) == Memory(used=5, free=7)
    assert measured(torch.device("cpu")) is None


def test_a_worker_tells_it_once_a_run_when_a_round_was_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from dsd_bench.executors import packing, worker
    from dsd_bench.experiment import runner
    from dsd_bench.experiment.settings import Outcome

    def run(path: Path, settings: Settings, emit: Any, *_: Any) -> Outcome:
        for event in ("started", "progress", "round", "progress", "round"):
            emit({"event": event})
        return Outcome("0" * 16, "done")

    monkeypatch.setattr(runner, "run_folder", run)
    monkeypatch.setattr(packing, "measured", lambda device: Memory(1, 2))
    sent: list[Event] = []
    request = {"run": "x", "fresh": False, "settings": worker.settings_to(Settings(device="cpu"))}
    stop = SimpleNamespace(is_set=lambda: False)
    worker._run(request, sent.append, stop)  # type: ignore[arg-type]
    assert [event["event"] for event in sent] == [
        "started", "progress", "round", "memory", "progress", "round",
    ]  # fmt: skip
    assert sent[3] == {"event": "memory", "used": 1, "free": 2}

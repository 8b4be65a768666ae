"""What is tried again, how often, and what is not: for every engine alike, counted in folders."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dsd_bench import RunConfig
from dsd_bench.api import execute
from dsd_bench.cli.main import call
from dsd_bench.executors import Job, Outcome, Settings
from dsd_bench.executors.planning import plan, prepare_folders
from dsd_bench.executors.pulling import Pool, work
from dsd_bench.executors.remote import worker_command
from dsd_bench.executors.schedule import Queue
from dsd_bench.experiment.runner import run_folder
from dsd_bench.store import attempts, files
from dsd_bench.store.runs import failure, finished

Make = Callable[..., RunConfig]
COUNTED = Settings(retries=2)


def carried(config: RunConfig, runs_dir: Path, **settings: Any) -> Outcome:
    (done,) = execute([config], runs_dir, Settings(**settings), executor="inline")
    return done.outcome


def ends(path: Path) -> list[str | None]:
    lines = (path / attempts.ATTEMPTS).read_text().splitlines()
    return [json.loads(line).get("ended") for line in lines]


LONG = 4000
"""Epochs of a round that goes on for long enough to be killed, however busy the computer is."""


def test_local_tries_a_run_again_whose_worker_was_killed(tiny: Make, tmp_path: Path) -> None:
    config = tiny(epochs=LONG)
    killed: list[str] = []
    notes: list[str] = []

    def kill(event: dict[str, Any]) -> None:
        if event["event"] == "round" and len(killed) < 2:
            killed.append(event["run_id"])
            lock = json.loads((tmp_path / event["run_id"] / "lock").read_text())
            os.kill(lock["pid"], signal.SIGKILL)
        if event["event"] == "note":
            notes.append(event["text"])

    (done,) = execute([config], tmp_path, COUNTED, executor="local", emit=kill)
    assert done.outcome.status == "done"
    assert done.outcome.resumed_from_round is not None
    assert sum("was killed" in text and "once more" in text for text in notes) == 2
    assert ends(tmp_path / config.run_id) == [None, None, None, "done"]


def test_who_kills_its_worker_each_time_is_recorded_as_failed(tiny: Make, tmp_path: Path) -> None:
    config = tiny(epochs=LONG)
    again = []

    def kill(event: dict[str, Any]) -> None:
        if event["event"] == "started":
            again.append(event)
            lock = json.loads((tmp_path / event["run_id"] / "lock").read_text())
            os.kill(lock["pid"], signal.SIGKILL)

    (first,) = execute([config], tmp_path, COUNTED, executor="local", emit=kill)
    assert (first.outcome.status, len(again)) == ("failed", 3)
    for engine in ("inline", "local"):
        (later,) = execute([config], tmp_path, COUNTED, executor=engine)
        assert later.outcome.status == "failed"
        assert later.outcome.error == (
            "it was killed 3 times (out of memory?) (`dsd-bench retry` lets it be tried again)"
        )
    assert failure(tmp_path / config.run_id) == "it was killed 3 times (out of memory?)"
    assert Pool(tmp_path).failed == {config.run_id: "it was killed 3 times (out of memory?)"}
    assert call(["retry", str(tmp_path)]) == 0
    assert carried(config, tmp_path, retries=2).status == "done"


def test_a_failure_for_good_is_repeated_by_run_and_by_retry_only(
    tiny: Make, tmp_path: Path
) -> None:
    config = tiny(lr=1e9)
    events: list[str] = []
    assert "no longer finite" in str(carried(config, tmp_path, retries=2).error)
    (left,) = execute(
        [config], tmp_path, COUNTED, executor="inline", emit=lambda e: events.append(e["event"])
    )
    assert "(`dsd-bench retry` lets it be tried again)" in str(left.outcome.error)
    assert (events.count("failed"), "started" in events) == (1, False)
    assert "retry" not in str(carried(config, tmp_path).error)  # `dsd-bench run` means it
    assert ends(tmp_path / config.run_id) == [None, "failed"]  # and counts nothing
    assert call(["retry", str(tmp_path)]) == 0
    assert "retry" not in str(carried(config, tmp_path, retries=2).error)


def test_too_little_memory_has_so_many_more_turns(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def short(*given: Any, **named: Any) -> None:
        tries.append(1)
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("dsd_bench.experiment.runner.assemble", short)
        assert carried(tiny(), tmp_path, retries=1).status == "failed"
        assert len(tries) == 2
        assert "retry" in str(carried(tiny(), tmp_path, retries=1).error)
        assert len(tries) == 2
        assert carried(tiny(seed=1), tmp_path).status == "failed"
        assert len(tries) == 3


def test_a_queue_gives_another_turn_before_students_lose_theirs(tmp_path: Path) -> None:
    jobs = [Job("a", tmp_path / "a"), Job("b", tmp_path / "b", ("a",))]
    lost = Outcome("a", "failed", "killed", exit_code=1, transient=True)
    queue = Queue(jobs, retries=1)
    assert queue.next() is jobs[0]
    assert queue.finish(lost)
    assert (queue.next(), queue.unfinished) == (jobs[0], 2)
    assert not queue.finish(lost)
    assert (queue.next(), queue.unfinished) == (None, 0)
    assert [one.error for one in queue.results()] == ["killed", "its teacher a did not finish"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS])
def test_a_disk_that_cannot_be_written_is_no_failure_of_the_run(
    number: int, tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, other = tiny(), tiny(seed=1)
    planned = plan([config, other], tmp_path)
    prepare_folders(planned, tmp_path)
    path = tmp_path / config.run_id
    real = os.open

    def refuse(file: Any, flags: int, *more: Any, **named: Any) -> int:
        if path in Path(file).parents and "checkpoint" in Path(file).name:
            raise OSError(number, os.strerror(number), str(file))
        return real(file, flags, *more, **named)

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "open", refuse)
        pool = Pool(tmp_path)
        outcomes = work(pool, Settings(), lambda event: None, lambda: False)
    assert sorted(one.status for one in outcomes) == ["done", "failed"]
    assert "checkpoint" in pool.failed[config.run_id]
    assert failure(path) is None
    assert attempts.read_attempts(path) == attempts.Attempts(last="interrupted")
    assert Pool(tmp_path).left == 1
    assert [one.status for one in work(Pool(tmp_path), Settings(), print, lambda: False)] == [
        "done"
    ]


def test_an_attempt_whose_end_cannot_be_noted_is_taken_back(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk: else three starts on it would be three killed workers."""
    (item,) = plan([tiny()], tmp_path)
    prepare_folders([item], tmp_path)
    path = item.job.path
    attempts.begin(path)
    attempts.end(path, "transient")
    before = (path / attempts.ATTEMPTS).read_bytes()

    def full(where: Path, text: str, sync: bool = False) -> None:
        with files.explained(where):
            raise OSError(errno.ENOSPC, "full")

    def began(event: dict[str, Any]) -> None:
        if event["event"] == "started":
            monkeypatch.setattr(attempts, "append_line", full)
            monkeypatch.setattr(
                f"{run_folder.__module__}.RunFolder.save", lambda *_: full(path, "")
            )

    outcome = run_folder(path, COUNTED, began, lambda: False)
    assert (outcome.status, outcome.recorded) == ("failed", False)
    assert (path / attempts.ATTEMPTS).read_bytes() == before
    assert not finished(path)


def test_workers_elsewhere_are_told_how_often(tmp_path: Path) -> None:
    words = worker_command(tmp_path, tmp_path / "runs.txt", Settings(retries=5))
    assert words[words.index("--retries") + 1] == "5"
    assert "--retries" not in worker_command(tmp_path, tmp_path / "runs.txt", Settings())

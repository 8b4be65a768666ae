"""Workers that pull: any number of them, killed at any time, end with the rows of one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from dsd_bench import RunConfig, api
from dsd_bench.cli.main import call
from dsd_bench.cli.work import JOB_ENDS, MARGIN, _ends
from dsd_bench.executors import Settings
from dsd_bench.executors.planning import plan, prepare_folders
from dsd_bench.executors.pulling import Pool, work
from dsd_bench.experiment.runner import run_folder
from dsd_bench.store import attempts
from dsd_bench.store.locks import locked
from dsd_bench.store.runs import failure, finished, record_failure

Make = Callable[..., RunConfig]


def written(configs: Sequence[RunConfig], runs_dir: Path) -> list[str]:
    planned = plan(configs, runs_dir)
    prepare_folders(planned, runs_dir)
    return [item.job.run_id for item in planned]


def rows(runs_dir: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in runs_dir.glob("*/rounds.jsonl")}


def worker(runs_dir: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "dsd_bench", "work", str(runs_dir), *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def carry(runs_dir: Path, **options: Any) -> tuple[Pool, list[tuple[str, str]]]:
    pool, events = Pool(runs_dir, **options), list[Any]()
    outcomes = work(pool, Settings(), events.append, lambda: False)
    return pool, [(one.run_id, one.status) for one in outcomes]


def test_a_worker_does_teachers_first_and_leaves_when_all_is_done(
    tiny: Make, tmp_path: Path
) -> None:
    configs = [tiny(seed=seed, reg="kd:teacher=dense") for seed in (0, 1)]
    ids = written(configs, tmp_path / "pulled")
    pool, outcomes = carry(tmp_path / "pulled")
    assert sorted(outcomes) == sorted((run_id, "done") for run_id in ids)
    order = [run_id for run_id, _ in outcomes]
    for config in configs:
        (teacher,) = (r.teacher for r in config.regularizers if r.teacher)
        assert order.index(teacher.run_id) < order.index(config.run_id)
    assert (pool.left, pool.done, pool.failed) == (0, 4, {})
    api.execute(configs, tmp_path / "alone", Settings(), executor="inline")
    assert rows(tmp_path / "pulled") == rows(tmp_path / "alone")
    assert carry(tmp_path / "pulled")[1] == []


def test_workers_share_runs_and_one_s_death_costs_nothing(tiny: Make, tmp_path: Path) -> None:
    configs = [tiny(seed=seed, epochs=60) for seed in range(6)]
    ids = written(configs, tmp_path / "pulled")
    first = worker(tmp_path / "pulled")
    while not list((tmp_path / "pulled").glob("*/rounds.jsonl")):
        assert first.poll() is None
        time.sleep(0.02)
    second = worker(tmp_path / "pulled", "--json")
    first.kill()
    output, error = second.communicate(timeout=240)
    first.communicate()
    assert second.returncode == 0, error
    said = json.loads(output)
    assert (said["done"], said["failed"], said["left"]) == (6, 0, 0)
    api.execute(configs, tmp_path / "alone", Settings(), executor="inline")
    assert rows(tmp_path / "pulled") == rows(tmp_path / "alone")
    begun = [len((tmp_path / "pulled" / i / "attempts.jsonl").read_text().split("\n")) for i in ids]
    assert max(begun) <= 4  # two lines for each; one more where a worker was killed


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGUSR2", "SIGHUP", "SIGINT"])
def test_signals_of_clusters_mean_checkpoint_and_leave(
    name: str, tiny: Make, tmp_path: Path
) -> None:
    (run_id,) = written([tiny(epochs=4000)], tmp_path)
    process = worker(tmp_path)
    while not (tmp_path / run_id / "log.txt").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(getattr(signal, name))
    output, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert "1 left" in output
    assert (tmp_path / run_id / "checkpoint.safetensors").exists()
    assert attempts.read_attempts(tmp_path / run_id).last == "interrupted"
    assert attempts.read_attempts(tmp_path / run_id).lost == 0


def test_a_worker_that_is_attached_leaves_with_whoever_started_it(
    tiny: Make, tmp_path: Path
) -> None:
    (run_id,) = written([tiny(epochs=4000)], tmp_path)
    command = [sys.executable, "-m", "dsd_bench", "work", str(tmp_path), "--attached"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        while not (tmp_path / run_id / "log.txt").exists():
            assert process.poll() is None
            time.sleep(0.02)
        output, error = process.communicate(timeout=60)  # closes its standard input
    assert process.returncode == 130, error
    assert "1 left" in output
    assert (tmp_path / run_id / "checkpoint.safetensors").exists()


def test_a_run_whose_listener_has_gone_stops_with_a_checkpoint_and_did_not_fail(
    tiny: Make, tmp_path: Path
) -> None:
    config = tiny(rounds=2)
    [run_id] = written([config], tmp_path / "runs")
    path, told = tmp_path / "runs" / run_id, []

    def emit(event: Any) -> None:
        told.append(event["event"])
        if event["event"] == "round":
            raise BrokenPipeError(32, "Broken pipe")

    assert run_folder(path, Settings(), emit, lambda: False).status == "interrupted"
    assert told[-1] == "round"
    assert failure(path) is None
    assert run_folder(path, Settings(), lambda event: None, lambda: False).status == "done"
    api.execute([config], tmp_path / "alone", Settings(), executor="inline")
    assert rows(tmp_path / "runs") == rows(tmp_path / "alone")


def test_what_another_holds_is_left_to_it(tiny: Make, tmp_path: Path) -> None:
    ids = written([tiny(seed=seed) for seed in (0, 1)], tmp_path)
    pool = Pool(tmp_path)
    with locked(tmp_path / sorted(ids)[0] / "lock"), pool.taken() as path:
        assert path == tmp_path / sorted(ids)[1]
        with pool.taken() as third:
            assert third is None
    with pool.taken() as path:
        assert path == tmp_path / sorted(ids)[0]


def test_of_one_curve_one_run_is_taken(tiny: Make, tmp_path: Path) -> None:
    choosers = ("best", "one-se", "max-drop:0.01")
    one, *_ = written([tiny(choose=word) for word in choosers], tmp_path)
    (other,) = written([tiny(seed=1)], tmp_path)
    pool = Pool(tmp_path)
    assert (pool.left, pool.abreast) == (4, 2)
    with locked(tmp_path / one / "lock"), pool.taken() as path, pool.taken() as second:
        assert (path, second) == (tmp_path / other, None)
    told: list[dict[str, Any]] = []
    outcomes = work(pool, Settings(), told.append, lambda: False)
    assert [one.status for one in outcomes] == ["done"] * 4
    assert sum(event["event"] == "round" for event in told) == 2 * 3


def test_of_two_that_are_as_quick_one_goes_on(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = sorted(written([tiny(choose=w) for w in ("best", "one-se")], tmp_path))

    def taken_beside(other: str) -> str | None:
        """Return what is taken while another worker takes ``other``, unseen by the first look."""
        pool, looks = Pool(tmp_path), [False]
        monkeypatch.setattr(pool, "_held", lambda run_id: looks.pop() if looks else True)
        with locked(tmp_path / other / "lock"), pool.taken() as path:
            return path.name if path else None

    assert taken_beside(second) == first
    assert taken_beside(first) is None


def test_a_failed_teacher_costs_its_students_only(tiny: Make, tmp_path: Path) -> None:
    student, other = tiny(reg="kd:teacher=dense"), tiny(seed=7)
    written([student, other], tmp_path)
    (teacher,) = (r.teacher for r in student.regularizers if r.teacher)
    record_failure(tmp_path / teacher.run_id, "diverged")
    pool, outcomes = carry(tmp_path)
    assert outcomes == [(other.run_id, "done")]
    assert pool.failed == {
        teacher.run_id: "diverged",
        student.run_id: f"its teacher {teacher.run_id} did not finish",
    }


def test_a_teacher_that_is_not_there_is_told(tiny: Make, tmp_path: Path) -> None:
    student = tiny(reg="kd:teacher=dense")
    (teacher,) = (r.teacher for r in student.regularizers if r.teacher)
    written([student], tmp_path)
    (tmp_path / teacher.run_id / "config.json").unlink()
    assert Pool(tmp_path).failed == {student.run_id: f"its teacher {teacher.run_id} did not finish"}


def test_failures_for_good_are_not_repeated_and_retry_allows_it(
    tiny: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run_id,) = written([tiny(lr=1e9)], tmp_path)
    pool, outcomes = carry(tmp_path)
    assert outcomes == [(run_id, "failed")]
    assert "no longer finite" in pool.failed[run_id]
    assert carry(tmp_path)[1] == []
    assert call(["work", str(tmp_path)]) == 1
    assert "no longer finite" in capsys.readouterr().err
    assert call(["retry", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"runs": [run_id]}
    assert carry(tmp_path)[1] == [(run_id, "failed")]


def test_too_little_memory_is_tried_again_as_often_as_told(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run_id,) = written([tiny()], tmp_path)
    tries = []

    def short(*given: Any, **named: Any) -> None:
        tries.append(1)
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("dsd_bench.experiment.runner.assemble", short)
        pool, outcomes = carry(tmp_path, retries=2)
    assert outcomes == [(run_id, "failed")] * 3
    assert len(tries) == 3
    assert "out of memory" in pool.failed[run_id]
    assert not finished(tmp_path / run_id)
    assert call(["retry", str(tmp_path)]) == 0
    assert carry(tmp_path)[1] == [(run_id, "done")]


def test_a_run_that_kills_its_workers_is_given_up(tiny: Make, tmp_path: Path) -> None:
    (run_id,) = written([tiny()], tmp_path)
    for _ in range(3):
        attempts.begin(tmp_path / run_id)
    assert Pool(tmp_path, retries=2).left == 1  # somebody may be at work on it
    pool, outcomes = carry(tmp_path, retries=2)
    assert outcomes == []
    assert pool.failed == {run_id: "it was killed 3 times (out of memory?)"}
    assert failure(tmp_path / run_id) == pool.failed[run_id]


def test_half_written_attempts_are_left_out(tmp_path: Path) -> None:
    attempts.begin(tmp_path)
    attempts.end(tmp_path, "transient")
    with open(tmp_path / attempts.ATTEMPTS, "a") as file:
        file.write('{"at": 3, "ho\n\x1b[31m\n[]\n')
    attempts.begin(tmp_path)
    seen = attempts.read_attempts(tmp_path)
    assert (seen.killed, seen.transient, seen.last, seen.lost) == (1, 1, None, 2)
    (tmp_path / attempts.ATTEMPTS).write_bytes(b"\xff\xfe")
    assert attempts.read_attempts(tmp_path) == attempts.Attempts()


def test_a_damaged_run_is_told_and_the_rest_done(tiny: Make, tmp_path: Path) -> None:
    good, bad = written([tiny(seed=seed) for seed in (0, 1)], tmp_path)
    (tmp_path / bad / "config.json").write_text("{")
    pool, outcomes = carry(tmp_path)
    assert outcomes == [(good, "done")]
    assert "config.json" in pool.failed[bad]


def test_runs_that_come_while_a_worker_is_there_are_done_too(tiny: Make, tmp_path: Path) -> None:
    (first,) = written([tiny(seed=0)], tmp_path)
    pool = Pool(tmp_path)
    came: list[str] = []

    def emit(event: dict[str, Any]) -> None:
        if event["event"] == "finished" and not came:
            came.extend(written([tiny(seed=1)], tmp_path))

    outcomes = work(pool, Settings(), emit, lambda: False)
    assert [one.run_id for one in outcomes] == [first, *came]


def test_when_a_worker_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(JOB_ENDS, raising=False)
    monkeypatch.setattr("dsd_bench.cli.work.time.time", lambda: 1000.0)
    assert _ends(None) == float("inf")
    assert _ends(0.5) == 2800.0
    monkeypatch.setenv(JOB_ENDS, "2000")
    assert _ends(None) == _ends(0.5) == 2000 - MARGIN
    assert _ends(0.1) == 1360.0
    monkeypatch.setenv(JOB_ENDS, "soon")
    assert _ends(0.1) == 1360.0


def test_the_time_limit_leaves_a_checkpoint(
    tiny: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run_id,) = written([tiny(epochs=20000)], tmp_path)
    assert call(["work", str(tmp_path), "--max-hours", "0.0004"]) == 130
    assert "1 left" in capsys.readouterr().out
    assert (tmp_path / run_id / "checkpoint.safetensors").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "no such folder; `dsd-bench sweep SUITE --write` makes one"),
        ("empty", "there are no runs in it; dsd-bench sweep SUITE --write"),
        ("file", "no such folder"),
    ],
)
@pytest.mark.parametrize("command", ["work", "retry"])
def test_folders_without_runs(
    command: str,
    name: str,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    code = call([command, str(tmp_path / name)])
    said = capsys.readouterr()
    if command == "work":
        assert code == 2
        assert message in said.err
        assert len(said.err.splitlines()) == 1
    else:
        assert code == (0 if name == "empty" else 2)


def test_a_sweep_is_written_for_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mini.toml").write_text(
        'title = "Mini"\nsource = "none"\nquestion = "?"\n[scale.small]\nseeds = "0-1"\n'
        '[scale.small.options]\ndataset = "digits:train_size=100"\nrounds = 1\ndense_epochs = 2\n'
        "retrain_epochs = 2\n[scale.small.grid]\n"
        'reg = [{ label = "none" }, { label = "kd", reg = ["kd"] }]\n[table]\ncolumns = ["dense"]\n'
    )
    assert call(["sweep", "mini.toml", "--write"]) == 0
    assert "dsd-bench work runs" in capsys.readouterr().out
    assert len(list((tmp_path / "runs").glob("*/config.json"))) == 4
    assert not list((tmp_path / "runs").glob("*/rounds.jsonl"))
    assert call(["work"]) == 0
    assert len(rows(tmp_path / "runs")) == 4
    assert os.path.exists("runs")

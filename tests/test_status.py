"""``dsd-bench status``: what run folders tell of sweeps under way, wherever their workers are."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from dsd_bench import RunConfig, api
from dsd_bench.executors import Settings
from dsd_bench.executors.planning import plan, prepare_folders
from dsd_bench.reports.standing import SAMPLE, SILENT, Folder, Overview, Standing
from dsd_bench.reports.status import status_view
from dsd_bench.store import attempts
from dsd_bench.store.heads import read_head
from dsd_bench.store.locks import locked
from dsd_bench.store.runs import record_failure
from dsd_bench.store.tensors import read_tensors

Make = Callable[..., RunConfig]
Command = Callable[..., tuple[int, str, str]]


def written(configs: list[RunConfig], runs_dir: Path) -> list[str]:
    planned = plan(configs, runs_dir)
    prepare_folders(planned, runs_dir)
    return [item.job.run_id for item in planned]


def looked(runs_dir: Path, **options: Any) -> dict[str, Standing]:
    return {run.run_id: run for run in Folder(runs_dir, **options).look().runs}


def lock_of(path: Path, **changes: Any) -> None:
    """Leave a lock file as another process would."""
    with locked(path / "lock"):
        held = json.loads((path / "lock").read_bytes())
    (path / "lock").write_text(json.dumps(held | changes))


def interrupted(tiny: Make, runs_dir: Path, after: int, **options: Any) -> RunConfig:
    """Carry a run on until it has so many rows."""
    config = tiny(**options)
    written([config], runs_dir)
    met: list[Any] = []

    def emit(event: dict[str, Any]) -> None:
        met.append(event) if event["event"] == "round" else None

    from dsd_bench.experiment.runner import run_folder

    path = runs_dir / config.run_id
    run_folder(path, Settings(), emit, lambda: len(met) >= after)
    return config


def test_teachers_students_failures_and_what_is_done(tiny: Make, tmp_path: Path) -> None:
    done, kd, failed = tiny(seed=1), tiny(reg="kd:teacher=dense"), tiny(seed=2)
    orphan = tiny(seed=5, reg="kd:teacher=dense")
    api.execute([done], tmp_path, Settings(), executor="inline")
    teacher, student = written([kd], tmp_path)
    written([failed], tmp_path)
    lost, child = written([orphan], tmp_path)
    record_failure(tmp_path / failed.run_id, "diverged")
    record_failure(tmp_path / lost, "bad data")
    runs = looked(tmp_path)
    assert runs[done.run_id].state == "done"
    assert runs[done.run_id].bytes == sum(
        file.stat().st_size for file in (tmp_path / done.run_id).rglob("*") if file.is_file()
    )
    assert (runs[teacher].state, runs[student].state) == ("ready", "waiting")
    assert runs[student].needs == (teacher,)
    assert (runs[failed.run_id].state, runs[failed.run_id].error) == ("failed", "diverged")
    assert (runs[child].state, runs[child].error) == (
        "failed",
        f"its teacher {lost} did not finish",
    )
    shutil.rmtree(tmp_path / lost)
    assert looked(tmp_path)[child].error == f"its teacher {lost} is not there"
    attempts.begin(tmp_path / failed.run_id)
    attempts.end(tmp_path / failed.run_id, "transient")
    again = looked(tmp_path)[failed.run_id]
    assert (again.state, again.lost, again.error) == ("ready", 1, None)


def test_where_a_run_stands(tiny: Make, tmp_path: Path) -> None:
    config = interrupted(tiny, tmp_path, 1, rounds=3, epochs=4)
    run = looked(tmp_path)[config.run_id]
    assert (run.state, run.round, run.rounds, run.epochs) == ("ready", 1, 3, 4)
    assert run.images_per_second
    assert run.images_per_second > 0
    (line,) = (tmp_path / config.run_id / "timings.jsonl").read_text().splitlines()
    seconds = json.loads(line)["seconds"]
    # one round of four took so long; three are left
    assert run.seconds_left == pytest.approx((12 - (run.epoch or 0)) * seconds / 4)
    file = tmp_path / config.run_id / "checkpoint.safetensors"
    assert read_head(file) == read_tensors(file)[1]
    assert (read_head(file) or {})["round"] == 1


@pytest.mark.parametrize(
    "data", [b"", b"\xff" * 8, b"\x02" + b"\0" * 7 + b"[]", b"\x08\0\0\0\0\0\0\0{}"]
)
def test_a_damaged_head_tells_nothing(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    assert read_head(tmp_path / "file") is None
    assert read_head(tmp_path / "none") is None


def test_who_is_at_work_and_who_is_gone(tiny: Make, tmp_path: Path) -> None:
    names = ("mine", "gone", "far", "silent", "reused")
    ids = dict(zip(names, written([tiny(seed=seed) for seed in range(5)], tmp_path)))
    with subprocess.Popen([sys.executable, "-c", "pass"]) as process:
        process.wait()
    lock_of(tmp_path / ids["mine"])
    lock_of(tmp_path / ids["gone"], pid=process.pid, started="1")
    lock_of(tmp_path / ids["reused"], started="1")  # this process's id, but another process
    lock_of(tmp_path / ids["far"], host="node7", boot="b", pid=4711)
    lock_of(tmp_path / ids["silent"], host="node7", boot="b")
    past = time.time() - SILENT - 30
    os.utime(tmp_path / ids["silent"] / "lock", (past, past))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("lock")}
    folder = Folder(tmp_path)
    found = folder.look()
    runs = {run.run_id: run for run in found.runs}
    states = {name: runs[run_id].state for name, run_id in ids.items()}
    assert states == {
        "mine": "running", "gone": "dead", "far": "running", "silent": "dead", "reused": "dead"
    }  # fmt: skip
    assert found.workers == 2
    far, mine = runs[ids["far"]].holder, runs[ids["mine"]].holder
    assert far is not None
    assert mine is not None
    assert (far.host, far.pid, far.alive) == ("node7", 4711, None)
    assert (mine.host, mine.pid, mine.alive) == (socket.gethostname(), os.getpid(), True)
    silent = runs[ids["silent"]].silent
    assert silent is not None
    assert SILENT + 29 < silent < SILENT + 60
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("lock")} == before
    # its clock is behind, but the heartbeat changes while it is watched
    os.utime(tmp_path / ids["silent"] / "lock", (past + 10, past + 10))
    assert {run.run_id: run.state for run in folder.look().runs}[ids["silent"]] == "running"


def test_when_all_will_be_done(tiny: Make, tmp_path: Path) -> None:
    configs = [tiny(seed=seed, rounds=1, epochs=10) for seed in range(4)]
    ids = written(configs, tmp_path)
    assert Folder(tmp_path).look().seconds_left is None  # nothing tells yet
    api.execute(configs[:1], tmp_path, Settings(), executor="inline")
    lines = (tmp_path / ids[0] / "timings.jsonl").read_text().splitlines()
    took = sum(json.loads(line)["seconds"] for line in lines)
    found = Folder(tmp_path).look()
    assert found.workers == 0
    assert found.seconds_left == pytest.approx(3 * took)
    lock_of(tmp_path / ids[1])
    lock_of(tmp_path / ids[2])
    assert Folder(tmp_path).look().seconds_left == pytest.approx(1.5 * took)
    api.execute(configs, tmp_path / "all", Settings(), executor="inline")
    assert Folder(tmp_path / "all").look().seconds_left == 0.0
    assert Folder(tmp_path / "all").look().left == 0


def test_what_is_done_is_read_once_and_little_of_it(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny()
    api.execute([config], tmp_path / "one", Settings(), executor="inline")
    source = tmp_path / "one" / config.run_id
    for number in range(SAMPLE):
        path = tmp_path / "runs" / f"{number:016x}"
        path.mkdir(parents=True)
        text = (source / "result.json").read_text()
        (path / "result.json").write_text(text.replace(config.run_id, path.name))
    opened: list[str] = []
    real = os.open

    def counting(path: Any, *given: Any) -> int:
        opened.append(str(path))
        return real(path, *given)

    monkeypatch.setattr(os, "open", counting)
    folder = Folder(tmp_path / "runs")
    assert len(folder.look().of("done")) == SAMPLE
    assert len(opened) == SAMPLE
    assert len(folder.look().of("done")) == SAMPLE
    assert len(opened) == SAMPLE


def view(found: Overview, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    with console.capture() as capture:
        console.print(status_view(found, "runs", console))
    return capture.get()


def test_the_view_says_what_to_do(tiny: Make, tmp_path: Path) -> None:
    configs = [tiny(seed=seed, noise=f"symmetric:rate=0.{1 + seed}") for seed in range(4)]
    ids = written([*configs, tiny(seed=9, reg="kd:teacher=dense")], tmp_path)
    lock_of(tmp_path / ids[0])
    record_failure(tmp_path / ids[1], "diverged")
    lock_of(tmp_path / ids[2], host="node7", boot="b", pid=3)
    os.utime(tmp_path / ids[2] / "lock", (1, 1))
    (tmp_path / ids[3] / "config.json").write_text("{")
    text = view(Folder(tmp_path).look())
    assert "6 runs: 1 running, 1 ready, 1 waiting for teachers, 1 failed" in text
    assert f"process {os.getpid()}" in text
    assert "magnitude, symmetric:0.1, seed 0" in text  # tells runs of one method apart
    assert f"1 run for {ids[4][:8]} magnitude" in text
    assert "diverged" in text
    assert "process 3 on node7 has been silent for" in text
    assert "config.json" in text
    assert "dsd-bench retry runs" in text
    assert "dsd-bench work" not in text  # somebody is at work
    for width in (40, 80, 120):
        lines = view(Folder(tmp_path).look(), width).splitlines()
        assert max(map(len, lines)) <= width


def test_of_many_runs_only_some_are_told() -> None:
    runs = tuple(Standing(f"{n:016x}", "failed", 0, n, "magnitude", error="x") for n in range(40))
    text = view(Overview(runs, None, None, 0))
    assert "and 28 more" in text
    assert len(text.splitlines()) < 25


# -- the command


def test_json_and_suites(
    tiny: Make, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mini.toml").write_text(
        'title = "Mini"\nsource = "none"\nquestion = "?"\n[scale.small]\nseeds = "0-1"\n'
        '[scale.small.options]\ndataset = "digits:train_size=100"\nrounds = 1\ndense_epochs = 2\n'
        "retrain_epochs = 2\n[scale.small.grid]\n"
        'reg = [{ label = "none" }, { label = "kd", reg = ["kd"] }]\n[table]\ncolumns = ["dense"]\n'
    )
    code, out, err = command("status", "mini.toml", "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["counts"]["planned"] == 4
    assert not Path("runs").exists()
    assert command("sweep", "mini.toml", "--write")[0] == 0
    written([tiny(seed=77)], Path("runs"))
    told = json.loads(command("status", "mini.toml", "--json")[1])
    assert told["counts"] | {"ready": 2, "waiting": 2} == told["counts"]
    assert told["left"] == 4
    assert json.loads(command("status", "--json")[1])["counts"]["ready"] == 3
    only = json.loads(command("status", "mini.toml", "--only", "none", "--json")[1])
    assert len(only["runs"]) == 2
    assert command("work")[0] == 0
    code, out, _ = command("status")
    assert "runs: 5 runs: 5 done" in out
    assert "100 %" in out
    code, out, _ = command("status", "--watch", "--json")  # nothing is left: it ends
    assert code == 0
    assert json.loads(out)["left"] == 0
    assert "mini in runs: 4 runs" in command("status", "mini.toml", "--watch")[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing"], "nothing: no folder of runs, and no suite 'nothing'"),
        ([], "runs: no such folder"),
        (["here", "--only", "x"], "--only and --seeds choose cells of a suite"),
        (["here", "--runs-dir", "x"], "--runs-dir says where a suite's runs lie"),
    ],
)
def test_what_is_not_there(
    words: list[str], message: str, tmp_path: Path, command: Command, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here").mkdir()
    code, _, err = command("status", *words)
    assert code == 2
    assert message in err
    assert len(err.splitlines()) == 1


def test_damaged_newer_and_strange_folders_are_told_each(
    tiny: Make, tmp_path: Path, command: Command
) -> None:
    good, newer, half, foreign = written([tiny(seed=seed) for seed in range(4)], tmp_path / "r")
    value = json.loads((tmp_path / "r" / newer / "config.json").read_text())
    (tmp_path / "r" / newer / "config.json").write_text(json.dumps(value | {"schema": 2}))
    (tmp_path / "r" / half / "config.json").write_text('{"run_id": "\x1b[2J')
    (tmp_path / "r" / foreign / "timings.jsonl").write_text('{"round": "x"}\n')
    (tmp_path / "r" / ("0" * 16)).mkdir()
    (tmp_path / "r" / "notes").mkdir()
    code, out, err = command("status", str(tmp_path / "r"), "--json")
    assert (code, err) == (0, "")
    runs = {run["run_id"]: run for run in json.loads(out)["runs"]}
    assert runs[good]["state"] == "ready"
    assert {runs[one]["state"] for one in (newer, half, foreign, "0" * 16)} == {"damaged"}
    assert "schema 2; this version reads 1" in runs[newer]["error"]
    assert "no such file" in runs["0" * 16]["error"]
    assert "\x1b" not in command("status", str(tmp_path / "r"))[1]


def test_status_imports_no_torch(tiny: Make, tmp_path: Path) -> None:
    written([tiny(reg="kd:teacher=dense")], tmp_path)
    program = (
        "import sys\nfrom dsd_bench.cli.main import call\n"
        f"assert call(['status', {str(tmp_path)!r}]) == 0\nassert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dsd_bench import RunConfig, load_runs, run
from dsd_bench.api import Finished, execute
from dsd_bench.errors import RunError, UsageError
from dsd_bench.executors import Job, Outcome, Settings
from dsd_bench.executors.cores import CoreClaim
from dsd_bench.executors.local import Local, core_shares, slots
from dsd_bench.executors.schedule import Queue
from dsd_bench.executors.signals import STOPPING, held_back, stop_on_signals
from dsd_bench.params import Params

Make = Callable[..., RunConfig]


def job(name: str, *needs: str) -> Job:
    return Job(name, Path("nowhere") / name, needs)


def drain(queue: Queue) -> list[str]:
    started = []
    while (next_job := queue.next()) is not None:
        started.append(next_job.run_id)
    return started


def test_teachers_come_first() -> None:
    queue = Queue([job("s", "t"), job("t"), job("other")])
    assert drain(queue) == ["t", "other"]
    queue.finish(Outcome("t", "done"))
    assert drain(queue) == ["s"]


def test_a_failure_costs_only_its_dependents() -> None:
    queue = Queue([job("t"), job("s", "t"), job("s2", "s"), job("other")])
    assert drain(queue) == ["t", "other"]
    queue.finish(Outcome("t", "failed", "broken", exit_code=1))
    queue.finish(Outcome("other", "done"))
    assert drain(queue) == []
    assert [o.status for o in queue.results()] == ["failed", "failed", "failed", "done"]
    assert queue.results()[1].error == "its teacher t did not finish"


def on(curve: str, *names: str) -> list[Job]:
    return [replace(job(name), curve=curve) for name in names]


def test_of_one_curve_one_job_is_at_work() -> None:
    queue = Queue([*on("c", "a", "b", "never"), *on("d", "e"), *on("", "f", "g")], retries=1)
    assert queue.abreast == 4
    assert drain(queue) == ["a", "e", "f", "g"]
    queue.finish(Outcome("f", "done"))
    assert drain(queue) == []
    queue.finish(Outcome("a", "done"))
    assert (drain(queue), queue.abreast) == (["b"], 3)
    assert queue.finish(Outcome("b", "failed", "killed", exit_code=1, transient=True))
    assert drain(queue) == ["b"]  # it has another turn, in its place
    queue.finish(Outcome("b", "failed", "killed", exit_code=1, transient=True))
    assert drain(queue) == ["never"]  # whoever failed holds nobody up
    for name in ("never", "e", "g"):
        queue.finish(Outcome(name, "done"))
    assert [one.status for one in queue.results()] == ["done", "failed", *["done"] * 4]
    assert (queue.abreast, queue.unfinished) == (0, 0)


def test_students_wait_for_teacher_and_curve() -> None:
    students = [replace(job(name, "t"), curve="c") for name in ("s", "s2")]
    queue = Queue([*students, replace(job("t"), curve="c")])
    assert drain(queue) == ["t"]
    queue.finish(Outcome("t", "done"))
    assert drain(queue) == ["s"]
    queue.finish(Outcome("s", "done"))
    assert drain(queue) == ["s2"]


def test_a_curve_is_trained_once_side_by_side(tiny: Make, tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    choosers = ("best", "one-se", "max-drop:0.01")
    configs = [tiny(seed=seed, choose=word) for seed in (0, 1) for word in choosers]
    finished = execute(configs, tmp_path / "shared", Settings(jobs=2), emit=told.append)
    assert [one.outcome.status for one in finished] == ["done"] * 6
    rounds = [(event["run_id"], event["row"]["round"]) for event in told if "row" in event]
    firsts = (configs[0].run_id, configs[3].run_id)
    assert sorted(rounds) == sorted((run_id, at) for run_id in firsts for at in range(3))
    for config in configs:
        execute([config], tmp_path / config.run_id, Settings(), executor="inline")
        alone = tmp_path / config.run_id / config.run_id
        for name in ("rounds.jsonl", "best.safetensors"):
            there = tmp_path / "shared" / config.run_id / name
            assert there.read_bytes() == (alone / name).read_bytes(), name


def sent(number: int) -> None:
    """Send ourselves a signal, and let its handler run."""
    os.kill(os.getpid(), number)
    time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_request_to_stop_is_answered_at_once(number: int) -> None:
    told: list[dict[str, Any]] = []
    with stop_on_signals(told.append) as stop:
        assert not stop.is_set()
        sent(number)
        assert stop.is_set()
        limit = time.monotonic() + 5
        while not told and time.monotonic() < limit:
            time.sleep(0.01)
        assert told == [{"event": "note", "text": STOPPING}]
        with pytest.raises(KeyboardInterrupt):
            sent(signal.SIGINT)
    assert len(told) == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_without_a_signal_nothing_is_said() -> None:
    told: list[dict[str, Any]] = []
    before = set(threading.enumerate())
    with stop_on_signals(told.append) as stop:
        assert not stop.is_set()
        assert set(threading.enumerate()) - before
    assert told == []
    assert set(threading.enumerate()) <= before


def test_ctrl_c_of_the_terminal_does_not_reach_a_process_that_is_starting() -> None:
    """It is sent to every process of the group; one that is importing would print a traceback."""
    with held_back():
        words = [sys.executable, "-c", "print('up', flush=True); input(); print('whole')"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        child = subprocess.Popen(words, text=True, **pipes)  # type: ignore[call-overload]
    assert child.stdout.readline() == "up\n"
    child.send_signal(signal.SIGINT)
    assert child.communicate("\n") == ("whole\n", "")
    with pytest.raises(KeyboardInterrupt), held_back():
        os.kill(os.getpid(), signal.SIGINT)  # comes through afterwards


@pytest.mark.parametrize("delays", [(0.0,), (0.0, 0.05), (0.4, 0.5), (0.9, 0.95, 1.0)])
def test_ctrl_c_while_workers_start_prints_no_traceback(
    delays: tuple[float, ...], tmp_path: Path
) -> None:
    words = [sys.executable, "-m", "dsd_bench", "run", "--seeds", "0-1", "--epochs", "500"]
    process = subprocess.Popen(
        words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    while process.stdout.readline().strip():  # the header ends with an empty line
        pass
    began = time.monotonic()
    for delay in delays:
        time.sleep(max(0.0, began + delay - time.monotonic()))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode in (130, -signal.SIGINT)
    assert "Traceback" not in err
    assert "interrupted" in err


def test_ctrl_c_that_a_library_makes_an_error_of_its_own_is_still_one(tmp_path: Path) -> None:
    program = (
        "import os, signal\n"
        "from dsd_bench import api\n"
        "from dsd_bench.cli.main import main\n"
        "def swallow(*given, **named):\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    except KeyboardInterrupt as error:\n"
        "        raise ValueError('Error calling function: KeyboardInterrupt') from error\n"
        "api.check_data = swallow\n"
        "main(['run', '--seeds', '0'])\n"
    )
    words = [sys.executable, "-c", program]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_ctrl_c_while_the_last_word_is_said_prints_no_traceback(tmp_path: Path) -> None:
    program = (
        "import importlib, os, signal\n"
        "from dsd_bench import api\n"
        "main = importlib.import_module('dsd_bench.cli.main')\n"
        "def press(*given, **named):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "def say(*given, real=main.say, **named):\n"
        "    press()\n"
        "    real(*given, **named)\n"
        "api.check_data, main.say = press, say\n"
        "main.main(['run', '--seeds', '0'])\n"
    )
    words = [sys.executable, "-c", program]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (130, "interrupted")


def test_interruption_marks_what_has_not_ended() -> None:
    queue = Queue([job("a"), job("b")])
    drain(queue)
    queue.finish(Outcome("a", "done"))
    queue.interrupt()
    assert [o.status for o in queue.results()] == ["done", "interrupted"]


@pytest.mark.parametrize(
    ("runs", "cores", "expected"), [(1, 2, 1), (3, 2, 3), (4, 2, 2), (9, 4, 4)]
)
def test_slots(monkeypatch: pytest.MonkeyPatch, runs: int, cores: int, expected: int) -> None:
    monkeypatch.setattr("dsd_bench.executors.local.available_cores", lambda: cores)
    assert slots(runs, 1) == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="not on this system")
@pytest.mark.parametrize(
    ("runs", "threads", "expected"),
    [(4, 1, [{2}, {3}, {5}, {7}]), (2, 2, [{2, 3}, {5, 7}]), (3, 1, []), (5, 1, []), (1, 1, [])],
)
def test_runs_have_cores_of_their_own_if_they_take_all(
    monkeypatch: pytest.MonkeyPatch, runs: int, threads: int, expected: list[set[int]]
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {7, 2, 3, 5})
    assert core_shares(runs, threads) == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="not on this system")
def test_pinned_workers_do_not_share_cores(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pins: dict[int, set[int]] = {}
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # whatever else runs here
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    monkeypatch.setattr(os, "sched_setaffinity", pins.__setitem__)
    finished = execute([tiny(seed=seed) for seed in (0, 1)], tmp_path, Settings(jobs=2))
    assert [f.outcome.status for f in finished] == ["done", "done"]
    assert sorted(map(sorted, pins.values())) == [[0], [1]]
    assert os.getpid() not in pins


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="not on this system")
def test_a_second_command_does_not_crowd_on_the_cores_of_the_first(tmp_path: Path) -> None:
    first, second = CoreClaim(tmp_path / "cores"), CoreClaim(tmp_path / "cores")
    assert first.take({3, 4})
    assert first.take({3, 4, 5})
    assert not second.take({1, 2, 5})
    assert CoreClaim(tmp_path / "cores").take({1, 2})
    code = (
        "import sys; from pathlib import Path; from dsd_bench.executors.cores import CoreClaim\n"
        "sys.exit(CoreClaim(Path(sys.argv[1])).take({int(sys.argv[2])}))"
    )
    for core, expected in ((3, 0), (6, 1)):
        arguments = [sys.executable, "-c", code, str(tmp_path / "cores"), str(core)]
        assert subprocess.run(arguments, check=False).returncode == expected
    first.release()
    assert second.take({3, 4, 5})


def test_cores_are_not_claimed_through_a_link_or_where_nothing_can_be_written(
    tmp_path: Path,
) -> None:
    (tmp_path / "cores").mkdir()
    (tmp_path / "cores" / "0").symlink_to(tmp_path / "elsewhere")
    assert not CoreClaim(tmp_path / "cores").take({0})
    assert not (tmp_path / "elsewhere").exists()
    (tmp_path / "file").write_text("")
    assert not CoreClaim(tmp_path / "file").take({1})


def rows(finished: Finished) -> bytes:
    return (finished.planned.job.path / "rounds.jsonl").read_bytes()


def test_side_by_side_equals_one_after_another(tiny: Make, tmp_path: Path) -> None:
    configs = [tiny(seed=seed, reg="kd:teacher=dense") for seed in (0, 1)]
    inline = execute(configs, tmp_path / "a", Settings(), executor="inline")
    local = execute(configs, tmp_path / "b", Settings(jobs=3), executor="local")
    assert [f.outcome.status for f in inline + local] == ["done"] * 8
    assert [rows(f) for f in inline] == [rows(f) for f in local]
    assert len({rows(f) for f in inline}) == 4


def test_models_of_finished_runs_can_be_tried_out_too(tiny: Make, tmp_path: Path) -> None:
    config = tiny()
    [done] = execute([config], tmp_path, Settings(device="cpu"), executor="inline")
    executor = Local(Params())
    try:
        executor.check([done.planned.job], [config], Settings(device="cpu"), lambda event: None)
        [outcome] = executor.execute([done.planned.job], Settings(device="cpu"), lambda event: None)
    finally:
        executor.close()
    assert outcome.status == "done"


def test_a_killed_worker_costs_only_its_run(tiny: Make, tmp_path: Path) -> None:
    configs = [tiny(seed=seed, epochs=2000) for seed in (0, 1, 2)]
    killed: list[str] = []

    def kill_first(event: dict[str, Any]) -> None:
        if event["event"] == "round" and not killed:
            killed.append(event["run_id"])
            lock = json.loads((tmp_path / event["run_id"] / "lock").read_text())
            os.kill(lock["pid"], signal.SIGKILL)

    finished = execute(configs, tmp_path, Settings(jobs=2), emit=kill_first)
    status = {f.outcome.run_id: f.outcome.status for f in finished}
    assert sorted(status.values()) == ["done", "done", "failed"]
    assert status[killed[0]] == "failed"
    (error,) = (f.outcome.error for f in finished if f.outcome.status == "failed")
    assert error == (
        "the worker process was killed (out of memory? try fewer --jobs); the run resumes from its "
        "last checkpoint"
    )
    again = execute(configs, tmp_path, Settings(jobs=2))
    assert {f.outcome.status for f in again} == {"done"}
    resumed = {f.outcome.run_id: f.outcome.resumed_from_round for f in again}
    assert resumed[killed[0]] is not None
    alone = run(configs[[c.run_id for c in configs].index(killed[0])], runs_dir=tmp_path / "alone")
    assert (tmp_path / killed[0] / "rounds.jsonl").read_bytes() == (
        alone.path / "rounds.jsonl"
    ).read_bytes()


def test_what_libraries_say_of_memory_is_understood() -> None:
    from dsd_bench.executors.local import _cause
    from dsd_bench.training.step import out_of_memory

    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    assert out_of_memory(caught.value)
    assert not out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    rust = "memory allocation of 2314934684 bytes failed\nstack backtrace:\n 0: std::alloc"
    assert _cause(-6, rust) == ("ran out of memory: try fewer --jobs", "")
    assert _cause(-6, "assertion failed") == ("ended with exit code -6", "assertion failed")
    assert _cause(3, rust) == ("ended with exit code 3", rust)


def test_a_device_that_is_not_there_is_known_before_the_start(tiny: Make, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(UsageError, match="--device auto or cpu"):
        execute([tiny()], tmp_path, Settings(device="cuda"))


def test_run_and_load_runs_from_python(tiny: Make, tmp_path: Path) -> None:
    finished = run(tiny(), runs_dir=tmp_path)
    assert finished.result is not None
    frame = load_runs(tmp_path)
    assert list(frame["round"]) == [0, 1, 2]
    assert frame["run_id"].unique().tolist() == [finished.run_id]
    assert frame["test_accuracy"].tolist() == [r["test_accuracy"] for r in finished.rows]
    with pytest.raises(RunError, match="no longer finite"):
        run(tiny(lr=1e9), runs_dir=tmp_path)


START = "import sys; from dsd_bench.cli.main import call; sys.exit(call(sys.argv[1:]))"


@pytest.mark.parametrize(
    ("number", "stops"), [(signal.SIGKILL, 3), (signal.SIGINT, 1), (signal.SIGTERM, 1)]
)
def test_stopped_at_random_instants_it_ends_with_the_same_bytes(
    tiny: Make, tmp_path: Path, number: signal.Signals, stops: int
) -> None:
    reg = ["dropout", "augment:shift"]
    config = tiny(seed=5, rounds=3, epochs=150, reg=reg, perturber="rewind:step=2")
    whole = run(config, runs_dir=tmp_path / "whole").path
    path = tmp_path / "cut" / config.run_id
    words = [
        *("run", "--config", str(whole / "config.json"), "--json", "--executor", "inline"),
        *("--runs-dir", str(path.parent), "--checkpoint-seconds", "0.02"),
    ]
    draw = random.Random(number)
    for _ in range(stops):
        process = subprocess.Popen([sys.executable, "-c", START, *words], **QUIET)
        before = newest(path)
        while newest(path) == before and process.poll() is None:
            time.sleep(0.002)
        time.sleep(draw.random() * 0.3)
        process.send_signal(number)
        code = process.wait(60)
        if not (path / "result.json").exists():
            assert code == (-9 if number == signal.SIGKILL else 130)
    done = subprocess.run([sys.executable, "-c", START, *words], capture_output=True, check=True)
    entry = json.loads(done.stdout)["runs"][0]
    assert entry["status"] == "done"
    assert entry["reused"] or entry["resumed_from_round"] is not None
    for name in ("rounds.jsonl", "best.safetensors", "dense.safetensors"):
        assert (path / name).read_bytes() == (whole / name).read_bytes()


QUIET: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def newest(path: Path) -> float:
    """When the last checkpoint was written, 0 if there is none."""
    try:
        return (path / "checkpoint.safetensors").stat().st_mtime_ns
    except FileNotFoundError:
        return 0

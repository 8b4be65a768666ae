"""Leases: taken over from who is silent, never held by two, and what a superseded owner may do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from test_locks import Clock

from dsd_bench import RunConfig, api
from dsd_bench.errors import Locked, RunError, Superseded, Unwritable
from dsd_bench.executors import Settings
from dsd_bench.executors.local import worker_environment
from dsd_bench.executors.planning import plan, prepare_folders
from dsd_bench.executors.pulling import Pool, work
from dsd_bench.experiment.runner import run_folder
from dsd_bench.store import attempts, files, locks
from dsd_bench.store.files import write_once
from dsd_bench.store.folder import RunFolder
from dsd_bench.store.runs import finished

Make = Callable[..., RunConfig]
ELSEWHERE = {"host": "elsewhere", "boot": "b", "pid": 1, "started": "1", "fence": 4, "beat": 0}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let leases last for a fraction of a second."""
    monkeypatch.setattr(locks, "BEAT", 0.05)
    monkeypatch.setattr(locks, "PAUSE", 0.02)


def python(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


HOLD = """
import sys
from pathlib import Path
from dsd_bench.errors import Superseded
from dsd_bench.store import locks
locks._flock = {flock}
path = Path({path!r})
with locks.locked(path):
    print("held", flush=True)
    for line in sys.stdin:
        try:
            locks.confirm(path)
            print("mine", flush=True)
        except Superseded as error:
            print(error, flush=True)
"""


@pytest.fixture(params=["locks._flock", "lambda handle: False"], ids=["flock", "no flock"])
def holder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = python(HOLD.format(flock=request.param, path=str(tmp_path / "lock")))
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def ask(process: subprocess.Popen[str]) -> str:
    process.stdin.write("?\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text()))


def test_who_slept_past_its_lease_is_superseded_and_told(tmp_path, holder, quick):
    path = tmp_path / "lock"
    assert ask(holder) == "mine"
    assert read(path)["fence"] == 1
    os.kill(holder.pid, signal.SIGSTOP)
    with locks.locked(path, lambda text: None):
        assert (read(path)["pid"], read(path)["fence"]) == (os.getpid(), 2)
        os.kill(holder.pid, signal.SIGCONT)
        said = ask(holder)
        assert f"this process slept for too long, and process {os.getpid()} has taken" in said
        locks.confirm(path)
        holder.communicate()  # it leaves, and takes nothing with it
        assert read(path)["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_who_beats_is_not_superseded(tmp_path, quick):
    code = f"import dsd_bench.store.locks as l; l.BEAT = 0.01\n{HOLD}"
    path = tmp_path / "lock"
    process = python(code.format(flock="locks._flock", path=str(path)))
    try:
        assert process.stdout.readline() == "held\n"
        beats = [0]

        def waiting(text: str) -> None:
            while (beat := read(path)["beat"]) == beats[-1]:  # however slow this computer is
                assert process.poll() is None
                time.sleep(0.001)
            beats.append(beat)
            if len(beats) > 60:
                raise InterruptedError

        with pytest.raises(InterruptedError), locks.locked(path, waiting):
            pass
        assert ask(process) == "mine"
    finally:
        process.kill()
        process.communicate()


def test_the_fence_counts_on_over_many_owners(tmp_path, quick):
    path = tmp_path / "lock"
    path.write_text(json.dumps(ELSEWHERE))
    with locks.locked(path, lambda text: None):
        assert read(path)["fence"] == 5
        for bad in (None, "7", -3, 1.5):
            assert locks._fence({"fence": bad}) == 0


COUNT = """
import sys, time
from pathlib import Path
from dsd_bench.store import locks
locks._flock = lambda handle: False
locks.BEAT, locks.PAUSE = 1.0, 0.005
folder = Path(sys.argv[1])
count = folder / "count"
def waiting(text):  # the dead one is taken over soon, a slow one never
    locks.MISSED = 1 if "elsewhere" in text else 600
for _ in range(5):
    with locks.locked(folder / "lock", waiting):
        seen = int(count.read_text())
        time.sleep(0.005)
        locks.confirm(folder / "lock")
        count.write_text(str(seen + 1))
"""


def test_without_flock_never_two_hold_it_who_take_it_over_together(tmp_path):
    (tmp_path / "count").write_text("0")
    (tmp_path / "lock").write_text(json.dumps(ELSEWHERE))  # dead: all of them find out at once
    command = [sys.executable, "-c", COUNT, str(tmp_path)]
    together = [subprocess.Popen(command) for _ in range(6)]
    assert [process.wait(timeout=120) for process in together] == [0] * 6
    assert (tmp_path / "count").read_text() == "30"
    assert [path.name for path in tmp_path.iterdir()] == ["count"]


def test_who_takes_over_keeps_others_out_until_the_end(tmp_path, monkeypatch, quick):
    """The last moment: the first has looked once more, its lock is not in place yet."""
    path = tmp_path / "lock"
    path.write_text(json.dumps(ELSEWHERE))
    replace, second = os.replace, []

    def at_last(source: Path, target: Path) -> None:
        if not second:
            second.append("begun")
            handle = os.open(path, os.O_RDWR)
            watch = locks.Watch(0.02)
            watch.remember(handle)
            monkeypatch.setattr(locks, "temporary", lambda _: tmp_path / "of the second")
            second.append(locks._take_over(handle, path, watch))
            os.close(handle)
        replace(source, target)

    monkeypatch.setattr(locks.os, "replace", at_last)
    with locks.locked(path, lambda text: None):
        locks.confirm(path)
        assert second == ["begun", None]
        assert read(path)["fence"] == 5


def test_a_take_over_that_was_killed_half_way_is_cleared(tmp_path, quick, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(locks.time, "monotonic", clock.monotonic)
    monkeypatch.setattr(locks.time, "sleep", clock.sleep)
    path = tmp_path / "lock"
    path.write_text(json.dumps(ELSEWHERE))
    path.with_name("lock.taking").mkdir()
    told = []
    with locks.locked(path, told.append):
        assert read(path)["fence"] == 5
        assert not path.with_name("lock.taking").exists()
    assert len(told) >= 30  # the holder was watched for 0.3 s, then who began to take it over


def test_a_take_over_that_may_not_be_written_says_so(tmp_path, monkeypatch, quick):
    path = tmp_path / "lock"
    path.write_text(json.dumps(ELSEWHERE))
    before = len(os.listdir("/proc/self/fd"))

    def refused(*given: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refused)
    refusal = pytest.raises(Unwritable, match=r"lock: it may not be written")
    with refusal, locks.locked(path, lambda text: None):
        pass
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("when", ["beats", "leaves", "is taken over"])
def test_who_takes_over_looks_once_more(when, tmp_path, monkeypatch, quick):
    """Between the judgement that it is dead and the end of the take-over a holder may wake up."""
    path = tmp_path / "lock"
    path.write_text(json.dumps(ELSEWHERE))
    real, calls = locks._write, []

    def write(handle: int, beat: int, fence: int) -> None:
        real(handle, beat, fence)
        if not calls:
            calls.append(fence)
            if when == "beats":
                path.write_text(json.dumps({**ELSEWHERE, "beat": 1}))
            elif when == "leaves":
                path.unlink()
            else:
                other = tmp_path / "other"
                other.write_text(path.read_text())
                os.replace(other, path)

    monkeypatch.setattr(locks, "_write", write)
    if when == "leaves":
        with locks.locked(path):
            assert read(path)["fence"] == 1
    else:
        with pytest.raises(Locked), locks.locked(path):
            pass
        assert read(path)["host"] == "elsewhere"
    assert calls == [5]
    assert not list(tmp_path.glob(".*")) + list(tmp_path.glob("*.taking"))


def test_what_is_published_once(tmp_path, monkeypatch):
    path = tmp_path / "a"
    assert write_once(path, b"1")
    assert not write_once(path, b"2")
    assert path.read_bytes() == b"1"

    def no_links(*given: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(files.os, "link", no_links)
    assert not write_once(path, b"2")
    assert write_once(tmp_path / "b", b"3")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]
    assert (tmp_path / "b").read_bytes() == b"3"


# -- runs


def written(config: RunConfig, runs_dir: Path) -> Path:
    planned = plan([config], runs_dir)
    prepare_folders(planned, runs_dir)
    return planned[-1].job.path


def contents(path: Path) -> dict[str, bytes]:
    left_out = {"lock", "log.txt"}
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file() and file.name not in left_out
    }


@pytest.mark.parametrize("held", [False, True], ids=["run", "worker"])
@pytest.mark.parametrize("at", ["round", "progress"])
def test_a_superseded_owner_publishes_nothing_and_leaves(
    at: str, held: bool, tiny: Make, tmp_path: Path, plain: Any
) -> None:
    path = written(tiny(), tmp_path)
    before: list[dict[str, bytes]] = []
    notes: list[str] = []

    def emit(event: dict[str, Any]) -> None:
        if event["event"] == at and not before:
            (path / "lock").write_text(json.dumps(ELSEWHERE))
            before.append(contents(path))
        if event["event"] == "note":
            notes.append(event["text"])

    settings = Settings(checkpoint_seconds=0)
    if held:
        pool = Pool(tmp_path)
        outcomes = work(pool, settings, emit, lambda: bool(before))
        assert attempts.read_attempts(path).killed == 0  # it slept; all else is not its to write
        assert attempts.read_attempts(path).last is None
        (path / "attempts.jsonl").write_bytes(before[0]["attempts.jsonl"])
    else:
        outcomes = [run_folder(path, settings, emit, lambda: False)]
    assert [one.status for one in outcomes] == ["interrupted"]
    assert contents(path) == before[0]
    assert any("process 1 on elsewhere has taken the run over" in text for text in notes)
    assert json.loads((path / "lock").read_text()) == ELSEWHERE
    (path / "lock").unlink()
    assert run_folder(path, Settings(), print, lambda: False).status == "done"
    assert (path / "rounds.jsonl").read_bytes() == (plain.path / "rounds.jsonl").read_bytes()


def test_who_begins_a_run_while_another_one_prepares_it_disturbs_neither(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of two sweeps that start together: one is at its first run, the other still writes."""
    path, real = written(tiny(), tmp_path), os.replace
    whole = (path / "config.json").read_bytes()

    def late(source: Any, target: Any) -> None:
        RunFolder(path).tidy()
        real(source, target)

    monkeypatch.setattr(files.os, "replace", late)
    assert written(tiny(), tmp_path) == path
    assert (path / "config.json").read_bytes() == whole
    (path / "config.json").write_text("{")
    with pytest.raises(RunError, match=r"config\.json: No such file"):
        written(tiny(), tmp_path)


def test_a_run_that_another_finished_is_not_published_twice(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last look at the lease and the publication are two acts; a process may sleep between."""
    from dsd_bench.store import folder

    path = written(tiny(), tmp_path / "runs")
    other = api.run(tiny(), runs_dir=tmp_path / "other").path
    real = folder.write_once

    def slept(to: Path, data: bytes, confirm: Any) -> bool:
        to.write_bytes((other / "result.json").read_bytes())
        return real(to, data, confirm)

    monkeypatch.setattr(folder, "write_once", slept)
    outcome = run_folder(path, Settings(), lambda event: None, lambda: False)
    assert (outcome.status, "has finished the run meanwhile" in outcome.error) == (
        "interrupted",
        True,
    )
    assert (path / "result.json").read_bytes() == (other / "result.json").read_bytes()
    assert not (path / "failure.json").exists()


@pytest.mark.parametrize(
    "name",
    [
        *("provenance.jsonl", "checkpoint.safetensors", "checkpoint.previous.safetensors"),
        *("rounds.jsonl", "correct.jsonl", "timings.jsonl", "dense.safetensors"),
        *("weights/round-001.safetensors", "best.safetensors", "result.json"),
    ],
)
def test_who_falls_asleep_right_before_a_rename_puts_nothing_old_in_its_place(
    name: str, tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the last look at its lease and the rename another one takes over and goes on."""
    path = written(tiny(), tmp_path)
    slept: list[str] = []

    def asleep(real: Callable[..., None]) -> Callable[..., None]:
        def act(source: Any, target: Any) -> None:
            if Path(target) == path / name and not slept:
                slept.append(name)
                (path / "lock").write_text(json.dumps(ELSEWHERE))
                with monkeypatch.context() as elsewhere:
                    elsewhere.setattr(locks, "_HELD", set())
                    RunFolder(path).tidy()
                (path / name).write_bytes(b"newer")
            real(source, target)

        return act

    monkeypatch.setattr(files.os, "replace", asleep(os.replace))
    monkeypatch.setattr(files.os, "link", asleep(os.link))
    outcome = run_folder(path, Settings(), lambda event: None, lambda: False)
    assert slept == [name]
    assert (path / name).read_bytes() == b"newer"
    assert (outcome.status, json.loads((path / "lock").read_text())) == ("interrupted", ELSEWHERE)
    assert not list(path.rglob(".*.tmp")) + list(path.glob("failure.json"))


def test_who_is_superseded_tidies_nothing_of_the_new_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lock").write_text(json.dumps(ELSEWHERE))
    monkeypatch.setattr(locks, "_HELD", {str(tmp_path / "lock")})
    (tmp_path / ".rounds.jsonl.1-00000000.tmp").touch()
    with pytest.raises(Superseded):
        RunFolder(tmp_path).tidy()
    assert (tmp_path / ".rounds.jsonl.1-00000000.tmp").exists()


def test_who_was_superseded_was_not_killed(tmp_path: Path) -> None:
    attempts.begin(tmp_path)
    assert attempts.read_attempts(tmp_path).killed == 1
    attempts.begin(tmp_path)  # took it over
    attempts.superseded(tmp_path)  # the first one wakes up
    assert attempts.read_attempts(tmp_path) == attempts.Attempts(killed=1, last=None)
    attempts.end(tmp_path, "transient")
    assert attempts.read_attempts(tmp_path) == attempts.Attempts(transient=1, last="transient")
    attempts.superseded(tmp_path)
    assert attempts.read_attempts(tmp_path).last == "transient"


def test_a_result_that_is_none_is_replaced(tiny: Make, tmp_path: Path) -> None:
    path = written(tiny(), tmp_path)
    (path / "result.json").write_text('{"status": "done"')
    assert run_folder(path, Settings(), lambda event: None, lambda: False).status == "done"
    assert finished(path)


def test_without_hard_links_and_flock_a_run_is_the_same(
    tiny: Make, tmp_path: Path, plain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*given: object) -> None:
        raise OSError(95, "Operation not supported")

    def no_flock(*given: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(locks.fcntl, "flock", no_flock)
    run = api.run(tiny(), runs_dir=tmp_path)
    assert run.rows == plain.rows
    assert finished(run.path)


IMPATIENT = """
import os, sys
from dsd_bench.store import locks
locks.BEAT = 0.2
os.execve = None
from dsd_bench.cli.main import call
sys.exit(call(sys.argv[1:]))
"""
"""A command that waits for others for little more than a second.

It needs the environment of a worker: in another the command would begin again, patiently.
"""


def test_a_worker_that_was_stopped_is_superseded_and_goes_on_with_other_runs(
    tiny: Make, tmp_path: Path
) -> None:
    """By another process of this computer; it holds its flock all the time."""
    config = tiny(epochs=4000)
    path = written(config, tmp_path / "runs")
    words = ["work", str(tmp_path / "runs"), "--checkpoint-seconds", "0.2"]
    first = subprocess.Popen(
        [sys.executable, "-m", "dsd_bench", *words], stdout=subprocess.PIPE, text=True
    )
    while not (path / "checkpoint.safetensors").exists():
        assert first.poll() is None
        time.sleep(0.02)
    os.kill(first.pid, signal.SIGSTOP)
    second = subprocess.Popen(
        [sys.executable, "-c", IMPATIENT, *words],
        env=worker_environment(Settings()),
        stdout=subprocess.PIPE,
        text=True,
    )
    while (path / "attempts.jsonl").read_text().count('"pid"') < 2:
        assert second.poll() is None
        time.sleep(0.02)
    os.kill(first.pid, signal.SIGCONT)
    said = [process.communicate(timeout=240)[0] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), said
    assert f"process {second.pid} has taken the run over" in said[0]
    assert said[0].count("test accuracy") + said[1].count("test accuracy") >= 3
    lines = [json.loads(line) for line in (path / "attempts.jsonl").read_text().splitlines()]
    assert sorted(str(line.get("ended")) for line in lines) == ["None", "None", "done"] or sorted(
        str(line.get("ended")) for line in lines
    ) == ["None", "None", "done", "superseded"]
    alone = api.run(config, runs_dir=tmp_path / "alone").path
    assert (path / "rounds.jsonl").read_bytes() == (alone / "rounds.jsonl").read_bytes()

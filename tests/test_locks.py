"""Locks: one process a run, here and elsewhere, whatever a clock says and whatever lies there."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dsd_bench.errors import Locked, RunError, UsageError
from dsd_bench.executors.planning import clear
from dsd_bench.store import locks

ELSEWHERE = {"host": "elsewhere", "boot": "b", "pid": 1, "started": "1"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lock"


class Clock:
    """This process's own clock, moved on by sleeping; something may happen at each look."""

    def __init__(self) -> None:
        self.now, self.naps = 1000.0, 0
        self.meanwhile: Callable[[int], object] = lambda naps: None

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.naps += 1
        self.meanwhile(self.naps)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(locks.time, "monotonic", made.monotonic)
    monkeypatch.setattr(locks.time, "sleep", made.sleep)
    return made


@pytest.fixture
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process of this host that holds the lock."""
    code = (
        "import sys, time; from pathlib import Path; from dsd_bench.store.locks import locked\n"
        f"with locked(Path({str(path)!r})):\n print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def hold(path: Path, **other: Any) -> None:
    path.write_text(json.dumps({**ELSEWHERE, **other}))


def beat(path: Path) -> None:
    """Beat as a holder elsewhere does, its clock and the file's time standing still."""
    status = path.stat()
    value = json.loads(path.read_text())
    hold(path, beat=value.get("beat", 0) + 1)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def take(path: Path) -> dict[str, Any]:
    """Take the lock as soon as one may; return what it says meanwhile."""
    with locks.locked(path):
        return dict(json.loads(path.read_text()))


# -- on this host


def test_a_living_process_of_this_host_keeps_others_out(path, holder):
    with pytest.raises(Locked, match=f"process {holder.pid} is working on this run"):
        take(path)
    holder.kill()
    holder.wait()
    assert take(path)["pid"] == os.getpid()  # its owner is dead: taken over at once
    assert not path.exists()


def test_who_waits_is_told_and_gets_it(path, holder):
    told = []

    def waiting(text: str) -> None:
        told.append(text)
        holder.kill()
        holder.wait()

    with locks.locked(path, waiting):
        assert told[0] == f"{path.parent}: process {holder.pid} is working on this run"


def test_without_flock_a_process_id_alone_proves_nothing(path, monkeypatch):
    monkeypatch.setattr(locks, "_flock", lambda handle: False)
    entry = {"host": socket.gethostname(), "boot": locks._boot(), "pid": os.getppid()}
    entry["started"] = locks._started(os.getppid())
    path.write_text(json.dumps(entry))
    with pytest.raises(Locked):
        take(path)
    path.write_text(json.dumps({**entry, "started": "another process of that id"}))
    assert take(path)["pid"] == os.getpid()


def test_a_process_that_never_leaves_the_block_still_ends(path):
    code = (
        "from pathlib import Path; from dsd_bench.store.locks import locked\n"
        f"held = locked(Path({str(path)!r})); held.__enter__()"
    )
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="zombies")
def test_a_zombie_holds_nothing(path, monkeypatch):
    monkeypatch.setattr(locks, "_flock", lambda handle: False)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        entry = {"host": socket.gethostname(), "boot": locks._boot(), "pid": process.pid}
        path.write_text(json.dumps({**entry, "started": locks._started(process.pid)}))
        with pytest.raises(Locked):
            take(path)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, but not waited for
        assert take(path)["pid"] == os.getpid()


def test_the_file_has_always_the_same_length(path, monkeypatch):
    monkeypatch.setattr(locks, "BEAT", 0.01)
    sizes = set()
    with locks.locked(path):
        deadline = time.monotonic() + 20
        while json.loads(path.read_text())["beat"] < 12 and time.monotonic() < deadline:
            sizes.add(path.stat().st_size)
        assert json.loads(path.read_text())["beat"] >= 12
    assert sizes == {locks.SIZE}


def test_a_computer_that_gets_another_name_keeps_its_lock(path, monkeypatch):
    monkeypatch.setattr(locks, "BEAT", 0.01)
    with locks.locked(path):
        monkeypatch.setattr(socket, "gethostname", lambda: "renamed")
        before = json.loads(path.read_text())["beat"]
        deadline = time.monotonic() + 20
        while json.loads(path.read_text())["beat"] == before and time.monotonic() < deadline:
            time.sleep(0.01)
        assert json.loads(path.read_text())["beat"] > before
    assert not path.exists()


def test_every_beat_counts_one_more(path):
    """Another host knows a holder by its count alone, where times of files are coarse."""
    with locks.locked(path):
        assert [said["beat"] for said in beaten(path)] == [0, 1, 2, 3]


def beaten(path: Path) -> list[dict[str, Any]]:
    """Let the heart beat three times, here and now; return what the file said before each."""
    said = []

    class Stop:
        def wait(self, seconds: float) -> bool:
            assert seconds == locks.BEAT
            said.append(json.loads(path.read_text()))
            return len(said) == 4

    handle = os.open(path, os.O_RDWR)
    locks._beat(path, handle, Stop())
    os.close(handle)
    return said


def test_no_file_stays_open(path, holder):
    def lowest() -> int:
        os.close(handle := os.open(path.parent, os.O_RDONLY))
        return handle

    before = lowest()
    for _ in range(2):
        with pytest.raises(Locked):
            take(path)
        assert str(holder.pid) in locks.describe(path)
    holder.kill()
    holder.wait()
    take(path)
    path.mkdir()
    with pytest.raises(UsageError):
        take(path)
    assert locks.describe(path) == "another process"
    assert lowest() == before


# -- on another host


@pytest.mark.parametrize("age", [-86400, 0, 86400], ids=["future", "now", "old"])
def test_a_holder_elsewhere_is_dead_when_it_was_watched_long_enough(path, clock, age):
    hold(path)
    os.utime(path, (time.time() - age, time.time() - age))
    began = clock.now
    assert take(path)["pid"] == os.getpid()
    assert clock.now - began == pytest.approx(locks.BEAT * locks.MISSED, abs=1)


@pytest.mark.parametrize("age", [-86400, 0, 86400], ids=["future", "now", "old"])
def test_a_holder_elsewhere_lives_while_its_file_changes(path, clock, age):
    hold(path)
    os.utime(path, (time.time() - age, time.time() - age))
    clock.meanwhile = lambda naps: naps % 250 or beat(path)  # a beat every 50 s, by this clock
    told = []

    def waiting(text: str) -> None:
        told.append(text)
        if len(told) == 1000:
            raise InterruptedError

    with pytest.raises(InterruptedError), locks.locked(path, waiting):
        pass
    assert told[0].endswith("on elsewhere holds its lock; watching for 60 s whether it still lives")
    assert told[-1].endswith("process 1 on elsewhere is working on this run")
    assert json.loads(path.read_text())["host"] == "elsewhere"


def test_a_beat_by_the_files_time_alone_counts_too(path, clock):
    hold(path)
    clock.meanwhile = lambda naps: naps % 200 or os.utime(path, (naps, naps))
    with pytest.raises(Locked, match="process 1 on elsewhere is working on this run"):
        take(path)


def test_time_in_which_the_watcher_slept_does_not_count(path, clock):
    hold(path)

    def woken(naps: int) -> None:
        if naps == 3:
            clock.now += 3600  # this process was stopped; the holder was not watched meanwhile
        if naps == 10:
            beat(path)

    clock.meanwhile = woken
    with pytest.raises(Locked, match="on elsewhere"):
        take(path)
    assert clock.naps >= 10


def test_a_watcher_that_sleeps_between_all_its_looks_has_seen_little(path, clock):
    hold(path)
    clock.meanwhile = lambda naps: setattr(clock, "now", clock.now + 24)  # a computer on its knees
    assert take(path)["pid"] == os.getpid()
    assert clock.naps == pytest.approx(locks.BEAT * locks.MISSED, abs=1)  # a second a look


def test_a_lock_is_on_the_disk_before_it_is_held(path, monkeypatch):
    """Other hosts see a file on a network file system when it was synced."""
    synced, real = [], os.fsync

    def fsync(handle: int) -> None:
        synced.append(os.pread(handle, locks.SIZE, 0))
        real(handle)

    monkeypatch.setattr(locks.os, "fsync", fsync)
    with locks.locked(path):
        assert synced
        assert json.loads(synced[-1])["pid"] == os.getpid()


def test_a_beginning_anew_watches_too_and_says_so_once(tmp_path, path, clock):
    hold(path)
    (tmp_path / "rounds.jsonl").write_text("old")
    told: list[str] = []
    clock.meanwhile = lambda naps: naps == 20 and beat(path)
    with pytest.raises(Locked):
        clear(tmp_path, told.append)
    assert len(told) == 1
    assert "watching for 60 s" in told[0]
    assert (tmp_path / "rounds.jsonl").exists()
    clock.meanwhile = lambda naps: None
    clear(tmp_path)
    assert not (tmp_path / "rounds.jsonl").exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff" * 600, b"[" * 400])
def test_a_file_that_names_nobody_is_watched_like_one_elsewhere(path, clock, content):
    path.write_bytes(content)
    began = clock.now
    with locks.locked(path):
        assert json.loads(path.read_text())["pid"] == os.getpid()
        assert path.stat().st_size == locks.SIZE  # nothing of what lay there is left
    assert clock.now - began == pytest.approx(locks.BEAT * locks.MISSED, abs=0.5)


def test_what_a_lock_says_cannot_steer_the_terminal(path, clock):
    hold(path, host="\x1b[31mred\u202e", pid="1\r2")
    clock.meanwhile = lambda naps: naps == 1 and path.write_text(path.read_text() + " ")
    with pytest.raises(Locked) as error:
        take(path)
    assert r"process 1\r2 on \x1b[31mred\u202e is working" in str(error.value)


# -- another's lock


def test_anothers_lock_is_never_removed(path):
    with locks.locked(path):
        hold(path)  # taken over while this process slept
    assert json.loads(path.read_text()) == ELSEWHERE


def test_anothers_lock_is_never_written(path):
    with locks.locked(path):
        hold(path)
        assert beaten(path) == [ELSEWHERE] * 4


@pytest.mark.parametrize("gone", [False, True])
def test_a_lock_that_cannot_be_written_leaves_none(path, monkeypatch, gone):
    def full(*arguments: object) -> None:
        if gone:  # somebody tidied up meanwhile
            path.unlink()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(RunError, match="the disk is full"):
        take(path)
    assert not path.exists()


def test_a_holder_that_leaves_at_this_very_moment_is_no_reason_to_give_up(path, clock, monkeypatch):
    """Its file is opened, then removed by it, then locked: nobody is alive there."""
    path.write_text("")
    flock = locks._flock

    def late(handle: int) -> bool | None:
        path.unlink(missing_ok=True)
        monkeypatch.setattr(locks, "_flock", flock)
        return flock(handle)

    monkeypatch.setattr(locks, "_flock", late)
    take(path)
    assert clock.naps == 1


# -- what is no lock


def link(path: Path) -> None:
    path.symlink_to(path.parent / "target")


def dangling(path: Path) -> None:
    path.symlink_to(path.parent / "nothing")


def hard_link(path: Path) -> None:
    path.hardlink_to(path.parent / "target")


STRANGE = {
    "link": (link, "a link or special file"),
    "dangling": (dangling, "a link or special file"),
    "hard link": (hard_link, "a link or special file"),
    "folder": (Path.mkdir, "a folder"),
    "pipe": (os.mkfifo, "a link or special file"),
}


@pytest.mark.parametrize("case", STRANGE)
def test_what_is_no_lock_is_refused_in_one_line_and_left_alone(path, case):
    make, what = STRANGE[case]
    (path.parent / "target").write_text("precious")
    make(path)
    before = sorted(path.parent.iterdir())
    with pytest.raises(UsageError) as error:
        take(path)
    assert str(error.value) == (
        f"{path}: {what}, where a lock file of dsd-bench belongs; remove it"
    )
    assert (path.parent / "target").read_text() == "precious"
    assert sorted(path.parent.iterdir()) == before


def test_a_run_whose_lock_is_a_link_fails_in_one_line(tiny_run, tmp_path):
    [found] = tiny_run()["runs"]
    folder = tmp_path / found["path"]
    (tmp_path / "target").write_text("precious")
    (folder / "result.json").unlink()
    (folder / "lock").symlink_to(tmp_path / "target")
    [failed] = tiny_run(code=2)["runs"]
    assert "lock: a link or special file" in failed["error"]
    assert (tmp_path / "target").read_text() == "precious"


def test_a_missing_folder_is_said(path):
    with pytest.raises(RunError, match="No such file"):
        take(path.parent / "nowhere" / "lock")

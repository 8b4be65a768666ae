"""Rows that other processes check ahead: same verdicts, same messages, whatever becomes of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from board_runs import config, part, write_run

from dsd_bench.boards import ahead, check, files
from dsd_bench.boards.ahead import Ahead
from dsd_bench.boards.known import Known
from dsd_bench.boards.rows import submit

ROWS = 12
SOON = 60.0
"""Seconds in which a process has surely begun, on however busy a computer."""

pytestmark = pytest.mark.skipif(os.name != "posix", reason="stands in for Python by shell scripts")


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ahead")
    for number in range(ROWS):
        pruner = part("magnitude", fraction=0.1 + number / 64, scope="global")
        submit([write_run(folder / "runs", config(pruner=pruner))], folder / "boards")
    return folder / "boards"


@pytest.fixture(autouse=True)
def begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start two processes as soon as one row was not known; none is left at the end."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(ahead, "MET", 1)
    monkeypatch.setattr(ahead, "LEFT", 2)
    monkeypatch.setattr(ahead, "available_cores", lambda: 3)
    processes: list[subprocess.Popen[bytes]] = []
    start = Ahead._start

    def noted(self: Ahead, first: int, step: int) -> None:
        start(self, first, step)
        processes.append(self.processes[-1])

    monkeypatch.setattr(Ahead, "_start", noted)
    yield processes
    assert all(process.returncode is not None for process in processes)


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + SOON
    while not done():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.01)


def rows(boards: Path) -> list[Path]:
    return list(files.row_files(boards))


@pytest.fixture
def spoilt(boards: Path, tmp_path: Path) -> Path:
    """Return boards with a bad row in front, one in the middle and one at the end."""
    for path in rows(boards):
        copy = tmp_path / "spoilt" / path.relative_to(boards)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    first, middle, last = (rows(tmp_path / "spoilt")[place] for place in (0, ROWS // 2, -1))
    first.write_text(first.read_text().replace('"best_round": 3', '"best_round": 2'))
    middle.write_text(middle.read_text().replace('"nonzero": [\n    1000', '"nonzero": [\n    999'))
    middle.write_text(middle.read_text() + " ")
    last.write_text("{")
    return tmp_path / "spoilt"


def test_what_was_checked_ahead_is_not_checked_again(
    boards: Path, begun: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    learnt: set[str] = set()
    problems, learn, add = files.problems, Known.learn, check._add

    def noted(self: Known, found: str) -> None:
        learn(self, found)
        learnt.add(found)

    def later(*given: Any) -> None:
        until(lambda: not begun or len(learnt) == ROWS)  # a command never waits, so the test does
        add(*given)

    monkeypatch.setattr(files, "problems", lambda row: asked.append(1) or problems(row))
    monkeypatch.setattr(Known, "learn", noted)
    monkeypatch.setattr(check, "_add", later)
    found = check.find_rows(boards)
    assert len(begun) == 2
    assert len(asked) == 1  # the first row, after which they began
    assert [len(rows) for rows in found.rows.values()] == [ROWS]
    assert found.problems == []
    assert len(Known()._before) == ROWS  # and so is remembered what they found


@pytest.mark.parametrize("step", [1, 2, 5])
def test_the_processes_share_all_rows(
    boards: Path, step: int, capfd: pytest.CaptureFixture[str]
) -> None:
    for first in range(step):
        ahead.main([str(boards), str(first), str(step)])
    told = capfd.readouterr().out.split()
    assert len(told) == len(set(told)) == ROWS
    memory = Known()
    for line in told:
        memory.learn(line)
    assert all(path.read_text() in memory for path in rows(boards))


def test_the_last_rows_come_first(boards: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ahead.main([str(boards), "0", "1"])
    first, *_, last = capfd.readouterr().out.split()
    memory = Known()
    memory.learn(first)
    assert rows(boards)[-1].read_text() in memory
    assert rows(boards)[0].read_text() not in memory
    memory.learn(last)
    assert rows(boards)[0].read_text() in memory


def test_of_bad_and_known_rows_nothing_is_told(
    spoilt: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ahead.main([str(spoilt), "0", "1"])
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) == ROWS
    assert [place for place, line in enumerate(lines) if not line] == [0, ROWS // 2 - 1, ROWS - 1]
    check.check(spoilt)
    ahead.main([str(spoilt), "0", "1"])
    assert capfd.readouterr().out.split() == []


def test_bad_rows_are_told_alike(
    spoilt: Path, begun: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    together = check.check(spoilt)
    assert len(begun) == 2
    monkeypatch.setenv("XDG_CACHE_HOME", str(spoilt / "cache"))
    monkeypatch.setattr(ahead, "available_cores", lambda: 1)
    assert check.check(spoilt) == together
    assert len(begun) == 2
    names = [rows(spoilt)[place].name for place in (0, ROWS // 2, -1)]
    assert [name in text for name, text in zip(names, together)] == [True] * 3


@pytest.mark.parametrize("left", [0, 1])
def test_few_rows_are_checked_here(
    boards: Path,
    begun: list[subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
    left: int,
) -> None:
    """Rows that are left count after those that were not known: MET and LEFT must both be there."""
    monkeypatch.setattr(ahead, "MET", 4)
    monkeypatch.setattr(ahead, "LEFT", ROWS - 4 + left)
    assert check.find_rows(boards).problems == []
    assert len(begun) == (0 if left else 2)
    check.find_rows(boards)  # known by now
    assert len(begun) == (0 if left else 2)


FATES = {
    "dies": "exit 1",
    "is killed": "kill -9 $$",
    "hangs": "exec sleep 1000",
    "hangs and has told": "echo; echo; exec sleep 1000",
    "stops in a line": "printf abc; kill -9 $$",
    "talks at random": "head -c 100000 /dev/urandom",
    "talks without end": "exec yes",
    "shouts": "while :; do echo no >&2 || exit; done",
}


@pytest.mark.parametrize("fate", FATES)
def test_processes_that_fail_change_nothing(
    spoilt: Path,
    begun: list[subprocess.Popen[bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    fate: str,
) -> None:
    monkeypatch.setattr(ahead, "available_cores", lambda: 1)
    expected = check.check(spoilt)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    monkeypatch.setattr(ahead, "available_cores", lambda: 3)
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\n{FATES[fate]}\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    assert check.check(spoilt) == expected
    assert len(begun) == 2
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("executable", ["/no/such/python", "", None])
def test_without_an_interpreter_rows_are_checked_here(
    boards: Path, monkeypatch: pytest.MonkeyPatch, executable: str | None
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    assert check.find_rows(boards).problems == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_an_interrupted_command_leaves_no_process(
    boards: Path,
    begun: list[subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
) -> None:
    def failing(*_: object) -> None:
        raise error

    add = check._add
    monkeypatch.setattr(check, "_add", lambda *given: (failing if begun else add)(*given))
    with pytest.raises(error):
        check.find_rows(boards)
    assert [process.returncode for process in begun] == [-signal.SIGKILL] * 2


def test_a_process_ends_when_nobody_listens(boards: Path) -> None:
    """So that none outlives a command that was killed."""
    words = [sys.executable, "-P", "-m", "dsd_bench.boards.ahead", str(boards), "0", "1"]
    reading, writing = os.pipe()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    alone = subprocess.Popen(words, stdout=writing, env=environment, stderr=subprocess.PIPE)
    os.close(reading)
    os.close(writing)
    _, told = alone.communicate(timeout=SOON)
    assert b"Traceback" not in told


def test_code_of_the_working_folder_is_not_run(
    boards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of rows may come from anybody, and bring modules; a command finds its own."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    for name in ("json", "pydantic", "dsd_bench", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'w')")
    monkeypatch.chdir(tmp_path)
    learnt: list[str] = []
    monkeypatch.setattr(Known, "learn", lambda self, found: learnt.append(found))
    with Ahead(boards, Known()) as helpers:
        helpers._start(0, 1)
        until(lambda: len(learnt) == ROWS)
    assert not (tmp_path / "ran").exists()


def test_only_digests_are_learnt(boards: Path) -> None:
    text = rows(boards)[0].read_text()
    memory = Known()
    for line in ("", "x", "0" * 63, "0" * 65, "A" * 64, f"{'0' * 64}\n"):
        memory.learn(line)
    assert memory._learnt == set()
    assert text not in memory
    found = Known().add(text)
    memory.learn(found)
    assert text in memory
    assert memory.missed == 1

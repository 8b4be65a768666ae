"""Against the real libraries, offline; those that are not installed are skipped."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import RUN, Folder

Tracker = tuple[str, Callable[[Path, str], dict[str, list[int]]]]

TINY = ("run", "--seeds", "0", "--executor", "inline")

DIES = """
import os, sys
from pathlib import Path
from dsd_bench_trackers.serving import begin, show_rounds
from dsd_bench_trackers.view import read
from dsd_bench_trackers.words import parse
[(name, params)] = parse(sys.argv[1])
view = read(Path(sys.argv[2]))
show_rounds(begin(name, params, view), view.rows)
os._exit(9)
"""
"""Shows the rounds of a run, and is killed."""


def python(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


def test_a_run_that_is_killed_twice_and_resumed_shows_each_round_once(
    folder: Folder, tracker: Tracker
) -> None:
    word, read = tracker
    for rounds in (1, 3):
        folder.rounds(rounds)
        assert python("-c", DIES, word, folder.path).returncode == 9
    folder.rounds(4)
    folder.finish()
    for _ in range(1 if word.startswith("wandb") else 2):  # and again when all is there
        done = python("-m", "dsd_bench_trackers", word, folder.path)
        assert (done.returncode, done.stdout) == (0, "1 runs shown\n"), done.stderr
    found = read(folder.path.parent / "trackers", RUN)
    once = [0, 1, 2, 3]
    assert found["test_accuracy"] == found["timings/seconds"] == once
    assert found["sparsity_per_layer/1.w"] == once
    [metric] = [key for key in found if key.startswith("metrics/ece")]
    assert found[metric] == once
    assert "entropy" not in found
    assert found.get("best/test_accuracy", [1]) == [1]


def test_a_real_run_that_is_killed_with_its_sender_shows_each_round_once(
    tmp_path: Path, tracker: Tracker
) -> None:
    word, read = tracker
    command = [sys.executable, "-m", "dsd_bench", *TINY, "--rounds", "4", "--epochs", "30"]
    env = {**os.environ, "DSD_BENCH_TRACKERS": word, "OMP_NUM_THREADS": "1"}
    first = subprocess.Popen(
        command, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    path = None
    while path is None or len((path / "rounds.jsonl").read_text().splitlines()) < 2:
        assert first.poll() is None, "it ended before it could be killed"
        path = next((file.parent for file in tmp_path.glob("runs/*/rounds.jsonl")), None)
        time.sleep(0.01)
    [sender] = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
    for number in (first.pid, int(sender)):
        os.kill(number, signal.SIGKILL)
    first.wait()
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    if not word.startswith("wandb"):  # a busy computer may not have had the time to send it
        shown = python("-m", "dsd_bench_trackers", word, path)
        assert shown.returncode == 0, shown.stderr
    wait_for(lambda: 4 in read(tmp_path / "runs" / "trackers", path.name)["test_accuracy"])
    found = read(tmp_path / "runs" / "trackers", path.name)
    assert found["test_accuracy"] == [0, 1, 2, 3, 4]


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait for what another process does; what is not there yet may raise."""
    ends = time.monotonic() + 150
    while True:
        try:
            if condition():
                return
        except (AssertionError, KeyError, ValueError):
            pass
        assert time.monotonic() < ends
        time.sleep(0.2)


WITHOUT_ANSWER = """
import atexit, os, signal, sys, time
import dsd_bench_trackers.watching as watching
from dsd_bench.cli.main import call
watching.WAIT = 0.5
code = call(sys.argv[2:])
sender = watching.sender(sys.argv[1])
began = time.monotonic()
sender.close()
assert time.monotonic() - began < 5
assert sender._process.poll() is None, "nothing hangs"
os.kill(sender._process.pid, signal.SIGKILL)
sys.exit(code)
"""


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_server_that_does_not_answer_costs_a_run_nothing(tmp_path: Path, name: str) -> None:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    short = ("--rounds", "1", "--epochs", "2", "--json")
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        word = {"mlflow": f"mlflow:uri={url}", "wandb": "wandb:mode=online"}[name]
        env = {"WANDB_BASE_URL": url, "WANDB_API_KEY": "0" * 40, "DSD_BENCH_TRACKERS": word}
        words = (word, *TINY, *short, "--runs-dir", tmp_path / "with")
        tracked = python("-c", WITHOUT_ANSWER, *words, **env)
    assert tracked.returncode == 0, tracked.stderr
    alone = python("-m", "dsd_bench", *TINY, *short, "--runs-dir", tmp_path / "alone")
    [one], [other] = (json.loads(done.stdout)["runs"] for done in (tracked, alone))
    assert one["status"] == other["status"] == "done"
    for file in ("config.json", "rounds.jsonl", "correct.jsonl", "best.safetensors"):
        ours, theirs = Path(one["path"]) / file, Path(other["path"]) / file
        assert ours.read_bytes() == theirs.read_bytes()

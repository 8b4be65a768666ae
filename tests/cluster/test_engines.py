"""The same sweep on every engine: the same bytes, also when another engine finishes it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cluster.places import LONG, RUNS, Place

from dsd_bench.executors.slurm import BEGUN

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

SLURM = "slurm:debug,workers=3,time=0:30:00"
RAY = "ray:workers=2"
ENGINES = {"local": "local", "slurm": SLURM, "ray": RAY}


@pytest.fixture(autouse=True)
def needed(request: pytest.FixtureRequest, place: Place) -> None:
    """Skip what needs Ray where there is none, start Slurm for what needs it."""
    words = request.node.name
    if "ray" in words:
        pytest.importorskip("ray")
    if "slurm" in words:
        place.environment["SLURM_CONF"] = request.getfixturevalue("slurm_conf")


def until(condition: Callable[[], object], what: str, seconds: float = 120) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, f"waited {seconds} s: {what}"
        time.sleep(0.1)


def check(place: Place) -> None:
    """Compare with an undisturbed sweep in one process."""
    place.run("sweep", "suite.toml", "--executor", "inline", "--runs-dir", "alone")
    alone = place.rows("alone")
    assert len(alone) == RUNS
    assert place.rows() == alone


def slurm(place: Place, *words: str) -> str:
    """Give a command of Slurm."""
    done = subprocess.run(
        words, env=place.environment, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


def submit(place: Place) -> str:
    """Submit workers and return their job's id."""
    said = place.run("sweep", "suite.toml", "--executor", SLURM)
    assert "64 submitted" in said
    assert "3 workers" in said
    [job] = submitted(place)
    return job


def submitted(place: Place) -> set[str]:
    """Return the jobs that were submitted and not yet seen at their end."""
    (jobs,) = place.path.glob("runs/workers/*/jobs.txt")
    return {name.partition("_")[0] for name in jobs.read_text().split()}


def begun(place: Place, task: str) -> int:
    """Return how often the worker of a task has begun."""
    found = place.path.glob(f"runs/workers/*/{task}.log")  # there is none before its first start
    return sum(len(BEGUN.findall(log.read_text())) for log in found)


def states(place: Place, job: str) -> dict[str, str]:
    """Return the state of each of the job's tasks."""
    lines = slurm(place, "squeue", "-h", "-r", "-t", "all", "-o", "%i %T").splitlines()
    return dict(line.split() for line in lines if line.startswith(f"{job}_"))


@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_bytes_on_every_engine(engine: str, place: Place) -> None:
    said = place.sweep(ENGINES[engine])
    assert f"{RUNS} runs: {RUNS} done" in said
    assert place.attempts() in (0, RUNS)  # none twice; local keeps no account of them
    check(place)


PAIRS = [("local", "slurm"), ("slurm", "ray"), ("ray", "local"), ("slurm", "local")]


@pytest.mark.epochs(LONG)
@pytest.mark.parametrize(("first", "second"), PAIRS, ids=["-then-".join(pair) for pair in PAIRS])
def test_killed_in_the_middle_and_finished_by_another(
    first: str, second: str, place: Place
) -> None:
    process = place.start("sweep", "suite.toml", "--executor", ENGINES[first], "--wait")
    until(lambda: place.done() >= 8 or process.poll() is not None, "8 runs done")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    if first == "slurm":
        slurm(place, "scancel", "--full", "--signal=KILL", "--user=root")
    time.sleep(1)
    assert 8 <= place.done() < RUNS
    place.sweep(ENGINES[second])
    check(place)


@pytest.mark.epochs(LONG)
@pytest.mark.parametrize("engine", ["slurm"])
def test_a_node_is_lost(engine: str, place: Place, slurm_conf: str) -> None:
    job = submit(place)
    until(lambda: place.done() >= 4, "4 runs done")
    pid_file = Path(slurm_conf).parent / "n1.pid"
    os.kill(int(pid_file.read_text()), signal.SIGKILL)  # the node's daemon, then all of its jobs
    for name in slurm(place, "squeue", "-h", "-r", "-w", "n1", "-o", "%A").split():
        for stat in Path("/proc").glob("[0-9]*/environ"):
            try:
                mine = f"SLURM_JOB_ID={name}\0".encode() in stat.read_bytes()
            except OSError:
                continue
            if mine:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(stat.parent.name), signal.SIGKILL)
    try:
        until(lambda: place.done() == RUNS, "all done by those that are left", 240)
        check(place)
    finally:
        slurm(place, "slurmd", "-N", "n1")
        slurm(place, "scancel", job)
        until(lambda: slurm(place, "sinfo", "-h", "-o", "%D", "-t", "idle").strip() == "2", "idle")


@pytest.mark.epochs(LONG)
@pytest.mark.parametrize("engine", ["slurm"])
def test_a_job_is_preempted_and_comes_back(engine: str, place: Place) -> None:
    job = submit(place)
    until(lambda: place.done() >= 4, "4 runs done")
    slurm(place, "scontrol", "requeue", f"{job}_0")
    until(lambda: states(place, job).get(f"{job}_0") == "PENDING", "back in the queue", 60)
    # nothing is missing, so that nothing is submitted
    said = place.run("sweep", "suite.toml", "--executor", SLURM)
    assert "no more are needed" in said or f"{RUNS} done" in said
    assert submitted(place) <= {job}
    until(lambda: place.done() == RUNS, "all done", 240)
    check(place)
    until(lambda: {"RUNNING", "PENDING"}.isdisjoint(states(place, job).values()), "workers leave")


@pytest.mark.epochs(LONG)
@pytest.mark.parametrize("engine", ["slurm"])
def test_a_job_is_told_to_leave_before_its_end_and_comes_back(engine: str, place: Place) -> None:
    job = submit(place)
    until(lambda: place.done() >= 2 and begun(place, f"{job}_1"), "2 runs done, the worker begun")
    slurm(place, "scancel", "--batch", "--signal=USR1", f"{job}_1")
    until(lambda: begun(place, f"{job}_1") == 2, "a second start", 180)
    (log,) = place.path.glob(f"runs/workers/*/{job}_1.log")
    assert "stopping after this step" in log.read_text()
    until(lambda: place.done() == RUNS, "all done", 240)
    check(place)


@pytest.mark.epochs(LONG)
@pytest.mark.parametrize("engine", ["slurm"])
def test_a_cancelled_job_stays_away_and_is_replaced(engine: str, place: Place) -> None:
    job = submit(place)
    until(lambda: place.done() >= 4, "4 runs done")
    slurm(place, "scancel", job)
    until(lambda: "RUNNING" not in states(place, job).values(), "all are gone", 60)
    time.sleep(8)  # longer than a worker's last step, and than Slurm takes to requeue
    assert "PENDING" not in states(place, job).values()
    assert place.done() < RUNS
    said = place.sweep(SLURM)
    assert "3 workers" in said
    check(place)
    last = [path.read_text().splitlines()[-1] for path in place.path.glob("runs/*/attempts.jsonl")]
    assert {json.loads(line).get("ended") for line in last} == {"done"}


@pytest.mark.epochs(LONG)
@pytest.mark.parametrize("engine", ["ray"])
def test_workers_that_end_with_the_command_leave_a_checkpoint(engine: str, place: Place) -> None:
    process = place.start("sweep", "suite.toml", "--executor", ENGINES[engine])
    until(lambda: place.done() >= 4, "4 runs done")
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 130, said
    last = [path.read_text().splitlines()[-1] for path in place.path.glob("runs/*/attempts.jsonl")]
    assert {json.loads(line).get("ended") for line in last} <= {"done", "interrupted"}
    place.sweep("local")
    check(place)


@pytest.mark.parametrize("engine", ["slurm", "ray"])
def test_it_is_conformant(engine: str, place: Place) -> None:
    script = f"""
import sys
from dsd_bench.conformance.running import report
from dsd_bench.conformance.subjects import Subject
from dsd_bench.plugins import catalogue
found = report(Subject(catalogue().get("executor", {engine!r})))
for one in found.results:
    print(one)
sys.exit(not found.passed or any(one.status == "skipped" for one in found.results))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=place.path, env=place.environment, check=False,
        capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"

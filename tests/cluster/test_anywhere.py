"""Workers that no engine starts: over ssh, and on a folder whose file system has no locks."""

from __future__ import annotations

import getpass
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster.places import LONG, RUNS, Place

from dsd_bench.executors import Settings
from dsd_bench.executors.local import worker_environment

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

SSHD = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/key.pub
PidFile {folder}/pid
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
"""

WITHOUT_LOCKS = """
import fcntl, os, sys
def refused(*given, **named):
    raise OSError(95, "Operation not supported")
fcntl.flock = fcntl.lockf = os.link = os.execve = refused
from dsd_bench.cli.main import call
sys.exit(call(sys.argv[1:]))
"""
"""A ``dsd-bench`` on a file system that has neither ``flock`` nor hard links.

It needs the environment of a worker: in another the command would begin again, with both.
"""


@pytest.fixture(scope="module")
def ssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Start a server of ssh on this computer; return the command that reaches it."""
    server = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
    if server is None or shutil.which("ssh") is None:
        pytest.skip("no server of ssh here: apt-get install openssh-server")
    folder = tmp_path_factory.mktemp("ssh")
    for name in ("host", "key"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(words, check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "config").write_text(SSHD.format(port=port, folder=folder))
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where its helper may write nothing
    process = subprocess.Popen([server, "-D", "-e", "-f", folder / "config"], stderr=-3)
    command = ["ssh", "-p", str(port), "-i", str(folder / "key"), "-o", "BatchMode=yes"]
    command += ["-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={folder}/known"]
    command.append(f"{getpass.getuser()}@127.0.0.1")
    until(lambda: not subprocess.call([*command, "-n", "true"], stderr=-3), "no ssh", 20)
    yield command
    process.terminate()
    process.wait()


def until(condition: Callable[[], object], what: str, seconds: float = 120) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, f"waited {seconds} s: {what}"
        time.sleep(0.1)


def over(ssh: list[str], place: Place, *words: str) -> subprocess.Popen[str]:
    """Start ``dsd-bench`` over ssh, in the folder."""
    variables = [f"{key}={place.environment[key]}" for key in ("PYTHONPATH", "OMP_NUM_THREADS")]
    command = shlex.join(["env", *variables, sys.executable, "-m", "dsd_bench", *words])
    return subprocess.Popen(
        [*ssh, f"cd {shlex.quote(str(place.path))} && {command}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def workers(place: Place) -> dict[int, int]:
    """Return how many attempts at runs each worker began, by its process."""
    found: dict[int, int] = {}
    for path in place.path.glob("runs/*/attempts.jsonl"):
        for line in path.read_text().splitlines():
            if (number := json.loads(line).get("pid")) is not None:
                found[number] = found.get(number, 0) + 1
    return found


def check(place: Place) -> None:
    """Compare with an undisturbed sweep in one process."""
    place.run("sweep", "suite.toml", "--executor", "inline", "--runs-dir", "alone")
    alone = place.rows("alone")
    assert len(alone) == RUNS
    assert place.rows() == alone


@pytest.mark.epochs(LONG)
def test_a_worker_over_ssh_takes_part(place: Place, ssh: list[str]) -> None:
    place.run("sweep", "suite.toml", "--write")
    there = over(ssh, place, "work")
    until(lambda: place.done() >= 1, "the worker over ssh begins nothing")
    here = place.start("work")
    for process in (there, here):
        said, _ = process.communicate(timeout=280)
        assert process.returncode == 0, said
    assert len(workers(place)) == 2
    assert sum(workers(place).values()) == RUNS  # nothing twice
    check(place)


@pytest.mark.epochs(LONG)
def test_a_worker_whose_connection_is_cut_leaves_and_another_goes_on(
    place: Place, ssh: list[str]
) -> None:
    place.run("sweep", "suite.toml", "--write")
    there = over(ssh, place, "work", "--attached")
    until(lambda: place.done() >= 3, "the worker over ssh begins nothing")
    there.kill()  # the client alone: the worker notices that its standard input closes
    there.wait()
    [number] = workers(place)
    until(lambda: not Path(f"/proc/{number}").exists(), "the worker goes on without its client", 60)
    assert 3 <= place.done() < RUNS
    place.run("work")
    assert len(workers(place)) == 2
    check(place)


@pytest.mark.epochs(LONG)
def test_a_folder_without_locks_is_shared_and_a_killed_worker_taken_over(place: Place) -> None:
    place.run("sweep", "suite.toml", "--write")
    started = [
        subprocess.Popen(
            [sys.executable, "-c", WITHOUT_LOCKS, "work"],
            cwd=place.path,
            env=worker_environment(Settings()) | place.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(3)
    ]
    until(lambda: len(workers(place)) == 3 and place.done() >= 3, "not all of them begin")
    os.kill(started[0].pid, signal.SIGKILL)
    started[0].wait()
    for process in started[1:]:
        said, _ = process.communicate(timeout=280)
        assert process.returncode == 0, said
    assert place.done() == RUNS
    assert RUNS <= sum(workers(place).values()) <= RUNS + 1  # what the killed one was at
    check(place)

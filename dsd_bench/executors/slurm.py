"""Workers as tasks of Slurm's array jobs.

One task is one worker, not one run: runs last from seconds to hours, and a task that is lost,
requeued or cancelled costs no run, because another worker takes it over. What the queue knows is
asked of ``squeue`` and ``scontrol``; ``sacct`` is not needed.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

from dsd_bench.errors import DsdError, UsageError, plain
from dsd_bench.executors import Emit
from dsd_bench.executors.builtin import SlurmParams
from dsd_bench.executors.remote import Crew, RemoteExecutor, Standing
from dsd_bench.store.files import append_line, write_atomic

PATIENCE = 60.0
"""Seconds within which a command of Slurm must answer."""
NOTICE = 90
"""Seconds before the end of its time at which a job is told to leave."""
LARGEST = 1001
"""Slurm's own ``MaxArraySize``, where it does not tell."""
STANDING = {"RUNNING", "CONFIGURING", "RESIZING", "SIGNALING", "STAGE_OUT", "SUSPENDED", "STOPPED"}
QUEUED = {"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
JOBS = "jobs.txt"
"""File in a crew's folder: the tasks that were submitted and not yet seen at their end."""
BEGUN = re.compile(r"^\d\d:\d\d:\d\d \d+ runs? to do, ", re.M)
"""A worker's first line."""
SCRIPT = """#!/bin/sh
# A worker of dsd-bench for the runs that runs.txt lists. A sweep wrote this and submitted it with
#   {sbatch}
# Submit it again as you like: workers take what is not done, and never two the same run.

{command} &
worker=$!
trap 'kill -TERM "$worker" 2>/dev/null' TERM HUP USR1 USR2
wait "$worker"
code=$?
while kill -0 "$worker" 2>/dev/null; do  # a signal ends "wait" early
    wait "$worker"
    code=$?
done

# 130: it left before all was done, because it was told to: if not by scancel, it comes back
job="$SLURM_JOB_ID"
[ -z "$SLURM_ARRAY_TASK_ID" ] || job="${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID"
if [ "$code" = 130 ] && [ "$(squeue -h -j "$job" -o %T)" = RUNNING ]; then
    scontrol requeue "$job" && sleep 60
fi
exit "$code"
"""


class Slurm(RemoteExecutor):
    """Executes runs in array jobs whose tasks are workers."""

    params: SlurmParams

    @property
    def most(self) -> int:
        """How many workers to have at most."""
        return self.params.workers

    def absent(self) -> str | None:
        """Return why Slurm cannot be asked here, in its own words."""
        try:
            largest_array()
        except UsageError as error:
            return str(error)
        return None

    def start(self, crew: Crew, count: int, emit: Emit) -> None:
        """Submit arrays of ``count`` tasks together, none larger than the site allows.

        Raises:
            UsageError: if Slurm refuses, in its own words.
        """
        script, largest = crew.folder / "worker.sh", largest_array()
        left = count
        while left:
            size = min(left, max(1, largest))
            command = self._sbatch(crew, size if largest else None, script)
            text = SCRIPT.format(sbatch=shlex.join(command), command=shlex.join(crew.command))
            write_atomic(script, text.encode())
            try:
                job = ask(*command).split(";")[0].strip()
            except DsdError as error:
                already = f" ({_workers(count - left)} submitted before)"
                raise UsageError(f"{error}{already if left < count else ''}") from None
            names = [f"{job}_{index}" for index in range(size)] if largest else [job]
            append_line(crew.folder / JOBS, "\n".join(names))
            emit({"event": "note", "text": f"job {job}: {_workers(size)} ({script})"})
            left -= size

    def standing(self, crew: Crew) -> Standing:
        """Count the crew's tasks that wait or run.

        Raises:
            UsageError: if Slurm does not answer, in its own words.
        """
        tasks = _tasks(crew).values()
        running = sum(state in STANDING for state, _ in tasks)
        waiting = [why for state, why in tasks if state in QUEUED]
        reasons = ", ".join(sorted({why for why in waiting if why not in ("", "None")}))
        return Standing(running, len(waiting), plain(reasons))

    def lost(self, crew: Crew) -> list[str]:
        """Return what became of tasks that ended before their worker's first line."""
        try:
            names = (crew.folder / JOBS).read_text("utf-8").split()
            tasks = _tasks(crew)
        except (OSError, UsageError):
            return []
        stay, found = [], []
        for name in names:
            state, why = tasks.get(name, ("gone", ""))
            if state in STANDING | QUEUED | {"COMPLETING"}:
                stay.append(name)
            elif not BEGUN.search(log := _read(crew.folder / f"{name}.log")):
                found.append((name, state, why, log))
        if len(stay) < len(names):
            write_atomic(crew.folder / JOBS, "".join(f"{name}\n" for name in stay).encode())
        return [_told(*found[-1], len(found))] if found else []

    def _sbatch(self, crew: Crew, size: int | None, script: Path) -> list[str]:
        """Return the command that submits an array of ``size``, or a plain job."""
        given = self.params
        name = str(crew.folder).replace("%", "%%")
        if "\\" in name:
            raise UsageError(f"{crew.folder}: Slurm cannot write logs where a path has a backslash")
        words = {
            "job-name": job_name(crew),
            "output": f"{name}/{'%A_%a' if size else '%j'}.log",
            "open-mode": "append",
            "signal": f"B:TERM@{NOTICE}",
            "nodes": 1,
            "ntasks": 1,
            "cpus-per-task": given.cpus or crew.settings.threads,
            "partition": given.partition,
            "gres": f"gpu:{given.gpus}" if given.gpus else None,
            "mem": given.mem,
            "time": given.time,
            "array": f"0-{size - 1}" if size else None,
        }
        options = [f"--{key}={value}" for key, value in words.items() if value is not None]
        more = shlex.split(given.options)
        return ["sbatch", "--parsable", "--requeue", *options, *more, str(script)]


def largest_array() -> int:
    """Return how many tasks an array may have; 0 where arrays are switched off.

    The site's ``MaxArraySize`` is one more than the largest index; indices begin with 0 here.

    Raises:
        UsageError: if Slurm is not there or does not answer.
    """
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", ask("scontrol", "show", "config"), re.M)
    return int(found[1]) if found else LARGEST


def job_name(crew: Crew) -> str:
    """Return what Slurm calls a crew's jobs: it tells them from all others."""
    return f"dsd-bench-{crew.name}"


def ask(*command: str) -> str:
    """Return what a command of Slurm prints.

    Raises:
        UsageError: if it is not there, refuses or does not answer, in its own words.
    """
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=PATIENCE, check=False
        )
    except FileNotFoundError:
        raise UsageError(
            f"--executor slurm: no {command[0]} here; give the command where Slurm's commands are, "
            "as on a login node, or use --executor local"
        ) from None
    except subprocess.TimeoutExpired:
        raise UsageError(
            f"--executor slurm: {command[0]} did not answer in {PATIENCE:.0f} s; try again later"
        ) from None
    if done.returncode:
        lines = [line.removeprefix(f"{command[0]}: ") for line in done.stderr.splitlines()]
        said = " / ".join(filter(None, lines)) or f"exit code {done.returncode}"
        raise UsageError(f"--executor slurm: {command[0]} says: {plain(said)}")
    return done.stdout


def _tasks(crew: Crew) -> dict[str, tuple[str, str]]:
    """Return state and reason of the crew's tasks that Slurm still knows, by their names."""
    told = ask("squeue", "-h", "-r", "-t", "all", f"--name={job_name(crew)}", "-o", "%i|%T|%r")
    lines = (line.split("|", 2) for line in told.splitlines() if line.count("|") >= 2)
    return {name.strip(): (state, why.strip("() ")) for name, state, why in lines}


def _told(name: str, state: str, why: str, log: str, count: int) -> str:
    """Say what became of ``count`` tasks, of which ``name`` is the last."""
    reason = "" if why in ("", "None") else f", {why}"
    said = f"it said: {log.strip()[-500:]}" if log.strip() else "it said nothing"
    which = f"worker {name}" if count == 1 else f"{_workers(count)}, the last of them {name},"
    return plain(f"{which} ended before the first line ({state.lower()}{reason}); {said}", True)


def _workers(count: int) -> str:
    return f"{count:,} worker" + ("" if count == 1 else "s")


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError:
        return ""

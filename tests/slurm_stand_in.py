"""What stands in for Slurm's commands: tasks are processes of this computer, or only noted.

``install`` makes a folder with ``sbatch``, ``squeue`` and ``scontrol``. They keep a file for each
task in ``tasks/``: its state, its reason, and the process that runs it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any


def install(folder: Path, **settings: Any) -> Path:
    """Make the commands in ``folder``; ``settings`` are what :func:`set_up` takes."""
    bin_folder = folder / "bin"
    bin_folder.mkdir(parents=True)
    (folder / "tasks").mkdir()
    for name in ("sbatch", "squeue", "scontrol"):
        path = bin_folder / name
        path.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {folder} {name} "$@"\n')
        path.chmod(0o755)
    set_up(folder, **settings)
    return bin_folder


def set_up(folder: Path, **settings: Any) -> None:
    """Choose how it behaves.

    ``largest`` is MaxArraySize, ``starts`` whether tasks run, ``refuses`` what sbatch says, from
    the ``refuses_after``-th submission on, ``down`` whether nothing answers.
    """
    path = folder / "settings.json"
    before = json.loads(path.read_text()) if path.exists() else {"largest": 1001}
    path.write_text(json.dumps(before | settings))


def submitted(folder: Path) -> list[list[str]]:
    """Return the options of every call of sbatch."""
    path = folder / "calls.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def tasks(folder: Path) -> dict[str, dict[str, Any]]:
    """Return every task by its name."""
    return {path.stem: json.loads(path.read_text()) for path in (folder / "tasks").iterdir()}


def change(folder: Path, name: str, **values: Any) -> None:
    """Change what is known of a task."""
    path = folder / "tasks" / f"{name}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def state(task: dict[str, Any]) -> str:
    """Return the state of a task; that of a process is looked up."""
    if "pid" not in task:
        return str(task["state"])
    try:
        ended = Path(f"/proc/{task['pid']}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        ended = True
    return "COMPLETED" if ended else "RUNNING"


def kill(folder: Path) -> None:
    """End every task's process."""
    for task in tasks(folder).values():
        if "pid" in task and state(task) == "RUNNING":
            with contextlib.suppress(ProcessLookupError):  # it may have ended since
                os.killpg(task["pid"], signal.SIGKILL)


def main(folder: Path, command: str, words: list[str]) -> None:
    """Behave as ``command`` does."""
    settings = json.loads((folder / "settings.json").read_text())
    if settings.get("down"):
        sys.exit("slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
    if command == "scontrol":
        print(f"Configuration data\nMaxArraySize            = {settings['largest']}")
    elif command == "squeue":
        wanted = next(word.partition("=")[2] for word in words if word.startswith("--name="))
        for name, task in sorted(tasks(folder).items()):
            if task["job_name"] == wanted:
                print(f"{name}|{state(task)}|{task.get('why', 'None')}")
    else:
        _submit(folder, words, settings)


def _submit(folder: Path, words: list[str], settings: dict[str, Any]) -> None:
    calls = submitted(folder)
    if settings.get("refuses") and len(calls) >= settings.get("refuses_after", 0):
        sys.exit(settings["refuses"])
    with open(folder / "calls.jsonl", "a") as file:
        file.write(json.dumps(words) + "\n")
    given = dict(word[2:].partition("=")[::2] for word in words if word.startswith("--"))
    job = 100 + len(calls)
    indices = range(int(given["array"].partition("-")[2]) + 1) if "array" in given else [None]
    for index in indices:
        name = str(job) if index is None else f"{job}_{index}"
        task: dict[str, Any] = {
            "job_name": given["job-name"],
            "state": "PENDING",
            "why": "Resources",
        }
        if settings.get("starts"):
            log = given["output"].replace("%A", str(job)).replace("%a", str(index))
            with open(log.replace("%%", "%"), "ab") as output:
                process = subprocess.Popen(
                    ["/bin/sh", words[-1]], stdout=output, stderr=output, start_new_session=True
                )
            task |= {"pid": process.pid, "why": "None"}
        (folder / "tasks" / f"{name}.json").write_text(json.dumps(task))
    print(f"{job};cluster")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])

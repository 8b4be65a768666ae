"""Whole runs with a component, on the embedded digits: small ones, a fraction of a second each."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dsd_bench import api
from dsd_bench.config.resolve import configure
from dsd_bench.config.run import RunConfig
from dsd_bench.conformance.checks import Broken, check, demand
from dsd_bench.conformance.subjects import Subject
from dsd_bench.errors import UsageError
from dsd_bench.executors import Outcome, Settings
from dsd_bench.executors.planning import Planned, plan, prepare_folders
from dsd_bench.store.runs import StoredRun, load_run

SMALL: dict[str, Any] = {
    "dataset": "digits:train_size=60,val_size=30",
    "model": "mlp:hidden=8",
    "batch_size": 20,
    "rounds": 2,
    "epochs": 2,
}
"""Options of a run of three rounds, of six steps each."""

SETTINGS = Settings(device="cpu", threads=1, wait=True)
"""On one thread of a CPU, to the end."""

KILLED_AT, KILLED_EARLY = 9, 3
"""The step, counted from the run's begin, in which a run is killed: in round 1, within an epoch; of
a run that has one round only, in that."""

ASKED, PATIENCE, FEWEST = 21, 20.0, 4
"""How often a small run asks whether to stop; what all its interruptions may add, in seconds; how
many there are at least."""

ATTEMPTS = 500
"""Interruptions after which a run should have come to its end."""


def small(**options: Any) -> RunConfig:
    """Return the configuration of a small run with ``options``.

    Raises:
        Broken: if it is refused.
    """
    try:
        return configure(**{**SMALL, **options})
    except UsageError as error:
        raise Broken(f"a run with it is refused: {error}") from error


def finished(subject: Subject, **options: Any) -> StoredRun:
    """Return the finished small run with ``options``; made once for all checks of ``subject``.

    Raises:
        Broken: if it does not come to its end.
    """
    key = json.dumps(options, sort_keys=True)
    if key not in subject.memory:
        subject.memory[key] = _carried_out(subject, small(**options))
    found: StoredRun = subject.memory[key]
    return found


def _carried_out(subject: Subject, config: RunConfig) -> StoredRun:
    folder = new_folder(subject)
    try:
        done = api.execute([config], folder, SETTINGS, executor="inline")
    except UsageError as error:
        raise Broken(f"a run with it is refused: {error}") from error
    for item in done:
        _demand_done(item.outcome)
    return load_run(folder / config.run_id)


def new_folder(subject: Subject) -> Path:
    """Return a new folder that lives as long as ``subject``'s memory."""
    held = tempfile.TemporaryDirectory(prefix="dsd-bench-")
    subject.memory.setdefault("folders", []).append(held)
    return Path(held.name)


def _demand_done(outcome: Outcome) -> None:
    demand(outcome.status == "done", f"a run with it ends as {outcome.status}: {outcome.error}")


def whole_runs(kind: str, options: Callable[[Subject], dict[str, Any]]) -> None:
    """Add the checks of small runs with a component of ``kind``; ``options`` chooses it."""

    @check(kind)
    def resumes(subject: Subject) -> None:
        """A run with it, stopped after every step and taken up again, has the same bytes."""
        _resumes(subject, **with_beside(subject, options(subject)))

    @check(kind)
    def survives_kill(subject: Subject) -> None:
        """A run with it that is killed goes on in another process and has the same bytes."""
        _survives_kill(subject, **with_beside(subject, options(subject)))


def with_beside(subject: Subject, options: dict[str, Any]) -> dict[str, Any]:
    """Return ``options`` and those that runs with the component need; lists are joined."""
    chosen = dict(subject.beside)
    for name, value in options.items():
        chosen[name] = [*chosen.get(name, []), *value] if isinstance(value, list) else value
    return chosen


def _resumes(subject: Subject, **options: Any) -> None:
    """Stop the run of ``options`` after each of its steps and rounds; compare its files.

    What takes long is stopped less often.
    """
    whole = finished(subject, **options)
    path = _begun(subject, small(**options), whole)
    stops = max(FEWEST, int(PATIENCE / _seconds(whole)))
    for _ in range(ATTEMPTS):
        outcome = _carry(path, _Every(-(-ASKED // stops)))
        if outcome.status != "interrupted":
            break
    _demand_done(outcome)
    _compare(whole.path, path, "stopped after every step and taken up again")


class _Every:
    """Says to stop at every ``count``-th time it is asked."""

    def __init__(self, count: int) -> None:
        self.count, self.asked = count, 0

    def __call__(self) -> bool:
        self.asked += 1
        return self.asked % self.count == 0


def _seconds(whole: StoredRun) -> float:
    """Return what the trainings of a run took."""
    lines = (whole.path / "timings.jsonl").read_text("utf-8").splitlines()
    return float(sum(json.loads(line)["seconds"] for line in lines)) + 1e-3


def _survives_kill(subject: Subject, **options: Any) -> None:
    """Kill the run of ``options`` in another process, go on in this one; compare its files."""
    whole = finished(subject, **options)
    path = _begun(subject, small(**options), whole)
    step = KILLED_AT if len(whole.rows) > 1 else KILLED_EARLY
    killed = _in_a_process_that_dies(subject, path, step)
    if killed.returncode != -signal.SIGKILL:
        reason = killed.stderr.strip()[-300:] or f"it ended with {killed.returncode}"
        raise Broken(f"a run of it in another process fails: {reason}")
    _demand_done(_carry(path, lambda: False))
    _compare(whole.path, path, "killed and gone on with in another process")


def _begun(subject: Subject, config: RunConfig, whole: StoredRun) -> Path:
    """Return the new folder of a run that has not begun; its teachers are finished."""
    folder = new_folder(subject)
    for other in whole.path.parent.iterdir():
        if other.is_dir() and other.name != config.run_id:
            shutil.copytree(other, folder / other.name)
    planned: list[Planned] = plan([config], folder)
    prepare_folders(planned, folder)
    return folder / config.run_id


def _carry(path: Path, stopping: Callable[[], bool]) -> Outcome:
    from dsd_bench.experiment.assemble import forget_data
    from dsd_bench.experiment.runner import run_folder

    forget_data()  # as a new process would
    return run_folder(path, SETTINGS, lambda event: None, stopping)


_DYING = """
import importlib, json, os, signal, sys
from pathlib import Path
name, module, path, last = json.loads(sys.argv[1])
from dsd_bench.plugins import catalogue
if module is not None:
    catalogue().add(importlib.import_module(module), name)
from dataclasses import replace
from dsd_bench.conformance.runs import SETTINGS
from dsd_bench.experiment.runner import run_folder
settings = replace(SETTINGS, checkpoint_seconds=0.0)  # after every step
steps = 0
def stopping():
    global steps
    steps += 1
    if steps == last:
        os.kill(os.getpid(), signal.SIGKILL)
    return False
outcome = run_folder(Path(path), settings, lambda event: None, stopping)
sys.exit(outcome.error or "it came to its end before it could be killed")
"""


def _in_a_process_that_dies(
    subject: Subject, path: Path, step: int
) -> subprocess.CompletedProcess[str]:
    request = json.dumps([subject.entry.distribution, subject.module, str(path), step])
    return subprocess.run(
        [sys.executable, "-c", _DYING, request],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def results_of(path: Path) -> dict[str, bytes]:
    """Return the contents of the files that are a run's result, by name."""
    texts = ("config.json", "rounds.jsonl", "correct.jsonl")
    named = [path / name for name in (*texts, "dense.safetensors", "best.safetensors")]
    files = [file for file in named if file.is_file()]
    files += [*path.glob("metrics/*"), *path.glob("weights/*")]
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(files)}


def _compare(whole: Path, other: Path, how: str) -> None:
    ours, theirs = results_of(whole), results_of(other)
    for name in (*ours, *theirs):
        if ours.get(name) != theirs.get(name):
            raise Broken(f"a run that was {how} differs in {name}{_where(ours, theirs, name)}")


def _where(ours: dict[str, bytes], theirs: dict[str, bytes], name: str) -> str:
    """Say which line of a text is the first to differ."""
    if not name.endswith(".jsonl") or name not in ours or name not in theirs:
        return ""
    pairs = zip(ours[name].splitlines(), theirs[name].splitlines())
    first = next((i for i, (one, other) in enumerate(pairs) if one != other), None)
    return "" if first is None else f", round {first}"

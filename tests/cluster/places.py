"""A suite of many small runs, and a folder in which commands carry it out."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
SUITE = """
title = "Sixty-four small runs, half of them teachers"
source = "none"
question = "?"
[scale.small]
seeds = "0-15"
[scale.small.options]
dataset = "digits:train_size=60,val_size=30"
model = "mlp:hidden=8"
rounds = 2
epochs = {epochs}
[scale.small.grid]
pruner = ["magnitude", "random"]
reg = [{{ label = "none" }}, {{ label = "kd", reg = ["kd"] }}]
[table]
columns = ["dense"]
"""
RUNS = 64
LONG = 300
"""Epochs with which all runs take two cores some ten seconds, on however quick a disk."""


@dataclass
class Place:
    """A folder with a suite, and the command in it."""

    path: Path
    environment: dict[str, str]

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start ``dsd-bench`` in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "dsd_bench", *words],
            cwd=self.path,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *words: str, seconds: float = 280) -> str:
        """Give a command, which must succeed; return what it says."""
        process = self.start(*words)
        try:
            said, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        assert process.returncode == 0, said
        return said

    def sweep(self, executor: str, *words: str) -> str:
        """Carry the suite out with ``executor``, to the end."""
        return self.run("sweep", "suite.toml", "--executor", executor, "--wait", *words)

    def rows(self, runs: str = "runs") -> dict[str, bytes]:
        """Return every run's rows."""
        found = self.path.joinpath(runs).glob("*/rounds.jsonl")
        return {path.parent.name: path.read_bytes() for path in found}

    def done(self) -> int:
        """Return how many runs are finished."""
        return len(list(self.path.glob("runs/*/result.json")))

    def attempts(self) -> int:
        """Return how many attempts at runs began."""
        found = self.path.glob("runs/*/attempts.jsonl")
        return sum(path.read_text().count('"pid"') for path in found)

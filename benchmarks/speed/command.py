"""The command line: from the command to the first step, a round's overhead, a whole run."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dsd_bench.store.reading import read_rows


@dataclass(frozen=True)
class Command:
    """One run of the command line, in seconds.

    Attributes:
        whole: from the command to its end.
        start: from the command to the first step, imports for the most part.
        training: all trainings, divided by how many ran at once.
        per_round: what a round takes beside its training, the mean.
    """

    whole: float
    start: float
    training: float
    per_round: float

    @property
    def other(self) -> float:
        """Share of the whole that is neither training nor start."""
        return 1 - (self.start + self.training) / self.whole


def measure(words: list[str], device: str) -> Command:
    """Run ``dsd-bench run`` with ``words`` in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        words = [*words, "--device", device, "--runs-dir", folder, "--json"]
        command = [sys.executable, "-m", "dsd_bench", "run", *words]
        start = time.time()
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            began = _beginnings(Path(folder), process)
            output = process.communicate()[0]
        whole = time.time() - start
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} failed: {output.decode(errors='replace')}")
        trained, beside, spans = [], [], []
        for path in (Path(run["path"]) for run in json.loads(output)["runs"]):
            timings = read_rows(path / "timings.jsonl")
            trained.append(sum(row["seconds"] for row in timings))
            spans.append((began[path.name], (path / "result.json").stat().st_mtime))
            spent = spans[-1][1] - spans[-1][0]
            beside.append((spent - trained[-1]) / len(timings))
    first = min(began.values()) - start
    training = sum(trained) / most_at_once(spans)
    return Command(whole, first, training, sum(beside) / len(beside))


def most_at_once(spans: Sequence[tuple[float, float]]) -> int:
    """Return how many of ``spans``, each a beginning and an end, overlap at most."""
    return max(sum(begin <= at < end for begin, end in spans) for at, _ in spans)


def _beginnings(folder: Path, process: subprocess.Popen[bytes]) -> dict[str, float]:
    """Return when each run's log was first there: just before its first step."""
    began: dict[str, float] = {}
    while process.poll() is None:
        for log in folder.glob("*/log.txt"):
            began.setdefault(log.parent.name, time.time())
        time.sleep(0.01)
    return began

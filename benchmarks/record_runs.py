"""Copy what finished runs say, not their weights, to docs/recorded/runs: evidence that travels.

    python benchmarks/record_runs.py RUN... [--to docs/recorded/runs]

Everything that reads runs reads these: ``dsd-bench table fig1 --scale cpu --runs-dir
docs/recorded/runs``, ``replay``, ``analyze``, ``report``. Runs that are there already stay as they
are, unless the same rounds come with more metrics; other numbers under the same id are refused.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dsd_bench.store.files import write_atomic
from dsd_bench.store.runs import finished, load_run

RECORDED = Path("docs/recorded/runs")
TEXTS = ("config.json", "rounds.jsonl", "correct.jsonl", "provenance.jsonl")


def record(run: Path, folder: Path) -> bool:
    """Copy one run and return whether it, or a metric of it, was new.

    Raises:
        SystemExit: if it is not finished, damaged, or recorded with other rounds.
    """
    if not finished(run):
        raise SystemExit(f"{run}: not finished; finish it first")
    load_run(run)  # compares the texts with their hashes
    place = folder / run.name
    if finished(place):
        if (place / "rounds.jsonl").read_bytes() != (run / "rounds.jsonl").read_bytes():
            raise SystemExit(f"{place}: holds other rounds; remove it to take those of {run}")
        if not measured(run) > measured(place):
            return False
        (place / "result.json").unlink()
    (place / "metrics").mkdir(parents=True, exist_ok=True)
    names = [*TEXTS, *sorted(measured(run)), "result.json"]  # with this a run counts as finished
    for name in names:
        if (run / name).exists():
            write_atomic(place / name, (run / name).read_bytes())
    if not measured(place):
        (place / "metrics").rmdir()
    return True


def measured(run: Path) -> set[str]:
    """Return the files of a run's further metrics."""
    return {f"metrics/{path.name}" for path in (run / "metrics").glob("*.jsonl")}


def main() -> int:
    """Record what is named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--to", type=Path, default=RECORDED)
    given = parser.parse_args()
    new = sum(record(run, given.to) for run in given.runs)
    print(f"{new} new, {len(given.runs) - new} known: {given.to}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

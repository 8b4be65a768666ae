"""Copy what finished runs say, not their weights, to docs/recorded/runs: evidence that travels.

    python benchmarks/record_runs.py RUN... [--to docs/recorded/runs]

Everything that reads runs reads these: ``dsd-bench table fig1 --scale cpu --runs-dir
docs/recorded/runs``, ``replay``, ``analyze``, ``report``. Runs that are there already stay as they
are; other numbers under the same id are refused.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dsd_bench.store.files import write_atomic
from dsd_bench.store.runs import finished, load_run

RECORDED = Path("docs/recorded/runs")
TEXTS = ("config.json", "rounds.jsonl", "correct.jsonl", "provenance.jsonl", "result.json")
"""``result.json`` comes last: with it a run counts as finished."""


def record(run: Path, folder: Path) -> bool:
    """Copy one run and return whether it was new.

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
        return False
    place.mkdir(parents=True, exist_ok=True)
    for name in TEXTS:
        if (run / name).exists():
            write_atomic(place / name, (run / name).read_bytes())
    return True


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

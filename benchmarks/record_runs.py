"""Copy what finished runs say, not their weights, to docs/recorded/runs: evidence that travels.

    python benchmarks/record_runs.py RUN... [--to docs/recorded/runs]
    python benchmarks/record_runs.py --suite one-se --only "* / best" [--runs-dir runs] --to FOLDER

The second records the finished runs of a suite (``--scale``), without their teachers. Everything
that reads runs reads these: ``dsd-bench table fig1 --scale cpu --runs-dir docs/recorded/runs``,
``replay``, ``analyze``, ``report``. Runs that are there already stay as they are, unless the same
rounds come with more metrics; other numbers under the same id are refused.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dsd_bench.store.files import write_atomic
from dsd_bench.store.runs import finished, load_run
from dsd_bench.suites.cells import cells
from dsd_bench.suites.schema import Scale, find_suite, read_suite

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


def of_suite(name: str, only: Sequence[str], runs_dir: Path, scale: Scale = "small") -> list[Path]:
    """Return the finished runs of a suite, those of the cells that ``only`` names."""
    found = cells(read_suite(find_suite(name)), scale, only=only)
    paths = [runs_dir / config.run_id for cell in found for config in cell.configs]
    return [path for path in paths if finished(path)]


def main() -> int:
    """Record what is named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--suite", action="append", default=[], help="runs of this suite")
    parser.add_argument("--scale", choices=["small", "cpu"], default="small", help="of the suites")
    parser.add_argument("--only", action="append", default=[], help="only its cells that fit")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), help="where those lie")
    parser.add_argument("--to", type=Path, default=RECORDED)
    given = parser.parse_args()
    runs = [*given.runs]
    for name in given.suite:
        runs += of_suite(name, given.only, given.runs_dir, given.scale)
    new = sum(record(run, given.to) for run in runs)
    print(f"{new} new, {len(runs) - new} known: {given.to}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

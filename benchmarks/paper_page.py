"""Write the tables and figures of docs/paper.md anew: from ./runs, and from docs/recorded/runs.

    dsd-bench sweep benchmarks/*.toml && python benchmarks/paper_page.py [--check] [--scale cpu]

Between ``<!-- table NAME -->`` or ``<!-- plot NAME -->`` and ``<!-- end -->`` everything is
generated; the words around it are written by people. ``NAME@cpu`` is of the suite's scale ``cpu``,
whose runs take a night and are recorded (benchmarks/record_runs.py).
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from dsd_bench.suites.cells import cells
from dsd_bench.suites.plots import draw
from dsd_bench.suites.results import Result, results
from dsd_bench.suites.schema import Scale, Suite, find_suite, read_suite
from dsd_bench.suites.tables import make_table

PAGE = Path("docs/paper.md")
IMAGES = Path("docs/images/paper")
RECORDED = Path("docs/recorded/runs")
BLOCK = re.compile(r"(<!-- (table|plot) ([a-z0-9-]+)(?:@(cpu))? -->\n).*?(<!-- end -->)", re.DOTALL)


def load(name: str, scale: Scale, runs_dir: Path) -> tuple[Suite, list[Result]]:
    """Return a suite and its finished runs at a scale."""
    suite = read_suite(find_suite(name))
    found = cells(suite, scale, places={"runs_dir": runs_dir})
    return suite, results(found, runs_dir, f"dsd-bench sweep {name} --scale {scale}")


def fill(match: re.Match[str], runs_dir: Path, only: str | None) -> str:
    """Return a block with its content made anew; as it is if ``only`` names another scale."""
    begin, kind, name, told, end = match.groups()
    scale: Scale = "cpu" if told else "small"
    if only not in (None, scale):
        return match[0]
    suite, found = load(name, scale, RECORDED if told else runs_dir)
    if kind == "table":
        return f"{begin}{make_table(suite, found).markdown()}{end}"
    path = IMAGES / (f"{name}-cpu.svg" if told else f"{name}.svg")
    draw(suite, found, path)
    return f"{begin}![{suite.title}]({path.relative_to(PAGE.parent).as_posix()})\n{end}"


def main() -> int:
    """Write the page, or with ``--check`` only compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"))
    parser.add_argument("--scale", choices=["small", "cpu"], help="only blocks of this scale")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if it differs")
    given = parser.parse_args()
    before = PAGE.read_text("utf-8")
    after = BLOCK.sub(lambda match: fill(match, given.runs_dir, given.scale), before)
    if given.check:
        return int(before != after)
    PAGE.write_text(after, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Write the tables and figures of docs/paper.md and docs/questions.md anew.

    dsd-bench sweep benchmarks/*.toml && python benchmarks/paper_page.py [--check] [--scale cpu]
    python benchmarks/paper_page.py --page questions [--check]

Between ``<!-- table NAME -->`` or ``<!-- plot NAME -->`` and ``<!-- end -->`` everything is
generated; the words around it are written by people. ``NAME@cpu`` is of the suite's scale ``cpu``,
whose runs take a night and are recorded (benchmarks/record_runs.py). docs/paper.md's small scale is
made from ./runs; that of docs/questions.md is recorded too, and has further kinds of blocks:
``slopes``, ``layers``, ``sure``, ``choosers`` and ``tradeoff`` (benchmarks/questions.py).
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.questions import (
    choosers_figure,
    choosers_table,
    layers_table,
    slopes_table,
    sure_table,
)
from dsd_bench.suites.cells import cells
from dsd_bench.suites.plots import draw
from dsd_bench.suites.results import Result, results
from dsd_bench.suites.schema import Scale, Suite, find_suite, read_suite
from dsd_bench.suites.tables import make_table

RECORDED = Path("docs/recorded/runs")
STUDIES = {
    "slopes": slopes_table,
    "layers": layers_table,
    "choosers": choosers_table,
    "sure": sure_table,
}
TABLES, PICTURES = ("table", *STUDIES), ("plot", "tradeoff")
BLOCK = re.compile(
    rf"(<!-- ({'|'.join(TABLES + PICTURES)}) ([a-z0-9-]+)(?:@(cpu))? -->\n).*?(<!-- end -->)",
    re.DOTALL,
)


@dataclass(frozen=True)
class Page:
    """A page with generated blocks.

    Attributes:
        path: the page.
        images: the folder of its figures.
        small: where the runs of its small scale are recorded; None: they are made anew.
    """

    path: Path
    images: Path
    small: Path | None = None

    def image(self, name: str, told: str | None) -> Path:
        """Return the file of a suite's figure."""
        return self.images / (f"{name}-{told}.svg" if told else f"{name}.svg")


PAGES = {
    "paper": Page(Path("docs/paper.md"), Path("docs/images/paper")),
    "questions": Page(
        Path("docs/questions.md"), Path("docs/images/questions"), Path("docs/recorded/questions")
    ),
}
PAGE = PAGES["paper"].path


def load(name: str, scale: Scale, runs_dir: Path) -> tuple[Suite, list[Result]]:
    """Return a suite and its finished runs at a scale."""
    suite = read_suite(find_suite(name))
    found = cells(suite, scale, places={"runs_dir": runs_dir})
    return suite, results(found, runs_dir, f"dsd-bench sweep {name} --scale {scale}")


def fill(
    match: re.Match[str], runs_dir: Path, only: str | None, page: Page = PAGES["paper"]
) -> str:
    """Return a block with its content made anew; as it is if ``only`` names another scale."""
    begin, kind, name, told, end = match.groups()
    scale: Scale = "cpu" if told else "small"
    if only not in (None, scale):
        return match[0]
    suite, found = load(name, scale, RECORDED if told else page.small or runs_dir)
    if kind in TABLES:
        return f"{begin}{_table(kind, suite, found)}{end}"
    path = page.image(name, told)
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "plot":
        draw(suite, found, path)
    else:
        choosers_figure(found, path)
    return f"{begin}![{suite.title}]({path.relative_to(page.path.parent).as_posix()})\n{end}"


def _table(kind: str, suite: Suite, found: list[Result]) -> str:
    made = STUDIES.get(kind)
    return made(found) if made else make_table(suite, found).markdown()


def main() -> int:
    """Write the pages, or with ``--check`` only compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"))
    parser.add_argument("--page", choices=list(PAGES), help="only this one")
    parser.add_argument("--scale", choices=["small", "cpu"], help="only blocks of this scale")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if it differs")
    given = parser.parse_args()
    differs = False
    for name, page in PAGES.items():
        if given.page not in (None, name):
            continue
        make = partial(fill, runs_dir=given.runs_dir, only=given.scale, page=page)
        before = page.path.read_text("utf-8")
        after = BLOCK.sub(make, before)
        differs |= before != after
        if not given.check:
            page.path.write_text(after, "utf-8")
    return int(given.check and differs)


if __name__ == "__main__":
    sys.exit(main())

"""``dsd-bench report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dsd_bench.cli import reading
from dsd_bench.cli.saying import say, say_json
from dsd_bench.cli.selecting import select
from dsd_bench.config.naming import command
from dsd_bench.errors import UsageError
from dsd_bench.plugins import catalogue

if TYPE_CHECKING:
    from dsd_bench.pages.markup import Markup
    from dsd_bench.pages.subject import Subject


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="RUN...|SUITE|BOARD")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default="report.html", show_default=True,
    metavar="FILE", help="The page, an .html file.",
)  # fmt: skip
@click.option("--title", metavar="TEXT", help="Its heading (default: says what it is about).")
@click.option(
    "--latency", "timed", type=click.Path(path_type=Path), metavar="FILE",
    help="Also show what `dsd-bench latency RUN -o FILE` measured.",
)  # fmt: skip
@reading.cell_options
@reading.runs_dir
@click.option("--json", "as_json", is_flag=True, help="Print the file's name as JSON.")
def report(
    words: tuple[str, ...], output: Path, title: str | None, timed: Path | None, scale: str,
    only: tuple[str, ...], seeds: str | None, runs_dir: Path, as_json: bool,
) -> None:  # fmt: skip
    """Write one HTML page on finished RUN..., a SUITE's runs, or a BOARD's folder.

    What was asked and found, curves with phases, layers over rounds, teachers, stop rules replayed,
    a table of rounds, configurations and the commands that make all anew. The file loads nothing
    from anywhere and reads without scripts. RUN is an id, a prefix of one, a path, a folder of
    runs, or a method's name as `dsd-bench runs` prints it.
    """
    from dataclasses import replace

    from dsd_bench.pages.document import page
    from dsd_bench.store.files import output_folder, write_atomic

    if output.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--output '{output}': the name must end in .html")
    subject = _subject(words, runs_dir, scale, only, seeds)
    more = [] if timed is None else [_speed(timed)]
    text = page(replace(subject, title=title) if title else subject, more)
    output_folder(output.parent)
    write_atomic(output, text.encode())
    if as_json:
        say_json({"path": str(output), "bytes": len(text.encode())})
    else:
        say(output, err=True)


def _speed(path: Path) -> Markup:
    """Return a section on what was measured."""
    from dsd_bench.latency import read_latency
    from dsd_bench.latency.shown import NAMES, cells, conditions
    from dsd_bench.pages.markup import el
    from dsd_bench.pages.sections import section
    from dsd_bench.pages.sections import table as html_table

    found = read_latency(path)
    note = el("p", conditions(found), class_="note")
    return section("speed", "Speed", html_table(NAMES, cells(found), 3, class_="wide"), note)


def _subject(
    words: tuple[str, ...], runs_dir: Path, scale: str, only: tuple[str, ...], seeds: str | None
) -> Subject:
    from dsd_bench.cli.suites import suite_results
    from dsd_bench.pages import subject
    from dsd_bench.pages.board import of_board
    from dsd_bench.suites.schema import known_suites

    lookup = catalogue().find
    word = words[0]
    own = command("report", *words, runs_dir=runs_dir)
    if len(words) == 1 and (word.endswith(".toml") or word in known_suites()):
        suite, results = suite_results(word, scale, only, seeds, runs_dir)
        chosen = ["--scale", scale] if scale != "small" else []
        chosen += [part for one in only for part in ("--only", one)]
        chosen += ["--seeds", seeds] if seeds else []
        again = [command("sweep", word, *chosen, runs_dir=runs_dir)]
        own = command("report", word, *chosen, runs_dir=runs_dir)
        cells = [(result.cell.name, result.runs) for result in results]
        return subject.of_cells(suite.title, suite.question, cells, own, again, lookup)
    if only or seeds or scale != "small":
        raise UsageError("--scale, --only and --seeds choose the cells of a suite; leave them out")
    board = Path(word).parent if word.endswith("README.md") else Path(word)
    if len(words) == 1 and (board / "rows").is_dir():
        return of_board(board, runs_dir, own, lookup)
    return subject.of_runs(select(words, runs_dir), own, lookup)

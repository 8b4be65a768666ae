"""``dsd-bench clean``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from dsd_bench.cli.saying import complain, say_json
from dsd_bench.errors import UsageError
from dsd_bench.reports.words import open_console, plural, size_word
from dsd_bench.store.cleaning import KINDS, Kind, Waste, find_waste, remove

MOST = 12
"""Files of a kind that are listed one by one."""
WORDS: dict[Kind, tuple[str, str]] = {
    "leftover": ("temporary file", "of writes that were killed"),
    "checkpoint": ("checkpoint", "of finished runs"),
    "broken": ("folder", "with no configuration, row or checkpoint that can be read"),
}


@click.command()
@click.argument("runs_dir", default="runs", metavar="[RUNS_DIR]", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="List what would be deleted; delete nothing.")
@click.option(
    "--no-extend",
    is_flag=True,
    help="Delete the newest checkpoints of finished runs too: more rounds then train anew, and "
    "rows that get damaged cannot be repaired.",
)
@click.option("-y", "--yes", is_flag=True, help="Delete without asking.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; needs --dry-run or --yes.")
def clean(runs_dir: Path, dry_run: bool, no_extend: bool, yes: bool, as_json: bool) -> int:
    """List what the runs of RUNS_DIR (default: runs) no longer need, ask, and delete it.

    That are temporary files of killed writes, folders without anything of a run, and the last but
    one checkpoint of finished runs; the newest stays, from which going on to more rounds begins.
    Nothing else is touched, no link is followed, and runs that somebody is at work on are left
    alone. Networks, rows and results stay.
    """
    if as_json and not (dry_run or yes):
        raise UsageError("--json: cannot ask; give --dry-run to list, or --yes to delete")
    found = find_waste(runs_dir, extend=not no_extend)
    console = open_console(sys.stdout)
    if not as_json:
        _print(console, found, runs_dir)
    failed: dict[Path, str] = {}
    if found and not dry_run:
        if not yes:
            _ask(console, found)
        told = remove(found, extend=not no_extend)
        failed = {one.path: why for one, why in told if why is not None}
        if not as_json:
            freed = [one for one in found if one.path not in failed]
            size = size_word(sum(one.bytes for one in freed))
            console.print(Text(f"deleted {len(freed):,} of {len(found):,}: {size}"))
    if as_json:
        say_json(_json(found, failed, dry_run))
    for path, why in failed.items():
        complain(f"{path}: {why}")
    return 1 if failed else 0


def _ask(console: Console, found: Sequence[Waste]) -> None:
    """Ask at a terminal; elsewhere refuse.

    Raises:
        UsageError: if there is nobody to ask.
        click.Abort: if the answer is no.
    """
    if not (console.is_terminal and sys.stdin is not None and sys.stdin.isatty()):
        raise UsageError("nobody to ask: give --yes to delete this, or --dry-run to list only")
    click.confirm(f"delete {_what(found)}?", abort=True)


def _what(found: Sequence[Waste]) -> str:
    return f"{len(found):,}, {size_word(sum(one.bytes for one in found))}"


def _print(console: Console, found: Sequence[Waste], runs_dir: Path) -> None:
    """List what was found by kind."""
    for kind in KINDS:
        ones = [one for one in found if one.kind == kind]
        if not ones:
            continue
        noun, tail = WORDS[kind]
        size = size_word(sum(one.bytes for one in ones))
        console.print(Text(f"{plural(len(ones), noun)} {tail}: {size}", style="bold"))
        for one in ones[:MOST]:
            console.print(Text(f"  {size_word(one.bytes):>7}  {one.path}"), soft_wrap=True)
        if len(ones) > MOST:
            console.print(Text(f"  and {len(ones) - MOST:,} more", style="dim"))
    if not found:
        console.print(Text(f"{runs_dir}: nothing to delete"))


def _json(found: Sequence[Waste], failed: dict[Path, str], dry_run: bool) -> dict[str, Any]:
    entries = [
        {
            "path": str(one.path),
            "kind": one.kind,
            "bytes": one.bytes,
            "deleted": not dry_run and one.path not in failed,
            "error": failed.get(one.path),
        }
        for one in found
    ]
    return {"found": entries, "bytes": sum(one.bytes for one in found)}

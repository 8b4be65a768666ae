"""Check everything on a GPU, then time it: ``python -m benchmarks.gpu``.

Correctness first: timings of what is wrong are worth nothing. ``--device cpu`` rehearses.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.gpu.checks import checks
from benchmarks.gpu.trials import Broken
from dsd_bench.training import device

SPEED = ("epoch", "limit", "many", "command")


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, cpu, ... (default: cuda)")
    parser.add_argument("--only", default="", help="only checks named so, in part")
    parser.add_argument("--quick", action="store_true", help="a few checks, tiny timings")
    parser.add_argument("--no-speed", action="store_true", help="leave the timings out")
    parser.add_argument("--minutes", type=float, default=60.0, help="begin nothing after (60)")
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    return parser.parse_args(words)


def check(options: argparse.Namespace, ends: float, console: Console) -> list[dict[str, Any]]:
    """Do the checks and return a line of each; what there was no time for is not passed."""
    lines = []
    for one in checks(options.device):
        if options.only not in one.name or (options.quick and not one.quick):
            continue
        began = time.monotonic()
        if began > ends:
            passed, seen = False, "not begun: the time was up"
        else:
            try:
                passed, seen = True, one.hold()
            except Broken as error:
                passed, seen = False, str(error)
            except Exception as error:  # the checks after it are worth knowing, too
                passed, seen = False, f"{type(error).__name__}: {error}"
        seconds = time.monotonic() - began
        lines.append({"check": one.name, "passed": passed, "seen": seen, "seconds": seconds})
        word = "ok" if passed else "FAILED"
        console.print(f"  {one.name}: {word}: {seen}", style="dim", markup=False, highlight=False)
    return lines


def speed(options: argparse.Namespace, ends: float) -> list[dict[str, Any]]:
    """Return the lines of ``benchmarks.speed``, measured in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.speed", "--device", options.device, "--json"]
    command += ["--only", *SPEED, *(["--quick"] if options.quick else ["--repeats", "3"])]
    left = ends - time.monotonic()
    try:
        done = subprocess.run(
            command, check=False, stdout=subprocess.PIPE, text=True, timeout=max(left, 1)
        )
        lines: list[dict[str, Any]] = json.loads(done.stdout)["lines"]
    except (subprocess.TimeoutExpired, ValueError) as error:
        return [{"case": "speed", "measure": f"not measured: {type(error).__name__}", "value": 0.0}]
    return lines


def main(words: Sequence[str] | None = None) -> int:
    """Check, measure, print; return 1 if a check failed."""
    options = parse(words)
    where = device.resolve(options.device)
    ends = time.monotonic() + 60 * options.minutes
    console = Console(stderr=options.json)
    known = {"hardware": device.hardware(where), "versions": device.versions()}
    checked = check(options, ends, console)
    timed = [] if options.no_speed else speed(options, ends)
    failed = sum(not line["passed"] for line in checked)
    if options.json:
        print(json.dumps({**known, "checks": checked, "lines": timed, "failed": failed}, indent=1))
    else:
        show(checked, timed, console)
        console.print_json(json.dumps(known))
        console.print(f"{len(checked)} checks, {failed} failed")
    return 1 if failed or not checked else 0


def show(
    checked: Sequence[dict[str, Any]], timed: Sequence[dict[str, Any]], console: Console
) -> None:
    """Print the one table: the checks, then the timings."""
    table = Table("what", "outcome", "seen or measured", "goal")
    for line in checked:
        word = "ok" if line["passed"] else "FAILED"
        table.add_row(line["check"], word, f"{line['seen']} ({line['seconds']:.0f} s)", "")
    table.add_section()
    for line in timed:
        value = f"{line['value']:.3g} {line.get('unit', '')}"
        table.add_row(line["case"], line["measure"], value, line.get("goal", ""))
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())

"""``python -m tests.faults``."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from pathlib import Path
from typing import Any

from .campaign import KINDS, Campaign, Verdict
from .child import BREAKS
from .table import markdown, where


def main() -> int:
    """Run the campaign, or go on with it; return 1 if anything was wrong."""
    asked = arguments()
    path: Path = asked.json
    known = json.loads(path.read_text()) if path and path.exists() else {}
    verdicts = [Verdict(**one) for one in known.get("cases", [])]
    place = asked.folder or Path(tempfile.mkdtemp(prefix="dsd-bench-faults-"))
    place.mkdir(parents=True, exist_ok=True)
    place.chmod(0o755)
    campaign = Campaign(place, asked.seed, asked.broken, asked.keep)
    if asked.index is not None:
        cases: Iterator[tuple[str, int]] = iter([(asked.only[0], asked.index)])
    else:
        done = {(one.kind, one.index) for one in verdicts}
        cases = (case for case in campaign.cases(asked.only) if case not in done)
    began, before = time.monotonic(), count(verdicts)
    left = asked.faults

    def note(verdict: Verdict) -> None:
        verdicts.append(verdict)
        tell(verdict, verdicts, asked.faults, began, before, asked.seed, place)
        if path:
            spent = known.get("seconds", 0) + time.monotonic() - began
            text = {"seed": asked.seed, "seconds": round(spent), **where(), "cases": []}
            text["cases"] = [one.to_json() for one in verdicts]
            fresh = path.with_name(path.name + ".new")
            fresh.write_text(json.dumps(text, indent=1))
            fresh.replace(path)

    def enough() -> bool:
        over = asked.seconds is not None and time.monotonic() - began > asked.seconds
        return over or (asked.index is None and count(verdicts) >= left)

    with ThreadPoolExecutor(asked.jobs) as pool:
        running: set[Future[Verdict]] = set()
        while True:
            while not enough() and len(running) < asked.jobs:
                if not (following := list(islice(cases, 1))):
                    break
                running.add(pool.submit(campaign.run, *following[0]))
            if not running:
                break
            ended, running = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                note(future.result())
    print(markdown(verdicts))
    wrong = [one for one in verdicts if one.wrong]
    if wrong:
        print(f"{len(wrong)} of {len(verdicts)} sweeps came out wrong; logs are in {place}")
    return 1 if wrong else 0


def arguments() -> Any:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--faults", type=int, default=1000, help="how many in total, at least")
    parser.add_argument("--seed", type=int, default=0, help="decides what is drawn")
    parser.add_argument("--only", action="append", choices=list(KINDS), help="kinds; may repeat")
    parser.add_argument("--index", type=int, help="repeat this one case of the kind --only")
    parser.add_argument("--jobs", type=int, default=1, help="sweeps side by side")
    parser.add_argument("--json", type=Path, help="results; what is there is not done again")
    parser.add_argument("--folder", type=Path, help="where sweeps and logs lie")
    parser.add_argument("--keep", action="store_true", help="keep the folders of all cases")
    parser.add_argument("--seconds", type=float, help="begin no case after so long")
    help = "leave a protection out of the product, to see that the campaign notices"
    parser.add_argument("--broken", default="", choices=list(BREAKS), help=help)
    asked = parser.parse_args()
    if asked.index is not None and len(asked.only or ()) != 1:
        parser.error("--index needs one --only KIND")
    return asked


def count(verdicts: list[Verdict]) -> int:
    """Return the number of faults so far."""
    return sum(len(one.faults) for one in verdicts)


def tell(
    verdict: Verdict,
    verdicts: list[Verdict],
    goal: int,
    began: float,
    before: int,
    seed: int,
    place: Path,
) -> None:
    """Print a line about a case, and all about one that went wrong."""
    now = count(verdicts)
    pace = (time.monotonic() - began) / max(1, now - before)
    state = verdict.skipped or ("WRONG" if verdict.wrong else "right")
    print(
        f"{now}/{goal} faults, about {max(0, goal - now) * pace / 60:.0f} min left: {verdict.kind} "
        f"{verdict.index}{' (real processes)' if verdict.real else ''}: "
        f"{len(verdict.faults)} faults, {verdict.seconds:.1f} s: {state}",
        flush=True,
    )
    if verdict.wrong:
        print(f'  again: python -m tests.faults --seed {seed} --only "{verdict.kind}"', end="")
        print(f" --index {verdict.index}   (folder and logs: {place})")
        for text in (*verdict.faults, *verdict.wrong):
            print(f"  {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""``python -m dsd_bench_trackers TRACKERS RUN...``: show runs that are there already."""

from __future__ import annotations

import sys
from pathlib import Path

from dsd_bench.errors import DsdError, describe, plain
from dsd_bench_trackers.serving import begin, ended, serve, show_rounds
from dsd_bench_trackers.view import read
from dsd_bench_trackers.words import parse

USAGE = """usage: python -m dsd_bench_trackers TRACKERS RUN...

Shows runs in trackers, as DSD_BENCH_TRACKERS does while they run; rounds that a tracker has already
are left out.

  TRACKERS  such as tensorboard or 'tensorboard wandb:project=noise,mode=offline'
  RUN       a run's folder, such as runs/*/"""


def main(words: list[str]) -> int:
    """Show runs; return 0, 1 if some could not be shown, 2 for usage."""
    if len(words) == 2 and words[0] == "--serve":
        serve(words[1])
    if len(words) < 2 or words[0].startswith("-"):
        print(USAGE, file=sys.stdout if words in (["--help"], ["-h"]) else sys.stderr)
        return 0 if words in (["--help"], ["-h"]) else 2
    try:
        asked = parse(words[0])
    except DsdError as error:
        print(f"error: {plain(error)}", file=sys.stderr)
        return error.exit_code
    failed = 0
    paths = [path for path in map(Path, words[1:]) if (path / "config.json").exists()]
    for path in paths:
        for name, params in asked:
            try:
                view = read(path.absolute())
                session = begin(name, params, view)
                show_rounds(session, view.rows)
                session.end(view, ended(view))
            except Exception as error:  # of many kinds, by tracker
                failed += 1
                print(f"error: {name}: {plain(path)}: {describe(error)}", file=sys.stderr)
    skipped = len(words) - 1 - len(paths)
    print(f"{len(paths)} runs shown" + (f", {skipped} are no run's folder" if skipped else ""))
    return 1 if failed or not paths else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Times ``dsd-bench leaderboard`` on a board of many rows, never seen before and seen before.

The rows are those of the embedded board with six seeds, again and again under other factors of the
retraining's learning rate, with the ids that this gives: each is valid, none was measured.

    python benchmarks/many_rows.py --rows 1000
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dsd_bench.boards.files import encode, parse
from dsd_bench.boards.methods import method_of, reseeded, teacher_ids, track_of, whole
from dsd_bench.boards.places import row_path
from dsd_bench.boards.schema import BoardRow
from dsd_bench.config.run import RunConfig

BOARDS = Path(__file__).parent.parent / "leaderboards"


def main() -> None:
    """Make the rows, time the command, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for row in itertools.islice(rows(), given.rows):
            path = folder / "boards" / row_path(row)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(encode(row), encoding="utf-8")
        made = len(list(folder.glob("boards/*/rows/*.json")))
        unseen, seen = [], []
        for repeat in range(given.repeats):
            cache = folder / f"cache-{repeat}"
            unseen.append(seconds(folder / "boards", cache))
            seen.append(seconds(folder / "boards", cache))
    print(f"{made} rows, seconds by the clock, median of {given.repeats} (lowest to highest)")
    for word, told in (("never seen", unseen), ("seen before", seen)):
        print(f"{word:12} {statistics.median(told):.2f} ({min(told):.2f} to {max(told):.2f})")


def rows() -> Iterator[BoardRow]:
    """Yield valid rows of one track, endlessly, no two of one method."""
    boards = (path for path in BOARDS.iterdir() if path.is_dir())
    files = max((sorted(path.glob("rows/*.json")) for path in boards), key=len)
    shipped = [json.loads(path.read_text("utf-8")) for path in files]
    whole_ = [row for row in shipped if row["schema"] == 2 and len(row["seeds"]) == 6]
    usual = [row for row in whole_ if row["method"]["retrain_lr_scale"] == 1]
    for place in itertools.count():
        for row in usual:
            yield changed(row, 1 - place / 1000)


def changed(row: dict[str, Any], scale: float) -> BoardRow:
    """Return a row of the same numbers under another factor of the learning rate."""
    config = RunConfig.model_validate(
        {**row["config"], "protocol": {**row["config"]["protocol"], "retrain_lr_scale": scale}}
    )
    entries = []
    for entry in row["seeds"]:
        other = reseeded(config, entry["seed"])
        entries.append({**entry, "run_id": other.run_id, "teachers": teacher_ids(other)})
    return parse(
        {
            **row,
            "config": whole(config),
            "track": track_of(config).model_dump(mode="json"),
            "method": method_of(config).model_dump(mode="json"),
            "seeds": entries,
        },
        "made",
    )


def seconds(boards: Path, cache: Path) -> float:
    """Return how long the command takes with that cache."""
    begin = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "dsd_bench", "leaderboard", "--dir", str(boards)],
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()

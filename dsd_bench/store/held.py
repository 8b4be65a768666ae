"""Which rounds' weights a run folder holds, by the names of its files; needs no torch."""

from __future__ import annotations

from pathlib import Path

from dsd_bench.errors import UsageError
from dsd_bench.store.checkpoint import DENSE, round_of
from dsd_bench.store.reading import read_json

KEPT = "weights"
"""Folder of the rounds' weights and of snapshots."""
SUFFIX = ".safetensors"


def kept_rounds(path: Path) -> list[int]:
    """Return the rounds whose weights a run folder holds, ascending."""
    rounds = {0} if (path / f"{DENSE}{SUFFIX}").exists() else set()
    try:
        best = read_json(path / "result.json").get("best_round")
    except UsageError:
        best = None
    if type(best) is int:
        rounds.add(best)
    for file in (path / KEPT).glob(f"*-*{SUFFIX}"):
        number = round_of(file.stem.replace("best-", "round-", 1))
        if number is not None:
            rounds.add(number)
    return sorted(rounds)

"""What ``compress`` found: the two runs, the choice, the comparison, what was shipped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from dsd_bench.compress.counts import Classes
from dsd_bench.compress.outcome import Outcome, compare
from dsd_bench.compress.preparing import Ready
from dsd_bench.compress.shipping import Shipped
from dsd_bench.config.run import RunConfig
from dsd_bench.errors import RunError, UsageError
from dsd_bench.replay.choices import Chosen, choose, way
from dsd_bench.store.correct import read_bits, read_correct
from dsd_bench.store.runs import StoredRun

OTHERS = ("best", "one-se", "max-drop:0.01", "max-drop:0.02")
"""Choosers that the page compares with the one that chose."""


@dataclass(frozen=True)
class Result:
    """All that a page says.

    Attributes:
        ready: what was known before.
        original, curve: the finished runs.
        chosen: the round.
        choosers: what each chooser would have taken.
        outcome: the chosen round against the original, on the test images.
        shipped: files, their sizes, and how fast they are.
        commands: what makes everything anew: ``compress`` first, then its two runs.
        output: the folder.
    """

    ready: Ready
    original: StoredRun
    curve: StoredRun
    chosen: int
    choosers: tuple[Chosen, ...]
    outcome: Outcome
    shipped: Shipped | None
    commands: tuple[str, ...]
    output: Path

    @property
    def row(self) -> dict[str, Any]:
        """The chosen round's."""
        return self.curve.rows[self.chosen]

    def to_json(self) -> dict[str, Any]:
        """Return what ``compress --json`` prints, and ``result.json`` in the folder holds."""
        first, row = self.curve.rows[0], self.row
        return {
            "original": {"run_id": self.original.run_id, "path": str(self.original.path)},
            "run": {"run_id": self.curve.run_id, "path": str(self.curve.path)},
            "stopped_by": (self.curve.result or {}).get("stopped_by"),
            "round": self.chosen,
            "rounds": len(self.curve.rows) - 1,
            "sparsity": row["sparsity"],
            "nonzero": row["nonzero"],
            "macs_dense": first["macs_dense"],
            "macs_effective": row["macs_effective"],
            "test": self.outcome.to_json(),
            "choosers": [asdict(one) for one in self.choosers],
            "shipped": self.shipped and self.shipped.to_json(),
            "notes": list(self.ready.notes),
            "commands": list(self.commands),
        }


def chosen_round(curve: StoredRun) -> int:
    """Return the round that a finished run returns."""
    found = (curve.result or {}).get("best_round")
    if type(found) is not int:
        raise UsageError(f"{curve.path}: its result.json tells no round")
    return found


def choices(curve: StoredRun, wanted: str) -> list[Chosen]:
    """Return what choosers would have taken of a curve, the one that chose first."""
    bits = read_bits(curve.path)
    rows = [{**row, "correct": bits.get(row["round"])} for row in curve.rows]
    config = RunConfig.from_json(curve.config, str(curve.path))
    words = {way(word).word: word for word in (*reversed(OTHERS), wanted)}
    told = [(word, choose(config, rows, way(word))) for word in reversed(words.values())]
    ranked = sorted(told, key=lambda pair: pair[0] != wanted)  # it stays as it was written
    return [replace(one, chooser=word) for word, one in ranked]


def outcome(original: StoredRun, curve: StoredRun, at: int, classes: Classes) -> Outcome:
    """Compare a round with the original over the test images.

    Raises:
        RunError: if the runs do not say which images are right, or not of these images.
    """
    before = read_correct(original.path).get(0, {}).get("test")
    after = read_correct(curve.path).get(at, {}).get("test")
    count = len(classes.labels)
    if before is None or after is None or not len(before) == len(after) == count:
        raise RunError(
            f"{curve.path}: does not say which of the {count} test images are right; run again "
            "with --force"
        )
    return compare(before, after, classes)


def words_of(choosers: Sequence[Chosen]) -> str:
    """Say in a sentence why the round was chosen."""
    one = choosers[0]
    name = one.chooser.partition(":")[0]
    why = {
        "one-se": "the sparsest round that the validation images cannot tell from the best one "
        "(paired, within one standard error)",
        "max-drop": f"the sparsest round whose validation accuracy is near enough to the best "
        f"one's ({one.chooser})",
        "best": "the round that is best on the validation images",
    }.get(name, f"what {one.chooser} chooses")
    return f"round {one.round}: {why}"

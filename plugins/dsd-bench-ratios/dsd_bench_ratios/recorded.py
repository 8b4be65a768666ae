"""Layer ratios as text: written out, or taken from the rounds of a run."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

Table = Mapping[str, tuple[float, ...]]
"""For each prunable parameter, by name, the share of its weights that is left after pruning 1,
2, ...; all equally many, each in 0..1."""

NAMED = ("erk", "uniform")
"""Ratios that need no table."""

DIGITS = 9
"""Significant digits of a share: enough to give back counts of layers of up to 10^8 weights."""

_NUMBER = r"[0-9.]+(?:e-?[0-9]+)?"
_LAYER = rf"[^\s:+/]+(?::{_NUMBER})+"
_TEXT = re.compile(rf"{_LAYER}(?:\+{_LAYER})*")


def resolve(value: str) -> str:
    """Return ``erk``, ``uniform`` or ratios that are written out; a run's are read.

    Args:
        value: one of these, or a run: its folder, its ``rounds.jsonl``, or its id (or its first
            digits) where its folder lies below ``runs/``.

    Raises:
        ValueError: if it is none of them, or the run has no ratios to give.
    """
    if value in NAMED:
        return value
    if _TEXT.fullmatch(value):
        parse(value)
        return value
    return render(read(_find(value)))


def parse(text: str) -> Table:
    """Return the ratios of a text ``LAYER:SHARE:SHARE...+LAYER:...``.

    Raises:
        ValueError: if layers are repeated or of different lengths, or a share is not in 0..1.
    """
    pieces = [piece.split(":") for piece in text.split("+")]
    table = {name: tuple(map(float, shares)) for name, *shares in pieces}
    if len(table) < len(pieces):
        raise ValueError("a layer is named twice in the ratios")
    if len({len(shares) for shares in table.values()}) > 1:
        raise ValueError("the layers' ratios are not of equally many rounds")
    if not all(0 <= share <= 1 for shares in table.values() for share in shares):
        raise ValueError("every ratio is a share of a layer's weights, from 0 to 1")
    return table


def render(table: Table) -> str:
    """Return the text that :func:`parse` reads."""
    lines = (":".join([name, *(f"{share:.{DIGITS}g}" for share in table[name])]) for name in table)
    return "+".join(lines)


def read(path: Path) -> Table:
    """Return the ratios that a run's ``rounds.jsonl`` records, from its first pruning on.

    Raises:
        ValueError: if the file cannot be read, is no such file, or its run has not pruned yet.
    """
    try:
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        found = [row["sparsity_per_layer"] for row in rows][1:]
        names = list(found[0]) if found else []
        table = {name: tuple(1 - float(row[name]) for row in found) for name in names}
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not the rounds.jsonl of a run: {error}") from None
    if not table:
        raise ValueError(f"{path}: this run has no pruned round yet, hence no ratios")
    parse(render(table))
    return table


def _find(value: str) -> Path:
    """Return the ``rounds.jsonl`` of the run that ``value`` names."""
    given = Path(value)
    if given.is_file():
        return given
    folders = [given]
    if re.fullmatch("[0-9a-f]{4,64}", value):
        folders += sorted(Path("runs").glob(f"{value}*"))
    files = [folder / "rounds.jsonl" for folder in folders]
    files = [file for file in files if file.is_file()]
    if len(files) > 1:
        raise ValueError(f"several runs begin so: {', '.join(file.parent.name for file in files)}")
    if not files:
        raise ValueError(
            "expected erk, uniform, a run that has a rounds.jsonl (its folder, or its id where it "
            "lies below runs/), or ratios such as fc1.weight:0.8:0.64+fc2.weight:0.9:0.8"
        )
    return files[0]

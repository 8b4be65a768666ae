"""Which images a network gets right: ``correct.jsonl``, one line a round.

A line is ``{"round": 0, "val": "...", "test": "..."}``: base64 of one bit an image in the part's
order, the first image's the highest of the first byte, zeros after the last. ``val`` is null where
nothing is held out. Runs begun by the first release have lines only for the rounds after it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsd_bench.errors import UsageError
from dsd_bench.store.reading import read_json, read_rows

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    Flags = NDArray[numpy.bool_]

CORRECT = "correct.jsonl"
PARTS = ("val", "test")


def pack(right: Flags) -> str:
    """Return flags, bool ``(N,)``, as text."""
    import numpy

    return base64.b64encode(numpy.packbits(right).tobytes()).decode("ascii")


def unpack(text: str, count: int) -> Flags:
    """Undo :func:`pack`.

    Raises:
        ValueError: if ``text`` does not hold exactly ``count`` flags.
    """
    import numpy

    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise ValueError("no base64") from None
    bits = numpy.unpackbits(numpy.frombuffer(data, numpy.uint8))
    if len(data) != -(-count // 8) or bits[count:].any():
        raise ValueError(f"not the bits of {count} images")
    return bits[:count].astype(bool)


def lines(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the lines of ``correct.jsonl``: of those rows that have the bits."""
    return [{"round": row["round"], **row["correct"]} for row in rows if row.get("correct")]


def read_bits(path: Path) -> dict[int, dict[str, str | None]]:
    """Return ``{round: {"val": text or None, "test": text or None}}`` of the run folder ``path``.

    That is what rows have under ``correct``. Empty for a run that has no such file.

    Raises:
        UsageError: naming the file and the round that is not as it should be.
    """
    file, found = path / CORRECT, {}
    for number, line in enumerate(read_rows(file), start=1):
        bits = {part: line.get(part) for part in PARTS}
        texts = all(text is None or isinstance(text, str) for text in bits.values())
        if type(line.get("round")) is not int or not texts or not set(PARTS) <= line.keys():
            raise UsageError(f"{file}:{number}: expected a round and the texts val and test")
        found[line["round"]] = bits
    return found


def read_correct(path: Path) -> dict[int, dict[str, Flags | None]]:
    """Return which images are right: ``{round: {"val": bool (N,) or None, "test": bool (N,)}}``.

    Args:
        path: the folder of a finished run; its ``result.json`` tells the number of images.

    Raises:
        UsageError: if the run is unfinished, or the file is damaged.
    """
    bits = read_bits(path)
    samples = read_json(path / "result.json").get("samples") if bits else None
    if not isinstance(samples, dict):
        samples = {}
    found: dict[int, dict[str, Flags | None]] = {}
    for round, texts in bits.items():
        found[round] = {}
        for part, text in texts.items():
            count = samples.get(part)
            try:
                if type(count) is not int:
                    raise ValueError("result.json does not tell the number of images")
                found[round][part] = None if text is None else unpack(text, count)
            except ValueError as error:
                raise UsageError(f"{path / CORRECT}: round {round}: {part}: {error}") from None
    return found

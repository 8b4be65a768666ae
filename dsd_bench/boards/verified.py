"""Outcome files: which seeds of a row somebody has run again, and what came out.

``<track>/verified/<method>.json`` beside ``<track>/rows/<method>.json``. Like a row it may come
from a stranger: it holds what the reruns gave and how they were computed, never a verdict, which
follows from these and the row (:mod:`.agreement`). It counts only for the very row it is about.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, JsonValue, ValidationError

from dsd_bench.boards.agreement import Again, Outcome, first_difference, judge
from dsd_bench.boards.conditions import differences, same
from dsd_bench.boards.files import absurd, encode, explain, read_plain, read_row, refuse_links
from dsd_bench.boards.schema import (
    MOST_ROUNDS,
    MOST_SEEDS,
    BoardRow,
    CheckedRow,
    CheckedSeed,
    Code,
    Column,
    Few,
    Fraction,
    RunId,
    Seed,
    Sha256,
)
from dsd_bench.boards.verify import as_json, short
from dsd_bench.boards.words import seeds_words
from dsd_bench.errors import UsageError, collect
from dsd_bench.store import hashes
from dsd_bench.store.files import explained, write_atomic
from dsd_bench.store.reading import parse_object

FOLDER = "verified"
"""Where outcome files lie, beside ``rows``."""
SCHEMA = 1
_TEXT = 300


class _Value(BaseModel):
    model_config = CheckedSeed.model_config


class Rerun(_Value):
    """One seed of the row, run again.

    Attributes:
        seed, run_id: of the run.
        difference: the first number that is not the row's; null if all are.
        test_accuracy: of each of its rounds.
        plan, versions, hardware, code: how it was computed, as in rows.
    """

    seed: Seed
    run_id: RunId
    difference: str | None = Field(min_length=1, max_length=_TEXT)
    test_accuracy: Column[Fraction] = Field(min_length=1, max_length=MOST_ROUNDS + 1)
    plan: Few[JsonValue] = Field(min_length=1)
    versions: dict[str, JsonValue]
    hardware: dict[str, JsonValue]
    code: Few[Code] = Field(min_length=1)


class Verified(_Value):
    """The reruns of one row.

    Attributes:
        row: SHA-256 of the row file that they were held against.
        seeds: one for each seed that was run again, ascending.
    """

    verified_schema: Literal[1] = Field(alias="schema")
    row: Sha256
    seeds: Sequence[Rerun] = Field(min_length=1, max_length=MOST_SEEDS)


def rerun(claimed: CheckedSeed, found: CheckedSeed) -> Rerun:
    """Return what a rerun of one seed gave, held against the row's."""
    told = first_difference(claimed, found)
    record = found.model_dump(mode="json", include={"plan", "versions", "hardware", "code"})
    return Rerun.model_validate(
        {
            "seed": found.seed,
            "run_id": found.run_id,
            "difference": told and told[:_TEXT],
            "test_accuracy": found.rounds.test_accuracy,
            **record,
        }
    )


def outcome_path(row_file: Path) -> Path | None:
    """Return where the outcome of a row file lies; None for a file that lies on no board."""
    return (
        row_file.parent.parent / FOLDER / row_file.name if row_file.parent.name == "rows" else None
    )


def row_file(path: Path) -> Path:
    """Return the row file that an outcome file is about."""
    return path.parent.parent / "rows" / path.name


def outcome(row: CheckedRow, verified: Verified) -> Outcome:
    """Judge a row by an outcome file that is about it."""
    return judged(row, verified.seeds)


def judged(row: CheckedRow, reruns: Sequence[Rerun]) -> Outcome:
    """Judge a row by reruns of its seeds, at least one."""
    claimed = {entry.seed: entry for entry in row.seeds}
    return judge(row, [_again(claimed[one.seed], one) for one in reruns])


def _again(claimed: CheckedSeed, one: Rerun) -> Again:
    computed = claimed.model_copy(update={k: getattr(one, k) for k in ("plan", "hardware", "code")})
    return Again(one.seed, differences([computed], [claimed]), one.difference, one.test_accuracy)


def read(path: Path, row: CheckedRow) -> Verified:
    """Read and check the outcome file of a row.

    Raises:
        UsageError: naming the file and what of it cannot be so.
    """
    text = read_plain(path)
    body = _object(text, path)
    collect([f"{path}: {problem}" for problem in absurd(body, "")])
    try:
        found = Verified.model_validate(body)
    except ValidationError as error:
        raise UsageError("\n".join(explain(error, str(path)))) from None
    collect([f"{path}: {problem}" for problem in _problems(found, row, row_file(path))])
    if text != encode(found):
        raise UsageError(f"{path}: not as `dsd-bench verify` writes it")
    return found


def _problems(found: Verified, row: CheckedRow, row_at: Path) -> list[str]:
    """Return what contradicts the row, or itself."""
    if found.row != hashes.sha256(row_at):
        return [f"{row_at} has changed since; verify it again, or delete this file"]
    claimed = {entry.seed: entry for entry in row.seeds}
    seeds = [one.seed for one in found.seeds]
    if seeds != sorted(set(seeds)) or not set(seeds) <= claimed.keys():
        return [f"seeds: {seeds}; expected ascending ones of {seeds_words(row.seeds)}"]
    return [
        f"seeds.{place}.{problem}"
        for place, one in enumerate(found.seeds)
        for problem in _contradictions(one, claimed[one.seed])
    ]


def _contradictions(one: Rerun, claimed: CheckedSeed) -> list[str]:
    told: list[str] = []
    for name in ("difference", "plan", "versions", "hardware", "code"):
        told += short(as_json(getattr(one, name)), name)
    if one.run_id != claimed.run_id:
        told.append(f"run_id: {one.run_id}, but the row's is {claimed.run_id}")
    images = claimed.samples.test
    for place, value in enumerate(one.test_accuracy):
        if round(value * images) / images != value:
            told.append(f"test_accuracy.{place}: {value} is no number of {images} images")
    if one.difference is None and one.test_accuracy != claimed.rounds.test_accuracy:
        told.append("difference: null, but its test_accuracy is not the row's")
    return told


def write(row_at: Path, row: CheckedRow, reruns: Sequence[Rerun]) -> Path:
    """Write the outcome of a row on a board; seeds that were run again before stay.

    Raises:
        UsageError: if the row lies on no board, or the file that is there is not what it should be.
        dsd_bench.errors.RunError: if it cannot be written.
    """
    path = outcome_path(row_at)
    if path is None:
        raise UsageError(f"{row_at}: lies in no folder `rows` of a board")
    refuse_links(path)
    sha256 = hashes.sha256(row_at)
    seeds = {one.seed: one for one in [*_before(path, row), *reruns]}
    value = Verified(schema=1, row=sha256, seeds=[seeds[seed] for seed in sorted(seeds)])
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, encode(value).encode())
    return path


def _before(path: Path, row: CheckedRow) -> Sequence[Rerun]:
    """Return the reruns that are told already; none if they were of another row."""
    if not path.exists():
        return ()
    stale = _object(read_plain(path), path).get("row") != hashes.sha256(row_file(path))
    return () if stale else read(path, row).seeds


def _object(text: str, path: Path) -> dict[str, Any]:
    """Return the object of an outcome file's text, whatever it holds."""
    try:
        return parse_object(text)
    except ValueError as error:
        raise UsageError(f"{path}: not JSON: {error}") from None


@contextmanager
def kept(row_at: Path, row: BoardRow) -> Iterator[None]:
    """Delete the outcome of a row that becomes ``row`` within, unless its results stay the same.

    What else a row tells, such as how much was tried, no rerun is about.
    """
    path = outcome_path(row_at)
    there = path is not None and path.exists()
    told = _of_the_same(path, row_at, row) if path is not None and there else ()
    yield
    if path is not None and there:
        path.unlink()
    if told and isinstance(row, CheckedRow):
        write(row_at, row, told)


def _of_the_same(path: Path, row_at: Path, row: BoardRow) -> Sequence[Rerun]:
    """Return the reruns of the row that lies there; none if ``row`` has other results."""
    try:
        before = read_row(row_at)
        if not isinstance(before, CheckedRow) or not isinstance(row, CheckedRow):
            return ()
        pairs = zip(before.seeds, row.seeds)
        alike = len(before.seeds) == len(row.seeds) and all(same(a, b) for a, b in pairs)
        return read(path, before).seeds if alike else ()
    except UsageError:
        return ()

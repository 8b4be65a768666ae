"""What a row file holds, as models that check themselves; reading and writing them.

A row file is untrusted input: it may come from a stranger's pull request. Its bytes are the one
JSON text of its contents, and its path follows from its contents, so a row can neither say
two things at once nor lie on the board of another track.
"""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from dsd_bench.config.run import ADDED, ComponentConfig, Precision, Selection, digest
from dsd_bench.errors import UsageError

SCHEMA = 1
"""Version of the row files."""

Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
RunId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
_Positive = Annotated[float, Field(ge=0)]
_Number = Annotated[int | float, Field(ge=0)]


class _Value(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, populate_by_name=True
    )


class Track(_Value):
    """What runs must share to be compared.

    Attributes:
        config_schema: version of the runs' ``config.json`` and identity.
        dataset, noise, model: with all parameters; the split's are the data set's.
        fingerprint: of the data.
        data_seed: of split and noise; None: it is each run's own seed.
        schedule: the protocol but for what belongs to the method.
        selection: the part that selects and stops, ``val`` or ``test``.
        precision: ``fp32``, ``tf32`` or ``bf16``.
    """

    config_schema: int
    dataset: ComponentConfig
    fingerprint: str
    data_seed: Count | None
    noise: ComponentConfig
    model: ComponentConfig
    schedule: dict[str, JsonValue]
    selection: Selection
    precision: Precision


class Teacher(_Value):
    """The teacher of a distilling regularizer, described without its seed.

    Attributes:
        weights: ``best`` or ``dense``.
        trainings: how many it took, as configured: 1 for ``dense``; its own teachers included.
            None where a stop rule or a target sparsity decides.
        differs: what of it is not as the default teacher has it, which is the student without
            distillation and with stop ``never``.
    """

    weights: Literal["best", "dense"]
    trainings: Count | None
    differs: dict[str, JsonValue]


class Regularizer(ComponentConfig):
    """A regularizer; one that distils has a teacher in place of the parameter of that name."""

    teacher: Teacher | None = None


class MethodConfig(_Value):
    """What varies within a track.

    How far to prune (``rounds`` or ``target_sparsity``) is part of the method, as its stop
    rule is: a structured pruner needs fewer rounds than magnitude, and the board shows
    what each has spent.
    """

    pruner: ComponentConfig
    perturber: ComponentConfig
    regularizers: list[Regularizer]
    stop: ComponentConfig
    retrain_lr_scale: float
    redense_epochs: Count = 0
    rounds: Count | None
    target_sparsity: Fraction | None

    @model_serializer(mode="wrap")
    def _without_added(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what rows of the first release lack, where it says what was always done."""
        value: dict[str, Any] = handler(self)
        return {k: v for k, v in value.items() if ADDED.get(k, ...) != v}


class Rounds(_Value):
    """Columns of ``rounds.jsonl``, one value a round, round 0 (dense) first."""

    sparsity: list[Fraction]
    nonzero: list[Count]
    train_loss: list[_Positive | None]
    train_accuracy: list[Fraction | None]
    train_accuracy_clean: list[Fraction | None]
    train_accuracy_noisy: list[Fraction | None]
    val_loss: list[_Positive | None]
    val_accuracy: list[Fraction | None]
    test_loss: list[_Positive | None]
    test_accuracy: list[Fraction]
    entropy: list[_Positive | None]
    macs_dense: list[_Number | None]
    macs_effective: list[_Number | None]

    @model_validator(mode="after")
    def _same_length(self) -> Rounds:
        lengths = {name: len(getattr(self, name)) for name in type(self).model_fields}
        if not self.sparsity or len(set(lengths.values())) > 1:
            counts = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise ValueError(f"every column needs the same number of rounds, at least 1: {counts}")
        return self


class SeedResult(_Value):
    """One seed of a method: its run, what was selected, its curve and where it ran."""

    seed: Count
    data_seed: Count
    run_id: RunId
    teachers: list[RunId]
    best_round: Count
    stopped_by: str | None
    rounds: Rounds
    plan: JsonValue
    versions: dict[str, JsonValue]
    hardware: dict[str, JsonValue]


class BoardRow(_Value):
    """One method over its seeds, in one track."""

    row_schema: Literal[1] = Field(alias="schema")
    track: Track
    method: MethodConfig
    seeds: list[SeedResult] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> BoardRow:
        seeds = [entry.seed for entry in self.seeds]
        if seeds != sorted(set(seeds)):
            raise ValueError(f"seeds: each once and ascending, not {seeds}")
        if len({entry.run_id for entry in self.seeds}) < len(seeds):
            raise ValueError("seeds: two seeds name the same run_id")
        for position, entry in enumerate(self.seeds):
            problem = self._problem(entry)
            if problem:
                raise ValueError(f"seeds.{position}.{problem}")
        return self

    def _problem(self, entry: SeedResult) -> str | None:
        """Say what of ``entry`` contradicts the row or itself, None if nothing does."""
        fixed = self.track.data_seed
        if entry.data_seed != (entry.seed if fixed is None else fixed):
            return f"data_seed: {entry.data_seed} is not the track's"
        column = f"{self.track.selection}_accuracy"
        scores = getattr(entry.rounds, column)
        if None in scores:
            return f"rounds.{column}: null, but the track selects by it"
        best = scores.index(max(scores))
        if entry.best_round != best:
            return f"best_round: {entry.best_round}, but the first of the best {column} is {best}"
        return None


def parse(value: Any, where: str) -> BoardRow:
    """Build a row from JSON text or from a dictionary.

    Raises:
        UsageError: every mistake at once, each with ``where`` and its key.
    """
    try:
        row = (
            BoardRow.model_validate_json(value)
            if isinstance(value, str)
            else BoardRow.model_validate(value)
        )
        encode(row)
    except ValidationError as error:
        raise UsageError("\n".join(explain(error, where))) from None
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from None
    return row


def explain(error: ValidationError, where: str) -> list[str]:
    """Return one ``where: key: what is wrong`` for each mistake that pydantic found."""
    found = []
    for item in error.errors(include_url=False):
        key = ".".join(str(part) for part in item["loc"] if part not in ("int", "float"))
        text = item["msg"].removeprefix("Value error, ")
        found.append(f"{where}: {key}: {text}" if key else f"{where}: {text}")
    return list(dict.fromkeys(found))


def read_row(path: Path) -> BoardRow:
    """Read and check one row file.

    Raises:
        UsageError: naming the file and the key; also if its text is not what ``submit`` writes.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from None
    row = parse(text, str(path))
    if encode(row) != text:
        raise UsageError(
            f"{path}: not as `dsd-bench submit` writes it (changed by hand?); submit its runs again"
        )
    return row


def encode(row: BoardRow) -> str:
    """Return the one text of a row file: sorted keys, one value a line, numbers as they are."""
    value = row.model_dump(mode="json", by_alias=True)
    return json.dumps(value, sort_keys=True, indent=1, allow_nan=False) + "\n"


def row_path(row: BoardRow) -> PurePosixPath:
    """Return where a row lies below the boards' folder: ``<track>/rows/<method>.json``."""
    return PurePosixPath(track_slug(row.track), "rows", f"{method_slug(row.method)}.json")


def track_slug(track: Track) -> str:
    """Return a readable name of a track that is safe as a folder's; its hash makes it one."""
    words = [track.dataset.name, _value(track.dataset.params.get("train_size"))]
    for part in (track.noise, track.model):
        words += short_words(part)
    words += ["test"] if track.selection == "test" else []
    words += [track.precision] if track.precision != "fp32" else []
    words += [] if track.data_seed is None else ["data", str(track.data_seed)]
    return _slug(words, track)


def method_slug(method: MethodConfig) -> str:
    """Return a readable name of a method that is safe as a file's; its hash makes it one."""
    words = [method.pruner.name]
    words += [method.perturber.name] if method.perturber.name != "none" else []
    for part in method.regularizers:
        words += [part.name, *([part.teacher.weights] if part.teacher else [])]
    words += [method.stop.name] if method.stop.name != "never" else []
    return _slug(words, method)


def short_words(part: ComponentConfig) -> list[str]:
    """Return a component's name and the short ones of its values, for names of tracks."""
    return [part.name, *filter(None, (_value(value) for _, value in sorted(part.params.items())))]


def _value(value: Any) -> str:
    """Return a short parameter for a slug, nothing for what would not help."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return ""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 12 else ""


def _slug(words: list[str], value: _Value) -> str:
    """Join ``words`` as letters, digits and decimal points, at most 60 characters; add a hash."""
    text = "-".join(words).lower()
    text = re.sub(r"[^a-z0-9.]+|(?<![0-9])\.|\.(?![0-9])", "-", text)
    text = re.sub("-+", "-", text)[:60].strip("-.")
    return "-".join([*([text] if text else []), digest(value.model_dump(mode="json"))[:8]])

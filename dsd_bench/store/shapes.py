"""What the files of a run must hold for views to be made of them.

Only the shape: keys, types, ranges. Whether a configuration is one that can be run, and whether its
id is its hash, :class:`dsd_bench.config.run.RunConfig` says. Keys beyond these may be there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from dsd_bench.errors import UsageError
from dsd_bench.store.reading import MOST_ROW_NUMBER

Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Bits = Annotated[float, Field(ge=0, le=1 + 1e-9)]
"""Entropy of a coin: at most one bit, but for rounding."""
Loss = Annotated[float, Field(ge=0, le=MOST_ROW_NUMBER)]
Id = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+-]*$")]
"""What becomes the name of a file."""


class _Shape(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class Row(_Shape):
    """A line of ``rounds.jsonl``."""

    round: Count
    sparsity: Share
    nonzero: Count
    train_loss: Loss | None
    train_accuracy: Share | None
    train_accuracy_clean: Share | None
    train_accuracy_noisy: Share | None
    val_accuracy: Share | None
    val_loss: Loss | None
    test_accuracy: Share | None
    test_loss: Loss | None
    entropy: Bits | None
    entropy_per_layer: list[Bits] | None
    sparsity_per_layer: dict[str, Share]
    macs_dense: Count | Loss | None
    macs_effective: Count | Loss | None


class Correct(_Shape):
    """Which images are right, as packed bits."""

    val: str | None
    test: str


class KeptRow(Row):
    """A row in a checkpoint: further metrics are with it, by name, and which images are right."""

    metrics: dict[Name, dict[str, Any]] = Field(default_factory=dict)
    correct: Correct | None = None


class State(_Shape):
    """The state of a checkpoint."""

    rows: list[KeptRow]
    round: Count
    training: bool
    cursor: dict[str, Any]
    plans: list[dict[str, Any]]
    kept: list[Name]
    needed: list[Name] = Field(default_factory=list)


class Component(_Shape):
    """A component in ``config.json``."""

    name: str
    version: int
    params: dict[str, Any]


class Dataset(Component):
    """The data set in ``config.json``; ``places`` names parameters that say where it lies."""

    places: list[str] = Field(default_factory=list)


class Teacher(_Shape):
    """The teacher of a regularizer."""

    run_id: Id
    weights: Literal["best", "dense"]
    config: Config


class Regularizer(Component):
    """A regularizer in ``config.json``."""

    teacher: Teacher | None = None


class Pruner(Component):
    """A pruner in ``config.json``."""

    at_initialisation: bool = False


class Weights(_Shape):
    """The weights that a run begins from, in ``config.json``."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    head: Literal["keep", "replace"]


class Protocol(_Shape):
    """What views read of the protocol."""

    rounds: Count | None
    target_sparsity: Share | None
    dense_epochs: Count
    retrain_epochs: Count
    selection: Literal["val", "test"]
    precision: str


class Config(_Shape):
    """What views read of ``config.json``, a teacher's included."""

    seed: Count
    data_seed: Count
    fingerprint: str
    protocol: Protocol
    model: Component
    dataset: Dataset
    noise: Component
    pruner: Pruner
    perturber: Component
    stop: Component
    regularizers: list[Regularizer]
    optimizer: Component | None = None
    schedule: Component | None = None
    weights: Weights | None = None
    updater: Component | None = None
    chooser: Component | None = None
    metrics: list[str] = Field(default_factory=list)


class RunFile(Config):
    """``config.json`` of a run folder."""

    run_id: Id
    curve_id: Id
    config_schema: int = Field(alias="schema")


class Result(_Shape):
    """``result.json``."""

    run_id: Id
    status: str
    best_round: Count | None
    stopped_by: str | None
    reason: str | None = None
    label_noise: dict[str, Any] = Field(default_factory=dict)
    samples: dict[str, Count] = Field(default_factory=dict)
    versions: dict[str, Any] = Field(default_factory=dict)
    hardware: dict[str, Any] = Field(default_factory=dict)


_ROWS = TypeAdapter(list[Row])
_CONFIG = TypeAdapter(RunFile)
_RESULT = TypeAdapter(Result)
_STATE = TypeAdapter(State)


def check_config(value: Any, path: Path) -> None:
    """Raise :class:`UsageError` unless ``value``, read from ``path``, is a run's configuration."""
    _check(_CONFIG, value, f"{path}: ")


def check_result(value: Any, path: Path, rows: Sequence[Any]) -> None:
    """Raise :class:`UsageError` unless ``value`` is the result of a run with ``rows``."""
    _check(_RESULT, value, f"{path}: ")
    best = value["best_round"]
    if best is not None and best >= len(rows):
        raise UsageError(f"{path}: best_round: {best}, but the run has {len(rows)} rounds")


def check_rows(rows: Sequence[Any], path: Path) -> None:
    """Raise :class:`UsageError` unless ``rows`` are those of rounds 0, 1, 2, ..."""
    try:
        _ROWS.validate_python(list(rows))
    except ValidationError as error:
        number = int(error.errors(include_url=False)[0]["loc"][0]) + 1
        raise UsageError(f"{path}:{number}: {_sentence(error, skip=1)}") from None
    for index, row in enumerate(rows):
        if row["round"] != index:
            raise UsageError(f"{path}:{index + 1}: round: {row['round']} where {index} must be")


def check_state(value: Any) -> None:
    """Raise ValueError unless ``value`` is the state of a checkpoint."""
    try:
        _STATE.validate_python(value)
    except ValidationError as error:
        raise ValueError(_sentence(error)) from None
    if [row["round"] for row in value["rows"]] != list(range(len(value["rows"]))):
        raise ValueError("rows: their rounds are not 0, 1, 2, ...")


def _check(adapter: TypeAdapter[Any], value: Any, where: str) -> None:
    try:
        adapter.validate_python(value)
    except ValidationError as error:
        raise UsageError(where + _sentence(error)) from None


def _sentence(error: ValidationError, skip: int = 0) -> str:
    """Say what is wrong first: the key, and what pydantic found."""
    first = error.errors(include_url=False)[0]
    names = ".".join(str(part) for part in first["loc"][skip:])
    return f"{names}: {first['msg'][:1].lower()}{first['msg'][1:]}"

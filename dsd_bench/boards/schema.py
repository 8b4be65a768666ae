"""What a row file holds, as models that check types and bounds.

What a row says must also agree with itself (:mod:`.verify`), and its text and place are fixed
(:mod:`.files`, :mod:`.places`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from dsd_bench.config.run import (
    ADDED,
    LATER,
    ComponentConfig,
    Precision,
    PrunerConfig,
    Selection,
    canonical,
)

SCHEMA = 2
"""Version of the row files that are written."""

OLD_SCHEMA = 1
"""The version of the first release, which is still read: it lacks what checking needs most."""

MOST_ROUNDS = 2000
"""More rounds than any curve has: pruning 0.5 % at a time leaves 1 weight of 20,000 by then."""

MOST_SEEDS = 200
"""More seeds than anybody has; each takes its time to be checked."""

MOST_CONFIG = 64 * 2**10
"""More characters than any configuration has; one of a run and its teacher has 2,000."""

Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, le=2**53)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
RunId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Loss = Annotated[float, Field(ge=0, le=1e38)]
_Bits = Annotated[float, Field(ge=0, le=1 + 1e-9)]
_ECE = r"^ece(\+[0-9a-f]{8}|(\+[A-Za-z_][A-Za-z0-9_]*-[A-Za-z0-9_.-]{1,40})*)$"
"""The name of a metric's file (:func:`dsd_bench.config.metrics.metric_key`) that is called ece."""
_Macs = Annotated[int | float, Field(ge=0, le=1e18)]
_Item = TypeVar("_Item")
Column = Annotated[list[_Item], Field(fail_fast=True)]
"""One value a round; of many mistakes the first is told."""
Few = Annotated[list[_Item], Field(max_length=100, fail_fast=True)]
"""A list that is never long."""


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Given(_Value):
    """The weights that runs begin from: the hash of their contents, and which of them count."""

    sha256: Sha256
    head: Literal["keep", "replace"]


class Track(_Value):
    """What runs must share to be compared.

    Attributes:
        config_schema: version of the runs' ``config.json`` and identity.
        dataset, noise, model: with all parameters; the split's are the data set's.
        fingerprint: of the data.
        data_seed: of split and noise; None: it is each run's own seed.
        schedule: the protocol but for what belongs to the method.
        weights: contents of the file that the runs begin from; left out where there is none.
        selection: the part that selects and stops, ``val`` or ``test``.
        precision: ``fp32``, ``tf32`` or ``bf16``.
    """

    config_schema: int
    dataset: ComponentConfig
    fingerprint: str
    data_seed: Seed | None
    noise: ComponentConfig
    model: ComponentConfig
    schedule: dict[str, JsonValue]
    weights: Given | None = None
    selection: Selection
    precision: Precision

    @model_serializer(mode="wrap")
    def _without_usual(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        value: dict[str, Any] = handler(self)
        return {k: v for k, v in value.items() if k != "weights" or v}


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
    rule and its choice of a round are: a structured pruner needs fewer rounds than magnitude, and
    the board shows what each has spent. ``optimizer`` and ``schedule`` are those that are not what
    the track's ``schedule`` is about.
    """

    pruner: PrunerConfig
    perturber: ComponentConfig
    updater: ComponentConfig | None = None
    optimizer: ComponentConfig | None = None
    schedule: ComponentConfig | None = None
    regularizers: list[Regularizer]
    stop: ComponentConfig
    chooser: ComponentConfig | None = None
    retrain_lr_scale: float
    redense_epochs: Count = 0
    rounds: Count | None
    target_sparsity: Fraction | None

    @model_serializer(mode="wrap")
    def _without_added(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what rows of the first release lack, where it says what was always done."""
        value: dict[str, Any] = handler(self)
        added = ADDED | dict.fromkeys(LATER)
        return {k: v for k, v in value.items() if added.get(k, ...) != v}


class Rounds(_Value):
    """Columns of ``rounds.jsonl``, one value a round, round 0 (dense) first."""

    sparsity: Column[Fraction]
    nonzero: Column[Count]
    train_loss: Column[_Loss | None]
    train_accuracy: Column[Fraction | None]
    train_accuracy_clean: Column[Fraction | None]
    train_accuracy_noisy: Column[Fraction | None]
    val_loss: Column[_Loss | None]
    val_accuracy: Column[Fraction | None]
    test_loss: Column[_Loss | None]
    test_accuracy: Column[Fraction]
    entropy: Column[_Bits | None]
    macs_dense: Column[_Macs | None]
    macs_effective: Column[_Macs | None]

    @model_validator(mode="after")
    def _same_length(self) -> Rounds:
        if len(self.sparsity) > MOST_ROUNDS:
            raise ValueError(f"{len(self.sparsity):,} rounds; no row has over {MOST_ROUNDS:,}")
        lengths = {name: len(getattr(self, name)) for name in type(self).model_fields}
        if not self.sparsity or len(set(lengths.values())) > 1:
            counts = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise ValueError(f"every column needs the same number of rounds, at least 1: {counts}")
        return self


class SeedResult(_Value):
    """One seed of a method: its run, what was selected, its curve and where it ran.

    Attributes:
        seed, data_seed, run_id: of the run.
        teachers: the run ids of its teachers, the nearest first.
        best_round: the selected round, by ``best`` the first of the best on the selecting part.
        stopped_by: ``rounds``, ``target-sparsity``, ``nothing-left`` or the stop rule's name.
        rounds: the curve.
        plan: how it was computed: plans with the round each began in.
        versions: of Python, torch and the like when it ended.
        hardware: where it ended.
    """

    seed: Seed
    data_seed: Seed
    run_id: RunId
    teachers: Few[RunId]
    best_round: Count
    stopped_by: str | None
    rounds: Rounds
    plan: JsonValue
    versions: dict[str, str]
    hardware: dict[str, str | int | None]


class Samples(_Value):
    """How many images each part has; ``noisy`` of ``train`` have a wrong label."""

    train: Count
    val: Count
    test: Count
    noisy: Count


class Bits(_Value):
    """Which images a network gets right: base64 of packed bits, the first image's highest.

    The order is that of the part, which the data seed fixes; null for a part without images.
    """

    val: str | None
    test: str | None


class Correct(_Value):
    """The bits of the dense (round 0) and of the selected network."""

    dense: Bits
    selected: Bits


class _Later(_Value):
    """A value whose fields of default None are left out where they are: older rows lack them."""

    @model_serializer(mode="wrap")
    def _without_unknown(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        value: dict[str, Any] = handler(self)
        later = {name for name, field in type(self).model_fields.items() if not field.is_required()}
        return {k: v for k, v in value.items() if v is not None or k not in later}


class Plugin(_Later):
    """A distribution whose components the run uses; the digest is that of its files.

    ``state``: ``release``, as it was built, or ``dirty``, a tree that people work on.
    """

    version: str
    sha256: Sha256 | None
    state: Literal["release", "dirty"] | None = None


class Code(_Later):
    """The code behind the rounds from ``round`` on: a line of ``provenance.jsonl``.

    ``core`` is dsd-bench's own; ``components`` is the distribution of each component of a plugin,
    by kind and name.
    """

    round: Count
    versions: dict[str, str]
    plugins: dict[str, Plugin]
    core: Plugin | None = None
    components: dict[str, dict[str, str]] | None = Field(default=None, min_length=1)


class Tried(_Value):
    """What was tried before a method was submitted.

    Attributes:
        configurations: how many configurations of the same components, this one included, had
            finished runs of the same track in the folder of its runs: more than 1, and the row
            may be the best of so many.
    """

    configurations: Annotated[int, Field(ge=1, le=10**6)]


class Calibration(_Value):
    """The expected calibration error that a further metric measured on the test part.

    Attributes:
        metric: the name of its file, such as ``ece+bins-9``: other parameters, other numbers.
        test: one value a round.
    """

    metric: Annotated[str, Field(pattern=_ECE, max_length=100)]
    test: Column[Fraction]


class CheckedSeed(SeedResult):
    """One seed of a row of schema 2.

    Attributes:
        samples: what the accuracies are counts of.
        layers: number of prunable weight tensors.
        correct: which validation and test images the dense and the selected network get right.
        plan: as above; each has ``from_round`` and ``numerics``.
        code: versions and plugins behind the rounds.
        ece: expected calibration errors; None (left out) where they were not measured.
    """

    samples: Samples
    layers: Count
    correct: Correct
    plan: Few[JsonValue] = Field(min_length=1)
    code: Few[Code] = Field(min_length=1)
    ece: Calibration | None = None

    @model_serializer(mode="wrap")
    def _without_unmeasured(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        value: dict[str, Any] = handler(self)
        return {k: v for k, v in value.items() if k != "ece" or v is not None}


class BoardRow(_Value):
    """One method over its seeds, in one track, as the first release wrote it (schema 1).

    Its run ids, counts and bits cannot be checked; boards mark it.
    """

    row_schema: Literal[1, 2] = Field(alias="schema")
    track: Track
    method: MethodConfig
    seeds: Sequence[SeedResult] = Field(min_length=1, max_length=MOST_SEEDS)


class CheckedRow(BoardRow):
    """One method over its seeds (schema 2): whatever can be recomputed from it is checked.

    Attributes:
        config: the whole configuration of the first seed, its teachers' included, without
            further metrics and without where data lie; the other seeds' differ in nothing but
            the seeds (:func:`dsd_bench.boards.methods.reseeded`).
        mixed: what differs among the plans, the hardware and the plugins behind the seeds,
            sorted; empty as a rule. A row that is mixed says so.
        tried: what was tried; None (left out) where that was not recorded.
    """

    config: dict[str, JsonValue]
    mixed: Few[str]
    seeds: Sequence[CheckedSeed] = Field(min_length=1, max_length=MOST_SEEDS)
    tried: Tried | None = None

    @field_validator("config")
    @classmethod
    def _of_moderate_size(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if (size := len(canonical(value))) > MOST_CONFIG:
            raise ValueError(f"{size:,} characters; no configuration has over {MOST_CONFIG:,}")
        return value

    @model_serializer(mode="wrap")
    def _without_unknown(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        value: dict[str, Any] = handler(self)
        return {k: v for k, v in value.items() if k != "tried" or v is not None}

"""A run is a value: its configuration, and the ids that are hashes of exactly that."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from dsd_bench.errors import UsageError
from dsd_bench.params import Params, param

SCHEMA = 1
"""Version of ``config.json`` and of the identity; raise it when either changes its meaning."""

Selection = Literal["val", "test"]
Precision = Literal["fp32", "tf32", "bf16"]
Layout = Literal["nchw", "nhwc"]
AskedLayout = Literal["auto", "nchw", "nhwc"]
"""How images and convolutions lie in memory (no part of a configuration); auto: by rule."""


class _Computed(BaseModel):
    """A value that never changes: what follows from it is computed once."""

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with other values, and without what followed from the old ones."""
        copy = super().model_copy(update=update, deep=deep)
        for name in copy.__dict__.keys() - type(self).model_fields.keys():
            del copy.__dict__[name]
        return copy

    @cached_property
    def dumped(self) -> dict[str, Any]:
        """The value as JSON; shared, so not to be changed."""
        return self.model_dump(mode="json")

    @cached_property
    def text(self) -> str:
        """The one JSON text of the value."""
        return canonical(self.dumped)


class ProtocolConfig(Params, _Computed):
    """How every run trains, prunes and selects (Table 4 of the paper gives its values)."""

    rounds: int | None = param(None, help="number of prunings; rows 0 to N", ge=0)
    target_sparsity: float | None = param(
        None, help="prune whole fractions until the sparsity is at least this", gt=0, lt=1
    )
    dense_epochs: int = param(
        160,
        help="length of the dense training; 0: row 0 is the network as given",
        ge=0,
        unit="epochs",
    )
    retrain_epochs: int = param(160, help="length of each later training", ge=1, unit="epochs")
    batch_size: int = param(128, help="samples a step", ge=1, unit="samples")
    optimizer: Literal["sgd", "adam", "adamw"] = param(
        "sgd", help="one of the first release's; another is a component"
    )
    lr: float = param(0.1, help="learning rate at the start of each training", gt=0)
    momentum: float = param(0.9, help="momentum of sgd; beta1 of adam and adamw", ge=0, lt=1)
    weight_decay: float = param(1e-4, help="the optimiser's own weight decay", ge=0)
    milestones: tuple[float, ...] = param(
        (0.5, 0.75), help="when the learning rate drops, as fractions of a training"
    )
    lr_drop: float = param(0.1, help="factor of each drop of the learning rate", gt=0, le=1)
    retrain_lr_scale: float = param(
        1.0, help="scales the learning rate of every training but the dense one (Fig. 3)", gt=0
    )
    redense_epochs: int = param(
        0,
        help="after each later training the pruned weights come back at zero and all of them "
        "train on for this long at its last learning rate; that network is measured, and the "
        "next round prunes the sparse one (He et al., ICML 2022)",
        ge=0,
        unit="epochs",
    )
    clip_norm: float | None = param(
        None,
        help="before each step gradients are scaled down to this norm, that of all weights "
        "together; those of pruned weights do not count",
        later=True,
        gt=0,
    )
    selection: Selection = param("val", help="which part selects and stops; the paper used test")
    precision: Precision = param("fp32", help="arithmetic of training and measuring")

    @field_validator("milestones", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        """Let the command line write ``0.5,0.75``."""
        return [part for part in value.split(",") if part] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _consistent(self) -> ProtocolConfig:
        if (self.rounds is None) == (self.target_sparsity is None):
            raise ValueError("give exactly one of rounds and target_sparsity")
        rising = list(self.milestones) == sorted(set(self.milestones))
        if not rising or any(not 0 < fraction < 1 for fraction in self.milestones):
            raise ValueError("milestones must rise and lie between 0 and 1")
        return self

    def epochs(self, round: int) -> int:
        """Return the length of the training of ``round`` in epochs."""
        return self.retrain_epochs if round else self.dense_epochs

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What counts for identity; shared, so not to be changed."""
        told = self.dumped.items()
        return {k: v for k, v in told if not (k in ADDED and v == ADDED[k])}


ADDED = {"redense_epochs": 0, "clip_norm": None}
"""Options that came after the first release: hashed unless they say what was always done."""

LATER = {
    "optimizer": ("sgd", "adam", "adamw"),
    "schedule": ("step",),
    "updater": ("none",),
    "chooser": ("best",),
}
"""Kinds of component that came after the first release, and what was always there of each, the
default first: a configuration names another one only, so that ids and files stay."""


OWN_CHOICE = "a teacher is always the best of its rounds, whatever chooses the student's"
"""Why a teacher has no chooser."""


class _Value(_Computed):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ComponentConfig(_Value):
    """A chosen component with all its parameters, defaults included."""

    name: str
    version: int
    params: dict[str, Any]

    def unfetched(self) -> ComponentConfig:
        """Return a model without published weights: the same network, and nothing to fetch."""
        if not self.params.get("pretrained"):
            return self
        return self.model_copy(update={"params": self.params | {"pretrained": False}})


class DatasetConfig(ComponentConfig):
    """A chosen data set; ``places`` names the parameters that only say where the data lie."""

    places: tuple[str, ...] = ()

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What counts for identity: without those parameters; shared, so not to be changed."""
        return self.placeless().model_dump(mode="json")

    def placeless(self) -> ComponentConfig:
        """Return it without those parameters."""
        params = {name: value for name, value in self.params.items() if name not in self.places}
        return ComponentConfig(name=self.name, version=self.version, params=params)


class PrunerConfig(ComponentConfig):
    """A chosen pruner.

    Attributes:
        at_initialisation: whether it prunes the network as it was before the dense training, from
            which each round is then trained, as its component declared; hashed only where it is so.
    """

    at_initialisation: bool = False

    @model_serializer(mode="wrap")
    def _without_newest(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what files had no word for, where it says what was always done."""
        value: dict[str, Any] = handler(self)
        return {k: v for k, v in value.items() if k != "at_initialisation" or v}


class TeacherConfig(_Value):
    """The run that a regularizer distils from, and which of its weights."""

    run_id: str
    weights: Literal["best", "dense"]
    config: RunConfig

    @model_validator(mode="after")
    def _own_id(self) -> TeacherConfig:
        if self.run_id != self.config.run_id:
            raise ValueError(f"its run_id {self.run_id} is not that of its configuration")
        if self.config.chooser is not None:
            raise ValueError(OWN_CHOICE)
        return self


class RegularizerConfig(ComponentConfig):
    """A chosen regularizer; ``teacher`` for those that distil."""

    teacher: TeacherConfig | None = None

    def identity(self) -> dict[str, Any]:
        """Return what counts for identity: of a teacher its id, however the user named it."""
        value = self.model_dump(mode="json", exclude={"teacher"})
        if self.teacher is not None:
            value["params"].pop("teacher", None)
            value["teacher"] = {"run_id": self.teacher.run_id, "weights": self.teacher.weights}
        return value

    def seedless(self) -> tuple[Any, ...]:
        """Return what is equal for regularizers that differ in their teachers' seeds only."""
        value = canonical(self.model_dump(mode="json", exclude={"teacher"}))
        if self.teacher is None:
            return (value,)
        return value, self.teacher.weights, self.teacher.config.seedless()


class WeightsConfig(_Value):
    """The weights that a run begins from.

    Attributes:
        file: where they lie; no part of the id, which has their contents.
        sha256: of the contents (:func:`dsd_bench.store.given.contents`).
        head: ``replace``: the output layer is initialised as without them.
    """

    file: str = ""
    sha256: str = param(..., help="of the contents", pattern="^[0-9a-f]{64}$")
    head: Literal["keep", "replace"] = "keep"

    def placeless(self) -> dict[str, str]:
        """Return what counts for identity."""
        return {"sha256": self.sha256, "head": self.head}


class RunConfig(_Value):
    """Everything that can change a run's numbers. Make one with
    :func:`dsd_bench.configure`.
    """

    seed: int
    data_seed: int
    fingerprint: str
    protocol: ProtocolConfig
    model: ComponentConfig
    dataset: DatasetConfig
    noise: ComponentConfig
    pruner: PrunerConfig
    perturber: ComponentConfig
    stop: ComponentConfig
    regularizers: tuple[RegularizerConfig, ...] = ()
    metrics: tuple[str, ...] = ()
    optimizer: ComponentConfig | None = None
    schedule: ComponentConfig | None = None
    weights: WeightsConfig | None = None
    updater: ComponentConfig | None = None
    chooser: ComponentConfig | None = None

    @model_serializer(mode="wrap")
    def _without_later(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what came later where a run has what was always done."""
        value: dict[str, Any] = handler(self)
        return {k: v for k, v in value.items() if v is not None}

    def chosen(self, kind: str) -> ComponentConfig:
        """Return the component of a kind of which a run has one, whatever it says of it."""
        found = getattr(self, kind)
        if isinstance(found, ComponentConfig):
            return found
        name = self.protocol.optimizer if kind == "optimizer" else LATER[kind][0]
        return ComponentConfig(name=name, version=1, params={})

    def identity(self) -> dict[str, Any]:
        """Return exactly what :attr:`run_id` hashes.

        Further metrics only watch and are left out, and so is where data and weights lie. A teacher
        counts as the id of its run and which of its weights, however the user named it. Its parts
        are shared, so not to be changed.
        """
        found: dict[str, Any] = {"schema": SCHEMA}
        for name in type(self).model_fields:
            part = getattr(self, name)
            if name == "regularizers":
                found[name] = [regularizer.identity() for regularizer in part]
            elif isinstance(part, ProtocolConfig | DatasetConfig):
                found[name] = part.identity
            elif isinstance(part, WeightsConfig):
                found[name] = part.placeless()
            elif name != "metrics" and part is not None:
                found[name] = part.dumped if isinstance(part, _Computed) else part
        return found

    @cached_property
    def run_id(self) -> str:
        """16 hexadecimal digits: the hash of :meth:`identity`."""
        return digest(self.identity())

    @cached_property
    def curve_id(self) -> str:
        """Like :attr:`run_id`, without rounds, target, stop criterion and chooser.

        Runs of one curve share their rounds: one can go on from another's.
        """
        value = self.identity()
        del value["stop"]
        value.pop("chooser", None)
        ends = ("rounds", "target_sparsity")
        value["protocol"] = {k: v for k, v in value["protocol"].items() if k not in ends}
        return digest(value)

    def seedless(self) -> tuple[Any, ...]:
        """Return what is equal for configurations that differ in seeds, teachers' too, only."""
        named = type(self).model_fields.keys() - {"seed", "data_seed", "regularizers"}
        parts = [getattr(self, name) for name in sorted(named)]
        chain = [regularizer.seedless() for regularizer in self.regularizers]
        return *(part.text if isinstance(part, _Computed) else part for part in parts), *chain

    @property
    def score(self) -> str:
        """The column that selects and stops."""
        return f"{self.protocol.selection}_accuracy"

    def to_json(self) -> dict[str, Any]:
        """Return the contents of ``config.json``."""
        ids = {"run_id": self.run_id, "curve_id": self.curve_id, "schema": SCHEMA}
        return ids | self.model_dump(mode="json")

    @classmethod
    def from_json(cls, value: Mapping[str, Any], where: str = "config.json") -> RunConfig:
        """Read the contents of a ``config.json`` and check that its id is its hash.

        Raises:
            UsageError: if it is of another schema, incomplete, or was changed by hand.
        """
        if value.get("schema") != SCHEMA:
            raise UsageError(
                f"{where}: schema {value.get('schema')!r}; this version reads {SCHEMA}"
            )
        body = {k: v for k, v in value.items() if k not in ("run_id", "curve_id", "schema")}
        try:
            config = cls.model_validate(body)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise UsageError(f"{where}: {place}: {first['msg']}") from None
        if config.run_id != value.get("run_id"):
            raise UsageError(
                f"{where}: its run_id is {value.get('run_id')}, its contents hash to "
                f"{config.run_id}; the file was changed or is of another version of dsd-bench"
            )
        return config


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical(value: Any) -> str:
    """Return the one JSON text of ``value``: sorted keys, no spaces, ASCII, no NaN."""
    return _CANONICAL.encode(value)


def digest(value: Any) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of :func:`canonical`."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:16]

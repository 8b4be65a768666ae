"""A component: a named, typed, lazily imported part of a run."""

from __future__ import annotations

import importlib
import re
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from dsd_bench.environment.contained import contained
from dsd_bench.params import NAME, Params


@dataclass(frozen=True)
class Kind:
    """A kind of component, and all that is particular to it.

    Attributes:
        name: what users call it.
        hook: the hook through which plugins register components of this kind.
        base: the base class of its implementations, as ``package.Class`` below ``dsd_bench``; the
            built-in ones are declared in the same package's module ``builtin``.
        plural: what the hook returns, for people.
        option: what the option that chooses one is called; "": as the kind.
    """

    name: str
    hook: str
    base: str
    plural: str
    option: str = ""

    @property
    def builtin(self) -> str:
        """The module of the built-in components; it uses the same hook as everybody else."""
        return f"dsd_bench.{self.base.partition('.')[0]}.builtin"


TABLE = (
    Kind("pruner", "register_pruners", "pruners.Pruner", "pruners"),
    Kind("perturber", "register_perturbers", "perturbers.Perturber", "perturbers"),
    Kind("updater", "register_updaters", "updaters.Updater", "updaters of masks in training"),
    Kind("regularizer", "register_regularizers", "regularizers.Regularizer", "regularizers", "reg"),
    Kind("optimizer", "register_optimizers", "optimizers.Optimizer", "optimisers"),
    Kind("schedule", "register_schedules", "schedules.Schedule", "schedules"),
    Kind("stop", "register_stop_criteria", "stopping.StopCriterion", "stop criteria"),
    Kind("chooser", "register_choosers", "choosers.Chooser", "choosers of the round", "choose"),
    Kind("model", "register_models", "models.ModelFactory", "model factories"),
    Kind("dataset", "register_datasets", "data.Dataset", "data sets"),
    Kind("noise", "register_label_noise", "noise.LabelNoise", "label noises"),
    Kind("metric", "register_metrics", "metrics.Metric", "further metrics"),
    Kind("executor", "register_executors", "executors.Executor", "executors"),
    Kind("reporter", "register_reporters", "reports.Reporter", "reporters"),
)
"""Every kind of component, in the order in which they are listed; a new kind is one line here."""

KINDS = tuple(kind.name for kind in TABLE)
"""The kinds' names, in the same order."""

_KINDS = {kind.option or kind.name: kind.name for kind in TABLE}
_OPTIONS = {name: option for option, name in _KINDS.items()}


def kind_of(option: str) -> str:
    """Return the kind that an option chooses from; what is no such option is returned as it is."""
    return _KINDS.get(option, option)


def option_of(kind: str) -> str:
    """Return the option that chooses a component of a kind."""
    return _OPTIONS[kind]


PAPER = "Quetu and Tartaglione, DSD2: Can We Dodge Sparse Double Descent?, AAAI 2024"
"""The paper that the protocol and several components come from, for their citations."""

_IMPLEMENTATION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*\Z")


@dataclass(frozen=True)
class Component:
    """What a plugin registers: a name, where the implementation lives, and its parameters.

    Args:
        name: how users call it: lower-case letters, digits, ``-``, ``_`` and ``.``.
        implementation: ``"package.module:Class"``, imported on first use. The class is
            called with one argument, the validated parameters.
        summary: one line for ``dsd-bench plugins``.
        params: the parameters' model, a subclass of :class:`dsd_bench.Params`.
        version: raise it when the same parameters would give other numbers; it is hashed
            into the id of every run that uses the component.
        citation: the paper it comes from.
        teacher: (regularizers) whether it distils from another run, named by its parameter
            ``teacher``.
        metrics: (stop criteria, choosers) the further metrics its rule reads, as words with their
            parameters.
        columns: (stop criteria, choosers) columns of ``rounds.jsonl`` that its rule cannot do
            without; a run that would leave one of them empty is refused before it is trained.
        sets_back: (perturbers) whether it takes the weights back to an earlier state or to a new
            initialisation, so that the next training begins anew; None: not said, and where that
            training is shorter than the dense one nothing is claimed of the method.
        changes_targets: (regularizers) whether a net trained with it fits other targets than the
            labels it is given, as distillation and label smoothing do; None: not said, which
            counts as yes. True of every one with ``teacher``.
        reconstructs: (pruners) whether it returns :class:`dsd_bench.pruners.Pruned`: new weights
            with its masks.
        at_initialisation: (pruners) whether it prunes the network as it was before the dense
            training, and each round is trained from there; what it is given and draws is then the
            same in every round. It counts as setting weights back.
        passes: (optimizers) how often each step goes forward and backward: 2 where what it builds
            has ``ascend``.
    """

    name: str
    implementation: str
    summary: str
    params: type[Params] = Params
    version: int = 1
    citation: str = ""
    teacher: bool = False
    metrics: tuple[str, ...] = field(default=())
    columns: tuple[str, ...] = field(default=())
    sets_back: bool | None = None
    changes_targets: bool | None = None
    reconstructs: bool = False
    at_initialisation: bool = False
    passes: int = 1

    def __post_init__(self) -> None:
        if type(self.name) is not str or not NAME.match(self.name):
            raise ValueError(f"component name {self.name!r}: use lower-case letters, digits, - _ .")
        if type(self.implementation) is not str or not _IMPLEMENTATION.match(self.implementation):
            raise ValueError(
                f"component '{self.name}': implementation {self.implementation!r} "
                "is not 'package.module:Class'"
            )
        if not (isinstance(self.params, type) and issubclass(self.params, Params)):
            raise ValueError(f"component '{self.name}': params must be a subclass of Params")
        if type(self.version) is not int or self.version < 1:
            raise ValueError(f"component '{self.name}': version must be a whole number >= 1")
        if type(self.summary) is not str or type(self.citation) is not str:
            raise ValueError(f"component '{self.name}': summary and citation must be texts")
        if any(type(name) is not str for name in self.metrics):
            raise ValueError(f"component '{self.name}': metrics must be names of metrics")
        if self.teacher and "teacher" not in self.params.model_fields:
            raise ValueError(f"component '{self.name}': teacher=True needs a parameter 'teacher'")
        if type(self.passes) is not int or self.passes not in (1, 2):
            raise ValueError(f"component '{self.name}': passes={self.passes!r}; it must be 1 or 2")
        for name in ("reconstructs", "at_initialisation"):
            if type(getattr(self, name)) is not bool:
                raise ValueError(f"component '{self.name}': {name} must be True or False")
        for name in ("sets_back", "changes_targets"):
            if getattr(self, name) not in (None, True, False):
                raise ValueError(f"component '{self.name}': {name} must be True, False or None")

    def load(self) -> type[Any]:
        """Import and return the implementing class.

        Raises:
            Quit: if the module of a plugin would have ended the process.
        """
        with self._guard():
            return self._class()

    def create(self, params: Params | None = None) -> Any:
        """Import the implementation and build it from validated parameters.

        Raises:
            Quit: if the code of a plugin would have ended the process.
        """
        with self._guard():
            return self._class()(self.params() if params is None else params)

    def _class(self) -> type[Any]:
        module, _, name = self.implementation.partition(":")
        return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]

    def _guard(self) -> AbstractContextManager[Any]:
        """Keep a plugin's code, not our own, from changing the process."""
        ours = self.implementation.startswith("dsd_bench.")
        return nullcontext() if ours else contained()

"""A component: a named, typed, lazily imported part of a run."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass, field
from typing import Any

from dsd_bench.params import NAME, Params

KINDS = (
    "pruner",
    "perturber",
    "regularizer",
    "stop",
    "model",
    "dataset",
    "noise",
    "metric",
    "executor",
    "reporter",
)
"""The kinds of component, in the order in which they are listed."""

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
        metrics: (stop criteria) names of the further metrics its rule reads.
    """

    name: str
    implementation: str
    summary: str
    params: type[Params] = Params
    version: int = 1
    citation: str = ""
    teacher: bool = False
    metrics: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if not NAME.match(self.name):
            raise ValueError(f"component name {self.name!r}: use lower-case letters, digits, - _ .")
        if not _IMPLEMENTATION.match(self.implementation):
            raise ValueError(
                f"component '{self.name}': implementation {self.implementation!r} "
                "is not 'package.module:Class'"
            )
        if not (isinstance(self.params, type) and issubclass(self.params, Params)):
            raise ValueError(f"component '{self.name}': params must be a subclass of Params")
        if type(self.version) is not int or self.version < 1:
            raise ValueError(f"component '{self.name}': version must be a whole number >= 1")
        if self.teacher and "teacher" not in self.params.model_fields:
            raise ValueError(f"component '{self.name}': teacher=True needs a parameter 'teacher'")

    def load(self) -> type[Any]:
        """Import and return the implementing class."""
        module, _, name = self.implementation.partition(":")
        return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]

    def create(self, params: Params | None = None) -> Any:
        """Import the implementation and build it from validated parameters."""
        return self.load()(self.params() if params is None else params)

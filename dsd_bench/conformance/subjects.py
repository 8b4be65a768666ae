"""What is checked: components with parameters to build them from, and where they came from."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from dsd_bench.components import TABLE
from dsd_bench.conformance.checks import Broken
from dsd_bench.environment.contained import contained
from dsd_bench.errors import UsageError, describe, suggest
from dsd_bench.params import Params, format_word, main_field, validate
from dsd_bench.plugins import Catalogue, Registration

OURS = "dsd-bench"
"""The distribution of the built-in components."""


@dataclass(frozen=True)
class Subject:
    """A component that is to be checked.

    Attributes:
        entry: the component and its distribution.
        module: a module that registers it without being installed, for ``--dsd-plugin MODULE``.
        memory: what several checks need and one computes; keyed by whoever does.
    """

    entry: Registration
    module: str | None = None
    memory: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def kind(self) -> str:
        """The component's kind."""
        return self.entry.kind

    @property
    def name(self) -> str:
        """The component's name."""
        return self.entry.component.name

    @cached_property
    def required(self) -> dict[str, Any]:
        """Examples of the parameters that have no default.

        Raises:
            Broken: if a parameter has no example and none can be thought of.
        """
        fields = self.entry.component.params.model_fields.items()
        return {name: _example(name, each) for name, each in fields if each.is_required()}

    @cached_property
    def values(self) -> dict[str, Any]:
        """Parameters to build it from: :attr:`required`, and what its class says.

        Raises:
            Broken: as :attr:`required`; if the class cannot be imported.
        """
        return {**self.required, **self._told("checked_params")}

    @cached_property
    def beside(self) -> dict[str, Any]:
        """Options that runs with it need beside it, as its class says.

        Raises:
            Broken: if the class cannot be imported.
        """
        return self._told("checked_beside")

    def _told(self, name: str) -> dict[str, Any]:
        found = getattr(self.load(), name, {})
        if not isinstance(found, dict):
            raise Broken(f"{name} is no dict")
        return found

    @cached_property
    def params(self) -> Params:
        """The validated parameters."""
        model = self.entry.component.params
        try:
            return validate(model, self.values, f"{self.kind} {self.name}")
        except UsageError as error:
            advice = "give its parameters examples, param(..., examples=[...]), or checked_params"
            raise Broken(f"{error}: {advice}") from error

    @property
    def word(self) -> str:
        """The component as a user would type it."""
        return format_word(self.name, self.values, main_field(self.entry.component.params))

    def variants(self) -> Iterator[dict[str, Any]]:
        """Yield its defaults, and parameters of which one is another of its examples or choices."""
        yield self.required
        for name, each in self.entry.component.params.model_fields.items():
            for value in (*(each.examples or ()), *_choices(each.annotation)):
                yield {**self.values, name: value}

    def load(self) -> type[Any]:
        """Return the implementing class.

        Raises:
            Broken: if it cannot be imported.
        """
        try:
            return self.entry.component.load()
        except Exception as error:
            implementation = self.entry.component.implementation
            raise Broken(f"{implementation} cannot be imported: {describe(error)}") from error

    def make(self, values: Mapping[str, Any] | None = None) -> Any:
        """Return a new object of the component, of :attr:`params` or other ``values``."""
        component = self.entry.component
        where = f"{self.kind} {self.name}"
        params = self.params if values is None else validate(component.params, values, where)
        try:
            return component.create(params)
        except Exception as error:
            raise Broken(
                f"{component.implementation} cannot be built: {describe(error)}"
            ) from error


def _choices(annotation: Any) -> tuple[Any, ...]:
    """Return the values of a type that has few."""
    origin = get_origin(annotation)
    if origin is Literal:
        return get_args(annotation)
    if origin in (Union, UnionType):
        return tuple(value for one in get_args(annotation) for value in _choices(one))
    return (False, True) if annotation is bool else ()


def _example(name: str, info: FieldInfo) -> Any:
    """Return a value for a required parameter."""
    if info.examples:
        return info.examples[0]
    if choices := _choices(info.annotation):
        return choices[0]
    bounds = {type(each).__name__.lower(): each for each in info.metadata}
    limits = [getattr(bounds[key], key) for key in ("ge", "gt", "le", "lt") if key in bounds]
    if info.annotation is float and limits:
        return sum(limits) / len(limits) if len(limits) == 2 else limits[0] + 0.5
    if info.annotation is int and limits:
        return limits[0] + ("gt" in bounds)
    raise Broken(
        f"parameter '{name}' is required: give an example, param(..., examples=[...], help=...)"
    )


def select(known: Catalogue, name: str | None) -> list[Subject]:
    """Return what is to be checked: the components of one plugin, or of all installed ones.

    Args:
        known: the catalogue; a module that is not installed is added to it.
        name: a distribution (``dsd-bench-mine`` or ``mine``; ``dsd-bench`` for the built-in
            components), or a module that registers components; None: all but the built-in ones.

    Raises:
        UsageError: if there is no such plugin, or it could not be loaded.
    """
    if name is None:
        found = [entry for entry in _all(known) if entry.distribution != OURS]
        if not found and not known.failed:
            raise UsageError(
                "no plugin is installed; `dsd-bench plugins new NAME --kind pruner` makes one, "
                "`dsd-bench plugins test dsd-bench` checks the built-in components"
            )
        return [Subject(entry) for entry in sorted(found, key=lambda one: one.distribution)]
    wanted = {_normal(name), _normal(f"{OURS}-{name}")}
    found = [entry for entry in _all(known) if _normal(entry.distribution) in wanted]
    if found or any(_normal(failure.distribution) in wanted for failure in known.failed):
        return [Subject(entry) for entry in found]
    return _of_module(known, name)


def _all(known: Catalogue) -> list[Registration]:
    """Return all components, then the observers."""
    return [*known.entries(), *known.observers]


def _of_module(known: Catalogue, name: str) -> list[Subject]:
    """Return the components of a module that is not installed."""
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", name) or not _importable(name):
        owners = {entry.distribution for entry in _all(known)}
        raise UsageError(f"there is no plugin '{name}'{suggest(name, owners)}")
    try:
        with contained():
            module = importlib.import_module(name)
    except Exception as error:
        raise UsageError(f"{name}: {describe(error)}") from error
    known.add(module, name)
    return [Subject(each, name) for each in _all(known) if each.distribution == name]


def _importable(name: str) -> bool:
    try:
        with contained():
            return importlib.util.find_spec(name) is not None
    except Exception:
        return False


def _normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def base_of(kind: str) -> type[Any]:
    """Return the base class of a kind's implementations."""
    path = next(each.base for each in TABLE if each.name == kind)
    module, _, name = f"dsd_bench.{path}".rpartition(".")
    return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]

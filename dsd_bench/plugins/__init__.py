"""Finding and loading plugins: a broken one is listed with its error and breaks nothing else."""

from __future__ import annotations

import copy
import importlib
import importlib.metadata
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import pluggy

from dsd_bench import hookspecs
from dsd_bench.components import KINDS, TABLE, Component
from dsd_bench.deprecation import noting
from dsd_bench.environment import DISABLE, TRACE, switched_on
from dsd_bench.environment.contained import contained
from dsd_bench.environment.limited import loading
from dsd_bench.errors import LONGEST, UsageError, describe, message, plain, suggest
from dsd_bench.plugins.api import made_for
from dsd_bench.plugins.origins import came_from

REGISTER = {kind.hook: kind.name for kind in TABLE}
"""Which kind of component each ``register_*`` hook returns."""

BUILTIN = tuple(kind.builtin for kind in TABLE)
"""The modules of the built-in components; they use the same hooks as everybody else."""


OBSERVER = "observer"
"""What listings and the conformance kit call the hooks of a plugin that watch runs."""


@dataclass(frozen=True)
class Registration:
    """A registered component and where it came from."""

    kind: str
    component: Component
    distribution: str
    api: int | None = None
    """The version of the plugin API that its plugin was made for; None: it does not say."""

    @property
    def origin(self) -> str:
        """Return the file that implements the component (found without importing it)."""
        module = self.component.implementation.partition(":")[0]
        try:
            with loading():  # finding a module imports its package
                spec = importlib.util.find_spec(module)
        except Exception as error:
            return f"{module} (cannot be found: {describe(error)})"
        return str(spec.origin) if spec and spec.origin else module


@dataclass(frozen=True)
class Failure:
    """A plugin, or a component of one, that could not be used."""

    distribution: str
    error: str


class Catalogue:
    """Every component by kind and name, and the hooks that observers watch through.

    Attributes:
        observers: the plugins that watch runs, as components of the kind :data:`OBSERVER`: they are
            none, but are listed and checked like them.
        failed: plugins, and components of theirs, that could not be used.
        deprecated: what plugins use that will go, with what to write instead.
    """

    def __init__(self, manager: pluggy.PluginManager) -> None:
        self.manager = manager
        self.observers: list[Registration] = []
        self.failed: list[Failure] = []
        self.deprecated: list[Failure] = []
        self._entries: dict[tuple[str, str], Registration] = {}

    def entries(self, kind: str | None = None) -> list[Registration]:
        """Return the components of ``kind`` (all kinds if None), by kind and name."""
        found = [entry for entry in self._entries.values() if kind in (None, entry.kind)]
        return sorted(found, key=lambda e: (KINDS.index(e.kind), e.component.name))

    def names(self, kind: str) -> list[str]:
        """Return the names of the components of ``kind``, sorted."""
        return [entry.component.name for entry in self.entries(kind)]

    def get(self, kind: str, name: str, where: str = "") -> Registration:
        """Return one component; ``where`` says in the error who asked for it.

        Raises:
            UsageError: if there is none, with the distribution that held it if a run tells
                (:func:`dsd_bench.plugins.origins.remembering`), else with the nearest name and
                the list of choices.
        """
        entry = self._entries.get((kind, name))
        if entry is not None:
            return entry
        prefix = f"{where}: " if where else ""
        if origin := came_from(kind, name):
            raise UsageError(f'{prefix}{kind} "{name}" {origin}')
        some = "1 plugin" if len(self.failed) == 1 else f"{len(self.failed)} plugins"
        broken = f" ({some} failed to load: see `dsd-bench plugins`)" if self.failed else ""
        choices = suggest(name, self.names(kind))
        raise UsageError(f"{prefix}there is no {kind} '{name}'{choices}{broken}")

    def find(self, kind: str, name: str) -> Component | None:
        """Return one component, None if there is none."""
        entry = self._entries.get((kind, name))
        return entry.component if entry else None

    def place(self, error: BaseException) -> str:
        """Return the last line of a plugin's code on an exception's way, and whose; else ``""``."""
        owners = {
            entry.component.implementation.partition(":")[0].partition(".")[0]: entry.distribution
            for entry in (*self._entries.values(), *self.observers)
        }
        for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
            name = frame.f_globals.get("__name__")
            package = name.partition(".")[0] if type(name) is str else ""
            if package != "dsd_bench" and package in owners:
                return f"{plain(frame.f_code.co_filename)}:{line}, of {plain(owners[package])}"
        return ""

    def add(self, plugin: object, distribution: str) -> None:
        """Register ``plugin`` and its components; what fails is noted in :attr:`failed`."""
        try:
            with self.loading(distribution):
                api = made_for(plugin, distribution)
                self._register(plugin)
                hooks = [caller.name for caller in self.manager.get_hookcallers(plugin) or []]
        except UsageError as error:
            self.fail(distribution, plain(message(error)))
            return
        except Exception as error:
            self.fail(distribution, describe(error))
            return
        for hook in hooks:
            if hook in REGISTER:
                self._collect(plugin, hook, distribution, api)
        if watched := [hook for hook in hooks if hook not in REGISTER]:
            self.observers.append(_observer(plugin, watched, distribution, api))

    @contextmanager
    def loading(self, distribution: str) -> Iterator[None]:
        """Run a plugin's code that imports or registers it; note what it uses that will go."""

        def note(text: str) -> None:
            found = Failure(distribution, plain(text))
            if found not in self.deprecated:
                self.deprecated.append(found)

        with loading(), noting(note):
            yield

    def fail(self, distribution: str, error: str) -> None:
        """Note that a plugin, or a part of it, could not be used."""
        self.failed.append(Failure(distribution, error))

    def notify(self, hook: str, failed: Callable[[str], None], **arguments: Any) -> None:
        """Call every observer of ``hook`` with copies; one that raises is told to ``failed``."""
        for implementation in getattr(self.manager.hook, hook).get_hookimpls():
            only = [p for p in self.manager.get_plugins() if p is not implementation.plugin]
            try:
                with contained():
                    self.manager.subset_hook_caller(hook, only)(**copy.deepcopy(arguments))
            except Exception as error:  # observers never cost the run
                failed(f"observer {plain(implementation.plugin_name)}.{hook}: {describe(error)}")

    def _register(self, plugin: object) -> None:
        hash(plugin)  # pluggy keeps plugins in sets
        if type(plugin).__eq__ is not object.__eq__:  # and compares each with all others
            raise ValueError(f"{_shown(plugin)} has an __eq__ of its own")
        if self.manager.is_registered(plugin):
            raise ValueError(f"{_shown(plugin)} is registered already")
        try:
            self.manager.register(plugin)
            self.manager.check_pending()
            if not self.manager.get_hookcallers(plugin):
                raise ValueError(f"{_shown(plugin)} has no hook: mark its functions with @hookimpl")
        except BaseException:
            if self.manager.is_registered(plugin):
                self.manager.unregister(plugin)
            raise

    def _collect(self, plugin: object, hook: str, distribution: str, api: int | None) -> None:
        others = [other for other in self.manager.get_plugins() if other is not plugin]
        try:
            with self.loading(distribution):
                answers = self.manager.subset_hook_caller(hook, others)()
                components = [component for answer in answers for component in answer]
        except Exception as error:
            self.fail(distribution, f"{hook}: {describe(error)}")
            return
        for component in components:
            if type(component) is Component:  # what a subclass does was not checked
                self._put(Registration(REGISTER[hook], component, distribution, api))
            else:
                text = f"{hook} returned {_shown(component)}, which is no Component"
                self.fail(distribution, text)

    def _put(self, entry: Registration) -> None:
        key = (entry.kind, entry.component.name)
        if key in self._entries:
            owner = self._entries[key].distribution
            text = f"the name of {entry.kind} '{key[1]}' is already taken by {plain(owner)}"
            self.fail(entry.distribution, text)
            return
        self._entries[key] = entry


def _observer(plugin: object, hooks: list[str], distribution: str, api: int | None) -> Registration:
    """Return what is listed of a plugin that watches runs."""
    name = re.sub(r"[^a-z0-9_.-]", "-", distribution.lower().removeprefix("dsd-bench-")).strip("-.")
    module = getattr(plugin, "__name__", type(plugin).__module__)
    implementation = f"{module}:{hooks[0]}" if isinstance(plugin, ModuleType) else f"{module}:none"
    summary = f"watches {', '.join(sorted(hooks))}"
    return Registration(
        OBSERVER, Component(name or "unnamed", implementation, summary), distribution, api
    )


def _shown(value: object) -> str:
    """Return an object of anybody's class for people."""
    try:
        with contained():
            text = repr(value)
    except Exception:
        text = f"an object of {type(value).__name__}"
    return plain(text if len(text) <= LONGEST else f"{text[:LONGEST]}...")


def build(third_party: bool, trace: bool = False) -> Catalogue:
    """Make a catalogue of the built-in and, if asked for, all installed components."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    if trace:
        manager.trace.root.setwriter(lambda text: sys.stderr.write(plain(text, lines=True)))
        manager.enable_tracing()
    catalogue = Catalogue(manager)
    for module in BUILTIN:
        catalogue.add(importlib.import_module(module), "dsd-bench")
    for distribution, entry_point in _entry_points(catalogue) if third_party else ():
        try:
            with catalogue.loading(distribution):
                plugin = entry_point.load()
        except Exception as error:
            text = f"entry point '{plain(entry_point.name)}': {describe(error)}"
            catalogue.fail(distribution, text)
            continue
        catalogue.add(plugin, distribution)
    return catalogue


def _entry_points(catalogue: Catalogue) -> list[tuple[str, importlib.metadata.EntryPoint]]:
    """Return every entry point with its distribution's name, sorted: the first takes a name."""
    try:
        points = list(importlib.metadata.entry_points(group=hookspecs.PROJECT))
    except Exception:  # some installation is damaged, of a plugin or not: leave that one out
        points = []
        for found in importlib.metadata.distributions():
            try:
                points += found.entry_points.select(group=hookspecs.PROJECT)
            except Exception as error:
                catalogue.fail(_name(found) or "unknown", f"its metadata: {describe(error)}")
    owned = [(_name(point.dist) or point.value, point) for point in points]
    return sorted(owned, key=lambda pair: (pair[0], pair[1].name))


def _name(distribution: importlib.metadata.Distribution | None) -> str | None:
    """Return a distribution's name, None for a damaged one."""
    try:
        return distribution.name if distribution else None
    except Exception:
        return None


@cache
def catalogue() -> Catalogue:
    """Return this process's catalogue, made once, as the environment switches say."""
    return build(third_party=not switched_on(DISABLE), trace=switched_on(TRACE))

"""What a check is, and the list of all checks by kind."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

from dsd_bench import __version__
from dsd_bench.plugins import OBSERVER

if TYPE_CHECKING:
    from dsd_bench.conformance.subjects import Subject

Status = Literal["passed", "expected", "warned", "skipped", "unexpected", "failed"]
"""How a check ended: ``expected`` failed as its plugin said; ``warned`` failed, but is so new that
it does not count yet; ``unexpected`` passed though its plugin said that it fails."""

BAD: tuple[Status, ...] = ("unexpected", "failed")
"""What makes a plugin fail."""

EVERY = "every"
"""Stands for all kinds in the list of checks."""


OF_PLUGINS = ("light", "quiet", "current")
"""The checks of all kinds that are of a plugin rather than a component: observers' too."""


class Broken(Exception):
    """A component does not keep to a check; the message says how, in one line."""


class Skipped(Exception):
    """A check does not apply to a component; the message says why."""


@dataclass(frozen=True)
class Check:
    """One thing that a component must keep to.

    Attributes:
        name: what it is called in tables and in ``expected_failed_checks``: ``same-seed``.
        kind: the kind of component that it is for, or :data:`EVERY`.
        act: raises :class:`Broken` or :class:`Skipped`; returns if all is well.
        since: the version of dsd-bench that brought it. In that version it only warns, so that a
            new version does not break whoever was conformant; None: since the kit began.
    """

    name: str
    kind: str
    act: Callable[[Subject], None]
    since: str | None = None

    @property
    def summary(self) -> str:
        """What it demands, one sentence."""
        return (self.act.__doc__ or "").strip().partition("\n")[0]

    @property
    def new(self) -> bool:
        """Whether it only warns in this version of dsd-bench."""
        return self.since is not None and _minor(self.since) == _minor(__version__)


@dataclass(frozen=True)
class Result:
    """How one check of one component ended.

    Attributes:
        check: its name.
        status: see :data:`Status`.
        reason: why, unless it passed; one line.
        seconds: what it took.
    """

    check: str
    status: Status
    reason: str = ""
    seconds: float = 0.0


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]


_ALL: dict[tuple[str, str], Check] = {}


def check(
    kind: str, since: str | None = None
) -> Callable[[Callable[[Subject], None]], Callable[[Subject], None]]:
    """Make a function a check of ``kind``; its name with dashes is the check's."""

    def add(act: Callable[[Subject], None]) -> Callable[[Subject], None]:
        name = act.__name__.replace("_", "-")
        _ALL[kind, name] = Check(name, kind, act, since)
        return act

    return add


@cache
def checks_of(kind: str) -> tuple[Check, ...]:
    """Return the checks of components of ``kind``, those of all kinds first.

    Observers are no components and have no class: of those of all kinds they have
    :data:`OF_PLUGINS`.
    """
    importlib.import_module("dsd_bench.conformance.every")
    module = f"dsd_bench.conformance.kinds.{kind}"
    if importlib.util.find_spec(module) is not None:
        importlib.import_module(module)
    found = [each for one in (EVERY, kind) for (of, _), each in _ALL.items() if of == one]
    if kind == OBSERVER:
        found = [each for each in found if each.kind == kind or each.name in OF_PLUGINS]
    return tuple(found)


@contextmanager
def blaming(what: str) -> Iterator[None]:
    """Say where a component raised, or broke a check, within the block.

    Args:
        what: such as ``of a network with attention it raises``.
    """
    from dsd_bench.errors import describe

    try:
        yield
    except Skipped:
        raise
    except Broken as why:
        raise Broken(f"{what.removesuffix(' it raises')}: {why}") from why
    except Exception as error:  # whatever a component raises is what is told of it
        raise Broken(f"{what}: {describe(error)}") from error


def demand(condition: object, otherwise: str) -> None:
    """Raise :class:`Broken` unless ``condition`` holds."""
    if not condition:
        raise Broken(otherwise)


def expected_failures(implementation: type) -> Mapping[str, str]:
    """Return what a class says of itself in ``expected_failed_checks``: reasons by check."""
    found = getattr(implementation, "expected_failed_checks", None)
    return found if isinstance(found, Mapping) else {}

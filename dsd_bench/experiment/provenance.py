"""The code behind a run: what is installed, what is recorded, and whether they may be mixed.

Needs no torch: what differs is told before a worker starts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dsd_bench.config.layers import SINGLE
from dsd_bench.config.run import LATER, RunConfig
from dsd_bench.config.words import component_name
from dsd_bench.errors import DamagedFile, DsdError, UsageError
from dsd_bench.plugins import catalogue
from dsd_bench.plugins.digest import digest, own_digest, version
from dsd_bench.plugins.release import state
from dsd_bench.store.provenance import (
    CORE,
    Code,
    Line,
    behind,
    differences,
    recorded,
    same_code,
    write_provenance,
)

ADVICE = "--accept-versions goes on with what is installed and records it, --force begins anew"
OWN = "dsd-bench"
OTHER = "its rounds so far were made with other code"
Tell = Callable[[str], None]


def distributions(config: RunConfig) -> list[str]:
    """Return the third-party distributions whose components a run uses, sorted."""
    return sorted({held for names in components(config).values() for held in names.values()})


def components(config: RunConfig) -> dict[str, dict[str, str]]:
    """Return the distribution of each third-party component that a run uses, by kind and name."""
    chosen = [(kind, getattr(config, kind).name) for kind in SINGLE]
    chosen += [(kind, config.chosen(kind).name) for kind in LATER if getattr(config, kind)]
    chosen += [("metric", component_name(word, "metric")) for word in config.metrics]
    for regularizer in config.regularizers:
        chosen.append(("regularizer", regularizer.name))
        if regularizer.teacher is not None:
            chosen.append(("model", regularizer.teacher.config.model.name))
    found: dict[str, dict[str, str]] = {}
    for kind, name in sorted(set(chosen)):
        held = catalogue().get(kind, name).distribution
        if held != OWN:
            found.setdefault(kind, {})[name] = held
    return found


def plugins(config: RunConfig) -> dict[str, Any]:
    """Return version, digest and state of each third-party distribution that a run uses."""
    return {name: _stated(name, code_of(name), _roots(name)) for name in distributions(config)}


def core() -> dict[str, Any]:
    """Return version, digest and state of dsd-bench's own code."""
    told = {"version": version(OWN), "sha256": own_digest()}
    return _stated(OWN, told, ("dsd_bench",))


def _stated(name: str, code: dict[str, Any], roots: tuple[str, ...]) -> dict[str, Any]:
    found = state(name, roots)
    return {**code, "state": found} if found else code


def code_of(distribution: str) -> dict[str, Any]:
    """Return version and digest (None: unknown) of a distribution that registers components."""
    return {"version": version(distribution), "sha256": digest(distribution, _roots(distribution))}


def _roots(distribution: str) -> tuple[str, ...]:
    """Return the top-level modules that implement a distribution's components."""
    entries = [e.component for e in catalogue().entries() if e.distribution == distribution]
    return tuple(sorted({re.split("[.:]", component.implementation)[0] for component in entries}))


def other_code(path: Path, config: RunConfig) -> str:
    """Say how the plugins differ from those that made the last rounds of the run in ``path``.

    Empty if they don't, or if nothing is recorded.

    Raises:
        UsageError: if the record is damaged.
    """
    lines = recorded(path)
    return differences(lines[-1]["plugins"], plugins(config)) if lines else ""


class Provenance:
    """The record of one run under way; hold its lock while you use it.

    Args:
        path: the run's folder.
        config: the run.
        versions: the installed versions; those of :data:`dsd_bench.store.provenance.CORE` count.
        accept: whether other code may go on with a run (``--accept-versions``).
        tell: is called with what the user should know.
    """

    def __init__(
        self, path: Path, config: RunConfig, versions: Mapping[str, str], accept: bool, tell: Tell
    ) -> None:
        self.path, self.accept, self._tell = path, accept, tell
        known = {name: versions[name] for name in CORE if name in versions}
        self.code: Code = {"versions": known, "plugins": plugins(config), "core": core()}
        if held := components(config):
            self.code["components"] = held

    def go_on(self, round: int, midway: bool) -> None:
        """Record that the code that is installed trains from ``round`` on.

        Args:
            round: the first round that is trained.
            midway: whether other processes began it.

        Raises:
            UsageError: if other code made the rounds before, and that is not accepted.
        """
        lines = behind(self._recorded(self.path), round, midway) if round or midway else []
        self._compare(lines, round, midway)
        if not lines or not same_code(lines[-1], self.code):
            lines = [*lines, {"round": round, **self.code}]
        write_provenance(self.path, lines)

    def adopt(self, donor: Path, round: int, midway: bool) -> None:
        """Take over the record of ``donor``, with whose rounds before ``round`` this run begins.

        Raises:
            UsageError: as above.
            DamagedFile: if the donor's record is damaged, and that is not accepted.
        """
        lines = behind(self._recorded(donor, DamagedFile), round, midway)
        try:
            self._compare(lines, round, midway)
        except UsageError as error:
            raise UsageError(f"{donor.name}, of the same curve: {error}") from None
        write_provenance(self.path, lines)

    def _recorded(self, path: Path, refusal: type[DsdError] = UsageError) -> list[Line]:
        try:
            return recorded(path)
        except UsageError as error:
            lost = f"{error}; which code made the rounds so far is lost"
            if not self.accept:
                raise refusal(f"{lost}: {ADVICE}") from None
            self._tell(lost)
            return []

    def _compare(self, lines: Sequence[Line], round: int, midway: bool) -> None:
        if not lines:
            if (round or midway) and self.code["plugins"]:
                self._tell(f"what code made the rounds before round {round} was not recorded")
            return
        if mixed := differences(lines[-1]["plugins"], self.code["plugins"]):
            if not self.accept:
                raise UsageError(f"{OTHER}: {mixed}; {ADVICE}")
            self._tell(f"from round {round} on with other code: {mixed}")
        if other := differences(lines[-1]["versions"], self.code["versions"]):
            self._tell(f"from round {round} on with other versions: {other}")

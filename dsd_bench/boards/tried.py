"""What was tried before a row was submitted: configurations of the same components beside its runs.

The best of forty settings looks better than it is. How many settings of a method's components have
finished runs of the same track in the folder of its runs is counted, whatever their seeds, and told
with the row. Runs that were deleted or lie elsewhere are not seen: at least so many were tried.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dsd_bench.boards.methods import PARTS, method_of, track_of
from dsd_bench.boards.schema import MethodConfig, Track
from dsd_bench.config.run import RunConfig, canonical, digest
from dsd_bench.errors import UsageError
from dsd_bench.store.reading import read_json
from dsd_bench.store.runs import said_finished, stored_ids

Family = tuple[Any, ...]
"""The names of a method's components: parts by kind, then regularizers, sorted."""

Census = Mapping[tuple[str, Family], set[str]]
"""Digests of the methods of each track (its digest) and family."""


def census(folders: Iterable[Path], families: set[Family]) -> Census:
    """Look for finished runs of some families; runs that cannot be read do not count.

    Args:
        folders: folders of runs.
        families: those that count; only their runs are read in full.
    """
    found: dict[tuple[str, Family], set[str]] = {}
    for config in _configurations(folders, families):
        key = (_digest(track_of(config)), family_of(config))
        found.setdefault(key, set()).add(_digest(method_of(config)))
    return found


def count(found: Census, config: RunConfig) -> int:
    """Return how many configurations of a run's components were tried on its track, its own too."""
    own = _digest(method_of(config))
    return len({own} | found.get((_digest(track_of(config)), family_of(config)), set()))


def family_of(config: RunConfig) -> Family:
    """Return the names of the components of a run's method."""
    return family(config.model_dump(mode="json", include={*PARTS, "regularizers"}))


def family(config: Mapping[str, Any]) -> Family:
    """Return the names of the components in a ``config.json``, whatever else is in it."""
    chain = config.get("regularizers")
    names = [_name(part) for part in chain] if isinstance(chain, list | tuple) else []
    return (*(_name(config.get(kind)) for kind in PARTS), *sorted(names))


def _name(part: Any) -> str:
    return str(part.get("name")) if isinstance(part, Mapping) else ""


def _configurations(folders: Iterable[Path], families: set[Family]) -> Iterator[RunConfig]:
    """Yield one configuration for each that differs in more than seeds from those before."""
    seen: set[str] = set()
    for folder in folders:
        for run_id in stored_ids(folder):
            try:
                config = read_json(folder / run_id / "config.json")
                if family(config) not in families or _same_but_seed(config) in seen:
                    continue
                if said_finished(folder / run_id):
                    yield RunConfig.from_json(config, str(folder / run_id / "config.json"))
                    seen.add(_same_but_seed(config))
            except UsageError:
                continue


def _same_but_seed(config: Mapping[str, Any]) -> str:
    """Return a text that runs share which differ in nothing but their own seeds."""
    follows = config.get("data_seed") == config.get("seed")
    apart = ("seed", "run_id", "curve_id", *(["data_seed"] if follows else []))
    return canonical({key: value for key, value in config.items() if key not in apart})


def _digest(value: Track | MethodConfig) -> str:
    return digest(value.model_dump(mode="json"))

"""Where a component that is not installed came from, as the runs that used it recorded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import islice
from pathlib import Path
from typing import Any

from dsd_bench.environment import DISABLE, switched_on
from dsd_bench.errors import UsageError, plain
from dsd_bench.plugins.digest import version
from dsd_bench.store.provenance import Line, recorded
from dsd_bench.store.reading import read_json
from dsd_bench.store.runs import stored_ids

_PLACES: ContextVar[tuple[Path, ...]] = ContextVar("places", default=())
_MOST_RUNS = 500
"""Runs that are looked through: a wrong name is told at once."""
_DISTRIBUTION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?\Z")
_VERSION = re.compile(r"(?:\d{1,9}!)?\d{1,9}[A-Za-z0-9.+_-]{0,60}\Z", re.ASCII)


@contextmanager
def remembering(*places: Path) -> Iterator[None]:
    """Let errors within say where a missing component came from.

    Args:
        places: run folders, or folders of runs, in the order in which they are asked.
    """
    token = _PLACES.set((*_PLACES.get(), *places))
    try:
        yield
    finally:
        _PLACES.reset(token)


def came_from(kind: str, name: str) -> str:
    """Say which distribution held a component, and how it is had again; empty if unknown.

    The text ends a sentence that begins with what is missing. Nothing that is not a
    valid name of a distribution, with a valid version, is ever said.
    """
    folders = dict.fromkeys(folder for place in _PLACES.get() for folder in _runs(place))
    for folder in islice(folders, _MOST_RUNS):
        try:
            config, lines = read_json(folder / "config.json"), recorded(folder)
        except (UsageError, OSError):
            continue
        for line in reversed(lines):
            found = _distribution(line, config, kind, name)
            if found is not None:
                return _advice(*found, folder)
    return ""


def _runs(place: Path) -> Iterator[Path]:
    if (place / "config.json").is_file():
        yield place
    try:
        yield from (place / run_id for run_id in stored_ids(place))
    except UsageError:
        return


def _distribution(
    line: Line, config: Mapping[str, Any], kind: str, name: str
) -> tuple[str, str] | None:
    """Return name and version of the distribution that a line records for a component.

    A line of an older release does not say which of its distributions held what: one alone did.
    """
    plugins = line["plugins"]
    table = line.get("components")
    if table is not None:
        found = table.get(kind, {}).get(name)
    else:
        found = next(iter(plugins)) if len(plugins) == 1 and _uses(config, kind, name) else None
    if found not in plugins:
        return None
    release = plugins[found]["version"]
    valid = _DISTRIBUTION.match(found) and (release == "unknown" or _VERSION.match(release))
    return (found, release) if valid else None


def _uses(config: Mapping[str, Any], kind: str, name: str) -> bool:
    """Whether a ``config.json``, or the teacher's in it, names a component."""
    if kind == "metric":
        words: Any = config.get("metrics")
        return isinstance(words, list) and name in [str(word).partition(":")[0] for word in words]
    parts = config.get("regularizers")
    chain = [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    own = chain if kind == "regularizer" else [config.get(kind)]
    if any(isinstance(part, dict) and part.get("name") == name for part in own):
        return True
    taught = [part["teacher"] for part in chain if isinstance(part.get("teacher"), dict)]
    configs = [teacher.get("config") for teacher in taught]
    return any(_uses(teacher, kind, name) for teacher in configs if isinstance(teacher, dict))


def _advice(distribution: str, release: str, folder: Path) -> str:
    known = release != "unknown"
    whole = f"{distribution} {release}" if known else distribution
    exact = f"pip install {distribution}" + (f"=={release}" if known else "")
    here = version(distribution)
    text = f"of {plain(folder)} came from {whole}"
    if switched_on(DISABLE):
        return f"{text}; plugins are switched off (--no-plugins or {DISABLE})"
    if here == "unknown":
        return f"{text}, which is not installed; {exact}"
    if here == release:
        return f"{text}, which is installed but does not register it; see: dsd-bench plugins"
    return f"{text}; {plain(here)} is installed, which does not register it; {exact}"

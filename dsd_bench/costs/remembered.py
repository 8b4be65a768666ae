"""What was counted once, remembered for later commands, which then need neither torch nor models.

Values are kept as JSON in one SQLite file of the user's cache folder
(:mod:`dsd_bench.store.memory`) under a hash of everything that they depend on: components with
their parameters, what is asked, the code of dsd-bench, the versions of the libraries, and all
installed plugins with theirs. What is read is checked like any other file.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from dsd_bench.config.run import ComponentConfig
from dsd_bench.environment import cache_folder
from dsd_bench.experiment.provenance import code_of
from dsd_bench.plugins import catalogue
from dsd_bench.plugins.digest import own_digest, required, version
from dsd_bench.store.memory import Layout, opened

CORE = "dsd-bench"
LIBRARIES = ("torch", "torchvision", "timm", "numpy")
"""Distributions whose versions may change what is counted."""
LAYOUT = Layout("counts", "value", most=2_000, longest=2**20)
"""A large network (a thousand layers) takes about 100 kB."""

T = TypeVar("T")


def remembered(
    what: str,
    asked: Any,
    components: Sequence[tuple[str, ComponentConfig]],
    kind: TypeAdapter[T],
    compute: Callable[[], T],
) -> T:
    """Return what ``compute`` gives, without calling it where it was called before.

    Args:
        what: which quantity.
        asked: what it depends on beside components and code, as JSON.
        components: the kind and the configuration of each that it depends on.
        kind: the value's type, whose bounds are checked on reading.
        compute: the value, at any cost; what it raises is not remembered.
    """
    key = _key(what, asked, components)
    if key is None:
        return compute()
    with opened(cache_file(), LAYOUT) as memory:
        text = memory.get(key)
    if text is not None:
        try:
            return kind.validate_json(text, strict=True)
        except ValidationError:
            pass  # as if it were not there
    value = compute()
    with suppress(ValueError), opened(cache_file(), LAYOUT) as memory:  # names may be no Unicode
        memory.add(key, kind.dump_json(value))
    return value


def cache_file() -> Path:
    """Return where counts are remembered."""
    return cache_folder() / "counts.sqlite"


def _key(what: str, asked: Any, components: Sequence[tuple[str, ComponentConfig]]) -> bytes | None:
    """Return a hash of everything that a value depends on, None where that is not known."""
    known = catalogue()
    chosen = []
    for kind, config in components:
        found = known.get(kind, config.name)
        if found.component.version != config.version:
            return None  # an error to come
        if found.distribution == CORE and not _ours(found.component.implementation):
            return None
        told = [kind, found.distribution, found.component.implementation]
        chosen.append([*told, config.model_dump(mode="json")])
    others = sorted({entry.distribution for entry in known.entries()} - {CORE})
    plugins = {name: [code_of(name), required(name, (CORE, *LIBRARIES))] for name in others}
    if any(code["sha256"] is None for code, _ in plugins.values()):
        return None
    whole = json.dumps([what, asked, chosen, plugins, _core()], sort_keys=True)
    return hashlib.blake2b(whole.encode(), digest_size=16).digest()


def _ours(implementation: str) -> bool:
    return implementation.startswith("dsd_bench.")


@cache
def _core() -> list[Any]:
    """Return what all values depend on."""
    versions = {name: version(name) for name in LIBRARIES}
    return [own_digest(), versions, platform.python_version(), platform.machine()]

"""Whether what a row tells of who held which component can be so."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import Any

from dsd_bench.boards.schema import SeedResult
from dsd_bench.components import KINDS
from dsd_bench.errors import plain
from dsd_bench.params import NAME


def used_names(value: Any) -> Iterator[str]:
    """Yield every name of a component in a configuration, its teachers' too."""
    if isinstance(value, Mapping):
        if isinstance(value.get("name"), str):
            yield value["name"]
        for item in value.values():
            yield from used_names(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from used_names(item)


def held(entry: SeedResult, used: Container[str]) -> Iterator[str]:
    """Yield what of the record of who held which component cannot be so."""
    for place, code in enumerate(getattr(entry, "code", [])):
        for kind, names in (code.components or {}).items():
            for name, held in names.items():
                at = f"code.{place}.components.{plain(kind)}.{plain(name)[:80]}"
                if kind not in KINDS or not NAME.match(name):
                    yield f"{at}: is no component"
                elif kind != "metric" and name not in used:
                    yield f"{at}: the configuration does not use it"
                elif held not in code.plugins:
                    yield f"{at}: {held[:80]!r} is none of the plugins"

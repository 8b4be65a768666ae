"""Whether what a row tells of who held which component can be so."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import Any

from dsd_bench.boards.built_in import built_in
from dsd_bench.boards.schema import Code, SeedResult
from dsd_bench.components import KINDS
from dsd_bench.errors import plain
from dsd_bench.params import NAME


def used_components(value: Any, kind: str = "") -> Iterator[tuple[str, str]]:
    """Yield kind and name of every component in a configuration, its teachers' too."""
    if isinstance(value, Mapping):
        if isinstance(value.get("name"), str):
            yield kind, value["name"]
        for key, item in value.items():
            yield from used_components(item, str(key))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from used_components(item, kind.removesuffix("s"))


def held(entry: SeedResult, used: Container[tuple[str, str]]) -> Iterator[str]:
    """Yield what of the record of who held which component cannot be so.

    Args:
        entry: one seed.
        used: kind and name of the components that its configuration has.
    """
    for place, code in enumerate(getattr(entry, "code", [])):
        yield from (f"code.{place}.{text}" for text in _held(code, used))


def _held(code: Code, used: Container[tuple[str, str]]) -> Iterator[str]:
    holders = set()
    for kind, names in (code.components or {}).items():
        if not names:
            yield f"components.{plain(kind)}: names no component"
        for name, holder in names.items():
            holders.add(holder)
            at = f"components.{plain(kind)}.{plain(name)[:80]}"
            if kind not in KINDS or not NAME.match(name):
                yield f"{at}: is no component"
            elif kind != "metric" and (kind, name) not in used:
                yield f"{at}: the configuration does not use it"
            elif holder not in code.plugins:
                yield f"{at}: {holder[:80]!r} is none of the plugins"
            elif built_in(kind, name):
                yield f"{at}: is built in, no plugin's"
    if code.core or code.components:  # lines of older releases do not tell
        for name in sorted(code.plugins.keys() - holders):
            yield f"plugins.{plain(name)[:80]}: holds none of the components"

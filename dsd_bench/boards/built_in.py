"""Whether a configuration says of built-in components what can be said of them.

Of a plugin's component, or one of another version, nothing is known; it is not asked here, so that
no code of others runs because of a row.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any

from pydantic import ValidationError

from dsd_bench.components import Component
from dsd_bench.config.layers import SINGLE
from dsd_bench.config.run import LATER, ComponentConfig, PrunerConfig, RunConfig, canonical
from dsd_bench.params import field_extra
from dsd_bench.plugins import build


def misstated(config: RunConfig, at: str = "config") -> Iterator[str]:
    """Yield what is said of components, those of teachers too, that no run can have.

    Args:
        config: of a run.
        at: where it stands, for the messages.
    """
    for kind in (*SINGLE, *LATER):
        part = getattr(config, kind)
        if part is not None:
            yield from (f"{at}.{kind}{text}" for text in _component(kind, part))
    for place, link in enumerate(config.regularizers):
        inner = f"{at}.regularizers.{place}"
        yield from (f"{inner}{text}" for text in _component("regularizer", link))
        if link.teacher:
            teacher, inner = link.teacher.config, f"{inner}.teacher.config"
            yield from (f"{inner}.{text}" for text in other_data(teacher, config))
            yield from misstated(teacher, inner)


def other_data(teacher: RunConfig, student: RunConfig) -> Iterator[str]:
    """Yield why a teacher may have been trained on its student's test images, or is no run."""
    pairs = {
        "data_seed": (teacher.data_seed, student.data_seed),
        "dataset": (teacher.dataset.placeless(), student.dataset.placeless()),
        "fingerprint": (teacher.fingerprint, student.fingerprint),
    }
    for key, (its, own) in pairs.items():
        if its != own:
            yield f"{key}: not its student's; both see the same split"
    if not 0 <= teacher.seed < 2**31:
        yield f"seed: {teacher.seed} is no seed"


def built_in(kind: str, name: str) -> Component | None:
    """Return a built-in component, None if there is none of that name."""
    return _all_built_in().get((kind, name))


def made(kind: str, part: ComponentConfig) -> Any:
    """Return a built-in component with its parameters, built.

    None for one that is not built in, is of another version than the installed one, reads further
    metrics, which rows do not hold, or has parameters that it cannot have.
    """
    component = built_in(kind, part.name)
    if component is None or component.version != part.version or component.metrics:
        return None
    try:
        return component.create(component.params.model_validate(part.params))
    except ValidationError:
        return None


@cache
def _all_built_in() -> dict[tuple[str, str], Component]:
    entries = build(third_party=False).entries()
    return {(entry.kind, entry.component.name): entry.component for entry in entries}


def _component(kind: str, part: ComponentConfig) -> Iterator[str]:
    if part.version < 1:
        yield f".version: {part.version}, but versions begin at 1"
    if part.name in LATER.get(kind, ()):
        yield f": '{part.name}' is what runs do that name none; a configuration leaves it out"
        return
    component = built_in(kind, part.name)
    if component and part.version > component.version:
        yield f".version: {part.version}, but '{part.name}' here has {component.version}; upgrade"
    fields = component.params.model_fields if component else {}
    for key in part.params.keys() & fields.keys():
        if field_extra(fields[key]).get("place"):
            yield f".params.{key}: says where data lie, which a row does not"
    if component is None or component.version != part.version:
        return
    if isinstance(part, PrunerConfig) and part.at_initialisation != component.at_initialisation:
        yield f".at_initialisation: '{part.name}' prunes {_when(component.at_initialisation)}"
    yield from (f".params{text}" for text in _params(kind, part.name, canonical(part.params)))


def _when(at_initialisation: bool) -> str:
    return "at initialisation" if at_initialisation else "what was trained"


@lru_cache(maxsize=1024)
def _params(kind: str, name: str, text: str) -> tuple[str, ...]:
    """Return what is wrong with the parameters of a built-in component, given as JSON.

    What has a default may be left out, and so may where data lie.
    """
    component = built_in(kind, name)
    assert component is not None
    given, fields = json.loads(text), component.params.model_fields
    try:
        told = component.params.model_validate(given).model_dump(mode="json")
    except ValidationError as error:
        return tuple(
            f"{''.join(f'.{part}' for part in item['loc'])}: {item['msg']}"
            for item in error.errors(include_url=False)
            if not (
                item["type"] == "missing" and field_extra(fields[str(item["loc"][0])]).get("place")
            )
        )
    return tuple(
        f".{key}: {canonical(value)}, which runs have as {canonical(told.get(key))}"
        for key, value in given.items()
        if canonical(value) != canonical(told.get(key))
    )

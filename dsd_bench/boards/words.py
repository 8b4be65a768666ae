"""Words of a board. What comes from a row file passes through :func:`escape` on its way."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from dsd_bench.boards.places import short_words
from dsd_bench.boards.schema import (
    BoardRow,
    MethodConfig,
    Regularizer,
    SeedResult,
    Teacher,
    Track,
)
from dsd_bench.config.naming import component_word, label
from dsd_bench.config.run import ComponentConfig, canonical

QUESTION = "Which method keeps the highest test accuracy as weights are pruned away?"
"""What a board answers."""

_SINGLE = ("pruner", "perturber", "updater", "optimizer", "schedule", "stop", "chooser")
"""What a method has one of; most have no updater, and the usual optimiser, schedule and chooser."""

_ACTIVE = re.compile(
    r"[^0-9A-Za-z_ .,;:=%()/+'\"-]"
    r"|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])"  # inside a word it is no emphasis
    r"|:(?=//)|\.(?<=[Ww][Ww][Ww]\.)"
)
_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def escape(text: str) -> str:
    """Make foreign text inert in markdown and HTML: it shows as it is, and does nothing.

    Everything but letters, digits and harmless punctuation becomes a character reference, line
    breaks, control and direction-changing characters become question marks, and what would
    become a link is broken up.
    """
    return _ACTIVE.sub(lambda match: _reference(match.group()), text)


def _reference(character: str) -> str:
    return "?" if unicodedata.category(character) in _INVISIBLE else f"&#{ord(character)};"


def seeds_words(entries: Sequence[SeedResult | int]) -> str:
    """Write ascending seeds as ``--seeds`` takes them, such as ``0-2,5``."""
    runs: list[list[int]] = []
    for seed in (one if isinstance(one, int) else one.seed for one in entries):
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def track_title(track: Track) -> str:
    """Return a short name of a track (not escaped); its parameters stand below it.

    Epochs are those of the dense training and of each round's.
    """
    kind, model = " ".join(short_words(track.noise)), " ".join(short_words(track.model))
    noise = "no added label noise" if track.noise.name == "none" else f"{kind} label noise"
    dense, each = (track.schedule.get(key) for key in ("dense_epochs", "retrain_epochs"))
    return f"{track.dataset.name}, {noise}, {model}, {plain(dense)} + {plain(each)} epochs"


def part_words(kind: str, part: ComponentConfig) -> str:
    """Write a component in full (not escaped), with its version where that is not 1."""
    version = "" if part.version == 1 else f" (version {part.version})"
    params = dict(sorted(part.params.items()))
    return component_word(kind, {"name": part.name, "params": params}) + version


def regularizer_words(part: Regularizer) -> str:
    """Write a regularizer in full (not escaped), with its teacher."""
    words = part_words("regularizer", part)
    if part.teacher is None:
        return words
    return f"{words} from its teacher ({teacher_words(part.teacher)})"


def teacher_words(teacher: Teacher) -> str:
    """Write which weights of the teacher teach and what is special about it (not escaped)."""
    which = {"best": "best pruned weights", "dense": "dense weights"}[teacher.weights]
    differs = [f"{key} {plain(value)}" for key, value in sorted(teacher.differs.items())]
    return "; ".join([which, *differs])


def plain(value: Any) -> str:
    """Write a JSON value for people (not escaped).

    Mappings become ``key value, key value`` without what is empty, components what a user types.
    """
    if isinstance(value, Mapping):
        name, params = value.get("name"), value.get("params")
        if isinstance(name, str) and isinstance(params, Mapping):
            rest = {key: item for key, item in value.items() if key not in ("name", "params")}
            rest = {key: item for key, item in rest.items() if (key, item) != ("version", 1)}
            return " ".join(filter(None, [component_word("", value), plain(rest)]))
        told = [(key, item) for key, item in sorted(value.items()) if item not in (None, "")]
        return ", ".join(f"{key} {_nested(item)}" for key, item in told)
    if isinstance(value, list):
        return ", ".join(map(_nested, value)) or "none"
    return value if isinstance(value, str) else canonical(value)


def _nested(value: Any) -> str:
    return f"({plain(value)})" if isinstance(value, Mapping | list) else plain(value)


def method_labels(rows: Sequence[BoardRow]) -> list[str]:
    """Return a short name of each row's method (not escaped), as far apart as its board needs.

    Of a component's parameters those are named that differ among the methods that use it, but for
    the value that most of them have; see :func:`unsaid`.
    """
    cards = [_card(row) for row in rows]
    told, usual = _varying(cards), _usual(cards)
    common = _most([_end(row.method) for row in rows])
    return [
        ", ".join([label(_cut(card, told, usual)), *_extras(row.method, common)])
        for card, row in zip(cards, rows)
    ]


def unsaid(rows: Sequence[BoardRow]) -> str:
    """Say what holds where :func:`method_labels` says nothing else (not escaped); "" if nothing."""
    cards = [_card(row) for row in rows]
    usual = _usual(cards)
    told = sorted(_varying(cards) & usual.keys())
    names = dict.fromkeys((kind, name) for kind, name, _ in told)
    words = []
    for kind, name in names:
        params = {key: json.loads(usual[kind, name, key]) for k, n, key in told
                  if (k, n) == (kind, name)}  # fmt: skip
        words.append(component_word(kind, {"name": name, "params": params}))
    ends = {_end(row.method) for row in rows}
    common = _most([_end(row.method) for row in rows])
    return ", ".join([*words, *([common] if common and len(ends) > 1 else [])])


def _end(method: MethodConfig) -> str:
    rounds, target = method.rounds, method.target_sparsity
    return f"to sparsity {target}" if rounds is None else f"{rounds} rounds"


def _most(values: Sequence[str]) -> str | None:
    """Return what more than half of the values are."""
    value, count = Counter(values).most_common(1)[0]
    return value if 2 * count > len(values) else None


def _extras(method: MethodConfig, common: str | None) -> list[str]:
    """Name the protocol options of a method that are not the usual ones."""
    scale, end = method.retrain_lr_scale, _end(method)
    redense = [f"{method.redense_epochs} epochs re-dense"] if method.redense_epochs else []
    scaled = [f"retraining lr x {scale:g}"] if scale != 1 else []
    return [*scaled, *redense, *([] if end == common else [end])]


def _card(row: BoardRow) -> dict[str, Any]:
    """Return a method as :func:`dsd_bench.config.naming.label` reads it, teachers as parameters."""
    card = row.method.model_dump(mode="json")
    track = row.track.model_dump(mode="json")
    for part in card["regularizers"]:
        teacher = part.pop("teacher")
        if teacher:
            differs = {f"teacher_{key}": plain(item) for key, item in teacher["differs"].items()}
            part["params"] |= {**differs, "teacher": teacher["weights"]}
    return {**card, **{key: track[key] for key in ("dataset", "noise", "model")}}


def _parts(card: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    single = [(kind, card[kind]) for kind in _SINGLE if kind in card]
    return single + [("regularizer", part) for part in card["regularizers"]]


Key = tuple[str, str, str]
"""Kind and name of a component, and one of its parameters."""


def _values(cards: Sequence[Mapping[str, Any]]) -> tuple[dict[Key, list[str]], Counter[Any]]:
    """Return each parameter's values as JSON, and how often each component is used."""
    values: dict[Key, list[str]] = {}
    parts = [part for card in cards for part in _parts(card)]
    for kind, part in parts:
        for key, item in {**part["params"], "version": part["version"]}.items():
            values.setdefault((kind, part["name"], key), []).append(json.dumps(item))
    return values, Counter((kind, part["name"]) for kind, part in parts)


def _varying(cards: Sequence[Mapping[str, Any]]) -> set[Key]:
    """Return all parameters with more than one value, and those of teachers."""
    values, uses = _values(cards)
    return {
        key
        for key, found in values.items()
        if len(set(found)) > 1 or len(found) < uses[key[:2]] or key[2] == "teacher"
    }


def _usual(cards: Sequence[Mapping[str, Any]]) -> dict[Key, str]:
    """Return what more than half of a component's uses have; teachers are always told."""
    values, uses = _values(cards)
    return {
        key: found
        for key, all_ in values.items()
        if key[2] != "teacher" and (found := _most(all_)) and len(all_) == uses[key[:2]]
    }


def _cut(card: Mapping[str, Any], told: set[Key], usual: Mapping[Key, str]) -> dict[str, Any]:
    """Return ``card`` with only the parameters in ``told`` that are not ``usual``."""

    def cut(kind: str, part: Mapping[str, Any]) -> dict[str, Any]:
        params = sorted({**part["params"], "version": part["version"]}.items())
        name = part["name"]
        kept = {
            key: item
            for key, item in params
            if (kind, name, key) in told and usual.get((kind, name, key)) != json.dumps(item)
        }
        return {**part, "params": kept}

    chain = [cut("regularizer", part) for part in card["regularizers"]]
    single = {kind: cut(kind, card[kind]) for kind in _SINGLE if kind in card}
    return {**card, **single, "regularizers": chain}

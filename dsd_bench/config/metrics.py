"""Further metrics of a run: words such as ``calibration:bins=15``, and the names of their files."""

from __future__ import annotations

import re
from typing import Any

from dsd_bench.config.naming import told_params
from dsd_bench.config.run import digest
from dsd_bench.config.words import parse_component
from dsd_bench.errors import UsageError
from dsd_bench.metrics import Metric
from dsd_bench.params import format_word, split_word
from dsd_bench.plugins import catalogue

_SAFE = re.compile(r"[A-Za-z0-9_.-]{1,40}\Z")
_LONGEST = 100
"""Letters of a file's name."""


def canonical_metric(word: Any, where: str = "--metric") -> str:
    """Return the one word of a metric: its name, and by name every parameter not at its default.

    Args:
        word: as a user, a file or a stop criterion has it.
        where: what asked for it, for messages.

    Raises:
        UsageError: if there is no such metric, for wrong parameters, or for such as no word holds.
    """
    entry, params = parse_component("metric", word, where)
    component = entry.component
    told = told_params(params.model_dump(mode="json"), component)
    text = format_word(component.name, told)
    try:
        same = parse_component("metric", text, where)[1] == params
    except UsageError:
        same = False
    if not same:
        raise UsageError(
            f"{where}: metric '{component.name}' cannot be written as a word with these parameters "
            f"({text}): a metric's must be numbers, texts without quotes, true or false"
        )
    return text


def metric_key(word: str) -> str:
    """Return the name of a metric's file and of its values in rows, from its canonical word.

    It is the metric's name; with parameters ``name+key-value+...``, or a hash where that is long
    or no name for a file.
    """
    name, _, values = split_word(word, "metric")
    if not values:
        return name
    text = "+".join([name, *(f"{key}-{value}" for key, value in values.items())])
    safe = len(text) <= _LONGEST and all(map(_SAFE.match, values.values()))
    return text if safe else f"{name}+{digest(word)[:8]}"


def word_of(key: str) -> str:
    """Undo :func:`metric_key`, but for hashes: of those the name is returned."""
    name, *parts = key.split("+")
    pairs = [part.partition("-") for part in parts]
    if not all(sign for _, sign, _ in pairs):
        return name
    return format_word(name, {key: value for key, _, value in pairs})


def build_metric(word: str) -> Metric:
    """Return the metric of a word.

    Raises:
        UsageError: as :func:`canonical_metric` does.
    """
    entry, params = parse_component("metric", word, "--metric")
    made: Metric = entry.component.create(params)
    return made


def needed_keys(words: tuple[str, ...]) -> tuple[str, ...]:
    """Return the keys of the metrics that a stop criterion declares, installed or not."""
    return tuple(metric_key(_canonical_if_known(word)) for word in words)


def _canonical_if_known(word: str) -> str:
    known = catalogue().find("metric", split_word(word, "metric")[0])
    return canonical_metric(word) if known else word

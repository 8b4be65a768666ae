"""Where a row lies: names of tracks and methods that are safe as those of folders and files."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any

from dsd_bench.boards.schema import BoardRow, MethodConfig, Track
from dsd_bench.config.run import ComponentConfig, digest


def row_path(row: BoardRow) -> PurePosixPath:
    """Return where a row lies below the boards' folder: ``<track>/rows/<method>.json``."""
    return PurePosixPath(track_slug(row.track), "rows", f"{method_slug(row.method)}.json")


def track_slug(track: Track) -> str:
    """Return a readable name of a track that is safe as a folder's; its hash makes it one."""
    words = [track.dataset.name, _value(track.dataset.params.get("train_size"))]
    for part in (track.noise, track.model):
        words += short_words(part)
    words += [track.weights.sha256[:8]] if track.weights else []
    words += ["test"] if track.selection == "test" else []
    words += [track.precision] if track.precision != "fp32" else []
    words += [] if track.data_seed is None else ["data", str(track.data_seed)]
    return _slug(words, track)


def method_slug(method: MethodConfig) -> str:
    """Return a readable name of a method that is safe as a file's; its hash makes it one."""
    words = [method.pruner.name]
    words += [method.perturber.name] if method.perturber.name != "none" else []
    words += [part.name for part in (method.updater, method.optimizer, method.schedule) if part]
    for part in method.regularizers:
        words += [part.name, *([part.teacher.weights] if part.teacher else [])]
    words += [method.stop.name] if method.stop.name != "never" else []
    words += [method.chooser.name] if method.chooser else []
    return _slug(words, method)


def short_words(part: ComponentConfig) -> list[str]:
    """Return a component's name and the short ones of its values, for names of tracks."""
    return [part.name, *filter(None, (_value(value) for _, value in sorted(part.params.items())))]


def _value(value: Any) -> str:
    """Return a short parameter for a slug, nothing for what would not help."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return ""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 12 else ""


def _slug(words: list[str], value: Track | MethodConfig) -> str:
    """Join ``words`` as letters, digits and decimal points, at most 60 characters; add a hash."""
    text = "-".join(words).lower()
    text = re.sub(r"[^a-z0-9.]+|(?<![0-9])\.|\.(?![0-9])", "-", text)
    text = re.sub("-+", "-", text)[:60].strip("-.")
    return "-".join([*([text] if text else []), digest(value.model_dump(mode="json"))[:8]])

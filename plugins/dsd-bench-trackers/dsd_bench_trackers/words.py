"""Which trackers there are, what they take, and how a user asks for them."""

from __future__ import annotations

import shlex
from typing import Literal

from pydantic import ValidationError

from dsd_bench import Params, param
from dsd_bench.errors import UsageError, suggest
from dsd_bench_trackers.plugin import TRACKERS


class TrackerParams(Params):
    """What every tracker takes."""

    group: str | None = param(
        None, min_length=1, help="what a run's group begins with (default: its folder of runs)"
    )


class TensorboardParams(TrackerParams):
    """What ``tensorboard`` takes."""

    dir: str | None = param(
        None, min_length=1, help="where event files go (default: RUNS_DIR/trackers/tensorboard)"
    )


class WandbParams(TrackerParams):
    """What ``wandb`` takes; all else is in its own environment variables (``WANDB_...``)."""

    project: str = param("dsd-bench", min_length=1, help="the project")
    entity: str | None = param(None, min_length=1, help="user or team (default: the user's own)")
    mode: Literal["online", "offline"] | None = param(
        None, help="whether to send at once or to write files (default: WANDB_MODE, or online)"
    )
    dir: str | None = param(
        None, min_length=1, help="where its files go (default: RUNS_DIR/trackers)"
    )


class MlflowParams(TrackerParams):
    """What ``mlflow`` takes."""

    experiment: str = param("dsd-bench", min_length=1, help="the experiment")
    uri: str | None = param(
        None,
        min_length=1,
        help="server or store (default: MLFLOW_TRACKING_URI, or RUNS_DIR/trackers/mlflow)",
    )


TAKES: dict[str, type[TrackerParams]] = {
    "tensorboard": TensorboardParams,
    "wandb": WandbParams,
    "mlflow": MlflowParams,
}
"""Every tracker; ``dsd_bench_trackers.NAME`` implements it, in a function ``begin``."""


def parse(text: str) -> list[tuple[str, TrackerParams]]:
    """Return the trackers that ``text`` asks for, such as ``tensorboard wandb:project=noise``.

    Words are separated by spaces; a value that holds one is quoted as in a shell.

    Raises:
        UsageError: for an unknown or repeated tracker, an unknown key, a value that does not fit.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{TRACKERS}: {text!r}: {error}") from None
    found: dict[str, TrackerParams] = {}
    for word in words:
        name, _, rest = word.partition(":")
        if name not in TAKES:
            raise UsageError(f"{TRACKERS}: there is no tracker '{name}'{suggest(name, TAKES)}")
        if name in found:
            raise UsageError(f"{TRACKERS}: '{name}' is asked for twice")
        found[name] = _params(name, rest)
    return list(found.items())


def _params(name: str, rest: str) -> TrackerParams:
    values: dict[str, str] = {}
    for piece in filter(None, rest.split(",")):
        key, sign, value = piece.partition("=")
        if not sign or key in values:
            raise UsageError(f"{TRACKERS}: {name}: '{piece}' is not key=value, or given twice")
        values[key] = value
    try:
        return TAKES[name].model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            hint = suggest(key, TAKES[name].model_fields)
            raise UsageError(f"{TRACKERS}: {name}: unknown key '{key}'{hint}") from None
        raise UsageError(f"{TRACKERS}: {name}: {key}={first['input']}: {first['msg']}") from None

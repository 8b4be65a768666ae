"""The built-in executors."""

from __future__ import annotations

import re
import shlex

from pydantic import field_validator

from dsd_bench.components import Component
from dsd_bench.hookspecs import hookimpl
from dsd_bench.params import Params, param

LEAST_MINUTES = 5
"""A job's least time: its worker leaves 90 s before the end, and a first epoch has to fit."""
_TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?\Z")
_OWN = (
    "array",
    "error",
    "job-name",
    "open-mode",
    "output",
    "parsable",
    "test-only",
    "wait",
    "wrap",
)
"""Options of sbatch that the executor gives itself, or that would hinder it."""


def minutes(text: str) -> float | None:
    """Return a time limit as Slurm writes it in minutes; None if it is none.

    Forms: ``M``, ``M:S``, ``H:M:S``, ``D-H``, ``D-H:M``, ``D-H:M:S``.
    """
    if not (found := _TIME.match(text)):
        return None
    days, *rest = found.groups()
    first, second, third = (int(part or 0) for part in rest)
    if days is not None:
        return int(days) * 1440 + first * 60 + second + third / 60
    if rest[2] is not None:
        return first * 60 + second + third / 60
    return first + second / 60


class SlurmParams(Params):
    """Parameters of ``slurm``; what is not given is left to the site."""

    partition: str | None = param(None, help="partition, as `sinfo` lists them")
    workers: int = param(4, ge=1, help="jobs at once at most, each one worker")
    gpus: int = param(0, ge=0, help="GPUs of a worker")
    cpus: int | None = param(None, ge=1, help="cores of a worker (default: --threads)")
    mem: str | None = param(None, help="memory of a worker, such as 8G")
    time: str | None = param(None, help="a job's time limit, such as 4:00:00 or 1-00:00:00")
    options: str = param("", help="more options of sbatch: options='--account=x --qos=low'")

    @field_validator("time")
    @classmethod
    def _time(cls, value: str | None) -> str | None:
        if value is not None:
            found = minutes(value)
            if found is None:
                raise ValueError("no time limit; write it as 4:00:00, or 1-00:00:00 for a day")
            if found < LEAST_MINUTES:
                least = f"at least 0:{LEAST_MINUTES:02}:00"
                raise ValueError(f"too short: a worker leaves 90 s before its end; {least}")
        return value

    @field_validator("partition", "mem")
    @classmethod
    def _word(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[\w.,+@:/-]+", value):
            raise ValueError("only letters, digits and . , + @ : / _ - may stand there")
        return value

    @field_validator("options")
    @classmethod
    def _options(cls, value: str) -> str:
        if not value.isprintable():
            raise ValueError("it holds a line break or another control character")
        for word in shlex.split(value):
            name = word.lstrip("-").partition("=")[0]
            if not word.startswith("-") or not name:
                raise ValueError(f"'{word}' is no option; write each as --name=value")
            if word.startswith("--") and any(own.startswith(name) for own in _OWN):
                raise ValueError(f"'--{name}' is the executor's own to give")
            if not word.startswith("--") and word[1] in "aJoeW":
                raise ValueError(f"'{word[:2]}' is the executor's own to give")
        return value


@hookimpl
def register_executors() -> list[Component]:
    """Return the executors of this package."""
    return [
        Component(
            "local",
            "dsd_bench.executors.local:Local",
            "runs side by side in worker processes of this computer",
        ),
        Component(
            "inline",
            "dsd_bench.executors.inline:Inline",
            "runs one after another in this process",
        ),
        Component(
            "slurm",
            "dsd_bench.executors.slurm:Slurm",
            "array jobs of a Slurm cluster, each task a worker that pulls",
            SlurmParams,
        ),
    ]

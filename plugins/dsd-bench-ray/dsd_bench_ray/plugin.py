"""What the plugin registers. This module does not import Ray."""

from __future__ import annotations

from pydantic import field_validator

from dsd_bench import Component, Params, hookimpl, param

dsd_bench_api = "1"


class RayParams(Params):
    """What ``ray`` takes."""

    address: str = param("local", help="cluster: auto, HOST:PORT, ray://HOST:PORT, or local")
    workers: int | None = param(None, ge=1, help="workers at once (default: as many as fit)")
    cpus: float | None = param(None, gt=0, help="cores of a worker (default: --threads)")
    gpus: float = param(0.0, ge=0, help="GPUs of a worker; 0.5 puts two on one")
    resources: str = param("", help="further resources of a worker: 'name=1 other=0.5'")

    @field_validator("resources")
    @classmethod
    def _resources(cls, value: str) -> str:
        amounts(value)
        return value


def amounts(text: str) -> dict[str, float]:
    """Return the resources that ``name=1 other=0.5`` names.

    Raises:
        ValueError: if it does not have that form.
    """
    found = {}
    for word in text.split():
        name, _, amount = word.partition("=")
        try:
            found[name] = float(amount)
        except ValueError:
            found[name] = 0.0
        if not name or not 0 < found[name] < float("inf"):
            raise ValueError(f"'{word}' is not name=amount, such as a100=1")
    return found


@hookimpl
def register_executors() -> list[Component]:
    """Return the executor ``ray``."""
    return [
        Component(
            name="ray",
            implementation="dsd_bench_ray.executor:Ray",
            summary="tasks of a Ray cluster, each a worker that pulls",
            params=RayParams,
            citation="Moritz et al. 2018, Ray: A Distributed Framework for Emerging AI "
            "Applications (OSDI)",
        )
    ]

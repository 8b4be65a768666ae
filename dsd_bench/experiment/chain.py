"""Whether a run's regularizers can do their part together, and where it is to be run."""

from __future__ import annotations

from dsd_bench.config.run import RunConfig
from dsd_bench.errors import UsageError
from dsd_bench.plugins import catalogue
from dsd_bench.regularizers import Regularizer


def check_chain(config: RunConfig, processes: int) -> None:
    """Refuse regularizers that cannot work; their classes tell, nothing is built.

    Args:
        config: the run.
        processes: how many train one model together.

    Raises:
        UsageError: naming the regularizers, and what to do.
    """
    for chosen in config.regularizers:
        made = catalogue().get("regularizer", chosen.name).component.load()
        if processes > 1 and (overrides(made, "state") or overrides(made, "gathered")):
            raise UsageError(
                f"regularizer '{chosen.name}' remembers what it sees, and each of {processes} "
                "processes sees another share of a batch; run it without torchrun"
            )


def overrides(made: type[Regularizer], method: str) -> bool:
    """Whether a regularizer's class has a method of its own."""
    return getattr(made, method) is not getattr(Regularizer, method)

"""Whether a run's regularizers can do their part together, and where it is to be run."""

from __future__ import annotations

from dsd_bench.config.run import RunConfig
from dsd_bench.errors import UsageError
from dsd_bench.plugins import catalogue
from dsd_bench.regularizers import Regularizer, overrides


def check_chain(config: RunConfig, processes: int, streamed: bool = False) -> None:
    """Refuse regularizers that cannot work; their classes tell, nothing is built.

    Args:
        config: the run.
        processes: how many train one model together.
        streamed: whether images are decoded as they are needed; False also where that is not known.

    Raises:
        UsageError: naming the regularizers, and what to do.
    """
    replacing: str | None = None
    for chosen in config.regularizers:
        made = catalogue().get("regularizer", chosen.name).component.load()
        if overrides(made, "criterion"):
            if replacing is not None:
                raise UsageError(
                    f"regularizers '{replacing}' and '{chosen.name}' both replace the loss, of "
                    "which there is one; leave one of them out"
                )
            replacing = chosen.name
        if processes > 1 and (why := _cannot_share(made, streamed)):
            raise UsageError(
                f"regularizer '{chosen.name}' {why}, and each of {processes} processes sees "
                "another share of a batch; run it without torchrun"
            )


def _cannot_share(made: type[Regularizer], streamed: bool) -> str | None:
    """Return why a regularizer cannot work where several processes share a batch."""
    if overrides(made, "state") or overrides(made, "gathered"):
        return "remembers what it sees"
    if made.needs_whole_batch:
        return "needs whole batches"
    if streamed and overrides(made, "mix"):
        return "mixes images, which are decoded from files as they are needed"
    return None

"""Executors: where runs happen. Any executor gives the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dsd_bench.experiment.settings import Emit, Event, Keep, Outcome, Settings, Status
from dsd_bench.params import Params

__all__ = ["Emit", "Event", "Executor", "Job", "Keep", "Outcome", "Settings", "Status"]


@dataclass(frozen=True)
class Job:
    """One run to be carried to its end.

    Attributes:
        run_id: its id.
        path: its folder; it holds ``config.json``.
        needs: ids of the jobs that must be done first (teachers).
        label: what people call it.
        fresh: whether to begin anew even if it was finished (``--force``).
    """

    run_id: str
    path: Path
    needs: tuple[str, ...] = ()
    label: str = ""
    fresh: bool = False


class Executor:
    """Base of all executors.

    Events are dictionaries with a key ``event``: ``started`` (``resumed_from_round``), ``progress``
    (``round``, ``epoch``, ``epochs``, ``images_per_second``, and ``within``, the share of the next
    epoch that is done), ``round`` (``row``), ``finished`` (``result``), ``failed`` (``error``),
    ``note`` (``text``). They carry ``run_id``, but for notes on the command itself.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def execute(self, jobs: Sequence[Job], settings: Settings, emit: Emit) -> list[Outcome]:
        """Carry every job to an end, teachers first; a failing job costs only its dependents.

        Returns one outcome a job, in the order of ``jobs``. An interruption (Ctrl-C, SIGTERM)
        makes the unfinished ones ``interrupted``; it does not raise.
        """
        raise NotImplementedError

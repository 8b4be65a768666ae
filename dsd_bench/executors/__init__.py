"""Executors: where runs happen. Any executor gives the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dsd_bench.config.run import RunConfig
from dsd_bench.experiment.settings import Emit, Event, Keep, Outcome, Settings, Status
from dsd_bench.params import Params

__all__ = [
    "Emit",
    "Event",
    "Executor",
    "Job",
    "Keep",
    "Outcome",
    "Settings",
    "Status",
    "check_here",
]


@dataclass(frozen=True)
class Job:
    """One run to be carried to its end.

    Attributes:
        run_id: its id.
        path: its folder; it holds ``config.json``.
        needs: ids of the jobs that must be done first (teachers).
        label: what people call it.
        fresh: whether to begin anew even if it was finished (``--force``).
        curve: id of the curve that it trains (``curve_id``), whose other runs' rounds it begins
            with; empty if it trains all its rounds itself.
    """

    run_id: str
    path: Path
    needs: tuple[str, ...] = ()
    label: str = ""
    fresh: bool = False
    curve: str = ""

    @property
    def trains(self) -> str:
        """What it trains, the same of jobs that share it: its curve, or itself alone."""
        return self.curve or self.run_id


def check_here(
    configs: Sequence[RunConfig], settings: Settings, emit: Emit, here: bool = True
) -> None:
    """Check runs in this process; see :meth:`Executor.check`.

    Args:
        configs: the runs, one of several seeds.
        settings: how they will run.
        emit: gets the notes.
        here: whether they will run on this machine's ``settings.device``.
    """
    from dsd_bench.experiment.assemble import Sources
    from dsd_bench.experiment.checks import check_runs

    sources = Sources(Path(), settings.data_dir, settings.download)
    for note in check_runs(configs, sources, settings, here):
        emit({"event": "note", "text": note})


class Executor:
    """Base of all executors.

    Events are dictionaries with a key ``event``: ``started`` (``resumed_from_round``), ``progress``
    (``round``, ``epoch``, ``epochs``, ``images_per_second``, and ``within``, the share of the next
    epoch that is done), ``round`` (``row``), ``finished`` (``result``), ``failed`` (``error``),
    ``note`` (``text``). They carry ``run_id``, but for notes on the command itself.

    One that starts workers on other computers builds on
    :class:`dsd_bench.executors.remote.RemoteExecutor`.

    Attributes:
        elsewhere: whether runs happen on other computers: this one need not have their device.
    """

    elsewhere: bool = False

    def __init__(self, params: Params) -> None:
        self.params = params

    def absent(self) -> str | None:
        """Return why nothing can be run with it here, and what to do; None if it can.

        An engine that is not installed or does not answer is said here.
        """
        return None

    def check(
        self, jobs: Sequence[Job], configs: Sequence[RunConfig], settings: Settings, emit: Emit
    ) -> None:
        """Try out what is to be run, before any folder is made; called once before ``execute``.

        By default models are tried out in this process, on its CPU.

        Args:
            jobs: as ``execute`` will get them; their folders need not exist.
            configs: the unfinished ones among them, one of several seeds.
            settings: as ``execute`` will get them.
            emit: gets a ``note`` for each thing that the user should know.

        Raises:
            UsageError: listing everything that cannot be run.
        """
        check_here(configs, settings, emit, here=False)

    def close(self) -> None:
        """Let go of what ``check`` has begun; called in any case, at the end."""

    def execute(self, jobs: Sequence[Job], settings: Settings, emit: Emit) -> list[Outcome]:
        """Carry every job to an end, teachers first; a failing job costs only its dependents.

        Returns one outcome a job, in the order of ``jobs``. An interruption (Ctrl-C, SIGTERM)
        makes the unfinished ones ``interrupted``; it does not raise. An executor whose workers
        outlive this process may return before, unless ``settings.wait``: those that it has left to
        them are ``submitted``.
        """
        raise NotImplementedError

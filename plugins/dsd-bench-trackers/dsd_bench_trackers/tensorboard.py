"""TensorBoard: one file of events a run.

The format and ``SessionLog.START`` (a reader forgets what it has from that step on) are described
in TensorBoard's ``event_accumulator.py`` and ``event.proto``; the writer is the one that
``torch.utils.tensorboard`` has (https://pytorch.org/docs/stable/tensorboard.html).
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from dsd_bench_trackers.session import Ended
from dsd_bench_trackers.view import Values, View
from dsd_bench_trackers.words import TensorboardParams

SUFFIX = ".dsd-bench"
"""How files of events end that were written here."""


class Tensorboard:
    """A run's file of events, always with all its rounds.

    A run that is resumed writes all rounds into a new file, tells readers to forget the old one
    and deletes it. So each round is there once, whatever was cut short by a kill.
    """

    def __init__(self, folder: Path, view: View) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        old = list(folder.glob(f"events.out.tfevents.*{SUFFIX}"))
        self.known: set[int] = set()
        self._writer = EventFileWriter(str(folder), filename_suffix=SUFFIX)
        self._add(Event(step=0, session_log=SessionLog(status=SessionLog.START)))
        hparams = {key: _hparam(value) for key, value in view.config.items() if value is not None}
        # every part of a summary: the experiment's, and this session's
        self._add(Event(step=0, summary=hparams_pb(hparams, trial_id=view.run_id)))
        for file in old:
            file.unlink(missing_ok=True)

    def log(self, round: int, values: Values) -> None:
        """Write the numbers of a round."""
        parts = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._add(Event(step=round, summary=Summary(value=parts)))
        self._writer.flush()

    def end(self, view: View, how: Ended) -> None:
        """Write the best round's numbers, at its step, and close the file."""
        summary = view.summary()
        numbers = {key: value for key, value in summary.items() if key.startswith("best/")}
        if numbers:
            self.log(int(summary["best_round"]), numbers)
        self._writer.close()

    def _add(self, event: Any) -> None:
        event.wall_time = time.time()
        self._writer.add_event(event)


def begin(params: TensorboardParams, view: View) -> Tensorboard:
    """Begin a run's file of events: ``DIR/GROUP/RUN_ID``."""
    folder = Path(params.dir or view.home / "tensorboard").absolute()
    group = [re.sub(r"[^\w.,=+()-]", "_", part) for part in view.group(params.group).split("/")]
    return Tensorboard(folder.joinpath(*group, view.run_id), view)


def _hparam(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str) else str(value)

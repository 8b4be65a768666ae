"""The ``csv`` reporter: every round of every run, for spreadsheets and scripts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from dsd_bench.errors import plain
from dsd_bench.reports import Reporter
from dsd_bench.reports.frames import runs_frame

if TYPE_CHECKING:
    from dsd_bench.store import StoredRun


class Csv(Reporter):
    """Writes what :func:`dsd_bench.load_runs` gives, numbers in full precision."""

    def report(self, runs: Sequence[StoredRun], stream: TextIO) -> None:
        """Write a header and one line per run and round."""
        frame = runs_frame(runs).map(lambda cell: plain(cell) if isinstance(cell, str) else cell)
        frame.columns = frame.columns.map(plain)
        frame.to_csv(stream, index=False, lineterminator="\n")

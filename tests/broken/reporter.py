"""Reporters that each break one check."""

from __future__ import annotations

import itertools

from dsd_bench.reports import Reporter

COUNT = itertools.count()


class Good(Reporter):
    """A line a run."""

    def report(self, runs, stream):
        for run in runs:
            stream.write(f"{run.run_id} {len(run.rows)}\n")


class Writes(Good):
    """Wants a result."""

    def report(self, runs, stream):
        for run in runs:
            stream.write(f"{run.run_id} {run.result['best_round']}\n")


class AbsentValues(Good):
    """Wants an entropy."""

    def report(self, runs, stream):
        for run in runs:
            stream.write(f"{sum(row['entropy'] for row in run.rows):.2f}\n")


class SameText(Good):
    """Numbers what it writes."""

    def report(self, runs, stream):
        stream.write(f"{next(COUNT)}\n")


class OnlyReads(Good):
    """Leaves a note."""

    def report(self, runs, stream):
        super().report(runs, stream)
        for run in runs:
            (run.path / "note.txt").write_text("seen")


class PlainText(Good):
    """Writes errors as they are."""

    def report(self, runs, stream):
        super().report(runs, stream)
        stream.writelines(str(run.error) for run in runs)

"""The finished runs of a suite's cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dsd_bench.errors import UsageError
from dsd_bench.store.runs import StoredRun, finished, load_run
from dsd_bench.suites.cells import Cell


@dataclass(frozen=True)
class Result:
    """A cell and those of its runs that are finished."""

    cell: Cell
    runs: tuple[StoredRun, ...]

    @property
    def n(self) -> str:
        """Finished seeds of those wanted: ``3`` or ``2/3``."""
        done, wanted = len(self.runs), len(self.cell.configs)
        return str(done) if done == wanted else f"{done}/{wanted}"


def results(cells: Sequence[Cell], runs_dir: Path, command: str) -> list[Result]:
    """Load the finished runs of ``cells``.

    Raises:
        UsageError: if none is finished; ``command`` is what would make them.
    """
    found = []
    for cell in cells:
        paths = [runs_dir / config.run_id for config in cell.configs]
        found.append(Result(cell, tuple(load_run(path) for path in paths if finished(path))))
    if not any(result.runs for result in found):
        raise UsageError(f"{runs_dir}: no run of this suite is finished; make them with: {command}")
    return found

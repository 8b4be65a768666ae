"""Everything that is said of one configuration's curves, in one value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dsd_bench.analysis.curves import Point
from dsd_bench.analysis.fairness import Fairness
from dsd_bench.analysis.measures import Compression, area, compression, peak
from dsd_bench.analysis.memorisation import Memorisation, memorisation
from dsd_bench.analysis.phases import Phase, phase_of, phases
from dsd_bench.analysis.summary import Summary, summarise

if TYPE_CHECKING:
    from dsd_bench.store import StoredRun


@dataclass(frozen=True)
class Study:
    """The analysis of one configuration over its seeds.

    Attributes:
        summary: curve, evidence, dip, sweet spot, selected models.
        phases: of the shared mean curve; empty without double descent.
        best: the highest round of the shared mean curve.
        best_phase: the phase it lies in (Fig. 2's star, App. F); None without phases.
        area: mean accuracy over log-density; None if the curve does not reach ``until``.
        until: the density at which the area's range ends.
        compression: how far the nets can be pruned near their dense accuracy.
        memorisation: where wrong labels are forgotten; None without known wrong labels.
        fairness: whether the net interpolates and its trainings are whole; None: not asked.
    """

    summary: Summary
    phases: list[Phase]
    best: Point | None
    best_phase: str | None
    area: float | None
    until: float | None
    compression: Compression
    memorisation: Memorisation | None
    fairness: Fairness | None = None


def study(
    runs: Sequence[StoredRun],
    n_test: int | None = None,
    within: float = 0.01,
    until: float | None = None,
    fair: Fairness | None = None,
) -> Study:
    """Analyse the seeds of one configuration, on the rounds that all of them reached.

    Args:
        runs: they differ in their seeds only.
        n_test: images of the test set.
        within: the accuracy that compression may cost, 0..1.
        until: the density at which the area ends; default: the last shared round's.
        fair: what :func:`dsd_bench.analysis.fairness.fairness` says of them.
    """
    summary = summarise(runs, n_test)
    found = phases(summary.shared, summary.evidence)
    best = peak(summary.shared)
    return Study(
        summary=summary,
        phases=found,
        best=best,
        best_phase=phase_of(best, found),
        area=area(summary.shared, until),
        until=until or last_density(summary.shared),
        compression=compression(
            summary.shared, [run.rows for run in runs if run.rows], summary.column, within
        ),
        memorisation=memorisation([(run.seed, run.rows) for run in runs], summary.column),
        fairness=fair,
    )


def last_density(curve: Sequence[Point]) -> float | None:
    """Return the density of the last round that has weights, None without any."""
    densities = [1.0 - point.sparsity for point in curve if point.sparsity < 1.0]
    return densities[-1] if densities else None

"""What trainings cost, in multiply-accumulates (MACs): of runs that were made, and of planned ones.

What is counted, and what is not, is told in docs/ledger.md; every figure comes from the model
(:func:`dsd_bench.metrics.macs.count_step`), none from a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ROUNDS = 5
"""Dense networks as large as the kept rounds of a run together, about."""
COPIES = 6 + ROUNDS
"""Networks that a run's folder holds, about: dense, best, two checkpoints with as much momentum,
and the kept rounds."""


@dataclass(frozen=True)
class TrainingCost:
    """One training.

    Attributes:
        round: 0 is the dense training.
        sparsity: of its masks, 0..1.
        images: images that passed the network: those of an epoch times the epochs, the epochs
            of re-dense training included.
        forward, backward: dense MACs, every weight counted.
        forward_effective, backward_effective: without those that pruned weights take part in.
        teaching: dense MACs of the teachers' forward passes, one for each image and epoch, as
            eq. (2) has it; 0 without distillation.
        teaching_effective: the same without the teachers' pruned weights; None where a
            teacher's run is not there to tell its masks.
    """

    round: int
    sparsity: float
    images: int
    forward: int
    backward: int
    forward_effective: int
    backward_effective: int
    teaching: int = 0
    teaching_effective: int | None = 0

    @property
    def dense(self) -> int:
        """Forward, backward and teachers' forward passes, every weight counted."""
        return self.forward + self.backward + self.teaching

    @property
    def effective(self) -> int | None:
        """The same without pruned weights; None if the teachers' masks are unknown."""
        if self.teaching_effective is None:
            return None
        return self.forward_effective + self.backward_effective + self.teaching_effective


@dataclass(frozen=True)
class TeacherCost:
    """A run that was distilled from.

    Attributes:
        run_id: its id.
        weights: ``dense`` or ``best``: which of its weights taught.
        ledger: all its trainings; None where its run is not beside the student's.
        forward: effective MACs of one image's forward pass through those weights; None likewise.
    """

    run_id: str
    weights: str
    ledger: Ledger | None
    forward: int | None

    @property
    def needed(self) -> int | None:
        """Trainings up to the weights that taught: what the paper charges a teacher with."""
        if self.weights == "dense":
            return 1
        chosen = self.ledger.best_round if self.ledger else None
        return None if chosen is None else chosen + 1


@dataclass(frozen=True)
class Ledger:
    """Every training of one run, its teachers' apart.

    Attributes:
        run_id, seed: of the run.
        finished: whether the run is; an unfinished one's trainings so far are listed.
        best_round: the round it selected; None while it is unfinished.
        step: dense MACs of one image, forward and backward.
        trainings: one for each round, the dense one first.
        teachers: one for each regularizer that distils.
    """

    run_id: str
    seed: int
    finished: bool
    best_round: int | None
    step: tuple[int, int]
    trainings: tuple[TrainingCost, ...]
    teachers: tuple[TeacherCost, ...] = ()

    @property
    def dense(self) -> int:
        """Dense MACs of all trainings, without the teachers' own."""
        return sum(training.dense for training in self.trainings)

    @property
    def effective(self) -> int | None:
        """Effective MACs of all trainings, without the teachers' own."""
        return total(self.trainings)

    @property
    def teachers_dense(self) -> int | None:
        """Dense MACs of all teachers' trainings; None where a teacher's run is missing."""
        found = [teacher.ledger for teacher in self.teachers]
        return None if None in found else sum(ledger.dense for ledger in found if ledger)

    @property
    def teachers_effective(self) -> int | None:
        """Effective MACs of all teachers' trainings; None where a teacher's run is missing."""
        found = [teacher.ledger.effective if teacher.ledger else None for teacher in self.teachers]
        known = [macs for macs in found if macs is not None]
        return sum(known) if len(known) == len(found) else None


def total(trainings: Sequence[TrainingCost]) -> int | None:
    """Return the effective MACs of ``trainings``, None if those of any are unknown."""
    found = [training.effective for training in trainings]
    known = [macs for macs in found if macs is not None]
    return sum(known) if len(known) == len(found) else None


_PREFIXES = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def macs_word(macs: float | None) -> str:
    """Write MACs with a prefix and four digits: ``1.613 P``; ``-`` for None."""
    if macs is None:
        return "-"
    size, prefix = next(((s, p) for s, p in _PREFIXES if abs(macs) >= s), (1.0, ""))
    return f"{macs / size:.4g} {prefix}".rstrip()

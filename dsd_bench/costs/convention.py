"""The paper's way of counting: what its cost column says, and where it contradicts itself."""

from __future__ import annotations

from dataclasses import dataclass
from math import log

from dsd_bench.costs import Ledger
from dsd_bench.costs.paper import APPENDIX_E, COST_UNIT, FRACTION, Tradeoff

PASSES = 3
"""A backward pass is taken for twice a forward pass, the first layer included."""
IMAGES, EPOCHS = 50_000, 160
"""Of one training in the paper: all of CIFAR, no validation part."""


def price(forward: int, images: int = IMAGES * EPOCHS) -> int:
    """Return the paper's price of one training in MACs: dense, three forward passes an image.

    Args:
        forward: dense MACs of one image's forward pass.
        images: those of an epoch times the epochs.
    """
    return PASSES * forward * images


@dataclass(frozen=True)
class PaperCost:
    """A ledger in the paper's convention.

    Attributes:
        run_id, seed: of the run.
        price: of one training (of a pruned one, where the dense one has another length).
        trainings: the dense one and one for each pruning.
        counting_dense: price of all of them; ``pruned_only``: without the dense one.
        teacher_trainings: up to the weights that taught (None: the teacher's run is missing).
        teacher: their price, each charged as one of the student's.
    """

    run_id: str
    seed: int
    price: int
    trainings: int
    counting_dense: int
    pruned_only: int
    teacher_trainings: int | None
    teacher: int | None


def in_paper_convention(ledger: Ledger) -> PaperCost:
    """Price the trainings of a run as the paper does."""
    prices = [price(ledger.step[0], training.images) for training in ledger.trainings]
    needed = [teacher.needed for teacher in ledger.teachers]
    known = [count for count in needed if count is not None]
    whole = len(known) == len(needed)
    return PaperCost(
        run_id=ledger.run_id,
        seed=ledger.seed,
        price=prices[-1],
        trainings=len(prices),
        counting_dense=sum(prices),
        pruned_only=sum(prices[1:]),
        teacher_trainings=sum(known) if whole else None,
        teacher=sum(prices[0] + (n - 1) * prices[-1] for n in known) if whole else None,
    )


@dataclass(frozen=True)
class Comparison:
    """A row of the paper's cost column beside both ways of counting.

    Attributes:
        row: as printed.
        prunings: n, of the printed sparsity: 1 - 0.8^n comes nearest.
        charged: trainings that the printed cost buys at the paper's own price.
        teacher_charged: likewise for the teacher.
        counting_dense, pruned_only: n + 1 and n trainings at the price counted here, in MACs.
        fits: ``n+1``, ``n``, ``whole curve`` (a row without a stop rule, which always pays for
            the whole curve) or ``neither``.
    """

    row: Tradeoff
    prunings: int
    charged: int
    teacher_charged: int | None
    counting_dense: int
    pruned_only: int
    fits: str


def compare(counted: int) -> list[Comparison]:
    """Return every row of Table 1 and Appendix E beside what is counted here.

    Args:
        counted: the price of one training, counted here (:func:`price`).
    """
    return [_comparison(row, counted) for row in APPENDIX_E]


def _comparison(row: Tradeoff, counted: int) -> Comparison:
    n, charged = prunings_of(row.sparsity / 100), round(row.cost * 1e15 / COST_UNIT)
    taught = row.teacher_cost
    if row.method == "vanilla":
        fits = "whole curve"
    else:
        fits = {n + 1: "n+1", n: "n"}.get(charged, "neither")
    return Comparison(
        row=row,
        prunings=n,
        charged=charged,
        teacher_charged=None if taught is None else round(taught * 1e15 / COST_UNIT),
        counting_dense=(n + 1) * counted,
        pruned_only=n * counted,
        fits=fits,
    )


def prunings_of(sparsity: float) -> int:
    """Return the n for which 1 - 0.8^n comes nearest to ``sparsity``, in [0, 1)."""
    guess = int(log(1 - sparsity) / log(1 - FRACTION))
    return min((guess, guess + 1), key=lambda n: (abs(1 - (1 - FRACTION) ** n - sparsity), n))


def sparsities(rows: list[Comparison], fits: str) -> list[float]:
    """Return the printed sparsities, %, of the rows that ``fits`` is said of, each once."""
    return sorted({found.row.sparsity for found in rows if found.fits == fits})

"""What the paper prints of costs: Table 1 and the tables of Appendix E as values.

Quetu and Tartaglione, "DSD2: Can We Dodge Sparse Double Descent and Compress the Neural Network
Worry-Free?", AAAI 2024. Numbers are kept as printed; where the text dropped a table's noise rate
it follows from the order of the tables. What the paper reports of accuracy lies in the suites.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PaperMethod = Literal["vanilla", "vanilla-stop", "kd-dense", "kd-best"]
"""The rows of Table 1: without a stop rule (the best of the whole curve); with the usual early
stop; distilled from the dense teacher, or from the best pruned one, stopped by Algorithm 2."""

COST_UNIT = 1.628e15
"""The price of one training in the cost column: every figure of it is a multiple (printed PFLOPs,
really multiply-accumulates of VGG-like(5,5), 50,000 images, 160 epochs)."""

FRACTION = 0.2
"""zeta_iter: pruned of the remaining weights in each round."""


@dataclass(frozen=True)
class Tradeoff:
    """A row of Table 1 and Appendix E: VGG-like(5,5), teacher ResNet-18.

    Attributes:
        dataset: ``cifar10`` or ``cifar100``.
        noise: rate of wrong labels, 0..1.
        method: see :data:`PaperMethod`.
        cost: training cost, printed PFLOPs.
        teacher_cost: the teacher's, "(+X)"; None without a teacher.
        accuracy, std: test accuracy and its deviation, %.
        sparsity: of the model, %.
    """

    dataset: str
    noise: float
    method: PaperMethod
    cost: float
    teacher_cost: float | None
    accuracy: float
    std: float
    sparsity: float


def _tradeoffs(dataset: str, noise: float, *rows: tuple[float, ...]) -> tuple[Tradeoff, ...]:
    vanilla, stopped, dense, best = rows
    return (
        Tradeoff(dataset, noise, "vanilla", vanilla[0], None, *vanilla[1:]),
        Tradeoff(dataset, noise, "vanilla-stop", stopped[0], None, *stopped[1:]),
        Tradeoff(dataset, noise, "kd-dense", *dense),
        Tradeoff(dataset, noise, "kd-best", *best),
    )


APPENDIX_E = (
    *_tradeoffs(
        *("cifar10", 0.1, (48.84, 76.04, 1.30, 99.52), (48.84, 76.04, 1.30, 99.80)),
        *((48.84, 1.63, 81.42, 0.15, 99.80), (48.84, 9.77, 81.29, 0.23, 99.80)),
    ),
    *_tradeoffs(
        *("cifar10", 0.2, (48.84, 74.52, 1.20, 99.62), (4.88, 60.23, 3.37, 36.00)),
        *((35.82, 1.63, 81.52, 1.85, 99.26), (35.82, 47.21, 86.89, 0.16, 99.26)),
    ),
    *_tradeoffs(
        *("cifar10", 0.5, (48.84, 64.37, 1.89, 99.76), (6.51, 38.57, 1.85, 48.80)),
        *((48.84, 1.63, 71.72, 0.36, 99.80), (48.84, 52.09, 75.87, 0.18, 99.80)),
    ),
    *_tradeoffs(
        *("cifar100", 0.1, (48.84, 48.13, 0.68, 99.53), (19.54, 44.93, 1.85, 91.41)),
        *((22.79, 1.63, 64.60, 0.20, 94.50), (22.79, 6.51, 64.07, 0.33, 94.50)),
    ),
    *_tradeoffs(
        *("cifar100", 0.2, (48.84, 52.06, 1.57, 99.62), (24.42, 30.33, 2.39, 96.48)),
        *((30.93, 1.63, 58.26, 0.45, 98.56), (30.93, 14.65, 57.73, 0.29, 98.56)),
    ),
    *_tradeoffs(
        *("cifar100", 0.5, (48.84, 30.24, 1.16, 99.75), (22.79, 14.72, 0.93, 95.60)),
        *((42.33, 1.63, 39.06, 0.19, 99.70), (42.33, 45.58, 40.45, 0.21, 99.70)),
    ),
)
"""The six tables of Appendix E, in their order."""

TABLE_1 = tuple(row for row in APPENDIX_E if (row.dataset, row.noise) == ("cifar10", 0.2))
"""Table 1 is the second table of Appendix E."""

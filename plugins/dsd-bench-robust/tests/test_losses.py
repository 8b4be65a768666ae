"""The losses against torch's own and against the papers' formulas, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from dsd_bench_robust.losses import GCE, LabelSmoothing
from dsd_bench_robust.plugin import GCEParams, LabelSmoothingParams
from torch import Tensor
from torch.nn import functional

from dsd_bench.regularizers import Step

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0], [1.0, 1.0, -2.0]])
LABELS = torch.tensor([0, 2, 1])
TARGETS = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.2, 0.8], [0.1, 0.1, 0.8]])


def step(logits: Tensor = LOGITS, targets: Tensor | None = None) -> Step:
    """Return a step with these logits."""
    count = len(logits)
    return Step(torch.zeros(count, 1, 2, 2), LABELS[:count], torch.arange(count), logits, targets)


def probabilities(row: Tensor) -> list[float]:
    """Return the softmax of one image's logits, in plain Python."""
    powers = [math.exp(value) for value in row.tolist()]
    return [power / sum(powers) for power in powers]


def smoothed(share: float, targets: Tensor) -> float:
    """Return the mean cross-entropy against smoothed targets, in plain Python."""
    total = 0.0
    for row, wanted in zip(LOGITS, targets.tolist(), strict=True):
        for p, t in zip(probabilities(row), wanted, strict=True):
            total -= ((1 - share) * t + share / 3) * math.log(p)
    return total / len(targets)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.8])
def test_labels_are_smoothed_as_the_formula_says(share: float) -> None:
    """Of labels as of mixed targets."""
    made = LabelSmoothing(LabelSmoothingParams(smoothing=share))
    one_hot = functional.one_hot(LABELS, 3).float()
    assert made.criterion(step()).item() == pytest.approx(smoothed(share, one_hot), rel=1e-5)
    found = made.criterion(step(targets=TARGETS)).item()
    assert found == pytest.approx(smoothed(share, TARGETS), rel=1e-5)


def test_smoothing_is_torch_s_own() -> None:
    """Its module, and its gradient."""
    logits = torch.randn(3, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    LabelSmoothing(LabelSmoothingParams(smoothing=0.3)).criterion(step(logits)).backward()
    mine, logits.grad = logits.grad, None
    torch.nn.CrossEntropyLoss(label_smoothing=0.3)(logits, LABELS).backward()
    torch.testing.assert_close(mine, logits.grad)


def generalised(q: float, targets: Tensor) -> float:
    """Return the mean of (1 - p^q) / q over the targets, in plain Python."""
    total = 0.0
    for row, wanted in zip(LOGITS, targets.tolist(), strict=True):
        for p, t in zip(probabilities(row), wanted, strict=True):
            total += t * (1 - p**q) / q
    return total / len(targets)


@pytest.mark.parametrize("q", [0.3, 0.7, 1.0])
def test_gce_is_the_paper_s_formula(q: float) -> None:
    """Of labels as of mixed targets."""
    made = GCE(GCEParams(q=q))
    one_hot = functional.one_hot(LABELS, 3).float()
    assert made.criterion(step()).item() == pytest.approx(generalised(q, one_hot), rel=1e-5)
    found = made.criterion(step(targets=TARGETS)).item()
    assert found == pytest.approx(generalised(q, TARGETS), rel=1e-5)


def test_gce_lies_between_cross_entropy_and_the_mean_absolute_error() -> None:
    """The limits that the paper names; the error's sum over classes is twice 1 - p."""
    near = GCE(GCEParams(q=1e-4)).criterion(step())
    assert near.item() == pytest.approx(functional.cross_entropy(LOGITS, LABELS).item(), rel=1e-3)
    away = functional.l1_loss(LOGITS.softmax(1), functional.one_hot(LABELS, 3).float())
    assert GCE(GCEParams(q=1)).criterion(step()).item() == pytest.approx(away.item() * 3 / 2)


def test_the_gradient_of_gce_weighs_cross_entropy_s_by_the_probability() -> None:
    """Eq. 7 of the paper: p^q times the gradient of -log p."""
    logits = LOGITS[1:2].clone().requires_grad_()
    one = Step(torch.zeros(1, 1, 2, 2), LABELS[1:2], torch.arange(1), logits)
    GCE(GCEParams(q=0.7)).criterion(one).backward()
    p = torch.tensor(probabilities(LOGITS[1])[2])
    plain = torch.tensor([probabilities(LOGITS[1])]) - functional.one_hot(LABELS[1:2], 3)
    torch.testing.assert_close(logits.grad, p**0.7 * plain)


def test_a_label_of_no_probability_has_a_finite_gradient() -> None:
    """Where p underflows, p^q alone would have an infinite slope."""
    logits = torch.tensor([[-200.0, 0.0, 200.0]], requires_grad=True)
    one = Step(torch.zeros(1, 1, 2, 2), torch.tensor([0]), torch.arange(1), logits)
    loss = GCE(GCEParams(q=0.7)).criterion(one)
    loss.backward()
    assert loss.item() == pytest.approx(1 / 0.7)
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_low_precision_is_computed_in_full() -> None:
    """Under autocast logits come as bf16."""
    for made in (GCE(GCEParams()), LabelSmoothing(LabelSmoothingParams())):
        found = made.criterion(step(LOGITS.bfloat16()))
        assert found.dtype == torch.float32
        assert found == made.criterion(step(LOGITS.bfloat16().float()))

"""Early-learning regularization against a plain loop over images, in Python."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from dsd_bench_robust.elr import ELR
from dsd_bench_robust.plugin import ELRParams
from torch import Tensor, nn

from dsd_bench.errors import RunError
from dsd_bench.regularizers import Step, TrainingView


def make(weight: float = 3.0, momentum: float = 0.7, forget: bool = False) -> ELR:
    """Return it at the beginning of a training on five samples of three classes."""
    elr = ELR(ELRParams(weight=weight, momentum=momentum, forget=forget))
    begin(elr)
    return elr


def begin(elr: ELR) -> None:
    """Begin a training."""
    model, draw = nn.Linear(1, 1), torch.Generator()
    elr.begin(TrainingView(model, 0, torch.device("cpu"), draw, None, 5, 3))


def step(logits: Tensor, index: list[int], targets: Tensor | None = None) -> Step:
    """Return a step with these logits of the samples ``index``."""
    labels = torch.zeros(len(index), dtype=torch.int64)
    return Step(torch.zeros(len(index), 1, 1, 1), labels, torch.tensor(index), logits, targets)


def random_steps(count: int) -> list[tuple[Tensor, list[int]]]:
    """Return logits and samples of some steps."""
    draw = torch.Generator().manual_seed(1)
    return [
        (3 * torch.randn(3, 3, generator=draw), torch.randperm(5, generator=draw)[:3].tolist())
        for _ in range(count)
    ]


def test_it_is_the_paper_s_formula_step_by_step() -> None:
    """Eq. 9: t = beta t + (1 - beta) p; eq. 6: lambda / n * sum log(1 - <p, t>)."""
    elr, targets = make(), {sample: [0.0] * 3 for sample in range(5)}
    for logits, index in random_steps(8):
        expected = 0.0
        for row, sample in zip(logits, index, strict=True):
            powers = [math.exp(value) for value in row.tolist()]
            p = [min(max(power / sum(powers), 1e-4), 1 - 1e-4) for power in powers]
            now = [0.7 * t + 0.3 * q / sum(p) for t, q in zip(targets[sample], p, strict=True)]
            targets[sample] = now
            expected += 3.0 / 3 * math.log(1 - sum(t * q for t, q in zip(now, p, strict=True)))
        found = elr.loss(torch.tensor(2.0), step(logits, index))
        assert found.item() == pytest.approx(2 + expected, rel=1e-5)
    torch.testing.assert_close(
        elr.state()["targets"], torch.tensor([targets[sample] for sample in range(5)])
    )


def test_the_gradient_takes_the_targets_as_given() -> None:
    """Against autograd on log(1 - <softmax, t>) with t as a constant."""
    elr, (logits, index) = make(weight=2.0), random_steps(1)[0]
    elr.loss(torch.tensor(0.0), step(logits, index))
    mine = logits.clone().requires_grad_()
    elr.loss(torch.tensor(0.0), step(mine, index)).backward()
    constant = elr.state()["targets"][index].clone()
    other = logits.clone().requires_grad_()
    (2 * (1 - (other.softmax(1) * constant).sum(1)).log().mean()).backward()
    torch.testing.assert_close(mine.grad, other.grad, rtol=1e-3, atol=1e-5)


def test_it_takes_the_loss_up_towards_what_was_answered_before() -> None:
    """A step downhill makes the network surer of its earlier answer."""
    elr, logits = make(), torch.tensor([[0.0, 1.0, 0.0]], requires_grad=True)
    for _ in range(3):
        loss = elr.loss(torch.tensor(0.0), step(logits, [2]))
    loss.backward()
    assert logits.grad is not None
    assert logits.grad[0, 1] < 0 < logits.grad[0, 0]


def test_of_two_passes_the_first_is_remembered() -> None:
    """The second asks about the same images elsewhere; its loss is against what is remembered."""
    elr, (logits, index) = make(), random_steps(1)[0]
    elr.loss(torch.tensor(0.0), step(logits, index))
    before = elr.state()["targets"].clone()
    found = elr.loss(torch.tensor(0.0), replace(step(2 * logits, index), again=True))
    assert elr.state()["targets"].equal(before)
    agreement = ((2 * logits).softmax(1) * before[index]).sum(1)
    assert found.item() == pytest.approx(3 * (1 - agreement).log().mean().item(), rel=1e-3)


@pytest.mark.parametrize("forget", [False, True])
def test_trainings_go_on_or_begin_anew_and_state_comes_back(forget: bool) -> None:
    """What is loaded after the beginning is what goes on."""
    steps, elr = random_steps(6), make(forget=forget)
    for logits, index in steps[:3]:
        elr.loss(torch.tensor(0.0), step(logits, index))
    kept = {name: tensor.clone() for name, tensor in elr.state().items()}
    again = ELR(ELRParams(weight=3, momentum=0.7, forget=forget))
    assert again.state() == {}
    again.load({name: tensor.clone() for name, tensor in kept.items()})
    begin(again)
    assert again.state()["targets"].any() == (not forget)
    again.load({name: tensor.clone() for name, tensor in kept.items()})
    for logits, index in steps[3:]:
        one = elr.loss(torch.tensor(0.0), step(logits, index))
        assert one == again.loss(torch.tensor(0.0), step(logits, index))


def test_mixed_images_are_refused() -> None:
    """They are no image that could have an answer."""
    with pytest.raises(RunError, match="no regularizer may mix"):
        make().loss(torch.tensor(0.0), step(torch.zeros(1, 3), [0], torch.ones(1, 3) / 3))


def test_an_answer_that_is_certain_is_finite() -> None:
    """The clamp of the authors' code: log(1 - 1) would not be."""
    elr, logits = make(momentum=0), torch.tensor([[200.0, 0.0, -200.0]], requires_grad=True)
    loss = elr.loss(torch.tensor(0.0), step(logits, [0]))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()

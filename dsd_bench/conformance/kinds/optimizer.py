"""Checks of optimisers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dsd_bench.conformance.checks import blaming, check, demand
from dsd_bench.conformance.meta import without_values
from dsd_bench.conformance.runs import whole_runs
from dsd_bench.conformance.subjects import Subject
from dsd_bench.conformance.unchanged import same
from dsd_bench.optimizers import Ascending, OptimizerView, Stepping
from dsd_bench.optimizers.wrapping import Masked, as_stepping
from dsd_bench.seeds import seeded_globals

RATE = 0.01


def _weights(dtype: torch.dtype = torch.float32, device: str = "cpu") -> list[nn.Parameter]:
    draw = torch.Generator().manual_seed(0)
    shapes = ((4, 3), (4,), (2, 4))
    made = (torch.randn(shape, generator=draw).to(device, dtype) for shape in shapes)
    return [nn.Parameter(tensor) for tensor in made]


def _built(subject: Subject, weights: list[nn.Parameter], weight_decay: float = 0.1) -> Stepping:
    view = OptimizerView(weights, rate=RATE, momentum=0.9, weight_decay=weight_decay)
    return as_stepping(subject.make().build(view))


def _steps(
    made: Stepping, weights: list[nn.Parameter], first: int, last: int, masks: Masked | None = None
) -> None:
    """Take the steps ``first`` to ``last - 1``, each with gradients of its own."""
    held = masks or Masked({})
    with seeded_globals(9):
        for step in range(first, last):
            _give(weights, step)
            if isinstance(made, Ascending):
                held.apply()
                made.ascend()
                _give(weights, step + 1000)
                held.apply()
            made.step()


def _give(weights: list[nn.Parameter], seed: int) -> None:
    for place, weight in enumerate(weights):
        draw = torch.Generator().manual_seed(100 * seed + place)
        gradient = torch.randn(weight.shape, generator=draw)
        weight.grad = gradient.to(weight.device, weight.dtype) if weight.requires_grad else None


def _values(weights: list[nn.Parameter]) -> list[Tensor]:
    return [weight.detach().clone() for weight in weights]


@check("optimizer")
def learns(subject: Subject) -> None:
    """Weights move by their gradients, to finite values; gradients are dropped after each step."""
    weights = _weights()
    before = _values(weights)
    made = _built(subject, weights)
    made.set_rate(RATE)
    _steps(made, weights, 0, 5)
    for old, weight in zip(before, weights):
        demand(bool((weight != old).all()), "a weight with gradients does not move")
        demand(bool(weight.isfinite().all()), "a weight is not finite after five steps")
    left = [weight.grad for weight in weights if weight.grad is not None and weight.grad.any()]
    demand(not left, "gradients are left after step(): they would add up")


@check("optimizer")
def pruned_stay_zero(subject: Subject) -> None:
    """Pruned weights stay exactly zero, with momentum and weight decay too."""
    weights = _weights()
    draw = torch.Generator().manual_seed(1)
    masks = {w: (torch.rand(w.shape, generator=draw) < 0.5).to(w.dtype) for w in weights}
    with torch.no_grad():
        for weight, mask in masks.items():
            weight.mul_(mask)
    made, held = _built(subject, weights), Masked(masks)
    made.set_rate(RATE)
    if not isinstance(made, Ascending):
        made.hold(masks)
    _steps(made, weights, 0, 8, held)
    for weight, mask in masks.items():
        demand(not bool(weight[mask == 0].any()), "a pruned weight leaves zero")


@check("optimizer")
def same_steps(subject: Subject) -> None:
    """Made anew it takes the same steps."""
    found = []
    for _ in range(2):
        weights = _weights()
        _steps(_built(subject, weights), weights, 0, 5)
        found.append(_values(weights))
    demand(all(map(same, *found)), "the same gradients give other weights")


@check("optimizer")
def state_comes_back(subject: Subject) -> None:
    """Its state, of tensors and numbers, given to a new one leads to the same steps."""
    weights = _weights()
    made = _built(subject, weights)
    _steps(made, weights, 0, 4)
    again = [nn.Parameter(value) for value in _values(weights)]
    state = made.state()
    for name, value in state.items():
        demand(
            isinstance(value, Tensor | int | float), f"its state has a {type(value)} as '{name}'"
        )
    saved = {k: v.clone() if isinstance(v, Tensor) else v for k, v in state.items()}
    other = _built(subject, again)
    other.load(saved)
    _steps(made, weights, 4, 8)
    _steps(other, again, 4, 8)
    demand(
        all(map(same, _values(weights), _values(again))),
        "with its state it goes on otherwise: something that changes is not in state()",
    )


@check("optimizer")
def rate(subject: Subject) -> None:
    """It uses the learning rate that the core sets: at rate 0 no weight moves."""
    weights = _weights()
    made = _built(subject, weights)
    _steps(made, weights, 0, 2)
    before = _values(weights)
    made.set_rate(0.0)
    _steps(made, weights, 2, 4)
    demand(all(map(same, before, _values(weights))), "at a learning rate of 0 weights move")


@check("optimizer")
def frozen(subject: Subject) -> None:
    """A weight that is not trained is left alone."""
    weights = _weights()
    weights[1].requires_grad_(False)
    before = weights[1].detach().clone()
    made = _built(subject, weights)
    with blaming("with a weight that is not trained it raises"):
        _steps(made, weights, 0, 3)
    demand(same(before, weights[1].detach()), "it moves a weight without a gradient")


@check("optimizer")
def any_dtype(subject: Subject) -> None:
    """Weights in double and in bfloat16 are trained too, and stay of their type."""
    for dtype in (torch.float64, torch.bfloat16):
        weights = _weights(dtype)
        with blaming(f"with weights in {str(dtype).removeprefix('torch.')} it raises"):
            _steps(_built(subject, weights), weights, 0, 3)
        demand(all(w.dtype == dtype and bool(w.isfinite().all()) for w in weights), "not finite")


@check("optimizer")
def no_waiting(subject: Subject) -> None:
    """A step makes its tensors where the weights live, and does not wait for the device."""
    weights = _weights(device="meta")
    with without_values(may_read=False):
        _steps(_built(subject, weights), weights, 0, 2)


whole_runs("optimizer", lambda subject: {"optimizer": subject.word, "lr": RATE})

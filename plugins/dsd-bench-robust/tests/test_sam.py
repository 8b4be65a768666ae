"""Sharpness-aware minimisation against its algorithm in plain numpy, and in whole runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from dsd_bench_robust.plugin import SAMParams
from dsd_bench_robust.sam import SAM
from numpy.typing import NDArray
from torch import nn

from dsd_bench import configure, run
from dsd_bench.optimizers import OptimizerView

Array = NDArray[numpy.float64]

TINY: dict[str, Any] = {
    "dataset": "digits:train_size=60,val_size=30",
    "model": "mlp:hidden=8",
    "batch_size": 20,
    "epochs": 2,
    "rounds": 2,
}


def slope(weights: Array) -> Array:
    """Return the gradient of the test function sum(w^4) / 4 + w0 * w1."""
    found = weights**3
    found[0] += weights[1]
    found[1] += weights[0]
    return found


def descend(parameter: nn.Parameter, made: Any, steps: int) -> None:
    """Go down the test function as the core does: gradients, up, gradients, step."""

    def gradient() -> None:
        parameter.grad = None
        ((parameter**4).sum() / 4 + parameter[0] * parameter[1]).backward()  # type: ignore[no-untyped-call]

    for _ in range(steps):
        gradient()
        made.ascend()
        gradient()
        made.step()


@pytest.mark.parametrize("rho", [0.05, 0.5])
def test_it_is_the_paper_s_algorithm(rho: float) -> None:
    """Algorithm 1 around SGD with momentum and weight decay, ten steps."""
    start = [1.0, -0.5, 0.25]
    parameter = nn.Parameter(torch.tensor(start, dtype=torch.float64))
    made = SAM(SAMParams(rho=rho)).build(OptimizerView([parameter], 0.1, 0.9, 0.01))
    made.set_rate(0.1)
    descend(parameter, made, 10)
    weights, buffer = numpy.array(start), numpy.zeros(3)
    for _ in range(10):
        up = slope(weights)
        there = slope(weights + rho * up / numpy.linalg.norm(up))
        buffer = 0.9 * buffer + there + 0.01 * weights
        weights = weights - 0.1 * buffer
    numpy.testing.assert_allclose(parameter.detach().numpy(), weights, rtol=1e-6)


def test_the_norm_is_over_all_parameters_together() -> None:
    """Not each for itself; one without a gradient stays where it is."""
    one, two, idle = (nn.Parameter(torch.zeros(1)) for _ in range(3))
    made: Any = SAM(SAMParams(rho=1)).build(OptimizerView([one, two, idle], 0.1, 0.9, 0.0))
    one.grad, two.grad = torch.tensor([3.0]), torch.tensor([-4.0])
    made.ascend()
    assert one.item() == pytest.approx(0.6)
    assert two.item() == pytest.approx(-0.8)
    assert idle.item() == 0


def test_it_comes_back_to_the_last_bit() -> None:
    """What was added is not subtracted: that would round."""
    parameter = nn.Parameter(torch.rand(1000, generator=torch.Generator().manual_seed(0)))
    before = parameter.detach().clone()
    made: Any = SAM(SAMParams()).build(OptimizerView([parameter], 0.1, 0.9, 0.0))
    parameter.grad = torch.rand(1000)
    made.ascend()
    assert not parameter.equal(before)
    parameter.grad = torch.zeros(1000)
    made.step()
    assert parameter.equal(before)


def test_without_any_gradient_it_stays() -> None:
    """No division by zero."""
    parameter = nn.Parameter(torch.ones(2))
    made: Any = SAM(SAMParams()).build(OptimizerView([parameter], 0.1, 0.9, 0.0))
    made.ascend()
    parameter.grad = torch.zeros(2)
    made.ascend()
    assert parameter.equal(torch.ones(2))


@pytest.mark.parametrize("base", ["sgd", "adam", "adamw"])
def test_it_goes_around_each_built_in_optimiser(base: str, tmp_path: Path) -> None:
    """Another path than without it; the same again."""
    plain = run(configure(**TINY, optimizer=base), runs_dir=tmp_path / "plain")
    word = f"sam:base={base},rho=0.3"
    found = [
        run(configure(**TINY, optimizer=word, reg=["elr"]), runs_dir=tmp_path / name)
        for name in ("one", "two")
    ]
    assert found[0].rows == found[1].rows
    sparsities = [[row["sparsity"] for row in made.rows] for made in (plain, found[0])]
    assert sparsities[0] == sparsities[1]
    assert plain.rows[0]["train_loss"] != found[0].rows[0]["train_loss"]

"""The components alone, on networks so small that the answer is plain."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from dsd_bench_taylor import plugin
from dsd_bench_taylor.dead_units import DeadUnits, DeadUnitsLimit
from dsd_bench_taylor.pruner import Taylor
from torch import Tensor, nn
from torch.nn import functional

from dsd_bench.errors import RunError
from dsd_bench.masks import Masks
from dsd_bench.metrics import MeasureView, Outputs
from dsd_bench.pruners import PruneView

Batch = tuple[Tensor, Tensor]


def prune_view(model: nn.Module, given: Sequence[Batch]) -> PruneView:
    """Return a view of ``model`` whose batches are ``given``."""

    def batches(count: int) -> Iterator[Batch]:
        yield from given[:count]

    masks, device = Masks.dense(model), torch.device("cpu")
    return PruneView(model, masks, 1, device, torch.Generator(), batches)


def random_batches(count: int) -> list[Batch]:
    """Return ``count`` batches of five 1x2x3 images of three classes."""
    draw = torch.Generator().manual_seed(1)
    return [
        (torch.randn(5, 1, 2, 3, generator=draw), torch.randint(3, (5,), generator=draw))
        for _ in range(count)
    ]


@pytest.fixture
def model() -> nn.Module:
    """Return a small network with a layer that behaves otherwise while training."""
    torch.manual_seed(0)
    layers = [nn.Flatten(), nn.Linear(6, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3)]
    return nn.Sequential(*layers)


def test_scores_are_the_squares_of_each_batch_added_up(model: nn.Module) -> None:
    """Checked against backward(), batch by batch."""
    given = random_batches(3)
    scores = Taylor(plugin.TaylorParams(batches=2)).scores(prune_view(model, given))
    model.eval()
    expected = torch.zeros(4, 6)
    for images, labels in given[:2]:
        model.zero_grad()
        functional.cross_entropy(model(images), labels).backward()
        expected += (model[1].weight * model[1].weight.grad) ** 2
    assert set(scores) == {"1.weight", "4.weight"}
    torch.testing.assert_close(scores["1.weight"], expected.detach())


def test_batches_that_pull_to_opposite_sides_do_not_cancel() -> None:
    """The sum of their gradients is zero, so the pruner ``gradient`` would score zero."""
    layer = nn.Linear(1, 2, bias=False)
    nn.init.zeros_(layer.weight)
    layer.weight.data[0] = 1e-6  # as good as zero: both classes are equally likely
    image = torch.ones(1, 1)
    given = [(image, torch.tensor([0])), (image, torch.tensor([1]))]
    score = Taylor(plugin.TaylorParams()).scores(prune_view(layer, given))["weight"][0]
    assert score.item() == pytest.approx(2 * (1e-6 * 0.5) ** 2, rel=1e-3)


def test_scoring_leaves_the_model_as_it_was(model: nn.Module) -> None:
    """Weights, buffers, gradients and each module's own flag."""
    model[2].eval()
    model[1].weight.grad = torch.ones(4, 6)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    Taylor(plugin.TaylorParams()).scores(prune_view(model, random_batches(2)))
    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)
    assert [module.training for module in model] == [True, True, False, True, True]
    assert model[1].weight.grad.equal(torch.ones(4, 6))
    assert model[4].weight.grad is None


def test_a_frozen_layer_is_scored_too(model: nn.Module) -> None:
    """As it would be if it were trained; it stays frozen."""
    given = random_batches(2)
    expected = Taylor(plugin.TaylorParams()).scores(prune_view(model, given))
    model[1].requires_grad_(False)
    scores = Taylor(plugin.TaylorParams()).scores(prune_view(model, given))
    torch.testing.assert_close(scores, expected)
    assert not model[1].weight.requires_grad


def measure(*relu_counts: Tensor) -> dict[str, object]:
    """Return what the metric says of these counts."""
    logits, labels = torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64)
    outputs = Outputs(logits, labels, labels, relu_counts)
    model = nn.Linear(1, 2)
    masks, device = Masks.dense(model), torch.device("cpu")
    view = MeasureView(model, masks, 0, device, (1, 1, 1), lambda part: outputs)
    return dict(DeadUnits(plugin.Params()).measure(view))


def test_dead_units_are_counted_over_all_units_and_for_each_layer() -> None:
    """A unit that is always on is alive; layers count by their size."""
    found = measure(torch.tensor([[0, 1], [4, 0]]), torch.tensor([3]))
    assert found == {"fraction": 2 / 5, "fraction_per_layer": [0.5, 0.0]}


def test_a_model_without_relu_has_no_share_of_dead_units() -> None:
    """None, not zero."""
    assert measure() == {"fraction": None, "fraction_per_layer": None}


def stop(fraction: float | None, limit: float = 0.5) -> str | None:
    """Return the criterion's answer to a last round with ``fraction`` dead units."""
    rounds = [
        {"round": 0, "metrics": {"dead-units": {"fraction": 0.0}}},
        {"round": 1, "metrics": {"dead-units": {"fraction": fraction}}},
    ]
    criterion = DeadUnitsLimit(plugin.DeadUnitsLimitParams(limit=limit))
    return criterion.stop(rounds, "val_accuracy")


def test_the_limit_itself_stops() -> None:
    """The reason says both numbers; below the limit there is none."""
    assert stop(0.499) is None
    assert stop(0.5) == "50.0% of the ReLU units are dead, the limit is 50.0%"


def test_a_limit_without_relu_is_an_error() -> None:
    """It would otherwise never stop, and nobody would know why."""
    with pytest.raises(RunError, match="has none"):
        stop(None)


def test_the_observer_appends_a_line_for_each_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And writes nothing where the environment names no file."""
    log = tmp_path / "rounds.jsonl"
    monkeypatch.delenv(plugin.LOG, raising=False)
    plugin.round_finished("a", {"round": 0})
    monkeypatch.setenv(plugin.LOG, str(log))
    plugin.round_finished("a", {"round": 1})
    plugin.round_finished("b", {"round": 2})
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert rows == [{"run_id": "a", "round": 1}, {"run_id": "b", "round": 2}]

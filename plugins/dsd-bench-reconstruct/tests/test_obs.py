"""The pruner against least squares and the surgeon's own formulas, worked out with NumPy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy
import pytest
import torch
from dsd_bench_reconstruct.obs import OBS, remaining, saliency
from dsd_bench_reconstruct.plugin import OBSParams
from torch import Tensor, nn

from dsd_bench import configure, run
from dsd_bench.errors import UsageError
from dsd_bench.masks import Masks, prune_by_scores
from dsd_bench.pruners import PruneView
from dsd_bench.pruners.unstructured import Magnitude


def images(count: int, seed: int = 1) -> Tensor:
    """Return 1x2x3 images whose pixels are related, so that one can make up for another."""
    draw = torch.Generator().manual_seed(seed)
    mixed = torch.randn(count, 3, generator=draw) @ torch.randn(3, 6, generator=draw)
    return (mixed + 0.3 * torch.randn(count, 6, generator=draw)).view(count, 1, 2, 3)


def view(model: nn.Module, given: list[Tensor], masks: Masks | None = None) -> PruneView:
    """Return what the core would give a pruner."""

    def batches(count: int) -> Iterator[tuple[Tensor, Tensor]]:
        yield from ((each, torch.zeros(len(each), dtype=torch.int64)) for each in given[:count])

    masks = masks or Masks.dense(model)
    return PruneView(model, masks, 1, torch.device("cpu"), torch.Generator(), batches)


@pytest.fixture
def model() -> nn.Module:
    """Return an MLP 6-5-3."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.ReLU(), nn.Dropout(), nn.Linear(5, 3))


def hessian(inputs: Tensor, damping: float) -> numpy.ndarray:  # type: ignore[type-arg]
    """Return the damped mean of the products of inputs."""
    x = inputs.flatten(1).double().numpy()
    mean = x.T @ x / len(x)
    return mean + damping * numpy.diag(mean).mean() * numpy.eye(len(mean))


def hidden(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return what the second layer sees in eval mode."""
    return torch.relu(model[1](inputs.flatten(1))).detach()  # type: ignore[index]


def test_new_weights_are_those_of_least_squares(model: nn.Module) -> None:
    """Of a stacked system with the damping as further rows; two batches count, the third not."""
    given = [images(20), images(7, 2), images(9, 3)]
    params = OBSParams(fraction=0.4, batches=2, damping=0.05)
    found = OBS(params).prune(view(model.train(), given))
    assert model.training
    seen = torch.cat(given[:2])
    for name, x in {"1.weight": seen.flatten(1), "4.weight": hidden(model, seen)}.items():
        rows, width = x.double().numpy(), x.shape[1]
        damping = 0.05 * (rows**2).mean() * len(rows)
        stacked = numpy.vstack([rows, numpy.sqrt(damping) * numpy.eye(width)])
        old, mask = model.get_parameter(name).detach().double().numpy(), found.masks.weights[name]
        for row, kept in enumerate(mask.numpy()):
            expected = numpy.zeros(width)
            solved = numpy.linalg.lstsq(stacked[:, kept], stacked @ old[row], rcond=None)[0]
            expected[kept] = solved
            numpy.testing.assert_allclose(found.weights[name][row].numpy(), expected, atol=1e-5)
    assert found.masks.nonzero == 45 - round(0.4 * 45)
    assert all(value.dtype == torch.float32 for value in found.weights.values())


def test_one_weight_goes_as_the_surgeon_takes_it(model: nn.Module) -> None:
    """Equation 5 of Hassibi and Stork: which goes, what the others do, and what it costs."""
    given = images(40)
    found = OBS(OBSParams(fraction=1 / 45, damping=0.1)).prune(view(model, [given]))
    costs = {}
    for name, x in {"1.weight": given, "4.weight": hidden(model, given)}.items():
        inverse = numpy.linalg.inv(hessian(x, 0.1))
        old = model.get_parameter(name).detach().double().numpy()
        costs |= {
            (name, row, q): (old[row, q] ** 2 / (2 * inverse[q, q]), old, inverse)
            for row in range(len(old))
            for q in range(old.shape[1])
        }
    (name, row, q), (cost, old, inverse) = min(costs.items(), key=lambda item: item[1][0])
    gone = [
        (n, *place) for n, m in found.masks.weights.items() for place in (~m).nonzero().tolist()
    ]
    assert gone == [(name, row, q)]
    expected = old.copy()
    expected[row] -= old[row, q] / inverse[q, q] * inverse[:, q]
    expected[row, q] = 0
    numpy.testing.assert_allclose(found.weights[name].numpy(), expected, atol=1e-5)
    assert found.weights.keys() == {name}
    change = found.weights[name][row].double().numpy() - old[row]
    x = given if name == "1.weight" else hidden(model, given)
    assert change @ hessian(x, 0.1) @ change / 2 == pytest.approx(cost, rel=1e-3)


def test_what_is_gone_no_longer_counts() -> None:
    """Saliencies of a row with gone weights are those of a row that never had them."""
    draw = torch.Generator().manual_seed(5)
    root = torch.randn(6, 6, generator=draw, dtype=torch.float64)
    full, weight = root @ root.T + torch.eye(6), torch.randn(1, 6, generator=draw).double()
    mask = torch.tensor([[True, False, True, True, False, True]])
    kept = mask[0].nonzero().flatten()
    small = full[kept][:, kept]
    expected = weight[:, kept] ** 2 / (2 * torch.linalg.inv(small).diagonal())
    found = saliency(weight, full, mask)
    torch.testing.assert_close(found[:, kept], expected)
    assert not found[~mask].any()
    assert not remaining(weight, full, mask)[~mask].any()


def test_it_changes_the_outputs_less_than_magnitude(model: nn.Module) -> None:
    """On the images that it saw, at the same count."""
    given = images(60)
    found = OBS(OBSParams(fraction=0.4)).prune(view(model, [given]))
    plain = Magnitude(OBSParams(fraction=0.4)).prune(view(model, [given]))
    before = model.eval()(given)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    changes = []
    for masks, weights in ((found.masks, found.weights), (plain, {})):
        model.load_state_dict({**state, **weights})
        masks.apply(model)  # type: ignore[union-attr]
        changes.append(float((model(given) - before).detach().square().mean()))
    assert changes[0] < 0.2 * changes[1]


def test_other_layers_are_refused() -> None:
    """By name, before anything is computed."""
    network = nn.Sequential(nn.Conv2d(1, 2, 2), nn.Flatten(), nn.Linear(4, 3))
    with pytest.raises(UsageError, match=r"linear layers alone, and '0\.weight' is none's weight"):
        OBS(OBSParams()).prune(view(network, [images(4)]))


def test_in_a_run_the_new_weights_are_what_is_trained_on(tmp_path: Path) -> None:
    """With a learning rate of nearly zero the measured network is the reconstructed one."""
    tiny = {
        "dataset": "digits:train_size=60,val_size=30",
        "model": "mlp:hidden=8",
        "batch_size": 20,
        "dense_epochs": 20,
        "retrain_epochs": 1,
        "retrain_lr_scale": 1e-9,
        "rounds": 3,
        "weight_decay": 0,
    }
    rows = {}
    for pruner in ("obs", "magnitude"):
        done = run(configure(**tiny, pruner=f"{pruner}:fraction=0.4"), runs_dir=tmp_path)
        rows[pruner] = done.rows
    assert [r["nonzero"] for r in rows["obs"]] == [r["nonzero"] for r in rows["magnitude"]]
    assert rows["obs"][-1]["train_loss"] < rows["magnitude"][-1]["train_loss"]


def test_scores_of_equal_rows_leave_the_core_its_ties() -> None:
    """Zero weights cost nothing and go first, in the model's order."""
    layer = nn.Linear(4, 1, bias=False)
    layer.weight.data = torch.tensor([[0.0, 1.0, 0.0, 2.0]])
    scores = saliency(
        layer.weight.detach().double(), torch.eye(4).double(), torch.ones(1, 4).bool()
    )
    masks = prune_by_scores({"weight": scores}, Masks.dense(layer), 0.25, "global")
    assert masks.weights["weight"].tolist() == [[False, True, True, True]]

"""The pruners of single weights: what they score, and that they touch nothing else."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune

from dsd_bench.masks import Masks, NothingLeft, prunable_parameters, prune_count
from dsd_bench.params import Params
from dsd_bench.pruners import Pruner, PrunerParams, PruneView
from dsd_bench.pruners.builtin import register_pruners

COMPONENTS = {component.name: component for component in register_pruners()}
UNSTRUCTURED = ["magnitude", "random", "gradient"]


class Net(nn.Module):
    """Conv - batch norm - ReLU - dropout - Linear, and a linear layer that nothing uses."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)
        self.norm = nn.BatchNorm2d(3)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(12, 4)
        self.spare = nn.Linear(5, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = functional.relu(self.norm(self.conv(images)))
        return self.head(self.drop(features.flatten(1)))


class MeddlingNet(Net):
    """Changes a buffer and draws from every global generator, even in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        noise = random.random() + numpy.random.random() + torch.rand(1)
        return super().forward(images) + 0 * noise


@pytest.fixture
def model() -> Net:
    torch.manual_seed(0)
    return Net()


def batch(index: int, size: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(index)
    labels = torch.randint(4, (size,), generator=generator)
    return torch.randn(size, 1, 4, 4, generator=generator), labels


def view(model: nn.Module, masks: Masks | None = None, seed: int = 0, sizes=(6,) * 99) -> PruneView:
    return PruneView(
        model=model,
        masks=masks or Masks.dense(model),
        round=1,
        device=torch.device("cpu"),
        generator=torch.Generator().manual_seed(seed),
        batches=lambda n: (batch(i, sizes[i]) for i in range(n)),
    )


def make(name: str, **params: object) -> Pruner:
    component = COMPONENTS[name]
    return component.create(component.params(**params))


def test_builtin_pruners_and_their_defaults():
    assert {name: component.params().fraction for name, component in COMPONENTS.items()} == {  # type: ignore[attr-defined]
        "magnitude": 0.2,
        "random": 0.2,
        "gradient": 0.2,
        "structured-l1": 0.5,
    }
    assert COMPONENTS["gradient"].params().batches == 10  # type: ignore[attr-defined]
    assert {make(name).params.scope for name in UNSTRUCTURED} == {"global"}  # type: ignore[attr-defined]
    assert "scope" not in COMPONENTS["structured-l1"].params.model_fields


@pytest.mark.parametrize("name", UNSTRUCTURED)
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_rounds_prune_exact_counts_and_nest(name, scope, model):
    pruner, masks = make(name, fraction=0.3, scope=scope), Masks.dense(model)
    for seed in range(3):
        following = pruner.prune(view(model, masks, seed))
        if scope == "global":
            assert masks.nonzero - following.nonzero == prune_count(0.3, masks.nonzero)
        else:
            gone = {key: masks.counts[key] - following.counts[key] for key in masks.counts}
            assert gone == {key: prune_count(0.3, count) for key, count in masks.counts.items()}
        assert following.nested_in(masks)
        masks = following
        masks.apply(model)


@pytest.mark.parametrize("name", UNSTRUCTURED)
def test_nothing_left_is_said(name, model):
    masks = Masks.dense(model)
    for mask in masks.weights.values():
        mask.view(-1)[1:] = False
    with pytest.raises(NothingLeft):
        make(name).prune(view(model, masks))


def test_a_pruner_with_other_parameters_must_override_prune(model):
    with pytest.raises(TypeError, match=r"Pruner: .* not a PrunerParams"):
        Pruner(Params()).prune(view(model))


# magnitude


def test_magnitude_agrees_with_torch(model):
    twin = Net()
    twin.load_state_dict(model.state_dict())
    parts = [(twin.conv, "weight"), (twin.head, "weight"), (twin.spare, "weight")]
    prune.global_unstructured(parts, prune.L1Unstructured, amount=0.2)
    masks = make("magnitude").prune(view(model))
    for part, mask in zip((twin.conv, twin.head, twin.spare), masks.weights.values()):
        assert torch.equal(part.weight_mask.bool(), mask)


# random


def test_random_follows_its_generator_and_no_other(model):
    def pruned(seed: int) -> list[bool]:
        return make("random").prune(view(model, seed=seed)).weights["head.weight"].tolist()

    state = torch.get_rng_state()
    first = pruned(1)
    torch.rand(3)
    assert pruned(1) == first
    assert pruned(2) != first
    torch.set_rng_state(state)
    assert pruned(1) == first
    assert torch.equal(torch.get_rng_state(), state)


def test_random_does_not_look_at_the_weights(model):
    masks = make("random").prune(view(model))
    other = make("random").prune(view(Net()))
    assert all(torch.equal(mask, other.weights[name]) for name, mask in masks.weights.items())


def test_random_is_uniform_over_the_weights():
    layer = nn.Linear(10, 10)
    gone = sum(
        ~make("random", fraction=0.5).prune(view(layer, seed=seed)).weights["weight"]
        for seed in range(400)
    )
    # 400 draws of probability one half: 100 weights stay within 5 standard deviations of 200.
    assert int(gone.sum()) == 400 * 50
    assert 150 < int(gone.min()) <= int(gone.max()) < 250


# gradient


def test_gradient_is_the_weight_times_the_gradient_of_the_mean_loss(model):
    model.train()
    scores = make("gradient", batches=3).scores(view(model, sizes=(6, 6, 2)))
    model.eval()
    images, labels = (torch.cat(parts) for parts in zip(batch(0, 6), batch(1, 6), batch(2, 2)))
    functional.cross_entropy(model(images), labels).backward()
    for name in ("conv.weight", "head.weight"):
        weight = prunable_parameters(model)[name]
        torch.testing.assert_close(scores[name], (weight * weight.grad).abs().detach())
    assert not scores["spare.weight"].any()


def test_gradient_predicts_what_a_weight_is_worth(model):
    """To first order the score is how much the loss changes when the weight shrinks a little."""
    model.double().eval()
    data = [tuple(part.double() if part.is_floating_point() else part for part in batch(0))]
    at = replace(view(model), batches=lambda n: iter(data))
    score = make("gradient", batches=1).scores(at)["head.weight"][1, 2]

    def loss(factor: float) -> float:
        with torch.no_grad():
            model.head.weight[1, 2] *= factor
            value = functional.cross_entropy(model(data[0][0]), data[0][1]).item()
            model.head.weight[1, 2] /= factor
        return value

    change = (loss(1 + 1e-4) - loss(1 - 1e-4)) / 2e-4
    assert score.item() == pytest.approx(abs(change), rel=1e-5)


def test_gradient_asks_for_the_batches_it_was_told(model):
    asked = []
    at = replace(view(model), batches=lambda n: asked.append(n) or iter([batch(0)]))
    make("gradient", batches=7).scores(at)
    assert asked == [7]


def global_state() -> list[object]:
    numbers = numpy.random.get_state()
    return [random.getstate(), numbers[1].tolist(), numbers[2], torch.get_rng_state().tolist()]


def test_gradient_leaves_everything_as_it_was():
    model = MeddlingNet()
    model.norm.eval()
    model.conv.weight.grad = torch.full_like(model.conv.weight, 3.0)
    model.spare.weight.requires_grad_(False)
    flags = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    before = global_state()
    with torch.no_grad():
        make("gradient").prune(view(model))
    assert global_state() == before
    assert [module.training for module in model.modules()] == flags
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert model.calls.item() == 0
    assert model.conv.weight.grad.eq(3).all()
    assert all(p.grad is None for p in model.parameters() if p is not model.conv.weight)
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["spare.weight"]


def test_gradient_restores_the_model_when_the_batches_fail(model):
    def broken(count: int):
        yield batch(0)
        raise OSError("disk")

    at = replace(view(model), batches=broken)
    with pytest.raises(OSError, match="disk"):
        make("gradient").scores(at)
    assert all(module.training for module in model.modules())


def test_params_are_bounded():
    for bad in ({"fraction": 0}, {"fraction": 1}, {"scope": "filter"}):
        with pytest.raises(ValueError):
            PrunerParams(**bad)
    with pytest.raises(ValueError):
        COMPONENTS["gradient"].params(batches=0)  # type: ignore[call-arg]

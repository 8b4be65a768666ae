"""The updaters alone, against the papers' rules written out in plain Python and NumPy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy
import pytest
import torch
from dsd_bench_dynamic.evolutionary import SET
from dsd_bench_dynamic.gmp import GMP
from dsd_bench_dynamic.plugin import GMPParams, RigLParams, SETParams
from dsd_bench_dynamic.rigl import RigL
from torch import Tensor, nn
from torch.nn import functional

from dsd_bench.masks import Masks
from dsd_bench.updaters import Updater, UpdateView

Batch = tuple[Tensor, Tensor]
NAMES = ("1.weight", "4.weight")


@dataclass
class Place:
    """A training that stands still: a small network with batch norm, and half of its weights."""

    model: nn.Module
    masks: Masks
    target: Masks
    began: Masks
    given: list[Batch] = field(default_factory=list)

    def view(self, step: int, steps: Sequence[int], total: int, seed: int = 0) -> UpdateView:
        """Return what the core would give an updater."""

        def batches(count: int) -> Iterator[Batch]:
            yield from self.given[:count]

        return UpdateView(
            model=self.model,
            masks=self.masks,
            target=self.target,
            began=self.began,
            round=1,
            step=step,
            steps=steps,
            total=total,
            device=torch.device("cpu"),
            generator=torch.Generator().manual_seed(seed),
            batches=batches,
        )


@pytest.fixture
def place() -> Place:
    """Return a network of 48 and 24 weights in train mode, about half of which are there."""
    torch.manual_seed(3)
    layers = [nn.Flatten(), nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)]
    model = nn.Sequential(*layers).train()
    dense = Masks.dense(model)
    half = Masks({name: torch.rand(mask.shape) < 0.5 for name, mask in dense.weights.items()})
    half.apply(model)
    given = [(torch.randn(10, 1, 2, 3), torch.randint(3, (10,))) for _ in range(3)]
    return Place(model, half, half, half, given)


def weight(place: Place, name: str) -> Tensor:
    """Return a layer's weights."""
    return place.model.get_parameter(name).detach()


def lists(masks: Masks) -> dict[str, list[bool]]:
    """Return masks as plain lists."""
    return {name: mask.flatten().tolist() for name, mask in masks.weights.items()}


# -- gmp


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_gmp_follows_the_cubic_schedule(place: Place, scope: str) -> None:
    """Equation 1 of the paper at every update, the smallest weights first."""
    place.began = place.masks = Masks.dense(place.model)
    nn.init.normal_(place.model.get_parameter("1.weight"), std=3.0)
    nn.init.normal_(place.model.get_parameter("4.weight"))
    updater = GMP(GMPParams(every=10, until=0.6, scope=scope))  # type: ignore[arg-type]
    steps = updater.steps(100, 10)
    assert list(steps) == [10, 20, 30, 40, 50, 60]
    goal = {name: int(mask.sum()) for name, mask in place.target.weights.items()}
    groups = [NAMES] if scope == "global" else [(name,) for name in NAMES]
    for number, step in enumerate(steps, 1):
        place.masks = updater.update(place.view(step, steps, 100))
        for group in groups:
            final = 1 - sum(goal[n] for n in group) / sum(weight(place, n).numel() for n in group)
            sparsity = final + (0 - final) * (1 - number / 6) ** 3
            everything = numpy.concatenate([weight(place, n).flatten().numpy() for n in group])
            kept = round((1 - sparsity) * len(everything))
            expected = numpy.zeros(len(everything), bool)
            expected[numpy.argsort(-abs(everything), kind="stable")[:kept]] = True
            found = numpy.concatenate([place.masks.weights[n].flatten().numpy() for n in group])
            assert (found == expected).all(), (number, group)
    assert place.masks.nonzero == place.target.nonzero


def test_gmp_begins_where_it_is_told() -> None:
    """And the first pruning may wait."""
    assert GMP(GMPParams()).begins == "dense"
    assert GMP(GMPParams(start="before")).begins == "before"
    assert list(GMP(GMPParams(every=20, first=0.25, until=0.75)).steps(100, 10)) == [45, 65]
    assert list(GMP(GMPParams(every=20)).steps(19, 10)) == []


# -- rigl


def exchanged(place: Place, share: float, batches: int) -> dict[str, list[bool]]:
    """Return the masks after one update of algorithm 1 of the paper, by sorting lists."""
    images = torch.cat([batch[0] for batch in place.given[:batches]])
    labels = torch.cat([batch[1] for batch in place.given[:batches]])
    if batches == 1:  # batch norm sees each batch alone
        functional.cross_entropy(place.model(images), labels).backward()
    else:
        for some, theirs in place.given[:batches]:
            loss = functional.cross_entropy(place.model(some), theirs)
            (loss * len(theirs) / len(labels)).backward()
    found = {}
    for name in NAMES:
        parameter = place.model.get_parameter(name)
        assert parameter.grad is not None
        sizes, slopes = parameter.detach().abs().flatten(), parameter.grad.abs().flatten()
        on = [i for i, there in enumerate(lists(place.masks)[name]) if there]
        away = int(share * len(on))
        kept = sorted(on, key=lambda i: float(sizes[i]))[away:]
        rest = [i for i in range(len(sizes)) if i not in kept]
        grown = sorted(rest, key=lambda i: -float(slopes[i]))[:away]
        found[name] = [i in {*kept, *grown} for i in range(len(sizes))]
        parameter.grad = None
    return found


@pytest.mark.parametrize("batches", [1, 3])
@pytest.mark.parametrize("step", [20, 60, 140])
def test_rigl_drops_the_smallest_and_grows_by_gradient(
    place: Place, step: int, batches: int
) -> None:
    """The share falls as half a cosine until three quarters of the training."""
    share = 0.5 / 2 * (1 + math.cos(step * math.pi / 150))
    updater = RigL(RigLParams(every=20, share=0.5, batches=batches))
    state = {name: tensor.clone() for name, tensor in place.model.state_dict().items()}
    masks = updater.update(place.view(step, updater.steps(200, 10), 200))
    assert all(torch.equal(state[n], t) for n, t in place.model.state_dict().items())
    assert all(parameter.grad is None for parameter in place.model.parameters())
    assert place.model.training
    assert masks.counts == place.masks.counts
    assert lists(masks) == exchanged(place, share, batches)
    assert (lists(masks) != lists(place.masks)) == (step < 140)


def test_rigl_acts_until_three_quarters_of_a_training() -> None:
    """The step at which the share would be zero is left out."""
    assert list(RigL(RigLParams(every=25)).steps(200, 10)) == [25, 50, 75, 100, 125]
    assert list(RigL(RigLParams(every=25, until=1)).steps(100, 10)) == [25, 50, 75]


def test_rigl_keeps_a_weight_in_every_layer(place: Place) -> None:
    """A layer of one weight stays as it is; a whole one has nowhere to grow."""
    one = torch.zeros(3, 8, dtype=torch.bool)
    one[1, 2] = True
    place.masks = Masks({NAMES[0]: torch.ones(8, 6, dtype=torch.bool), NAMES[1]: one})
    updater = RigL(RigLParams(share=1))
    assert lists(updater.update(place.view(1, (1,), 100))) == lists(place.masks)


# -- set


def survivors(weights: numpy.ndarray, share: float) -> list[bool]:  # type: ignore[type-arg]
    """Return what stays of a layer, as the authors' code has it: between two thresholds it goes."""
    values = numpy.sort(weights[weights != 0])
    negative, positive = values[values < 0], values[values > 0]
    high = positive[int(share * len(positive))]
    low = negative[::-1][int(share * len(negative))]
    return [bool(value >= high or value <= low) for value in weights]


def test_set_drops_the_smallest_of_each_sign_and_grows_elsewhere(place: Place) -> None:
    """Just as many, at places that were empty."""
    updater = SET(SETParams(share=0.4))
    found = updater.update(place.view(10, (10,), 100))
    for name in NAMES:
        before, after = lists(place.masks)[name], lists(found)[name]
        stays = survivors(weight(place, name).flatten().numpy(), 0.4)
        assert sum(before) == sum(after)
        assert sum(stays) < sum(before)
        for was, remains, now in zip(before, stays, after, strict=True):
            assert now if remains else was + now < 2


def test_set_grows_at_random_places(place: Place) -> None:
    """Every empty place is taken now and then, by the core's own generator."""
    updater, name = SET(SETParams(share=0.4)), NAMES[0]
    grown = torch.zeros(8, 6)
    for seed in range(200):
        masks = updater.update(place.view(10, (10,), 100, seed))
        grown += masks.weights[name] & ~place.masks.weights[name]
    empty = ~place.masks.weights[name]
    shares = grown[empty] / 200
    assert not grown[~empty].any()
    assert shares.min() > 0.5 * shares.mean()
    assert shares.max() < 1.5 * shares.mean()
    again = updater.update(place.view(10, (10,), 100, 199))
    assert torch.equal(again.weights[name], masks.weights[name])


def test_set_drops_what_never_moved(place: Place) -> None:
    """A weight of zero is neither positive nor negative."""
    name = NAMES[0]
    there = place.masks.weights[name].nonzero()[:3]
    with torch.no_grad():
        for row, column in there.tolist():
            place.model.get_parameter(name)[row, column] = 0
    masks = SET(SETParams(share=0.01)).update(place.view(10, (10,), 100))
    assert not any(bool(masks.weights[name][row, column]) for row, column in there.tolist())
    assert masks.counts == place.masks.counts


def test_set_acts_after_every_epoch_but_the_last() -> None:
    """What came back after the last would never be trained."""
    assert list(SET(SETParams()).steps(40, 10)) == [10, 20, 30]
    assert list(SET(SETParams(every=2)).steps(50, 10)) == [20, 40]


@pytest.mark.parametrize(
    ("updater", "regrows"),
    [(GMP(GMPParams()), False), (RigL(RigLParams()), True), (SET(SETParams()), True)],
)
def test_who_brings_weights_back(updater: Updater, regrows: bool) -> None:
    """What comes back begins at zero."""
    assert updater.regrows == regrows
    assert not updater.fills

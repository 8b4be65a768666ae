"""The components alone, held to plain loops and to the papers' formulas."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
from dsd_bench_entropy.metric import LayerEntropy
from dsd_bench_entropy.plugin import AttentionTransferParams, NepentheParams
from dsd_bench_entropy.pruner import Nepenthe, budget, shared_out
from dsd_bench_entropy.states import entropy, layer_entropies
from dsd_bench_entropy.transfer import AttentionTransfer, attention
from torch import Tensor, nn
from torch.nn import functional

from dsd_bench import Params
from dsd_bench.errors import RunError
from dsd_bench.masks import Masks, NothingLeft, prune_count
from dsd_bench.metrics import MeasureView
from dsd_bench.pruners import PruneView
from dsd_bench.regularizers import Step, TrainingView

CPU = torch.device("cpu")


class Residual(nn.Module):
    """Two layers that meet before an activation, and one after the last."""

    def __init__(self, hidden: int = 4) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, hidden, 3, padding=1), nn.BatchNorm2d(hidden)
        self.way, self.side = nn.Conv2d(hidden, 4, 1), nn.Conv2d(hidden, 4, 1)
        self.last = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        x = functional.relu(self.norm(self.stem(images)))
        x = functional.gelu(self.way(x) + self.side(x))
        return self.last(x.mean((2, 3)))


def mlp(*widths: int) -> nn.Sequential:
    """Return a network of linear layers and ReLUs."""
    torch.manual_seed(0)
    layers = [part for a, b in pairwise(widths[:-1]) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(*widths[-2:]))


def draws(count: int, *shape: int) -> list[Tensor]:
    """Return batches of random images."""
    torch.manual_seed(1)
    return [torch.randn(6, *shape) for _ in range(count)]


# -- entropy -------------------------------------------------------------------------------------


def bits(p: float) -> float:
    """Return the entropy of a coin."""
    return -sum(q * math.log2(q) for q in (p, 1 - p) if q)


def test_entropy_leaves_out_inputs_of_exactly_zero() -> None:
    """They are neither on nor off; a unit without a state has none."""
    found = entropy(torch.tensor([3, 4, 0, 1]), torch.tensor([3, 0, 0, 3]))
    assert found.tolist() == pytest.approx([1, 0, 0, bits(0.25)])


def test_each_layer_has_the_entropy_of_the_activation_behind_it() -> None:
    """Behind a batch norm, behind a sum, a GELU too; none behind the last layer."""
    model, images = Residual(), draws(3, 1, 4, 4)
    found = layer_entropies(model.train(), images)
    assert model.training
    everything = torch.cat(images)
    model.eval()
    with torch.no_grad():
        first = model.norm(model.stem(everything))
        second = model.way(first.relu()) + model.side(first.relu())
    means = [
        sum(bits(float(p)) for p in (x > 0).double().mean(0).flatten()) / x[0].numel()
        for x in (first, second)
    ]
    expected = {"stem.weight": means[0], "way.weight": means[1], "side.weight": means[1]}
    assert found.pop("last.weight") is None
    assert found == pytest.approx(expected)


def test_the_metric_counts_the_layers_that_have_become_linear() -> None:
    """One whose units are always on."""
    model = mlp(4, 5, 6, 3).eval()
    nn.init.constant_(model[3].bias, 1e3)
    images = draws(2, 1, 2, 2)
    view = MeasureView(
        model, Masks.dense(model), 0, CPU, (1, 2, 2), lambda part: None, lambda part: iter(images)
    )
    found = dict(LayerEntropy(Params()).measure(view))
    assert (found["layers"], found["linear_layers"]) == (2, 1)
    assert found["entropy_by_layer"]["3.weight"] == 0 < found["entropy_by_layer"]["1.weight"]
    assert found["entropy_by_layer"]["5.weight"] is None


# -- NEPENTHE ------------------------------------------------------------------------------------


def masks_of(*sizes: int) -> Masks:
    """Return dense masks of layers of these sizes."""
    return Masks({str(i): torch.ones(size, dtype=torch.bool) for i, size in enumerate(sizes)})


def test_the_budget_is_the_papers_softmax() -> None:
    """By hand, for three layers with room enough."""
    h, w = [0.9, 0.6, 0.7], [0.1, 0.12, 0.2]
    worth = [a * b for a, b in zip(h, w)]
    relevance = [sum(worth) / each for each in worth]
    shares = [math.exp(r) / sum(map(math.exp, relevance)) for r in relevance]
    masks = masks_of(1000, 1000, 1000)
    found = budget(dict(zip("012", h)), dict(zip("012", w)), masks, fraction=0.2)
    assert sum(found.values()) == 600
    assert all(abs(n - 600 * s) < 1 for n, s in zip(found.values(), shares))


def test_layers_without_entropy_give_last_and_those_without_activation_count_as_one_bit() -> None:
    """What the others cannot give."""
    masks, sizes = masks_of(100, 50, 50), {"0": 0.1, "1": 0.1, "2": 0.1}
    few = budget({"0": 0.0, "1": 1.0, "2": None}, sizes, masks, 0.2)
    assert few == {"0": 0, "1": 20, "2": 20}
    many = budget({"0": 0.0, "1": 1.0, "2": None}, sizes, masks, 0.6)
    assert many == {"0": 22, "1": 49, "2": 49}


def test_shares_are_exact_and_never_more_than_there_is_room() -> None:
    """Whatever the weights, also where they are 0 or vanish."""
    draw = random.Random(0)
    for _ in range(300):
        room = [draw.randint(0, 10 ** draw.randint(0, 4)) for _ in range(draw.randint(1, 9))]
        weights = [draw.choice([0.0, 1e-300, draw.random()]) for _ in room]
        total = draw.randint(0, sum(room))
        found = shared_out(total, weights, room)
        assert sum(found) == total
        assert all(0 <= count <= top for count, top in zip(found, room))


def prune_view(model: nn.Module, masks: Masks) -> PruneView:
    """Return what a pruner sees."""

    def batches(count: int) -> Iterator[tuple[Tensor, Tensor]]:
        for images in draws(count, 1, 2, 2):
            yield images, torch.zeros(6).long()

    return PruneView(model, masks, 1, CPU, torch.Generator(), batches)


def test_nepenthe_prunes_exactly_and_by_magnitude_within_layers() -> None:
    """To the last weight of every layer."""
    model, pruner = mlp(4, 8, 6, 3), Nepenthe(NepentheParams(batches=3))
    masks = Masks.dense(model)
    while masks.nonzero > 3:
        after = pruner.prune(prune_view(model, masks))
        assert after.nonzero == max(3, masks.nonzero - prune_count(0.2, masks.nonzero))
        assert after.nested_in(masks)
        for name, mask in after.weights.items():
            size = model.get_parameter(name).abs()
            gone = masks.weights[name] & ~mask
            assert not gone.any() or size[gone].max() <= size[mask].min()
        masks = after
    with pytest.raises(NothingLeft):
        pruner.prune(prune_view(model, masks))


def test_nepenthe_takes_most_from_the_layer_of_least_entropy() -> None:
    """Of two alike but for it."""
    model = mlp(4, 6, 6, 3)
    for layer in (model[1], model[3], model[5]):
        nn.init.uniform_(layer.weight, 0.9, 1.1)
        layer.weight.data *= torch.randn_like(layer.weight).sign()
    model[1].bias.data = torch.tensor([0.0, 0.0, 100, 100, 100, 100])
    masks = Nepenthe(NepentheParams(batches=4)).prune(prune_view(model, Masks.dense(model)))
    density = masks.densities()
    assert density["1.weight"] < min(density["3.weight"], density["5.weight"])


# -- attention transfer --------------------------------------------------------------------------


def reference(student: list[Tensor], teacher: list[Tensor], power: float) -> float:
    """Return the maps' mean squared differences, image by image and position by position."""
    total = 0.0
    for ours, theirs in zip(student, teacher):
        sums = []
        for one, other in zip(ours, theirs):
            maps = [(each.abs() ** power).sum(0).flatten().tolist() for each in (one, other)]
            a, b = ([v / math.sqrt(sum(x * x for x in m)) for v in m] for m in maps)
            sums += [(v - w) ** 2 for v, w in zip(a, b)]
        total += sum(sums) / len(sums)
    return total


def training(
    student: nn.Module, teacher: nn.Module | None, images: Tensor, **params: object
) -> tuple[Tensor, Tensor]:
    """Return the loss without and with the teacher, from one step."""
    made = AttentionTransfer(AttentionTransferParams(**params))
    view = TrainingView(student, 0, CPU, torch.Generator(), teacher_model=teacher)
    try:
        made.begin(view)
        logits = student(images)
        labels, index = torch.zeros(len(images)).long(), torch.arange(len(images))
        before = functional.cross_entropy(logits, labels)
        return before, made.loss(before, Step(images, labels, index, logits))
    finally:
        made.end()


@pytest.mark.parametrize("power", [1.0, 2.0, 4.0])
def test_maps_are_compared_by_the_formula(power: float) -> None:
    """Of networks of different widths, at two sizes of maps; the gradient is the student's."""
    student, teacher = maps(3), maps(5).requires_grad_(False)
    images = draws(1, 1, 8, 8)[0]
    before, after = training(student, teacher, images, beta=10, power=power)
    given = [[net[:2](images), net[:5](images)] for net in (student, teacher)]
    expected = reference(*given, power)
    assert (after - before).item() == pytest.approx(10 * expected, rel=1e-4)
    after.backward()
    assert all(weight.grad is not None for weight in student.parameters())
    assert not any(module._forward_hooks for net in (student, teacher) for module in net.modules())


def maps(width: int) -> nn.Sequential:
    """Return a network whose children give maps of two sizes, then a vector."""
    torch.manual_seed(width)
    first = [nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    second = [nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(2 * width, 3))


def test_a_network_of_vectors_compares_the_units_of_its_relus() -> None:
    """Twice the same network: no difference; another one: one."""
    student, images = mlp(4, 6, 5, 3), draws(1, 1, 2, 2)[0]
    before, after = training(student, mlp(4, 6, 5, 3), images)
    assert after.item() == pytest.approx(before.item())
    other = mlp(4, 6, 5, 3)
    nn.init.normal_(other[1].weight)
    before, after = training(student, other, images, beta=2)
    given = [[net[:depth](images)[:, None] for depth in (3, 5)] for net in (student, other)]
    expected = reference(*given, 2)
    assert (after - before).item() == pytest.approx(2 * expected, rel=1e-4)


def test_named_layers_are_compared_and_larger_maps_averaged_down() -> None:
    """In the order in which they are named."""
    student, teacher, images = maps(3), maps(5), draws(1, 1, 8, 8)[0]
    before, after = training(student, teacher, images, beta=1, layers="4", teacher_layers="1")
    theirs = functional.avg_pool2d(teacher[:2](images), 2)
    expected = reference([student[:5](images)], [theirs], 2)
    assert (after - before).item() == pytest.approx(expected, rel=1e-4)


def test_attention_has_length_one() -> None:
    """And is not negative."""
    found = attention(torch.randn(4, 3, 5, 5), 2)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(4))
    assert found.shape == (4, 25)


@pytest.mark.parametrize(
    ("params", "teacher", "message"),
    [
        ({"layers": "7.x"}, maps(5), "layers=7.x: Sequential has no layer '7.x'"),
        ({}, mlp(64, 6, 5, 4, 3), "has 2 layers to compare, its teacher 3"),
        ({}, mlp(64, 6, 5, 3), "have no maps to compare"),
        ({}, nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), "name layers with layers=a"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    params: dict[str, str], teacher: nn.Module, message: str
) -> None:
    """With what to do; the hooks are off again."""
    student = maps(3)
    with pytest.raises(RunError, match=message):
        training(student, teacher, draws(1, 1, 8, 8)[0], **params)
    assert not any(module._forward_hooks for module in student.modules())

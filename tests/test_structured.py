"""Structured pruning: which filters go, that they are silent, and which layers stay whole."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional

from dsd_bench.errors import RunError
from dsd_bench.masks import Masks, NothingLeft, prune_count
from dsd_bench.pruners import PruneView
from dsd_bench.pruners.builtin import register_pruners
from dsd_bench.pruners.channels import Removable, removable_layers

COMPONENT = next(c for c in register_pruners() if c.name == "structured-l1")


def vgg(classes: int = 3) -> nn.Sequential:
    """[conv - ReLU - BN] x 2 - max-pool, as in the paper, and the average over 2x2."""
    return nn.Sequential(
        *(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(4)),
        *(nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(inplace=True), nn.BatchNorm2d(6)),
        *(nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.5)),
        nn.Linear(6 * 4, classes),
    )


def mlp() -> nn.Sequential:
    """Two hidden layers; the first feeds a batch norm, the second follows a flattened input."""
    return nn.Sequential(
        *(nn.Flatten(), nn.Linear(32, 8), nn.BatchNorm1d(8), nn.GELU()),
        *(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3)),
    )


def flattened_norm() -> nn.Sequential:
    """A batch norm behind the flattening: four entries for each of the three channels."""
    return nn.Sequential(
        *(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.BatchNorm1d(12), nn.Linear(12, 3)),
    )


class Functional(nn.Module):
    """The same operations as functions and methods, with two consumers of one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 6, 3)
        self.left, self.right = nn.Conv2d(6, 4, 1, bias=False), nn.Conv2d(6, 5, 1)
        self.norm = nn.BatchNorm2d(4)
        self.fc_left, self.fc_right = nn.Linear(4 * 1, 3), nn.Linear(5 * 4, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = functional.max_pool2d(functional.relu(self.first(images)), 1)
        left = self.norm(self.left(features)).relu().mean((-1, -2))
        right = functional.adaptive_avg_pool2d(torch.relu(self.right(features)), 2)
        right = right.view(right.size(0), -1)
        return self.fc_left(left) + self.fc_right(functional.dropout(right, 0.5, self.training))


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(5)


def prepared(model: nn.Module) -> nn.Module:
    """Give a model in double precision biases, affines and statistics that hide no mistake."""
    model.double().eval()
    with torch.no_grad():
        for value in (*model.parameters(), *model.buffers()):
            if value.dim() == 1:
                value.uniform_(0.2, 1.2)
        for value in model.parameters():
            if value.dim() == 1:
                value *= torch.randint(0, 2, value.shape) * 2 - 1
    return model


def images(size: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(5, 2, size, size, generator=generator, dtype=torch.float64)


def step(model: nn.Module, masks: Masks | None = None, fraction: float = 0.5) -> Masks:
    view = PruneView(
        model=model,
        masks=masks or Masks.dense(model),
        round=1,
        device=torch.device("cpu"),
        generator=torch.Generator(),
        batches=lambda n: iter(()),
    )
    return COMPONENT.create(COMPONENT.params(fraction=fraction)).prune(view)  # type: ignore[call-arg]


def filters(masks: Masks, layer: str) -> torch.Tensor:
    return masks.weights[f"{layer}.weight"].flatten(1).any(1)


def names(model: nn.Module) -> list[str]:
    return [layer.layer for layer in removable_layers(model)]


def select(part: nn.Module, name: str, keep: torch.Tensor, axis: int = 0) -> None:
    """Keep only some entries of a tensor of ``part``, along one axis."""
    value = getattr(part, name)
    if value is not None:
        value.data = value.data[(slice(None),) * axis + (keep,)]


def cut(parts: list[nn.Module], keep: torch.Tensor) -> None:
    """Physically remove the output channels of ``parts[0]``; ``parts[-1]`` consumes them."""
    for name in ("weight", "bias"):
        select(parts[0], name, keep)
    for norm in parts[1:-1]:
        entries = keep.repeat_interleave(len(norm.weight) // len(keep))
        for name in ("weight", "bias", "running_mean", "running_var"):
            select(norm, name, entries)
        norm.num_features = int(entries.sum())
    width = parts[-1].weight.shape[1] // len(keep)
    select(parts[-1], "weight", keep.repeat_interleave(width), axis=1)


# which filters


def test_half_of_the_filters_with_the_smallest_norm_go():
    model = vgg()
    with torch.no_grad():
        # Signs must not matter, only sizes: the norms are 3, 1, 4 and 2 times as large.
        sign = torch.randint(0, 2, model[0].weight.shape) * 2 - 1
        model[0].weight.copy_(sign * torch.tensor([3.0, 1.0, 4.0, 2.0]).view(4, 1, 1, 1))
    masks = step(model)
    assert filters(masks, "0").tolist() == [True, False, True, False]
    assert masks.tied["0.bias"].tolist() == [True, False, True, False]
    assert masks.tied["2.weight"].tolist() == [True, False, True, False]
    assert masks.tied["2.bias"].tolist() == [True, False, True, False]
    assert set(masks.tied) == {f"{n}.{p}" for n in "25" for p in ("weight", "bias")} | {
        "0.bias",
        "3.bias",
    }


def test_whole_filters_go():
    masks = step(vgg())
    for name in ("0.weight", "3.weight"):
        rows = masks.weights[name].flatten(1)
        assert torch.equal(rows.any(1), rows.all(1))


def test_equal_norms_go_in_order():
    model = vgg()
    nn.init.ones_(model[3].weight)
    assert filters(step(model), "3").tolist() == [False] * 3 + [True] * 3


def test_the_output_layer_stays():
    assert step(mlp()).weights["6.weight"].all()


@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.5, 0.9])
def test_counts_nesting_and_the_last_filter(fraction):
    model = prepared(vgg())
    rounds = [Masks.dense(model)]
    while filters(rounds[-1], "3").sum() > 1:
        rounds.append(step(model, rounds[-1], fraction))
        rounds[-1].apply(model)
    for before, after in pairwise(rounds):
        assert after.nested_in(before)
        for layer in ("0", "3"):
            had = int(filters(before, layer).sum())
            assert int(filters(after, layer).sum()) == max(1, had - prune_count(fraction, had))
    with pytest.raises(NothingLeft):
        step(model, rounds[-1], fraction)


def test_a_filter_remains_while_any_of_its_weights_does():
    model, masks = mlp(), Masks.dense(mlp())
    with torch.no_grad():
        model[1].weight.fill_(1.0)
        model[1].weight[3:5] = 100.0
    masks.weights["1.weight"][0] = False
    masks.weights["1.weight"][3, 1:] = False  # one large weight is left: norm 100, not 32
    masks.weights["1.weight"][4, :] = torch.arange(32) > 30
    model[1].weight.data[4, 31] = 10.0  # and 10 here, whatever the pruned ones would give
    following = step(model, masks)
    # 7 remain, round(3.5) = 4 go: filter 4, then 1, 2 and 5.
    assert filters(following, "1").tolist() == [i in (3, 6, 7) for i in range(8)]
    assert following.nested_in(masks)


def test_earlier_tied_masks_stay():
    model = mlp()
    nn.init.constant_(model[1].weight[7], 9.0)
    masks = Masks(Masks.dense(model).weights, {"1.bias": torch.tensor([True] * 7 + [False])})
    following = step(model, masks)
    assert following.weights["1.weight"][7].all()
    assert following.nested_in(masks)
    assert following.tied["1.bias"].sum() == 3


# silence


def test_pruned_filters_are_exactly_silent_behind_their_norm():
    model = prepared(vgg())
    masks = step(model)
    masks.apply(model)
    seen = {}
    for name in ("2", "5"):
        model[int(name)].register_forward_hook(lambda m, i, out, n=name: seen.update({n: out}))
    model(images())
    for layer, norm in (("0", "2"), ("3", "5")):
        gone = ~filters(masks, layer)
        assert gone.sum() == len(gone) // 2
        assert seen[norm][:, gone].eq(0).all()
        assert seen[norm][:, ~gone].ne(0).all()


@pytest.mark.parametrize(
    ("make", "chains"),
    [
        (vgg, [["0", "2", "3"], ["3", "5", "10"]]),
        (mlp, [["1", "2", "4"], ["4", "6"]]),
        (flattened_norm, [["0", "3", "4"]]),
        (Functional, [["left", "norm", "fc_left"], ["right", "fc_right"]]),
    ],
)
def test_cutting_the_pruned_filters_out_gives_the_same_logits(make, chains):
    model = prepared(make())
    before = model(images())
    masks = step(model)
    if make is Functional:
        # Its first layer has two consumers: cut it out of both by hand, below.
        masks.weights["first.weight"][:] = True
        masks.tied["first.bias"][:] = True
    masks.apply(model)
    smaller = copy.deepcopy(model)
    for chain in chains:
        cut([smaller.get_submodule(name) for name in chain], filters(masks, chain[0]))
    assert sum(p.numel() for p in smaller.parameters()) < sum(p.numel() for p in model.parameters())
    torch.testing.assert_close(smaller(images()), model(images()))
    assert not torch.allclose(model(images()), before)


def test_a_layer_with_two_consumers_can_be_cut_out_of_both():
    model = prepared(Functional())
    masks = step(model)
    masks.apply(model)
    smaller, keep = copy.deepcopy(model), filters(masks, "first")
    cut([smaller.first, smaller.left], keep)
    select(smaller.right, "weight", keep, axis=1)
    torch.testing.assert_close(smaller(images()), model(images()))


def test_resnet18_loses_the_inner_filters_of_its_blocks_and_no_others():
    resnet = pytest.importorskip("torchvision").models.resnet18(num_classes=3)
    model = prepared(resnet)
    blocks = [f"layer{i}.{j}" for i in range(1, 5) for j in range(2)]
    assert removable_layers(model) == [Removable(f"{b}.conv1", (f"{b}.bn1",)) for b in blocks]
    masks = step(model)
    assert {name for name, mask in masks.weights.items() if not mask.all()} == {
        f"{block}.conv1.weight" for block in blocks
    }
    masks.apply(model)
    smaller = copy.deepcopy(model)
    for name in blocks:
        block = smaller.get_submodule(name)
        keep = filters(masks, f"{name}.conv1")
        assert keep.sum() == len(keep) // 2
        cut([block.conv1, block.bn1, block.conv2], keep)
    pictures = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    torch.testing.assert_close(smaller(pictures), model(pictures))


# which layers


class Between(nn.Module):
    """Conv - something - conv - something - linear."""

    def __init__(self, first, second=None, features: int = 4) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, 1)
        self.other = nn.Conv2d(2, 4, 1)
        self.grouped = nn.Conv2d(4, 4, 1, groups=2)
        self.shared_norm = nn.BatchNorm2d(4)
        self.plain_norm = nn.BatchNorm2d(4, affine=False)
        self.head = nn.Linear(features, 3)
        self.first, self.second = first, second or (lambda net, x: x.mean((2, 3)))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.second(self, self.b(self.first(self, self.a(images)))))


KEEPS_APART = {
    "nothing": lambda net, x: x,
    "leaky relu": lambda net, x: functional.leaky_relu(x, 0.1),
    "average pool": lambda net, x: functional.avg_pool2d(x, 2),
    "norm": lambda net, x: net.shared_norm(x),
    "shape questions": lambda net, x: (x.shape[0], x.size(0), x.dtype, x)[-1],
}

TIES = {
    "sum": lambda net, x: x + 1,
    "product": lambda net, x: x * x,
    "concatenation": lambda net, x: torch.cat([x[:, :2], x[:, 2:]], 1),
    "sigmoid, which is not 0 at 0": lambda net, x: torch.sigmoid(x),
    "softmax": lambda net, x: x.softmax(1),
    "channel mean": lambda net, x: x.mean(1, keepdim=True).expand(-1, 4, -1, -1),
    "grouped convolution": lambda net, x: net.grouped(x),
    "norm without affine": lambda net, x: net.plain_norm(x),
    "norm used twice": lambda net, x: net.shared_norm(net.shared_norm(x)),
    "shuffle": lambda net, x: x.view(x.size(0), 2, 2, 4, 4).transpose(1, 2).reshape(-1, 4, 4, 4),
    "layer used twice": lambda net, x: net.a(x[:, :2]),
}


@pytest.mark.parametrize("what", KEEPS_APART)
def test_what_keeps_channels_apart(what):
    model = Between(KEEPS_APART[what])
    assert names(model) == ["a", "b"]
    assert model(torch.randn(2, 2, 4, 4)).shape == (2, 3)


@pytest.mark.parametrize("what", TIES)
def test_what_ties_channels_leaves_the_layer_whole(what):
    model = Between(TIES[what])
    assert names(model) == ["b"]
    assert model(torch.randn(2, 2, 4, 4)).shape == (2, 3)
    assert step(model).weights["a.weight"].all()


FLAT = {
    "flatten": (64, lambda x: torch.flatten(x, 1), True),
    "flatten by name": (64, lambda x: x.flatten(start_dim=1), True),
    "view": (64, lambda x: x.view(-1, 64), True),
    "reshape with a tuple": (64, lambda x: x.reshape((x.shape[0], -1)), True),
    "mean": (4, lambda x: x.mean((-1, -2)), True),
    "mean by name": (4, lambda x: torch.mean(x, dim=[2, 3]), True),
    "mean over channels": (4, lambda x: x.mean((1, 2)), False),
    "mean over one axis": (4, lambda x: x.mean(3), False),
    "mean that keeps the axes": (1, lambda x: x.mean((2, 3), keepdim=True), False),
    "positions first": (64, lambda x: x.permute(0, 2, 3, 1).flatten(1), False),
    "positions flattened": (16, lambda x: x.flatten(2), False),
    "positions viewed": (16, lambda x: x.view(-1, 4, 16), False),
    "channels among the images": (2, lambda x: x.view(-1, 2), False),
}


@pytest.mark.parametrize("what", FLAT)
def test_flattening(what):
    features, second, removable = FLAT[what]
    model = Between(lambda net, x: x, lambda net, x: second(x), features)
    assert names(model) == (["a", "b"] if removable else ["a"])
    assert model(torch.randn(2, 2, 4, 4)).shape[-1] == 3


def test_a_layer_that_nothing_uses_stays():
    class Unused(Between):
        def forward(self, images):
            self.other(images)
            return super().forward(images)

    assert names(Unused(lambda net, x: x)) == ["a", "b"]


def test_both_sides_of_a_residual_sum_stay():
    model = Between(lambda net, x: functional.relu(x) + net.other(x[:, :2]))
    assert names(model) == ["b"]


def test_a_layer_that_reaches_the_output_too_stays():
    class Two(Between):
        def forward(self, images):
            hidden = self.a(images)
            return self.head(self.b(hidden).mean((2, 3))), hidden

    assert names(Two(None)) == ["b"]


def test_shared_weights_stay():
    model = Between(lambda net, x: x)
    model.other.weight = model.a.weight
    assert names(model) == ["b"]


def test_a_weight_that_is_used_by_itself_stays():
    model = Between(lambda net, x: functional.conv2d(x, net.b.weight))
    assert names(model) == []


def test_a_linear_layer_on_maps_is_no_consumer():
    model = nn.Sequential(nn.Conv2d(2, 4, 1), nn.Linear(4, 3))
    assert names(model) == []


def test_pooling_over_hidden_neurons_ties_them():
    model = nn.Sequential(nn.Linear(2, 4), nn.MaxPool1d(2), nn.Linear(2, 3))
    assert names(model) == []


@pytest.mark.parametrize("compute", [nn.utils.parametrizations.weight_norm, nn.utils.spectral_norm])
def test_a_computed_weight_stays(compute):
    model = mlp()
    compute(model[1])
    masks = step(model)
    assert set(masks.weights) == {"4.weight", "6.weight"}
    assert filters(masks, "4").sum() == 3


# errors


def test_a_model_that_cannot_be_traced_is_named():
    model = Between(lambda net, x: x if x.sum() > 0 else -x)
    with pytest.raises(RunError, match=r"forward of Between cannot be traced.*such as magnitude"):
        step(model)


def test_a_model_with_nothing_to_remove_is_named():
    with pytest.raises(RunError, match=r"no layer of Sequential has filters that can go"):
        step(nn.Sequential(nn.Flatten(), nn.Linear(8, 2)))

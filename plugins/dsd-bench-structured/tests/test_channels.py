"""Masked networks against networks that are really cut, and scores against plain loops."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import pairwise

import pytest
import timm
import torch
import torch_pruning
from dsd_bench_structured.plugin import ChannelParams
from dsd_bench_structured.pruners import Channels, ChannelsBn, ChannelsFpgm, ChannelsL1
from dsd_bench_structured.trial import removable_groups
from torch import Tensor, nn
from torch.nn import functional

from dsd_bench.errors import RunError
from dsd_bench.masks import Masks, NothingLeft
from dsd_bench.pruners import PruneView

SHAPE = (3, 8, 8)
PRUNERS = [ChannelsL1, ChannelsFpgm, ChannelsBn]


class Residual(nn.Module):
    """A residual sum over a depthwise and a grouped convolution, and a gate of the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.wide = nn.Conv2d(8, 12, 1)
        self.depthwise, self.norm2 = nn.Conv2d(12, 12, 3, padding=1, groups=12), nn.BatchNorm2d(12)
        self.narrow = nn.Conv2d(12, 8, 1, bias=False)
        self.squeeze, self.excite = nn.Linear(8, 4), nn.Linear(4, 8)
        self.grouped, self.norm3 = nn.Conv2d(8, 12, 1, groups=4), nn.BatchNorm2d(12)
        self.last = nn.Linear(12 * 4, 5)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits; the sigmoid of an absent channel is no zero."""
        x = functional.relu(self.norm(self.stem(images)))
        inner = functional.hardswish(self.norm2(self.depthwise(self.wide(x))))
        x = x + self.narrow(inner)
        x = x * self.excite(self.squeeze(x.mean((2, 3))).relu()).sigmoid()[:, :, None, None]
        x = functional.max_pool2d(self.norm3(self.grouped(x)).sigmoid(), 3)
        return self.last(x.flatten(1))


class Normed(nn.Module):
    """Two layers around a layer norm, which mixes all channels, and one behind."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(192, 10), nn.LayerNorm(10)
        self.second, self.last = nn.Linear(10, 6), nn.Linear(6, 4)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        x = self.norm(self.first(images.flatten(1)))
        return self.last(self.second(x).relu())


def made(kind: type[nn.Module]) -> nn.Module:
    """Return a network whose weights are drawn and whose batch norms have seen images."""
    torch.manual_seed(0)
    model = kind().train()
    for _ in range(3):
        model(2 * torch.randn(16, *SHAPE) + 1)
    for weight in model.parameters():
        nn.init.normal_(weight, 0.3, 0.5)
    return model.eval()


def vit() -> nn.Module:
    """Return a small transformer of timm's."""
    name = "vit_tiny_patch16_224"
    return timm.create_model(name, img_size=8, patch_size=4, depth=2, num_classes=5)


def view(model: nn.Module, masks: Masks, round: int = 1) -> PruneView:
    """Return what a pruner sees."""

    def batches(count: int) -> Iterator[tuple[Tensor, Tensor]]:
        yield torch.randn(2, *SHAPE), torch.zeros(2).long()

    draw = torch.Generator().manual_seed(round)
    return PruneView(model, masks, round, torch.device("cpu"), draw, batches)


def pruned(pruner: Channels, model: nn.Module, rounds: int = 1) -> Masks:
    """Return the masks after some prunings; the weights stay."""
    masks = Masks.dense(model)
    for round in range(1, rounds + 1):
        after = pruner.prune(view(model, masks, round))
        assert after.nested_in(masks)
        masks = after
    return masks


def cut(model: nn.Module, masks: Masks) -> nn.Module:
    """Return a smaller network: torch-pruning takes out what no mask has left."""
    small = copy.deepcopy(model)
    image = torch.randn(1, *SHAPE)
    for group in removable_groups(model, SHAPE, masks.weights):
        layer = group.name.removesuffix(".weight")
        gone = (~masks.weights[group.name].flatten(1).any(1)).nonzero().view(-1).tolist()
        graph = torch_pruning.DependencyGraph().build_dependency(small, image, verbose=False)
        root = small.get_submodule(layer)
        how = graph.get_pruner_of_module(root).prune_out_channels
        graph.get_pruning_group(root, how, gone).prune()
    return small


@pytest.mark.parametrize("rounds", [1, 3])
@pytest.mark.parametrize("scope", ["group", "global"])
@pytest.mark.parametrize("pruner", PRUNERS)
def test_the_masked_network_is_the_one_that_is_cut(
    pruner: type[Channels], scope: str, rounds: int
) -> None:
    """Same outputs, and as many weights as the masks count."""
    model = made(Residual)
    masks = pruned(pruner(ChannelParams(fraction=0.4, scope=scope)), model, rounds)
    small, images = cut(model, masks), torch.randn(9, *SHAPE)
    masks.apply(model)
    with torch.no_grad():
        torch.testing.assert_close(model(images), small(images), rtol=1e-4, atol=1e-4)
    layers = [m for m in small.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert sum(layer.weight.numel() for layer in layers) == masks.nonzero < masks.prunable


def test_every_sum_depthwise_and_grouped_convolution_is_followed() -> None:
    """By hand: the stem's group has the sum's other summand, the gate, and whole groups of two."""
    groups = {g.name: g for g in removable_groups(made(Residual), SHAPE, WEIGHTS)}
    sizes = {name: group.units for name, group in groups.items()}
    expected = {"stem.weight": 2, "wide.weight": 12, "squeeze.weight": 4, "grouped.weight": 3}
    assert sizes == expected
    stem = {(part.parameter, part.role) for part in groups["stem.weight"].parts}
    rows = {("stem.weight", "rows"), ("narrow.weight", "rows"), ("excite.weight", "rows")}
    inputs = {("wide.weight", "inputs"), ("squeeze.weight", "inputs"), ("grouped.weight", "inputs")}
    vectors = {("stem.bias", "beside"), ("excite.bias", "beside")}
    norms = {("norm.weight", "scale"), ("norm.bias", "beside")}
    assert stem == rows | inputs | vectors | norms


WEIGHTS = [
    f"{name}.weight"
    for name in ("stem", "wide", "depthwise", "narrow", "squeeze", "excite", "grouped", "last")
]


def test_channels_that_a_layer_norm_mixes_stay() -> None:
    """The graph calls them removable; the trial does not."""
    groups = removable_groups(made(Normed), SHAPE, ["first.weight", "second.weight", "last.weight"])
    assert [group.name for group in groups] == ["second.weight"]


def test_heads_of_a_transformer_go_whole() -> None:
    """Rows of queries, keys and values, and columns of the projection; as if never summed."""
    model = vit().eval()
    dense = Masks.dense(model)
    masks = ChannelsL1(ChannelParams(fraction=0.3)).prune(view(model, dense))
    for number in (0, 1):
        name = f"blocks.{number}.attn"
        rows = masks.weights[f"{name}.qkv.weight"].all(1).view(3, 3, 64)
        kept = rows[0, :, 0]
        assert kept.sum() == 2
        assert rows.equal(kept.view(1, 3, 1).expand(3, 3, 64))
        columns = masks.weights[f"{name}.proj.weight"]
        assert columns.equal(kept.repeat_interleave(64).expand(192, 192))
        assert masks.tied[f"{name}.qkv.bias"].equal(rows.flatten())
    other, images = copy.deepcopy(model), torch.randn(3, *SHAPE)
    for number in (0, 1):
        silent_heads(other, number, masks.weights[f"blocks.{number}.attn.proj.weight"][0])
        silent_neurons(other, number, masks.weights[f"blocks.{number}.mlp.fc2.weight"][0])
    masks.apply(model)
    with torch.no_grad():
        torch.testing.assert_close(model(images), other(images), rtol=1e-4, atol=1e-5)


def silent_heads(model: nn.Module, number: int, kept: Tensor) -> None:
    """Make what some heads hand on zero, not their weights."""
    attention = model.get_submodule(f"blocks.{number}.attn.proj")
    attention.register_forward_pre_hook(lambda module, given: (given[0] * kept,))


def silent_neurons(model: nn.Module, number: int, kept: Tensor) -> None:
    """Make what some hidden neurons hand on zero, not their weights."""
    layer = model.get_submodule(f"blocks.{number}.mlp.fc2")
    layer.register_forward_pre_hook(lambda module, given: (given[0] * kept,))


# -- scores --------------------------------------------------------------------------------------


def plain(widths: tuple[int, ...] = (192, 6, 5, 4)) -> nn.Module:
    """Return a plain network; its hidden layers are groups of their own."""
    torch.manual_seed(0)
    layers = [nn.Flatten()]
    for before, after in pairwise(widths[:-1]):
        layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(*widths[-2:])).eval()


def gone(masks: Masks, name: str) -> list[int]:
    """Return the channels of a layer that are pruned."""
    return (~masks.weights[name].any(1)).nonzero().view(-1).tolist()


def test_l1_takes_the_smallest_channels_and_never_the_last() -> None:
    """In each group round(fraction * remaining), at least one; then nothing is left to prune."""
    model = plain()
    sums = model[1].weight.abs().sum(1)
    pruner, masks = ChannelsL1(ChannelParams(fraction=0.5)), Masks.dense(model)
    for left in (3, 1):
        masks = pruner.prune(view(model, masks))
        assert gone(masks, "1.weight") == sorted(sums.argsort()[: 6 - left].tolist())
    with pytest.raises(NothingLeft):
        pruner.prune(view(model, masks))
    assert min(masks.counts.values()) >= 1


def test_fpgm_takes_the_channel_nearest_to_all_others() -> None:
    """Large as it is, among the remaining ones; checked by plain loops."""
    model = plain((192, 6, 4))
    model[1].weight.data[2] = 3 + model[1].weight.data.mean(0)
    model[1].weight.data[[0, 1, 3, 4, 5]] += 3
    masks = Masks.dense(model)
    pruner = ChannelsFpgm(ChannelParams(fraction=0.2))
    masks = pruner.prune(view(model, masks))
    assert gone(masks, "1.weight") == [2]
    rest = [0, 1, 3, 4, 5]
    rows = model[1].weight.detach().double()
    sums = [sum(float((rows[i] - rows[j]).norm()) for j in rest) for i in rest]
    again = pruner.prune(view(model, masks))
    assert gone(again, "1.weight") == sorted([2, rest[sums.index(min(sums))]])


def test_bn_takes_the_smallest_scales_over_all_layers() -> None:
    """In scope global; signs do not count, nor do weights."""
    model = plain()
    model[2].weight.data = torch.tensor([0.5, -0.1, 0.9, 0.8, -0.7, 0.6])
    model[5].weight.data = torch.tensor([0.2, -0.95, 0.3, -0.4, 1.0])
    masks = ChannelsBn(ChannelParams(fraction=0.4, scope="global")).prune(
        view(model, Masks.dense(model))
    )
    assert gone(masks, "1.weight") == [1]
    assert gone(masks, "4.weight") == [0, 2, 3]


def test_without_batch_norms_bn_says_what_else_to_use() -> None:
    """It has nothing to go by."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 6), nn.ReLU(), nn.Linear(6, 4))
    with pytest.raises(RunError, match="channels-bn needs batch norms"):
        ChannelsBn(ChannelParams()).prune(view(model, Masks.dense(model)))


def test_what_cannot_be_followed_is_refused_by_name() -> None:
    """Whatever the forward pass raises."""

    class Odd(nn.Sequential):
        def forward(self, images: Tensor) -> Tensor:
            raise ValueError("not today")

    model = Odd(nn.Flatten(), nn.Linear(192, 4))
    with pytest.raises(RunError, match=r"channels of Odd .*ValueError: not today"):
        ChannelsL1(ChannelParams()).prune(view(model, Masks.dense(model)))

"""Shrunk networks compute what masked ones do: random networks, random masks, and edges."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor, nn

from dsd_bench.errors import RunError
from dsd_bench.export import Network, shrink, trace
from dsd_bench.export import shrinking as shrinking_module
from dsd_bench.export.analysis import Analysis
from dsd_bench.export.checking import check
from dsd_bench.export.folding import merge_linear
from dsd_bench.export.shrinking import masked_copy, shrink_graph
from dsd_bench.masks import Masks, prunable_parameters

EXACT = 1e-10


class Branches(nn.Module):
    """A small network drawn at random: sums, groups, depthwise, batch norms anywhere, padding."""

    def __init__(self, draw: random.Random) -> None:
        super().__init__()
        self.width = draw.choice([4, 6, 8])
        self.stem = nn.Conv2d(2, self.width, 3, padding=draw.choice([0, 1]))
        self.blocks = nn.ModuleList(self._block(draw) for _ in range(draw.choice([1, 2, 3])))
        self.kinds = [draw.choice(["chain", "sum", "gate", "cat"]) for _ in self.blocks]
        self.mixes = nn.ModuleList(
            nn.Conv2d(2 * self.width, self.width, 1) if kind == "cat" else nn.Identity()
            for kind in self.kinds
        )
        self.gates = nn.ModuleList(
            nn.Conv2d(self.width, self.width, 1) if kind == "gate" else nn.Identity()
            for kind in self.kinds
        )
        self.pool = draw.choice([nn.MaxPool2d(2), nn.AvgPool2d(2), nn.Identity()])
        self.grid = draw.choice([1, 2])
        self.average = nn.AdaptiveAvgPool2d(self.grid)
        self.hidden = nn.Linear(self.width * self.grid**2, 7)
        self.out = nn.Linear(7, 3)
        self.act = draw.choice([nn.ReLU(), nn.Hardswish(), nn.GELU(), nn.LeakyReLU(0.1)])

    def _block(self, draw: random.Random) -> nn.Sequential:
        width = self.width
        groups = draw.choice([1, 2, width])
        layers: list[nn.Module] = [
            nn.Conv2d(width, width, 3, padding=1, groups=groups, bias=draw.random() < 0.7)
        ]
        tail = [nn.BatchNorm2d(width), draw.choice([nn.ReLU(), nn.SiLU(), nn.Identity()])]
        if draw.random() < 0.5:
            tail.reverse()
        if draw.random() < 0.5:
            tail.append(nn.Conv2d(width, width, 1, bias=draw.random() < 0.5))
        return nn.Sequential(*layers, *tail)

    def forward(self, images: Tensor) -> Tensor:
        x = self.act(self.stem(images))
        for kind, block, mix, gate in zip(self.kinds, self.blocks, self.mixes, self.gates):
            y = block(x)
            if kind == "sum":
                y = torch.relu(x + y)
            elif kind == "gate":
                y = y * torch.sigmoid(gate(y.mean((2, 3), keepdim=True)))
            elif kind == "cat":
                y = mix(torch.cat([y, x], 1))
            x = y
        x = self.average(self.pool(x)).flatten(1)
        return self.out(torch.relu(self.hidden(x)))


def unsettled(model: nn.Module, seed: int) -> nn.Module:
    """Give batch norms statistics and affines of some training, a few of them zero."""
    draw = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.bias.data, module.running_mean):
                tensor.copy_(torch.randn(tensor.shape, generator=draw))
            module.running_var.copy_(torch.rand(module.running_var.shape, generator=draw) + 0.5)
            module.weight.data[torch.rand(module.weight.shape, generator=draw) < 0.2] = 0.0
            module.bias.data[torch.rand(module.bias.shape, generator=draw) < 0.3] = 0.0
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            module.bias.data[torch.rand(module.bias.shape, generator=draw) < 0.4] = 0.0
    return model.eval()


def random_masks(model: nn.Module, draw: random.Random, seed: int) -> Masks:
    """Masks of single weights, of rows, of columns, of all, of none: layer by layer."""
    generator = torch.Generator().manual_seed(seed)
    masks = {}
    for name, weight in prunable_parameters(model).items():
        keep = draw.choice([0.0, 0.05, 0.2, 0.5, 1.0])
        kind = draw.choice(["single", "rows", "columns", "rows", "none"])
        shape = list(weight.shape)
        if kind == "rows":
            shape[1:] = [1] * (len(shape) - 1)
        elif kind == "columns":
            shape = [1, shape[1], *[1] * (len(shape) - 2)]
        kept = torch.rand(shape, generator=generator) < (1.0 if kind == "none" else keep)
        masks[name] = kept.expand(weight.shape).clone()
    return Masks(masks)


@pytest.mark.parametrize("seed", range(40))
def test_random_networks_with_random_masks_are_shrunk_exactly(seed: int) -> None:
    draw = random.Random(seed)
    torch.manual_seed(seed)
    whole = unsettled(Branches(draw), seed)
    model = masked_copy(whole, random_masks(whole, draw, seed))
    images = torch.randn(5, 2, 9, 8)
    graph = trace(model, images)
    small, _ = shrink_graph(graph.to(torch.float64), 4, fold_bn=draw.random() < 0.3)
    single = Network(small.to(torch.float32))
    assert check(model, single, images).passed
    with torch.no_grad():
        wanted, got = model.double()(images.double()), Network(small)(images.double())
    assert (wanted - got).abs().max() <= EXACT * wanted.abs().max()
    assert small.size <= graph.size
    again, _ = shrink_graph(small, 4)  # nothing is left that a second pass would take
    assert again.size == small.size


def test_the_tests_networks_do_lose_parameters() -> None:
    sizes = []
    for seed in range(10):
        draw = random.Random(seed)
        torch.manual_seed(seed)
        model = unsettled(Branches(draw), seed)
        found = shrink(model, torch.randn(2, 2, 9, 8), masks=random_masks(model, draw, seed))
        sizes.append(found.parameters_shrunk / found.parameters_dense)
    assert sum(size < 0.7 for size in sizes) >= 5


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(),
                         nn.Linear(5, 3)).eval()  # fmt: skip


def all_masks(model: nn.Module) -> dict[str, Tensor]:
    return {n: torch.ones_like(w, dtype=torch.bool) for n, w in prunable_parameters(model).items()}


IMAGES = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(1))


def test_dead_units_go_and_their_bias_goes_on() -> None:
    model, masks = mlp(), all_masks(mlp())
    masks["1.weight"][[0, 2]] = False  # without inputs
    masks["3.weight"][:, 4] = False  # without outputs
    with torch.no_grad():
        model[1].bias[0], model[1].bias[2] = 3.0, -1.0  # one shines on, one is off
    found = shrink(model, IMAGES, masks=Masks(masks))
    weights = {n: tuple(t.shape) for n, t in found.graph.tensors.items()}
    assert weights["1.weight"] == (3, 12)
    assert weights["3.weight"] == (5, 3)
    kept = found.graph.tensors["3.bias"]
    assert torch.allclose(kept, model[3].bias + 3.0 * model[3].weight[:, 0])
    assert torch.allclose(found.model(IMAGES), found.masked(IMAGES), atol=1e-6)
    assert found.left == ()


def test_dead_inputs_are_not_read() -> None:
    model, masks = mlp(), all_masks(mlp())
    masks["1.weight"][:, :10] = False
    found = shrink(model, IMAGES, masks=Masks(masks))
    assert found.graph.tensors["1.weight"].shape == (6, 2)
    assert found.graph.tensors["1.inputs"].tolist() == [10, 11]
    assert torch.allclose(found.model(IMAGES), found.masked(IMAGES), atol=1e-6)


@pytest.mark.parametrize("layer", ["1.weight", "3.weight", "5.weight"])
def test_a_dead_layer_makes_the_output_a_constant(layer: str) -> None:
    model, masks = mlp(), all_masks(mlp())
    masks[layer][:] = False
    found = shrink(model, IMAGES, masks=Masks(masks))
    assert found.parameters_shrunk == 3
    assert [node.op for node in found.graph.nodes] == ["size", "expand.default"]
    for count in (1, 4):
        assert torch.allclose(found.model(IMAGES[:count]), found.masked(IMAGES[:count]), atol=1e-6)


def test_nothing_left_at_all() -> None:
    model = mlp()
    masks = {name: mask & False for name, mask in all_masks(model).items()}
    found = shrink(model, IMAGES, masks=Masks(masks))
    assert (found.nonzero, found.parameters_shrunk) == (0, 3)


def test_a_dense_network_stays_as_it_is() -> None:
    found = shrink(mlp(), IMAGES)
    assert found.parameters_shrunk == found.parameters_dense == found.graph.size
    assert found.model(IMAGES).equal(found.masked(IMAGES))


def padded(padding: int) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 1), nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 3, 3, padding=padding),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    ).eval()  # fmt: skip


def test_constant_channels_become_one_in_front_of_padding_and_none_without() -> None:
    images = torch.randn(3, 2, 5, 5)
    for padding, kept in ((0, 1), (1, 2)):
        model = padded(padding)
        masks = all_masks(model)
        masks["0.weight"][1:] = False
        with torch.no_grad():
            model[0].bias.copy_(torch.tensor([0.1, 1.0, 2.0, 3.0]))
        found = shrink(model, images, masks=Masks(masks))
        assert found.graph.tensors["3.weight"].shape[1] == kept
        assert torch.allclose(found.model(images), found.masked(images), atol=1e-6)
        assert bool(found.left) == bool(padding)
    assert [left.where for left in found.left] == ["0", "3"]
    assert "padding" in found.left[1].why


def test_batch_norms_fold_behind_a_convolution_only() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
        nn.BatchNorm2d(4), nn.Conv2d(4, 3, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip
    unsettled(model, 3)
    images = torch.randn(3, 2, 5, 5)
    plain, folded = (shrink(model, images, fold_bn=fold) for fold in (False, True))
    for found, count in ((plain, 2), (folded, 1)):
        assert sum(node.op == "batch_norm" for node in found.graph.nodes) == count
        assert torch.allclose(found.model(images), found.masked(images), atol=1e-5)


class Shared(nn.Module):
    """A sum whose terms share channels, and a layer that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.twice = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 6, 1)
        self.out = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = x + self.twice(torch.relu(self.twice(x)))
        return self.out(x.mean((2, 3)))


def test_a_layer_used_twice_and_a_sum() -> None:
    torch.manual_seed(0)
    model, images = Shared().eval(), torch.randn(3, 1, 4, 4)
    masks = all_masks(model)
    masks["twice.weight"][:2] = False
    masks["out.weight"][:, :2] = False
    masks["twice.weight"][:, :2] = False
    with torch.no_grad():
        model.twice.bias[:2] = 0
    found = shrink(model, images, masks=Masks(masks))
    assert torch.allclose(found.model(images), found.masked(images), atol=1e-6)
    assert found.graph.tensors["stem.weight"].shape[0] == 4


def test_what_a_sum_shares_stays_and_is_named() -> None:
    torch.manual_seed(0)
    model, images = Shared().eval(), torch.randn(3, 1, 4, 4)
    masks = all_masks(model)
    masks["stem.weight"][:2] = False
    with torch.no_grad():
        model.stem.bias[:2] = 0
    found = shrink(model, images, masks=Masks(masks))
    assert torch.allclose(found.model(images), found.masked(images), atol=1e-6)
    assert any(left.where == "stem" and "2 of 6 channels" in left.why for left in found.left)


def test_a_network_that_cannot_be_traced_stays_whole_and_is_named() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = x.flatten(1)
            return self.one(x) if float(x.sum()) > 0 else self.one(-x)

    found = shrink(Odd().eval(), torch.ones(2, 1, 2, 2))
    assert found.graph is None
    assert found.model is found.masked
    assert found.left[0].where == "the whole network"
    assert found.parameters_shrunk == found.parameters_dense == 10


def test_layers_that_are_not_followed_stay_whole_and_are_named() -> None:
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.norm, self.two = nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 5)
            self.three = nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.three(torch.relu(self.two(self.norm(self.one(x.flatten(1))))))

    torch.manual_seed(0)
    model = Normed().eval()
    masks = all_masks(model)
    masks["one.weight"][:3] = False
    masks["two.weight"][:3] = False
    images = torch.randn(3, 1, 2, 2)
    found = shrink(model, images, masks=Masks(masks))
    assert found.graph.tensors["one.weight"].shape == (6, 4)
    assert found.graph.tensors["two.weight"].shape == (2, 6)
    assert [left.where for left in found.left] == ["one", "norm"]
    assert torch.allclose(found.model(images), found.masked(images), atol=1e-6)


def test_a_wrong_rewriting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*given: object, **named: object) -> object:
        graph, left = shrink_graph(*given, **named)
        graph.tensors["5.bias"][0] += 1e-6
        return graph, left

    monkeypatch.setattr(shrinking_module, "shrink_graph", wrong)
    with pytest.raises(RunError, match="double precision"):
        shrink(mlp(), IMAGES)


def test_relus_that_data_never_switch() -> None:
    model = mlp()
    with torch.no_grad():
        model[1].bias.copy_(torch.tensor([-99.0, -99, 9, 9, 9, 9]))  # two off, the others on
    plain = shrink(model, IMAGES)
    assert plain.assumed == ()
    assert plain.parameters_shrunk == plain.parameters_dense
    found = shrink(model, IMAGES, assume_data=[IMAGES])
    first = found.assumed[0]
    assert (first.off, first.linear, first.channels) == (2, True, 6)
    assert torch.allclose(found.model(IMAGES), found.masked(IMAGES), atol=1e-4)
    assert all(node.op != "relu.default" for node in found.graph.nodes)
    far = torch.full((1, 3, 2, 2), 1e4)
    assert not torch.allclose(found.model(far), found.masked(far))


def test_linear_layers_merge_only_where_that_saves() -> None:
    for hidden, count in ((2, 2), (20, 1)):
        model = nn.Sequential(nn.Flatten(), nn.Linear(12, hidden), nn.Linear(hidden, 5)).eval()
        graph = trace(model, IMAGES).to(torch.float64)
        made = merge_linear(graph)
        assert sum(node.op == "linear.default" for node in made.nodes) == count
        with torch.no_grad():
            assert torch.allclose(Network(made)(IMAGES.double()).float(), model(IMAGES), atol=1e-5)


def test_atoms_of_a_sum_are_one() -> None:
    analysis = Analysis(trace(Shared().eval(), torch.randn(2, 1, 4, 4)).to(torch.float64))
    total = next(node for node in analysis.graph.nodes if node.op == "add.Tensor")
    infos = [analysis.info[name] for name in total.refs()]
    roots = [analysis.atoms.roots(info.atoms).tolist() for info in infos]
    assert roots[0] == roots[1]


@pytest.mark.parametrize("broken", ["nan", "other"])
def test_the_check_refuses(broken: str) -> None:
    model = mlp()
    factor = float("nan") if broken == "nan" else 1.0001
    found = check(model, lambda images: model(images) * factor, IMAGES)
    assert not found.passed
    assert check(model, model, IMAGES).passed
    assert check(model, lambda x: model(x) * (1 + 1e-7), IMAGES).passed


def test_the_networks_own_parameters_are_left_alone() -> None:
    model = mlp().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    masks = {name: mask & False for name, mask in all_masks(model).items()}
    shrink(model, IMAGES, masks=Masks(masks))
    assert model.training
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())

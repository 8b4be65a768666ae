"""The pruners alone, against the papers' formulas worked out another way on small networks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy
import pytest
import torch
from dsd_bench_at_init.gradients import SNIP, GraSP
from dsd_bench_at_init.plugin import GraSPParams, SNIPParams, SynFlowParams
from dsd_bench_at_init.synflow import SynFlow, _flow, _positive
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from dsd_bench.masks import Masks, NothingLeft
from dsd_bench.pruners import PruneView

Batch = tuple[Tensor, Tensor]
NAMES = ("1.weight", "4.weight")


def view(model: nn.Module, given: Sequence[Batch], masks: Masks | None = None) -> PruneView:
    """Return what the core would give a pruner."""

    def batches(count: int) -> Iterator[Batch]:
        yield from given[:count]

    masks = masks or Masks.dense(model)
    return PruneView(model, masks, 1, torch.device("cpu"), torch.Generator(), batches)


def random_batches(count: int) -> list[Batch]:
    """Return batches of seven 1x2x3 images of three classes."""
    draw = torch.Generator().manual_seed(1)
    return [
        (torch.randn(7, 1, 2, 3, generator=draw), torch.randint(3, (7,), generator=draw))
        for _ in range(count)
    ]


@pytest.fixture
def model() -> nn.Module:
    """Return a network whose batch norm tells train mode from eval mode."""
    torch.manual_seed(0)
    layers = [nn.Flatten(), nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 3)]
    return nn.Sequential(*layers).eval()


def loss_of(model: nn.Module, batch: Batch, temperature: float = 1.0) -> tuple[Tensor, object]:
    """Return all weights in one vector, and the batch's loss in train mode as its function."""
    shapes = {name: model.get_parameter(name).shape for name in NAMES}
    flat = torch.cat([model.get_parameter(name).detach().flatten() for name in NAMES])
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def loss(weights: Tensor) -> Tensor:
        parts = torch.split(weights, [shape.numel() for shape in shapes.values()])
        own = {n: part.view(shapes[n]) for n, part in zip(NAMES, parts, strict=True)}
        model.train()
        logits = functional_call(model, {**state, **own}, (batch[0],))
        model.eval()
        return functional.cross_entropy(logits / temperature, batch[1])

    return flat, loss


def joined(scores: dict[str, Tensor]) -> Tensor:
    """Return the scores in one vector."""
    return torch.cat([scores[name].flatten() for name in NAMES])


def unchanged(model: nn.Module, state: dict[str, Tensor]) -> bool:
    """Whether a network is as it was, in eval mode and without gradients."""
    same = all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in state.items())
    free = all(parameter.grad is None for parameter in model.parameters())
    return same and free and not any(module.training for module in model.modules())


def test_snip_is_the_loss_s_slope_by_a_gate_before_each_weight(model: nn.Module) -> None:
    """Connection sensitivity as the paper defines it, over two batches of one size."""
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    given = random_batches(3)
    scores = SNIP(SNIPParams(batches=2)).scores(view(model, given))
    assert unchanged(model, state)
    slope = torch.zeros(36)
    for batch in given[:2]:
        flat, loss = loss_of(model, batch)
        gates = torch.ones(36, requires_grad=True)
        slope += torch.autograd.grad(loss(gates * flat), gates)[0] / 2  # type: ignore[operator]
    torch.testing.assert_close(joined(scores), slope.abs(), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("temperature", [200.0, 1.0])
def test_grasp_is_the_weight_times_hessian_times_gradient(
    model: nn.Module, temperature: float
) -> None:
    """With the whole Hessian, in double precision."""
    model.double()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    given = [(images.double(), labels) for images, labels in random_batches(2)]
    params = GraSPParams(batches=2, temperature=temperature)
    scores = GraSP(params).scores(view(model, given))
    assert unchanged(model, state)
    gradient, hessian = torch.zeros(36).double(), torch.zeros(36, 36).double()
    for batch in given:
        flat, loss = loss_of(model, batch, temperature)
        gradient += torch.autograd.functional.jacobian(loss, flat)
        hessian += torch.autograd.functional.hessian(loss, flat)
    torch.testing.assert_close(joined(scores), flat * (hessian @ gradient), rtol=1e-6, atol=1e-12)


def test_grasp_says_how_the_gradient_s_norm_changes(model: nn.Module) -> None:
    """A small part of a weight taken away lowers the squared norm by twice that part's score."""
    model.double()
    batch = (random_batches(1)[0][0].double(), random_batches(1)[0][1])
    scores = joined(GraSP(GraSPParams(temperature=1)).scores(view(model, [batch])))
    flat, loss = loss_of(model, batch)
    norms = []
    for share in (0, 1e-6):
        less = flat.clone()
        less[5] -= share * flat[5]
        norms.append(torch.autograd.functional.jacobian(loss, less).square().sum())
    assert float((norms[0] - norms[1]) / 2e-6) == pytest.approx(float(scores[5]), rel=1e-4)


# -- synflow


@pytest.fixture
def relu() -> nn.Module:
    """Return an MLP 6-5-3 with biases."""
    torch.manual_seed(2)
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))


def flowing(model: nn.Module, counts: Sequence[int]) -> list[numpy.ndarray]:  # type: ignore[type-arg]
    """Return the masks of algorithm 1 with products of matrices of absolute values."""
    state = {name: abs(t.double().numpy()) for name, t in model.state_dict().items()}
    first, second = state["1.weight"], state["3.weight"]
    for count in counts:
        hidden = first.sum(1) + state["1.bias"]  # of an image of ones
        scores = numpy.concatenate(
            [(first * second.sum(0)[:, None]).ravel(), (second * hidden[None, :]).ravel()]
        )
        kept = numpy.zeros(len(scores), bool)
        kept[numpy.argsort(-scores, kind="stable")[:count]] = True
        first = first * kept[: first.size].reshape(first.shape)
        second = second * kept[first.size :].reshape(second.shape)
    return [first != 0, second != 0]


def test_flow_is_conserved_by_units_and_layers() -> None:
    """Theorems 1 and 2: what goes into a hidden unit goes out of it; all layers' sums are equal."""
    torch.manual_seed(3)
    layers = (nn.Linear(6, 5, bias=False), nn.Linear(5, 4, bias=False), nn.Linear(4, 3, bias=False))
    network = nn.Sequential(nn.Flatten(), layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
    masks = Masks.dense(network)
    masks.weights["1.weight"][:, :2] = False
    scores = list(_flow(_positive(network), masks, torch.ones(1, 1, 2, 3).double()).values())
    for into, out in pairwise(scores):
        torch.testing.assert_close(into.sum(1), out.sum(0))
    flow = torch.linalg.multi_dot([layer.weight.detach().abs().double() for layer in layers[::-1]])
    torch.testing.assert_close(scores[0].sum(), flow[:, 2:].sum())


@pytest.mark.parametrize("iterations", [1, 7])
def test_synflow_prunes_by_flow_again_and_again(relu: nn.Module, iterations: int) -> None:
    """Between 45 weights and 18 the counts are a geometric sequence."""
    state = {name: tensor.clone() for name, tensor in relu.state_dict().items()}
    params = SynFlowParams(fraction=0.6, iterations=iterations)
    masks = SynFlow(params).prune(view(relu, random_batches(1)))
    counts = [round(45 * (18 / 45) ** (k / iterations)) for k in range(1, iterations + 1)]
    assert masks.nonzero == counts[-1] == 18
    for mask, expected in zip(masks.weights.values(), flowing(relu, counts), strict=True):
        assert (mask.numpy() == expected).all()
    assert all(torch.equal(t, relu.state_dict()[name]) for name, t in state.items())
    assert all(p.dtype == torch.float32 and p.grad is None for p in relu.parameters())


def test_synflow_goes_on_from_what_is_there(relu: nn.Module) -> None:
    """So the masks of one round lie within those of the round before."""
    pruner = SynFlow(SynFlowParams(fraction=0.5, iterations=5))
    masks = Masks.dense(relu)
    for _ in range(4):
        after = pruner.prune(view(relu, random_batches(1), masks))
        assert after.nested_in(masks)
        assert after.nonzero == masks.nonzero - round(0.5 * masks.nonzero)
        masks = after


def test_synflow_prunes_each_layer_alone_where_told(relu: nn.Module) -> None:
    """A half of 30 and of 15."""
    params = SynFlowParams(fraction=0.5, iterations=9, scope="layer")
    masks = SynFlow(params).prune(view(relu, random_batches(1)))
    assert masks.counts == {"1.weight": 15, "3.weight": 7}


def test_synflow_keeps_a_path_through_the_network(relu: nn.Module) -> None:
    """At few weights, where one pruning at once would cut all paths."""
    params = SynFlowParams(fraction=0.9, iterations=100)
    masks = SynFlow(params).prune(view(relu, random_batches(1)))
    into, out = masks.weights["1.weight"].any(1), masks.weights["3.weight"].any(0)
    assert masks.nonzero == 5
    assert bool((into & out).any())


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_synflow_ends_where_every_layer_has_one_weight(relu: nn.Module, scope: str) -> None:
    """As every pruner does."""
    last = {n: torch.zeros_like(m) for n, m in Masks.dense(relu).weights.items()}
    for mask in last.values():
        mask[0, 0] = True
    params = SynFlowParams(scope=scope)  # type: ignore[arg-type]
    with pytest.raises(NothingLeft):
        SynFlow(params).prune(view(relu, random_batches(1), Masks(last)))

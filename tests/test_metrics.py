"""The metrics of a round against closed forms, brute force and published figures."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from dsd_bench.errors import Diverged, RunError
from dsd_bench.masks import Masks
from dsd_bench.metrics import MeasureView, Outputs
from dsd_bench.metrics.builtin import CalibrationParams, register_metrics
from dsd_bench.metrics.calibration import expected_calibration_error
from dsd_bench.metrics.entropy import entropy_bits
from dsd_bench.metrics.macs import count_macs
from dsd_bench.metrics.passes import forward_pass

METRICS = {component.name: component.create() for component in register_metrics()}
CPU = torch.device("cpu")


def view(outputs=None, model=None, masks=None, shape=(1, 2, 2)):
    model = nn.Linear(4, 2) if model is None else model
    masks = Masks.dense(model) if masks is None else masks
    return MeasureView(model, masks, 3, CPU, shape, (outputs or {}).get)


def part(logits, labels, clean=None, relu_counts=()):
    labels = torch.tensor(labels)
    clean = labels if clean is None else torch.tensor(clean)
    return Outputs(torch.tensor(logits), labels, clean, relu_counts)


# --- classification -------------------------------------------------------------------------


def test_losses_and_accuracies_by_hand():
    train = part([[2.0, 0.0], [0.0, 1.0], [0.0, 3.0], [1.0, 0.0]], [0, 0, 1, 0], [0, 1, 1, 1])
    test = part([[0.0, 1.0]], [0])
    row = METRICS["classification"].measure(view({"train": train, "test": test}))
    losses = [math.log1p(math.exp(x)) for x in (-2, 1, -3, -1)]
    assert row["train_loss"] == pytest.approx(sum(losses) / 4, rel=1e-6)
    assert row["train_accuracy"] == 3 / 4
    assert row["train_accuracy_clean"] == 1  # samples 0 and 2
    assert row["train_accuracy_noisy"] == 1 / 2  # 3 agrees with its wrong label, 1 does not
    assert row["test_loss"] == pytest.approx(math.log1p(math.e), rel=1e-6)
    assert row["test_accuracy"] == 0
    assert row["val_loss"] is None
    assert row["val_accuracy"] is None


def test_without_wrong_labels_there_is_no_memorisation():
    row = METRICS["classification"].measure(view({"train": part([[1.0, 0.0]], [0])}))
    assert row["train_accuracy_noisy"] is None
    assert row["train_accuracy_clean"] == 1


def test_with_wrong_labels_only_there_is_no_clean_accuracy():
    row = METRICS["classification"].measure(view({"train": part([[1.0, 0.0]], [0], [1])}))
    assert row["train_accuracy_noisy"] == 1
    assert row["train_accuracy_clean"] is None


def test_a_loss_that_is_no_number_is_an_error():
    with pytest.raises(Diverged, match="round 3: the loss on the train part is nan"):
        METRICS["classification"].measure(view({"train": part([[math.nan, 0.0]], [0])}))


def test_classification_columns_are_the_contracts():
    assert set(METRICS["classification"].measure(view())) == {
        *("train_loss", "train_accuracy", "train_accuracy_clean", "train_accuracy_noisy"),
        *("val_accuracy", "val_loss", "test_accuracy", "test_loss"),
    }


# --- entropy --------------------------------------------------------------------------------


def bits(p):
    return 0.0 if p in (0, 1) else -(p * math.log2(p) + (1 - p) * math.log2(1 - p))


@given(
    st.integers(1, 50).flatmap(
        lambda n: st.tuples(st.just(n), st.lists(st.integers(0, n), min_size=1))
    )
)
def test_entropy_is_the_closed_form(case):
    images, counts = case
    expected = sum(bits(count / images) for count in counts) / len(counts)
    assert entropy_bits(torch.tensor(counts), images) == pytest.approx(expected, abs=1e-12)


def test_dead_and_always_on_units_count_zero_and_halves_one():
    assert entropy_bits(torch.tensor([0, 8, 4, 4]), 8) == 0.5


def test_entropy_is_the_mean_over_applications_not_elements():
    counts = (torch.tensor([2]), torch.tensor([[0, 4], [0, 4]]))
    row = METRICS["entropy"].measure(view({"train": part([[0.0, 0.0]] * 4, [0] * 4, None, counts)}))
    assert row == {"entropy": 0.5, "entropy_per_layer": [1.0, 0.0]}


def test_entropy_of_a_network_without_relu_is_absent():
    row = METRICS["entropy"].measure(view({"train": part([[0.0, 0.0]], [0])}))
    assert row == {"entropy": None, "entropy_per_layer": None}


# --- the pass -------------------------------------------------------------------------------


class Twice(nn.Module):
    """One ReLU module applied twice, a functional one, and a dropout and batch-norm."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.relu = nn.ReLU()
        self.drop = nn.Dropout(0.5)
        self.again = nn.Conv2d(3, 2, 3)
        self.head = nn.Linear(8, 4)
        self.last = nn.Linear(4, 2)

    def forward(self, x):
        x = self.relu(self.norm(self.conv(x)))
        x = self.relu(self.again(x - 0.3))
        x = functional.relu_(self.head(self.drop(x.flatten(1))))
        return self.last(x)


def data(count, seed=1):
    draw = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 1, 4, 4), dtype=torch.uint8, generator=draw)
    return images, torch.arange(count) % 2, torch.zeros(count, dtype=torch.int64)


def normalise(images):
    return images.float() / 255


def relu_outputs(model, inputs):
    """What every ReLU application gives, by putting an ear on the functions themselves."""
    heard = []
    patch = pytest.MonkeyPatch()
    for name in ("relu", "relu_"):
        function = getattr(functional, name)

        def listen(x, function=function, inplace=False):
            heard.append(function(x).clone())
            return heard[-1].clone()

        patch.setattr(functional, name, listen)
    with torch.no_grad():
        model.eval()(inputs)
    patch.undo()
    return heard


@pytest.mark.parametrize("batch_size", [1, 4, 10, 100])
def test_relu_counts_are_those_of_brute_force(batch_size):
    model, (images, labels, clean) = Twice(), data(10)
    outputs = forward_pass(
        model, images.split(batch_size), labels, clean, normalise, count_relu=True
    )
    expected = [(out > 0).sum(0) for out in relu_outputs(model, normalise(images))]
    assert [count.shape for count in outputs.relu_counts] == [(3, 4, 4), (2, 2, 2), (4,)]
    assert all(count.dtype == torch.int64 for count in outputs.relu_counts)
    assert all(torch.equal(a, b) for a, b in zip(outputs.relu_counts, expected, strict=True))


def test_pass_gives_logits_in_order_and_both_labels():
    model, (images, labels, clean) = Twice(), data(10)
    outputs = forward_pass(model, images.split(3), labels, clean, normalise)
    with torch.no_grad():
        torch.testing.assert_close(outputs.logits, model.eval()(normalise(images)))
    assert torch.equal(outputs.labels, labels)
    assert torch.equal(outputs.clean, clean)
    assert outputs.relu_counts == ()
    assert not outputs.logits.requires_grad


def test_pass_leaves_the_model_as_it_was():
    model, (images, labels, clean) = Twice().train(), data(10)
    model.norm.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    flags = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    forward_pass(model, images.split(5), labels, clean, normalise, count_relu=True)
    assert [module.training for module in model.modules()] == flags
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled()


def test_pass_in_low_precision():
    model, (images, labels, clean) = Twice(), data(300)
    autocast = partial(torch.autocast, "cpu", torch.bfloat16)
    run = partial(forward_pass, model, [images], labels, clean, normalise, count_relu=True)
    low, full = run(autocast=autocast), run()
    assert low.logits.dtype == torch.float32
    assert not torch.equal(low.logits, full.logits)
    with autocast():
        expected = [(out > 0).sum(0) for out in relu_outputs(model, normalise(images))]
    assert all(torch.equal(a, b) for a, b in zip(low.relu_counts, expected, strict=True))
    assert max(count.max() for count in expected) > 256  # beyond the whole numbers of bf16


class Table(nn.Module):
    """A ReLU of parameters (as in relative position biases) beside one of images."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.ones(3, 16))

    def forward(self, x):
        return functional.relu(x.flatten(1)) * functional.relu(self.table).sum(0)


def test_a_relu_of_parameters_is_not_counted():
    images, labels, clean = data(11)  # the last batch has as many images as the table has rows
    outputs = forward_pass(Table(), images.split(8), labels, clean, normalise, count_relu=True)
    assert [count.shape for count in outputs.relu_counts] == [(16,)]


def test_relus_that_depend_on_the_batch_are_refused():
    def model_forward(x):
        return functional.relu(x) if len(x) == 4 else x

    model = nn.Identity()
    model.forward = model_forward
    images, labels, clean = data(6)
    with pytest.raises(RunError, match="ReLU"):
        forward_pass(model, images.split(4), labels, clean, normalise, count_relu=True)


def test_relus_inside_fused_attention_are_counted():
    layer = nn.TransformerEncoderLayer(4, 2, 6, batch_first=True)
    images, labels, clean = data(5)
    outputs = forward_pass(
        nn.Sequential(nn.Flatten(1, 2), layer), [images], labels, clean, normalise, count_relu=True
    )
    assert [count.shape for count in outputs.relu_counts] == [(4, 6)]
    assert torch.backends.mha.get_fastpath_enabled()


RECTIFIERS = {
    "relu6": functional.relu6,
    "relu6 in place": nn.ReLU6(inplace=True),
    "hardtanh": nn.Hardtanh(0, 1),
    "hardtanh in place": nn.Hardtanh(0.0, 20.0, inplace=True),
    "clamp": lambda x: x.clamp(min=0),
    "clamp in place": lambda x: x.clamp_(0, 1),
    "clamp by tensors": lambda x: x.clamp(torch.tensor(0.0), torch.tensor(2.0)),
    "clip": lambda x: torch.clip(x, 0),
    "clamp_min": lambda x: torch.clamp_min(x, 0),
    "clamp_min in place": lambda x: x.clamp_min_(0.0),
    "threshold": lambda x: functional.threshold(x, 0, 0),
    "threshold in place": nn.Threshold(0, 0, inplace=True),
    "relu in place": functional.relu_,
    "torch.relu": torch.relu,
    "leaky without a leak": nn.LeakyReLU(0),
    "maximum": lambda x: torch.maximum(x, torch.zeros(())),
    "maximum, zero first": lambda x: torch.maximum(torch.zeros_like(x), x),
    "max": lambda x: torch.max(x, torch.zeros_like(x)),
    "fmax": lambda x: torch.fmax(x, torch.tensor(0.0)),
    "where": lambda x: torch.where(x > 0, x, 0.0),
    "where not": lambda x: torch.where(x < 0, torch.zeros_like(x), x),
    "times a mask": lambda x: x * (x > 0),
    "times a cast mask": lambda x: (x >= 0).to(x.dtype) * x,
    "filled": lambda x: x.masked_fill(x < 0, 0),
    "filled in place": lambda x: x.masked_fill_(x <= 0, 0),
    "assigned": lambda x: x.index_put_((x < 0,), torch.tensor(0.0)),
}
NONE = {
    "leaky": nn.LeakyReLU(0.1),
    "gelu": nn.GELU(),
    "silu": nn.SiLU(),
    "elu": nn.ELU(),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": nn.Softplus(),
    "hardtanh": nn.Hardtanh(),
    "clamp to -1, 1": lambda x: x.clamp(-1, 1),
    "clamp off 0": lambda x: x.clamp_min(1e-6),
    "clamp above only": lambda x: x.clamp(max=0.5),
    "clamp to nothing": lambda x: x.clamp(0, 0),
    "a threshold with a floor": nn.Threshold(0.1, 20),
    "a threshold below 0": nn.Threshold(-1, 0),
    "maxout": lambda x: torch.maximum(x, x.flip(1)),
    "maximum with one": lambda x: torch.maximum(x, torch.ones(())),
    "a mask of something else": lambda x: torch.where(x.flip(1) > 0, x, 0.0),
    "a mask the wrong way round": lambda x: torch.where(x > 0, 0.0, x),
    "a mask that keeps": lambda x: torch.where(x > 0, x, 1.0),
    "times another's mask": lambda x: x * (x.flip(1) > 0),
    "whole numbers": lambda x: x * 0 + (10 * x).long().clamp(min=0),
}


class Activated(nn.Module):
    """Pixels around 0 through a function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x.flatten(1) - 0.5)


def counted(function, images):
    labels = torch.zeros(len(images), dtype=torch.int64)
    model = Activated(function)
    given = forward_pass(model, images.split(4), labels, labels, normalise, count_relu=True)
    return given.relu_counts


@pytest.mark.parametrize("name", RECTIFIERS)
def test_every_spelling_of_a_rectifier_is_counted_as_relu_is(name):
    images = data(10)[0]
    (counts,) = counted(RECTIFIERS[name], images)
    assert torch.equal(counts, (normalise(images).flatten(1) > 0.5).sum(0))


@pytest.mark.parametrize("name", NONE)
def test_what_is_never_off_is_not_counted(name):
    assert counted(NONE[name], data(10)[0]) == ()


def test_a_unit_that_saturates_is_on():
    (counts,) = counted(lambda x: functional.hardtanh(x, 0, 0.01), data(10)[0])
    assert torch.equal(counts, counted(functional.relu, data(10)[0])[0])


@pytest.mark.parametrize(
    ("gate", "written_out"),
    [
        (functional.hardswish, lambda x: x * functional.relu6(x + 3)),
        (nn.Hardswish(inplace=True), lambda x: x * (x + 3).clamp(0, 6)),
        (functional.hardsigmoid, lambda x: functional.relu6(x + 3) / 6),
        (lambda x: functional.hardsigmoid(x, inplace=True), lambda x: (x + 3).clamp_(0, 6)),
    ],
)
def test_hard_gates_are_counted_as_the_rectifier_that_they_are(gate, written_out):
    images = data(10)[0]
    far = [partial(lambda f, x: f(x * 10), function) for function in (gate, written_out)]
    (one,), (other,) = (counted(function, images) for function in far)
    assert torch.equal(one, other)
    assert int((one < 10).sum()) > 0


def test_a_rectifier_that_is_one_for_some_images_only_is_not_counted():
    images = torch.full((8, 1, 4, 4), 255, dtype=torch.uint8)
    images[4:] = 0

    def forward(x):  # the second operand is zero in the first batch alone
        return torch.maximum(x, (0.5 - x[:, :1]).clamp_min(0.0).expand_as(x))

    assert len(counted(forward, images)) == 1  # the clamp inside


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small"])
def test_mobilenets_have_an_entropy(name):
    model = torchvision.models.get_model(name, num_classes=3).eval()
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    labels = torch.zeros(3, dtype=torch.int64)
    outputs = forward_pass(model, [images], labels, labels, normalise, count_relu=True)
    kinds = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid)
    assert len(outputs.relu_counts) == sum(isinstance(m, kinds) for m in model.modules())
    row = METRICS["entropy"].measure(view({"train": outputs}))
    assert 0 < row["entropy"] < 1


# --- sparsity and cost ----------------------------------------------------------------------


def pruned(model, *kept):
    """Masks that keep the first ``kept`` weights of each prunable parameter."""
    masks = {}
    for (name, mask), count in zip(Masks.dense(model).weights.items(), kept, strict=True):
        masks[name] = (torch.arange(mask.numel()) < count).view(mask.shape)
    return Masks(masks)


def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))


def test_sparsity_by_hand():
    model = mlp()
    row = METRICS["sparsity"].measure(view(model=model, masks=pruned(model, 3, 6)))
    assert row == {
        "sparsity": 0.5,
        "nonzero": 9,
        "sparsity_per_layer": {"1.weight": 0.75, "3.weight": 0.0},
    }


def test_macs_of_an_mlp_by_hand():
    model = mlp()
    row = METRICS["macs"].measure(view(model=model, masks=pruned(model, 5, 2)))
    assert row == {"macs_dense": 12 + 6, "macs_effective": 5 + 2}


def test_macs_of_a_convolution_by_hand():
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, stride=2, groups=2), nn.Flatten(), nn.Linear(36, 5)
    )
    row = METRICS["macs"].measure(view(model=model, masks=pruned(model, 18, 180), shape=(2, 6, 6)))
    assert row["macs_dense"] == 9 * (4 * 9) + 36 * 5  # 3 x 3 positions, 4 x 1 x 3 x 3 weights
    assert row["macs_effective"] == 9 * 18 + 36 * 5


def test_macs_of_a_layer_used_twice_and_of_products_without_weights():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.shared = nn.Linear(4, 4, bias=False)

        def forward(self, x):
            x = self.shared(self.shared(x.flatten(1)))
            return x @ torch.ones(4, 2)

    model = Net()
    row = METRICS["macs"].measure(view(model=model, masks=pruned(model, 4)))
    assert row == {"macs_dense": 2 * 16 + 8, "macs_effective": 2 * 4 + 8}


def test_macs_of_tied_weights_follow_their_mask():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.Linear(4, 4))
    model[2].weight = model[1].weight
    row = METRICS["macs"].measure(view(model=model, masks=pruned(model, 8)))
    assert row == {"macs_dense": 32, "macs_effective": 16}


def test_operations_without_a_formula_count_nothing():
    class Odd(nn.Module):
        def forward(self, x):
            return torch.fft.fft(x.flatten(1)).abs().sort().values

    assert count_macs(nn.Sequential(Odd(), nn.Linear(4, 2)), torch.zeros(1, 1, 2, 2)) == (
        8,
        {"1.weight": 8},
    )


def test_counting_leaves_no_hooks_and_no_gradients():
    model = mlp().train()
    count_macs(model, torch.zeros(1, 1, 2, 2))
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())
    assert all(p.grad is None for p in model.parameters())
    assert model.training


@pytest.mark.parametrize(("name", "billions"), [("resnet18", 1.814), ("vit_b_16", 17.564)])
def test_macs_of_known_networks(name, billions):
    models = pytest.importorskip("torchvision.models")
    with torch.device("meta"):
        model = getattr(models, name)(weights=None)
        total, layers = count_macs(model, torch.zeros(1, 3, 224, 224))
    assert total / 1e9 == pytest.approx(billions, abs=5e-4)
    assert sum(layers.values()) <= total


# --- calibration ----------------------------------------------------------------------------


def reference_ece(logits, labels, bins):
    """Guo et al., equations (1) to (3), sample by sample in exact fractions of the confidences."""
    members = {}
    for row, label in zip(logits, labels):
        powers = [math.exp(value - max(row)) for value in row]
        confidence = max(powers) / sum(powers)
        place = next(m for m in range(1, bins + 1) if confidence <= m / bins)
        members.setdefault(place, []).append((confidence, row.index(max(row)) == label))
    error = 0.0
    for found in members.values():
        accuracy = sum(right for _, right in found) / len(found)
        confidence = sum(value for value, _ in found) / len(found)
        error += len(found) / len(labels) * abs(accuracy - confidence)
    return error


def ece(bins=15):
    component = next(c for c in register_metrics() if c.name == "ece")
    return component.create(CalibrationParams(bins=bins))


@given(
    st.lists(
        st.tuples(st.tuples(*[st.integers(-40, 40)] * 3), st.integers(0, 2)),
        min_size=1,
        max_size=30,
    ),
    st.integers(1, 20),
)
def test_the_calibration_error_is_that_of_its_definition(samples, bins):
    logits = [[value / 8 for value in row] for row, _ in samples]
    labels = [label for _, label in samples]
    found = ece(bins).measure(view({"test": part(logits, labels)}))
    assert found["test_ece"] == pytest.approx(reference_ece(logits, labels, bins), abs=1e-12)


def test_calibration_by_hand():
    even, sure = math.log(3), math.log(9)  # confidences 3/4 and 9/10
    logits = [[even, 0.0], [even, 0.0], [0.0, sure], [0.0, sure]]
    found = ece(10).measure(view({"val": part(logits, [0, 1, 1, 1])}))
    assert found["val_ece"] == pytest.approx((2 * 0.25 + 2 * 0.1) / 4)
    assert found["val_confidence"] == pytest.approx((0.75 + 0.9) / 2)
    assert found["train_ece"] is None
    assert found["test_confidence"] is None


def test_a_confidence_on_an_edge_belongs_to_the_bin_below():
    logits = [[0.0, 0.0], [math.log(3), 0.0]]  # 1/2 and 3/4: bins (0, 1/2] and (1/2, 1]
    found = ece(2).measure(view({"test": part(logits, [0, 1])}))
    assert found["test_ece"] == pytest.approx((0.5 + 0.75) / 2)


def test_samples_beyond_a_piece_count(monkeypatch):
    monkeypatch.setattr("dsd_bench.metrics.calibration._AT_ONCE", 3)
    logits = [[value / 4, 0.0] for value in range(-5, 6)]
    labels = [0, 1] * 5 + [0]
    found = ece().measure(view({"train": part(logits, labels)}))
    assert found["train_ece"] == pytest.approx(reference_ece(logits, labels, 15), abs=1e-12)


@pytest.mark.parametrize(("images", "least", "most"), [(597, 0.025, 0.05), (10_000, 0.006, 0.013)])
@pytest.mark.parametrize("lowest", [0.3, 0.6])
def test_a_calibrated_network_has_an_error_by_chance(images, least, most, lowest):
    generator, found = torch.Generator().manual_seed(0), []
    for _ in range(200):
        drawn = torch.rand(images, generator=generator, dtype=torch.float64)
        confidences = lowest + (1 - lowest) * drawn
        right = torch.rand(images, generator=generator, dtype=torch.float64) < confidences
        found.append(expected_calibration_error(confidences, right, 15))
    assert least < sum(found) / len(found) < most

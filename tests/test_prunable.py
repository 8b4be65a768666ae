"""Which weights are prunable: what reaches a product itself, by whatever names it goes."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fakes import TINY, InMemoryStore
from test_protocol import Silent
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from dsd_bench.errors import RunError, UsageError
from dsd_bench.experiment.assemble import Sources, assemble
from dsd_bench.experiment.protocol import Run
from dsd_bench.masks import Masks, layer_weights, leave_out, prunable_parameters
from dsd_bench.metrics.macs import count_macs
from dsd_bench.metrics.prunable import find_prunable
from dsd_bench.models.mlp import MLPFactory
from dsd_bench.training import device

SHAPE = (3, 8, 8)


class Standardised(nn.Conv2d):
    """A convolution with the standardised weight, as timm's StdConv2d has it."""

    def forward(self, x):
        flat = self.weight.flatten(1)
        weight = (flat - flat.mean(1, keepdim=True)) / flat.std(1, keepdim=True)
        return functional.conv2d(x, weight.view_as(self.weight), self.bias)


class Scaled(nn.Linear):
    """A linear layer with a learned scale."""

    scale = 2.0

    def forward(self, x):
        return functional.linear(x, self.weight * self.scale, self.bias)


class ScaledInPlace(nn.Linear):
    """The same, on a copy of the weight."""

    def forward(self, x):
        return functional.linear(x, self.weight.clone().mul_(2.0), self.bias)


class Merged(nn.Module):
    """A linear layer with a product of two further ones added to its weight (LoRA)."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.base = nn.Linear(inputs, outputs)
        self.down, self.up = nn.Linear(inputs, 2, bias=False), nn.Linear(2, outputs, bias=False)

    def forward(self, x):
        added = self.up.weight @ self.down.weight
        return functional.linear(x, self.base.weight + 0.5 * added, self.base.bias)


class Cosine(nn.Linear):
    """A classifier by angles."""

    def forward(self, x):
        return functional.linear(functional.normalize(x), functional.normalize(self.weight))


class Stored(nn.Linear):
    """Sets its weight anew in each pass."""

    def forward(self, x):
        self.weight.data = self.weight.data.clamp(-1, 1)
        return super().forward(x)


def behind(layer):
    """Put ``layer`` between two plain ones."""
    first = nn.Sequential(nn.Conv2d(3, 4, 8), nn.Flatten())
    if isinstance(layer, nn.Conv2d):
        first = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1))
    rest = [nn.AdaptiveAvgPool2d(1), nn.Flatten()] if isinstance(layer, nn.Conv2d) else []
    return nn.Sequential(first, layer, *rest, nn.Linear(4, 10))


LAYERS = {
    "standardised": (lambda: Standardised(4, 4, 3), ["1.weight"]),
    "scaled": (lambda: Scaled(4, 4), ["1.weight"]),
    "scaled in place": (lambda: ScaledInPlace(4, 4), ["1.weight"]),
    "merged": (lambda: Merged(4, 4), ["1.base.weight", "1.down.weight", "1.up.weight"]),
    "cosine": (lambda: Cosine(4, 4), ["1.weight"]),
    "set anew": (lambda: Stored(4, 4), ["1.weight"]),
    "weight norm": (lambda: parametrizations.weight_norm(nn.Linear(4, 4)), ["1.weight"]),
    "spectral norm": (lambda: parametrizations.spectral_norm(nn.Conv2d(4, 4, 3)), ["1.weight"]),
    "orthogonal": (lambda: parametrizations.orthogonal(nn.Linear(4, 4)), ["1.weight"]),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("training", [True, False])
def test_a_weight_that_is_not_itself_multiplied_is_left_out_and_named(name, training):
    make, expected = LAYERS[name]
    model = behind(make()).train(training)
    left = find_prunable(model, SHAPE)
    assert sorted(left.computed) == sorted(expected)
    assert not left.unused
    assert not left.foreign
    kept = set(prunable_parameters(model))
    assert kept.isdisjoint(expected)
    assert kept == set(count_macs(model, torch.zeros(1, *SHAPE))[1])
    assert expected[0] in str(left)
    assert "compute other tensors" in str(left)
    whole = sum(p.numel() for n, p in model.named_parameters() if n in kept)
    lost = {"standardised": 144, "spectral norm": 144, "merged": 16 + 8 + 8}.get(name, 16)
    assert left.share == pytest.approx(lost / (lost + whole))


class Indirect(nn.Module):
    """Reads its layers' weights by functions, layouts, types and parts, but no other tensors."""

    def __init__(self):
        super().__init__()
        self.conv, self.line, self.parts = nn.Conv2d(3, 4, 8), nn.Linear(4, 4), nn.Linear(4, 8)
        self.wide, self.head = nn.Linear(4, 4), nn.Linear(4, 10)

    def forward(self, x):
        weight = self.conv.weight.to(memory_format=torch.channels_last)
        x = functional.conv2d(x, weight).flatten(1)
        x = functional.linear(x, self.line.weight.detach().mT.contiguous().mT.reshape(4, 4))
        x = sum(functional.linear(x, part) for part in self.parts.weight.split(4))
        x = functional.linear(x.double(), self.wide.weight.double()).float()
        own = torch.empty_like(self.head.weight).copy_(self.head.weight)
        return functional.linear(x, own)


def test_views_and_plain_copies_are_the_weight_itself():
    model = Indirect()
    assert not find_prunable(model, SHAPE)
    assert prunable_parameters(model).keys() == layer_weights(model).keys()


def test_what_the_forward_pass_does_not_use_is_left_out():
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 10))
    model[1].spare = nn.Linear(5, 6)
    left = find_prunable(model, SHAPE)
    assert left.unused == ("1.spare.weight",)
    assert list(prunable_parameters(model)) == ["1.weight"]
    assert str(left) == (
        "1.5 % of the weights are never pruned: 1.spare.weight (the forward pass does not use them)"
    )


def test_weights_of_other_kinds_of_layers_are_told():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = nn.GRU(3, 4, batch_first=True), nn.Linear(4, 10)
            self.query = nn.Parameter(torch.ones(1, 3))

        def forward(self, x):
            return self.head(self.rnn(x.flatten(2).mT * self.query)[0].mean(1))

    left = find_prunable(Recurrent(), SHAPE)
    assert left.foreign == ("rnn.weight_ih_l0", "rnn.weight_hh_l0")
    assert left.share == (36 + 48) / (36 + 48 + 40)


def test_a_layer_of_learned_queries_is_prunable_and_the_queries_are_not_its_weight():
    class Pool(nn.Module):
        def __init__(self):
            super().__init__()
            self.query, self.line = nn.Parameter(torch.ones(2, 3)), nn.Linear(3, 3)
            self.head = nn.Linear(2, 10)

        def forward(self, x):
            return self.head((self.line(self.query) @ x.flatten(2)).mean(2))

    model = Pool()
    assert not find_prunable(model, SHAPE)
    assert list(prunable_parameters(model)) == ["line.weight", "head.weight"]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Sequential(nn.Flatten(), Scaled(192, 10)), "has no weight that can be pruned: 100.0 %"),
        (nn.Sequential(nn.Flatten(), nn.BatchNorm1d(192)), "has no Conv or Linear weights"),
        (
            nn.Sequential(nn.Flatten(), parametrizations.weight_norm(nn.Linear(192, 10))),
            "all are computed of others",
        ),
    ],
)
def test_a_model_with_nothing_to_prune_is_refused(model, words):
    with pytest.raises(UsageError, match=words) as caught:
        find_prunable(model, SHAPE)
    assert caught.value.exit_code == 2


def test_two_parameters_of_one_memory_are_refused():
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 192), nn.Linear(192, 192))
    model[2].weight = nn.Parameter(model[1].weight.detach().t())
    with pytest.raises(UsageError, match=r"'1.weight' and '2.weight' share memory"):
        find_prunable(model, SHAPE)


def test_parameters_that_lie_side_by_side_in_one_memory_are_told_apart():
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 6), nn.ReLU(), Scaled(6, 6), nn.Linear(6, 4))
    vector = nn.utils.parameters_to_vector(model.parameters())
    nn.utils.vector_to_parameters(vector.detach(), model.parameters())
    assert find_prunable(model, SHAPE).computed == ("3.weight",)
    macs = {"1.weight": 192 * 6, "4.weight": 24}
    assert count_macs(model, torch.zeros(1, *SHAPE))[1] == macs


class Restless(nn.Module):
    """Draws numbers and writes to a buffer in eval mode too."""

    def __init__(self):
        super().__init__()
        self.line, self.plain = nn.Linear(192, 10), nn.Linear(10, 10)
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x):
        self.seen += 1
        return self.plain(self.line(x.flatten(1))) + torch.rand(1)


def test_finding_leaves_model_and_generators_as_they_were():
    model = nn.Sequential(Restless(), nn.Dropout()).train()
    model[0].line = parametrizations.spectral_norm(nn.Linear(192, 10))  # in train mode it learns
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    find_prunable(model, SHAPE)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert [m.training for m in model.modules() if isinstance(m, nn.Dropout)] == [False]
    assert all(module.training for module in model[0].modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_copies_and_wrappers_of_a_model_leave_out_the_same_weights():
    model = behind(Scaled(4, 4))
    find_prunable(model, SHAPE)
    kept = list(prunable_parameters(model))
    assert list(prunable_parameters(copy.deepcopy(model))) == kept
    wrapped = nn.Sequential(nn.Identity(), model)
    assert list(prunable_parameters(wrapped)) == [f"1.{name}" for name in kept]
    assert list(Masks.dense(model).weights) == kept


# --- one weight, several names ---------------------------------------------------------------


class Tied(nn.Module):
    """Images of 8 x 8 pixels; its weights go by two names each, the prunable one last.

    ``table`` is an embedding and a linear layer, ``widen`` a transposed convolution and a plain
    one, ``first`` and ``second`` two linear layers.
    """

    def __init__(self):
        super().__init__()
        self.table, self.widen = nn.Embedding(10, 8), nn.ConvTranspose2d(4, 1, 3, padding=1)
        self.narrow = nn.Conv2d(1, 4, 3, padding=1)
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)
        self.inner = nn.Linear(64, 8)
        self.head = nn.Linear(8, 10)
        self.narrow.weight, self.second.weight = self.widen.weight, self.first.weight
        self.head.weight = self.table.weight

    def forward(self, x):
        x = self.widen(torch.relu(self.narrow(x))).flatten(1)
        codes = (x.detach().abs().amax(1) * 10).long().clamp(0, 9)
        x = torch.relu(self.inner(x)) + self.table(codes)
        return self.head(torch.relu(self.second(torch.relu(self.first(x)))))


def make_run(config, tmp_path, build, memory=None):
    place = device.make_context("cpu", 1, False, "fp32")
    experiment, _ = assemble(config, place, Sources(tmp_path, tmp_path))

    def seeded(seed):
        torch.manual_seed(seed % 2**32)
        return build()

    return Run(replace(experiment, build=seeded), memory or InMemoryStore(), Silent())


NAMES = ["table.weight", "widen.weight", "first.weight", "inner.weight"]


def test_a_shared_weight_has_the_name_that_the_model_has_for_it():
    model = Tied()
    assert not find_prunable(model, (1, 8, 8))
    assert list(prunable_parameters(model)) == NAMES
    assert list(Masks.dense(model).ordered(model).weights) == NAMES
    assert count_macs(model, torch.zeros(1, 1, 8, 8))[1] == {
        "widen.weight": 2 * 64 * 36,
        "inner.weight": 64 * 8,
        "first.weight": 2 * 64,
        "table.weight": 80,
    }


@pytest.mark.parametrize(
    "options",
    [
        {"pruner": "magnitude:scope=layer"},
        {"pruner": "gradient:batches=1", "reg": ["l1:weight=1e-4"]},
        {"pruner": "random", "perturber": "rewind:step=2", "optimizer": "adam", "lr": 1e-3},
        {"pruner": "magnitude", "perturber": "reinit", "reg": ["l2:weight=1e-4"]},
        {"pruner": "magnitude", "redense_epochs": 1},
    ],
    ids=lambda options: options["pruner"],
)
def test_runs_with_shared_weights_keep_them_shared_and_their_zeros(tiny, tmp_path, options):
    memory = InMemoryStore()
    run = make_run(tiny(rounds=3, **options), tmp_path, Tied, memory)
    run.follow()
    assert [row["round"] for row in run.rows] == [0, 1, 2, 3]
    assert list(run.rows[-1]["sparsity_per_layer"]) == NAMES
    total = 80 + 36 + 64 + 512
    assert run.rows[0]["nonzero"] == total
    assert run.rows[3]["nonzero"] == pytest.approx(total * 0.8**3, abs=3)
    model = run.model
    for first, second in (("table", "head"), ("widen", "narrow"), ("first", "second")):
        assert getattr(model, first).weight is getattr(model, second).weight
    if "redense_epochs" not in options:
        parameters = dict(model.named_parameters())
        zeros = sum(int((parameters[name] == 0).sum()) for name in NAMES)
        assert zeros >= total - run.rows[3]["nonzero"]
        assert all(not parameters[n][~mask].any() for n, mask in run.masks.weights.items())


def test_a_run_with_shared_weights_goes_on_as_it_would_have(tiny, tmp_path):
    whole = make_run(tiny(rounds=3), tmp_path, Tied)
    whole.follow()
    memory = InMemoryStore()
    make_run(tiny(rounds=1), tmp_path, Tied, memory).follow()
    later = make_run(tiny(rounds=3), tmp_path, Tied, memory)
    later.follow()
    assert later.rows == whole.rows


# --- runs --------------------------------------------------------------------------------------


class Half(nn.Module):
    """One layer that can be pruned and one that cannot."""

    def __init__(self):
        super().__init__()
        self.scaled, self.head = Scaled(64, 8), nn.Linear(8, 10)

    def forward(self, x):
        return self.head(torch.relu(self.scaled(x.flatten(1))))


def test_a_run_logs_once_what_it_leaves_out(tiny, tmp_path):
    memory = InMemoryStore()
    run = make_run(tiny(rounds=1), tmp_path, Half, memory)
    run.follow()
    (note,) = [line for line in memory.lines if "never pruned" in line]
    assert note.startswith("86.5 % of the weights are never pruned: scaled.weight (")
    assert run.rows[1]["nonzero"] == 64
    assert list(run.rows[1]["sparsity_per_layer"]) == ["head.weight"]
    assert run.rows[1]["macs_effective"] == 512 + 64
    later = make_run(tiny(rounds=2), tmp_path, Half, memory)
    told = list(memory.lines)
    later.follow()
    assert memory.lines == told
    assert list(later.rows[2]["sparsity_per_layer"]) == ["head.weight"]


def test_a_run_with_nothing_to_prune_is_refused(tiny, tmp_path):
    run = make_run(tiny(), tmp_path, lambda: nn.Sequential(nn.Flatten(), Scaled(64, 10)))
    with pytest.raises(UsageError, match=r"no weight that can be pruned.*1\.weight"):
        run.follow()


def test_rounds_that_were_counted_otherwise_are_not_gone_on_from(tiny, tmp_path):
    memory = InMemoryStore()
    run = make_run(tiny(rounds=1), tmp_path, Tied, memory)
    run.follow()
    run.rows[1]["macs_effective"] += 1
    run._save(run._phase(1), training_done=True)
    with pytest.raises(
        UsageError, match=r"4,929 of 5,328 .* counts 4,928 .* begin anew with --force"
    ):
        make_run(tiny(rounds=2), tmp_path, Tied, memory).follow()


def test_the_command_tells_what_is_left_out(command, monkeypatch):
    monkeypatch.setattr(MLPFactory, "build", lambda *_, **__: Half())
    words = ["--dataset", TINY["dataset"], "--rounds", "1", "--epochs", "1", "--seeds", "0"]
    code, out, err = command("run", *words, "--executor", "inline")
    assert code == 0
    told = "86.5 % of the weights are never pruned: scaled.weight (their layers compute other"
    assert told in " ".join((out + err).split())
    (log,) = Path("runs").glob("*/log.txt")
    assert log.read_text().count(told) == 1


def test_the_command_refuses_a_model_with_nothing_to_prune(command, monkeypatch):
    model = nn.Sequential(nn.Flatten(), Scaled(64, 10))
    monkeypatch.setattr(MLPFactory, "build", lambda *_, **__: model)
    code, _, err = command("run", "--rounds", "1", "--executor", "inline")
    assert code == 2
    assert "Sequential has no weight that can be pruned: 100.0 % of the" in err


def test_masks_of_other_weights_are_not_taken_for_these(tiny, tmp_path):
    model = Half()
    masks = Masks.dense(model)
    leave_out(model, ["scaled.weight"])
    with pytest.raises(RunError, match=r"see scaled\.weight\); --force begins a run anew"):
        masks.ordered(model)

"""Distillation, penalties and dropout against closed forms and torch's own layers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dsd_bench.errors import UsageError
from dsd_bench.params import validate
from dsd_bench.regularizers import Step, TrainingView
from dsd_bench.regularizers.builtin import register_regularizers
from dsd_bench.regularizers.distillation import distillation

COMPONENTS = {component.name: component for component in register_regularizers()}


def make(name, **values):
    component = COMPONENTS[name]
    return component.create(validate(component.params, values, name))


def view(model, teacher=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return TrainingView(model, 0, torch.device("cpu"), generator, teacher)


def step(logits, index=None):
    count = len(logits)
    index = torch.arange(count) if index is None else index
    return Step(torch.zeros(count, 1, 2, 2), torch.zeros(count, dtype=torch.int64), index, logits)


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))


# --- distillation ---------------------------------------------------------------------------


def kl_by_hand(student, teacher, tau):
    def softmax(row):
        powers = [math.exp(x / tau) for x in row]
        return [power / sum(powers) for power in powers]

    rows = [
        sum(p * math.log(p / q) for p, q in zip(softmax(t), softmax(s)))
        for s, t in zip(student, teacher)
    ]
    return sum(rows) / len(rows)


logit_rows = st.lists(
    st.lists(st.floats(-20, 20, width=32), min_size=3, max_size=3), min_size=2, max_size=2
)


@given(logit_rows, logit_rows, st.sampled_from([1.0, 4.0, 10.0]))
def test_distillation_is_the_closed_form(student, teacher, tau):
    got = distillation(torch.tensor(student), torch.tensor(teacher), tau).item()
    assert got == pytest.approx(tau**2 * kl_by_hand(student, teacher, tau), rel=1e-4, abs=2e-4)


def test_distillation_agrees_with_torchs_loss():
    student, teacher = torch.randn(2, 7, 5, generator=torch.Generator().manual_seed(1))
    reference = nn.KLDivLoss(reduction="batchmean")(
        torch.log_softmax(student / 3, 1), torch.softmax(teacher / 3, 1)
    )
    assert distillation(student, teacher, 3.0).item() == pytest.approx(9 * reference.item())


def test_kd_mixes_the_loss_before_it_with_the_teachers_part():
    student, teacher = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, -1.0]])
    kd = make("kd", alpha=0.3, temperature=2.0)
    kd.begin(view(mlp(), lambda images, index: teacher))
    got = kd.loss(torch.tensor(5.0), step(student)).item()
    assert got == pytest.approx(0.7 * 5 + 0.3 * 4 * kl_by_hand([[1, 2]], [[3, -1]], 2))


def test_kd_defaults_are_the_papers():
    params = COMPONENTS["kd"].params()
    assert (params.alpha, params.temperature, params.teacher) == (0.8, 10, "best")  # type: ignore[attr-defined]
    assert COMPONENTS["kd"].teacher


def test_kd_asks_the_teacher_about_the_steps_samples():
    table = torch.randn(5, 3, generator=torch.Generator().manual_seed(2))
    kd = make("kd", alpha=1)
    kd.begin(view(mlp(), lambda images, index: table[index]))
    index = torch.tensor([4, 1])
    assert kd.loss(torch.tensor(1.0), step(table[index], index)).item() == pytest.approx(
        0, abs=1e-5
    )
    assert kd.loss(torch.tensor(1.0), step(table[:2], index)).item() > 0.001


def test_no_gradient_reaches_the_teacher():
    student, teacher = torch.randn(2, 3, 4).unbind()
    student, teacher = student.requires_grad_(), teacher.requires_grad_()
    distillation(student, teacher, 10.0).backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


def test_distillation_is_float32_under_autocast():
    student, teacher = torch.randn(2, 8, 5, generator=torch.Generator().manual_seed(3)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        got = distillation(student, teacher, 10.0)
    assert got.dtype == torch.float32
    assert torch.equal(got, distillation(student.float(), teacher.float(), 10.0))


@pytest.mark.parametrize("teacher", ["best", "dense", "0a1f", "f" * 64])
def test_teachers_that_are_known(teacher):
    assert make("kd", teacher=teacher).params.teacher == teacher


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"teacher": "bset"}, "did you mean 'best'"),
        ({"teacher": "runs/xyz"}, "a run's id"),
        ({"alpha": 1.1}, "alpha"),
        ({"temperature": 0}, "temperature"),
    ],
)
def test_kd_refuses(values, words):
    with pytest.raises(UsageError, match=words):
        make("kd", **values)


# --- penalties ------------------------------------------------------------------------------


class Mixed(nn.Module):
    """A convolution, a batch-norm and a linear layer: 2 of 6 parameters are prunable."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.norm = nn.BatchNorm2d(2)
        self.head = nn.Linear(2, 3)


@pytest.mark.parametrize(
    ("name", "size", "slope"),
    [("l1", torch.abs, torch.sign), ("l2", torch.square, lambda w: 2 * w)],
)
def test_penalty_and_its_gradient(name, size, slope):
    model = Mixed()
    penalty = make(name, weight=0.01)
    penalty.begin(view(model))
    loss = penalty.loss(torch.tensor(2.0), step(torch.zeros(1, 3)))
    weights = (model.conv.weight, model.head.weight)
    expected = 2.0 + 0.01 * sum(size(w).sum().item() for w in weights)
    assert loss.item() == pytest.approx(expected)
    loss.backward()
    for weight in weights:
        torch.testing.assert_close(weight.grad, 0.01 * slope(weight.detach()))
    others = (model.conv.bias, model.norm.weight, model.norm.bias, model.head.bias)
    assert all(p.grad is None for p in others)


def test_l1_leaves_pruned_weights_alone():
    model = mlp()
    with torch.no_grad():
        model[1].weight[0] = 0
    l1 = make("l1", weight=1.0)
    l1.begin(view(model))
    l1.loss(torch.tensor(0.0), step(torch.zeros(1, 3))).backward()
    assert model[1].weight.grad[0].eq(0).all()
    assert model[1].weight.grad[1].abs().eq(1).all()


def test_penalty_defaults_are_the_contracts():
    assert COMPONENTS["l1"].params().weight == 1e-5  # type: ignore[attr-defined]
    assert COMPONENTS["l2"].params().weight == 1e-4  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="weight"):
        make("l1", weight=-1)


# --- dropout --------------------------------------------------------------------------------


def test_dropout_drops_the_classifiers_input_and_scales_the_rest():
    model, seen = mlp(), {}
    dropout = make("dropout", p=0.25)
    dropout.begin(view(model))
    model[3].register_forward_hook(lambda layer, inputs, out: seen.update(dropped=inputs[0]))
    model[2].register_forward_hook(lambda layer, inputs, out: seen.update(whole=out + 1))
    model[2].register_forward_hook(lambda layer, inputs, out: out + 1)
    model(torch.rand(4000, 1, 2, 2))
    gone = seen["dropped"] == 0
    assert gone.float().mean().item() == pytest.approx(0.25, abs=0.01)
    torch.testing.assert_close(seen["dropped"][~gone], seen["whole"][~gone] / 0.75)


def test_dropout_touches_nothing_but_the_last_linear_layer():
    model, seen = mlp(), []
    dropout = make("dropout", p=0.9)
    dropout.begin(view(model))
    model[1].register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    images = torch.rand(5, 1, 2, 2)
    model(images)
    assert torch.equal(seen[0], images.flatten(1))


def test_dropout_is_off_in_eval_mode():
    model, images = mlp(), torch.rand(5, 1, 2, 2)
    dropout = make("dropout")
    dropout.begin(view(model))
    model.eval()
    assert torch.equal(model(images), mlp()(images))


def test_dropout_draws_from_its_own_generator():
    images = torch.rand(5, 1, 2, 2)
    outputs = []
    for seed in (0, 0, 1):
        model = mlp()
        dropout = make("dropout")
        dropout.begin(view(model, seed=seed))
        state = torch.get_rng_state()
        outputs.append(model(images))
        assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


def test_dropout_ends_without_a_trace():
    model, images = mlp(), torch.rand(5, 1, 2, 2)
    dropout = make("dropout")
    dropout.begin(view(model))
    dropout.end()
    dropout.end()
    assert torch.equal(model(images), mlp()(images))
    assert not model[3]._forward_pre_hooks


def test_dropout_needs_a_linear_layer():
    with pytest.raises(UsageError, match="no linear layer"):
        make("dropout").begin(view(nn.Sequential(nn.Conv2d(1, 3, 3))))


@pytest.mark.parametrize("p", [1.0, -0.1])
def test_dropout_refuses(p):
    with pytest.raises(UsageError, match="p="):
        make("dropout", p=p)

"""Optimisers of two passes against a plain loop, taken up again, in parts, and in the costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_training import Make, Stop, experiment, half_masks
from torch import Tensor, nn
from torch.nn import functional
from two_passes import Ours, Torchs, brought_back, climbed

from dsd_bench import Component, RunConfig
from dsd_bench.costs.counting import Sizes, count_model
from dsd_bench.costs.expected import expected_cost
from dsd_bench.costs.ledger import training_cost
from dsd_bench.errors import RunError, UsageError
from dsd_bench.experiment.assemble import Sources
from dsd_bench.experiment.checks import check_runs
from dsd_bench.experiment.settings import Settings
from dsd_bench.optimizers import Optimizer, OptimizerView
from dsd_bench.optimizers.plain import built
from dsd_bench.optimizers.wrapping import Torch, as_stepping
from dsd_bench.params import Params
from dsd_bench.plugins import Registration, catalogue
from dsd_bench.seeds import torch_stream
from dsd_bench.training.loop import Training


def start(
    config: RunConfig, tmp_path: Path, kind: type[Optimizer], model: nn.Module | None = None
) -> Training:
    made = experiment(config, tmp_path)
    setup = dataclasses.replace(made.setup, optimizer=kind(Params()))
    model = made.build(7) if model is None else model
    masks = half_masks(model)
    masks.apply(model)
    return Training(setup, model, masks, 1)


class Normed(nn.Sequential):
    """Has batch norms, one of which counts its batches."""

    def __init__(self) -> None:
        torch.manual_seed(3)
        super().__init__(
            nn.Conv2d(1, 6, 3),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(216, 10),
            nn.BatchNorm1d(10, momentum=None),
        )


@pytest.mark.parametrize("kind", [Torchs, Ours])
@pytest.mark.parametrize("clip", [None, 0.2])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_equals_a_plain_loop(
    tiny: Make, tmp_path: Path, kind: type[Optimizer], clip: float | None, layout: str
) -> None:
    """Pruned weights stay zero; batch norms remember the first pass alone."""
    config = tiny(epochs=2, lr=0.05, clip_norm=clip, milestones=())
    net, plain = Normed(), Normed()
    if layout == "nhwc":  # batch norms of our own
        from dsd_bench.training.batch_norm import make_exact

        make_exact(net.to(memory_format=torch.channels_last))
    training = start(config, tmp_path, kind, net)
    training.masks.apply(plain)
    training.run(lambda t: None)

    data, protocol = training.setup.data, config.protocol
    parameters = list(plain.parameters())
    optimizer = torch.optim.SGD(
        parameters, lr=protocol.lr, momentum=0.9, weight_decay=protocol.weight_decay
    )

    def gradients(index: Tensor) -> None:
        optimizer.zero_grad()
        images = data.normalise(data.train.gather(index))
        functional.cross_entropy(plain(images), data.train.labels[index]).backward()  # type: ignore[no-untyped-call]
        for name, p in plain.named_parameters():
            if name in training.masks.weights and p.grad is not None:
                p.grad *= training.masks.weights[name]

    for epoch in range(2):
        draw = torch_stream("cpu", config.seed, "round", 1, "order", epoch)
        for index in torch.randperm(60, generator=draw).split(20):
            gradients(index)
            seen = {name: tensor.clone() for name, tensor in plain.named_buffers()}
            before = climbed(parameters)
            gradients(index)
            brought_back(parameters, before)
            for name, tensor in plain.named_buffers():
                tensor.copy_(seen[name])
            if clip:
                nn.utils.clip_grad_norm_(parameters, clip)
            optimizer.step()
    for name, tensor in net.state_dict().items():
        torch.testing.assert_close(tensor, plain.state_dict()[name], rtol=2e-5, atol=2e-6)
        if name in training.masks.weights:
            assert not tensor[~training.masks.weights[name]].any()
    assert all(m.track_running_stats for m in net.modules() if hasattr(m, "track_running_stats"))


@pytest.mark.parametrize("kind", [Torchs, Ours])
@pytest.mark.parametrize("after", [1, 3, 5])
def test_taken_up_again_it_ends_with_the_same_bits(
    tiny: Make, tmp_path: Path, kind: type[Optimizer], after: int
) -> None:
    config = tiny(epochs=2, reg=["dropout:0.3"])
    whole = start(config, tmp_path, kind)
    whole.run(lambda t: None)
    cut, kept = start(config, tmp_path, kind), dict[str, Any]()

    def stop(now: Training) -> None:
        if now.steps_done == after:
            kept["tensors"] = {k: v.clone() for k, v in now.tensors().items()}
            kept["cursor"] = {**vars(now.cursor)}
            raise Stop

    with pytest.raises(Stop):
        cut.run(stop)
    again = start(config, tmp_path, kind)
    state = {k.removeprefix("model/"): v for k, v in kept["tensors"].items() if k[:6] == "model/"}
    again.model.load_state_dict(state)
    again.resume(kept["cursor"], kept["tensors"])
    again.run(lambda t: None)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name])


def test_in_parts_both_passes_are_of_the_whole_batch(tiny: Make, tmp_path: Path) -> None:
    whole = start(tiny(epochs=2), tmp_path, Ours)
    parts = start(tiny(epochs=2), tmp_path, Ours)
    parts.setup.context.change("told so", micro_batch=7)
    for training in (whole, parts):
        training.run(lambda t: None)
    for name, tensor in whole.model.state_dict().items():
        other = parts.model.state_dict()[name]
        torch.testing.assert_close(tensor, other, rtol=1e-4, atol=1e-6)


def test_regularizers_know_the_second_pass(tiny: Make, tmp_path: Path) -> None:
    training, seen = start(tiny(epochs=1, reg=["l2"]), tmp_path, Ours), list[bool]()
    loss = training.regularizers[0].loss

    def watched(value: Tensor, step: Any) -> Tensor:
        seen.append(step.again)
        return loss(value, step)

    training.regularizers[0].loss = watched  # type: ignore[method-assign]
    training.run(lambda t: None)
    assert seen == [False, True] * 3


def test_a_failing_second_pass_leaves_batch_norms_as_they_were(tiny: Make, tmp_path: Path) -> None:
    net = Normed()
    training = start(tiny(epochs=1), tmp_path, Ours, net)
    real = training.stepper._whole_gradients

    def failing(*words: Any) -> None:
        if training.stepper._again:
            assert not any(m.track_running_stats for m in (net[1], net[5]))
            raise ValueError("midway")
        real(*words)

    training.stepper._whole_gradients = failing  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="midway"):
        training.run(lambda t: None)
    assert all(m.track_running_stats for m in (net[1], net[5]))
    assert all(p.grad is None for p in net.parameters())


class Odd(torch.optim.SGD):
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        super().step()
        for p in self.param_groups[0]["params"]:
            self.state[p]["history"] = [1]


def test_a_state_that_no_checkpoint_can_hold_is_refused() -> None:
    weight = nn.Parameter(torch.ones(2))
    weight.grad = torch.ones(2)
    made = as_stepping(Odd([weight], lr=0.1))
    made.step()
    with pytest.raises(RunError, match="Odd: its state has a list as '0/history'"):
        made.state()


def test_what_is_built_has_the_passes_of_what_it_is_made_of() -> None:
    view = OptimizerView([nn.Parameter(torch.ones(1))], 0.1, 0.9, 0.0)
    assert hasattr(as_stepping(Torchs(Params()).build(view)), "ascend")
    assert hasattr(as_stepping(Ours(Params()).build(view)), "ascend")
    assert not hasattr(built("sgd", view), "ascend")
    assert isinstance(built("adam", view), Torch)


@pytest.fixture
def sam(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Register the optimiser ``sam``, declared to have that many passes."""

    def register(passes: int) -> None:
        component = Component("sam", "two_passes:Ours", "climbs first", passes=passes)
        entry = Registration("optimizer", component, "dsd-bench-other")
        monkeypatch.setitem(catalogue()._entries, ("optimizer", "sam"), entry)

    return register


def test_two_passes_cost_twice(tiny: Make, sam: Callable[[int], None]) -> None:
    sam(2)
    plain, twice = tiny(reg="kd"), tiny(reg="kd", optimizer="sam")
    one, two = expected_cost(plain), expected_cost(twice)
    assert one is not None
    assert two is not None
    assert (two.forward, two.backward) == (2 * one.forward, 2 * one.backward)
    assert (two.teaching, two.images) == (2 * one.teaching, one.images)
    sizes = Sizes((1, 8, 8), 10, 60, 687)
    counted = count_model(plain.model, sizes.shape, 10)
    row = {"round": 1, "sparsity": 0.5, "sparsity_per_layer": dict.fromkeys(counted.prunable, 0.5)}
    costs = [training_cost(c, row, counted, sizes, (3, 2)) for c in (plain, twice)]
    for key in ("forward", "backward", "forward_effective", "backward_effective", "teaching"):
        assert getattr(costs[1], key) == 2 * getattr(costs[0], key)
    assert costs[1].teaching_effective == 2 * (costs[0].teaching_effective or 0)


def test_passes_are_those_that_are_declared(
    tiny: Make, sam: Callable[[int], None], tmp_path: Path
) -> None:
    sources = Sources(tmp_path, tmp_path)
    sam(2)
    check_runs([tiny(optimizer="sam")], sources, Settings())
    sam(1)
    with pytest.raises(UsageError, match=r"has 2 passes a step.*declares 1.*passes=2"):
        check_runs([tiny(optimizer="sam")], sources, Settings())


@pytest.mark.parametrize("passes", [0, 3, True, "2"])
def test_other_numbers_of_passes_are_refused(passes: Any) -> None:
    with pytest.raises(ValueError, match="passes="):
        Component("sam", "two_passes:Ours", "climbs first", passes=passes)

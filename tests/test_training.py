"""The engine against a plain loop with torch's own pruning, and against itself taken up again."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune

from dsd_bench import RunConfig
from dsd_bench.errors import Diverged
from dsd_bench.experiment.assemble import Sources, assemble
from dsd_bench.experiment.parts import Experiment
from dsd_bench.masks import Masks
from dsd_bench.seeds import torch_stream
from dsd_bench.training import device
from dsd_bench.training.distributed import Team
from dsd_bench.training.gathering import Gatherer
from dsd_bench.training.loop import Training
from dsd_bench.training.schedule import smallest_batch, steps_per_epoch

Make = Callable[..., RunConfig]


def experiment(config: RunConfig, tmp_path: Path) -> Experiment:
    place = device.make_context("cpu", 1, False, config.protocol.precision)
    return assemble(config, place, Sources(tmp_path, tmp_path))[0]


def half_masks(model: nn.Module) -> Masks:
    draw = torch.Generator().manual_seed(1)
    dense = Masks.dense(model)
    return Masks({n: torch.rand(m.shape, generator=draw) < 0.5 for n, m in dense.weights.items()})


def start(config: RunConfig, tmp_path: Path, round: int = 1) -> Training:
    made = experiment(config, tmp_path)
    model = made.build(7)
    masks = half_masks(model)
    masks.apply(model)
    return Training(made.setup, model, masks, round)


def test_equals_a_plain_loop_with_torch_pruning(tiny: Make, tmp_path: Path) -> None:
    config = tiny(epochs=4)
    training = start(config, tmp_path)
    plain = experiment(config, tmp_path).build(7)
    for name, mask in training.masks.weights.items():
        prune.custom_from_mask(plain.get_submodule(name.removesuffix(".weight")), "weight", mask)
    training.run(lambda t: None)

    data, protocol = training.setup.data, config.protocol
    optimizer = torch.optim.SGD(
        plain.parameters(), lr=protocol.lr, momentum=0.9, weight_decay=protocol.weight_decay
    )
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 3], gamma=0.1)
    images = data.train.images.float() * data.scale + data.shift_by  # type: ignore[attr-defined]
    for epoch in range(4):
        draw = torch_stream("cpu", config.seed, "round", 1, "order", epoch)
        for index in torch.randperm(60, generator=draw).split(20):
            optimizer.zero_grad()
            loss = functional.cross_entropy(plain(images[index]), data.train.labels[index])
            loss.backward()
            optimizer.step()
        schedule.step()
    state = training.model.state_dict()
    for name, mask in training.masks.weights.items():
        module = plain.get_submodule(name.removesuffix(".weight"))
        pruned = module.weight_orig.detach() * mask
        torch.testing.assert_close(state[name], pruned, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(
            state[name.replace("weight", "bias")], module.bias.detach(), rtol=1e-5, atol=1e-7
        )


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_pruned_weights_and_their_momentum_stay_zero(
    tiny: Make, tmp_path: Path, optimizer: str
) -> None:
    training = start(tiny(optimizer=optimizer, reg=["l1:0.01", "l2:0.01"]), tmp_path)
    places = {name: str(i) for i, (name, _) in enumerate(training.model.named_parameters())}
    seen = []

    def check(now: Training) -> None:
        parameters, state = dict(now.model.named_parameters()), now.optimizer.state()
        for name, mask in now.masks.weights.items():
            assert not parameters[name][~mask].any()
            for key, value in state.items():
                if key.split("/")[0] == places[name] and getattr(value, "shape", ()) == mask.shape:
                    seen.append(name)
                    assert not value[~mask].any()
                    assert value.any()

    training.run(check)
    assert set(seen) == set(training.masks.weights)


@pytest.mark.parametrize("norm", [0.3, 100.0])
def test_gradients_are_clipped_as_by_torch(tiny: Make, tmp_path: Path, norm: float) -> None:
    """Against a plain loop: pruned weights' gradients are no part of the norm."""
    config = tiny(epochs=3, clip_norm=norm, milestones=())
    training = start(config, tmp_path)
    plain = experiment(config, tmp_path).build(7)
    kept = {n: training.masks.weights.get(n) for n, _ in plain.named_parameters()}
    training.masks.apply(plain)
    training.run(lambda t: None)

    data, protocol = training.setup.data, config.protocol
    optimizer = torch.optim.SGD(
        plain.parameters(), lr=protocol.lr, momentum=0.9, weight_decay=protocol.weight_decay
    )
    norms = []
    for epoch in range(3):
        draw = torch_stream("cpu", config.seed, "round", 1, "order", epoch)
        for index in torch.randperm(60, generator=draw).split(20):
            optimizer.zero_grad()
            images = data.normalise(data.train.gather(index))
            functional.cross_entropy(plain(images), data.train.labels[index]).backward()  # type: ignore[no-untyped-call]
            for name, p in plain.named_parameters():
                assert p.grad is not None
                if (mask := kept[name]) is not None:
                    p.grad *= mask
            norms.append(float(torch.nn.utils.clip_grad_norm_(plain.parameters(), norm)))
            optimizer.step()
    assert (max(norms) > norm) == (norm < 1)
    for name, tensor in training.model.state_dict().items():
        torch.testing.assert_close(tensor, plain.state_dict()[name], rtol=1e-5, atol=1e-7)


class Stop(Exception):
    pass


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("reg", [["dropout:0.3", "augment:shift+cutout"], ["dropout:0.3"]])
@pytest.mark.parametrize("after", [1, 3, 4, 8])
def test_taken_up_again_it_ends_with_the_same_bits(
    tiny: Make, tmp_path: Path, after: int, reg: list[str], optimizer: str
) -> None:
    config = tiny(epochs=3, optimizer=optimizer, reg=reg)
    whole = start(config, tmp_path)
    whole.run(lambda t: None)
    cut = start(config, tmp_path)
    kept = {}

    def stop(now: Training) -> None:
        if now.steps_done == after:
            kept["tensors"] = {k: v.clone() for k, v in now.tensors().items()}
            kept["cursor"] = {**vars(now.cursor)}
            raise Stop

    with pytest.raises(Stop):
        cut.run(stop)
    torch.rand(5)  # whatever happens in between must not matter
    again = start(config, tmp_path)
    state = {k.removeprefix("model/"): v for k, v in kept["tensors"].items() if k[:6] == "model/"}
    again.model.load_state_dict(state)
    again.resume(kept["cursor"], kept["tensors"])
    again.run(lambda t: None)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name])


def test_divergence_is_an_error(tiny: Make, tmp_path: Path) -> None:
    with pytest.raises(Diverged, match="smaller --lr"):
        start(tiny(lr=1e9), tmp_path).run(lambda t: None)


@pytest.mark.parametrize(
    ("samples", "batch", "steps"),
    [(100, 10, 10), (101, 10, 10), (102, 10, 11), (109, 10, 11), (5, 9, 1), (9, 9, 1)],
)
def test_steps_per_epoch(samples: int, batch: int, steps: int) -> None:
    assert steps_per_epoch(samples, min(batch, samples)) == steps
    seen = torch.arange(samples).split(batch)[:steps]
    assert smallest_batch(samples, batch) == min(len(some) for some in seen)


def test_cached_teacher_answers_equal_computed_ones(tiny: Make, tmp_path: Path) -> None:
    training = start(tiny(), tmp_path)
    teacher = experiment(tiny(), tmp_path).build(9).eval()
    index = torch.tensor([3, 1, 4])
    assert training.inputs is not None
    answer = training._teacher(teacher)(training.inputs[index], index)
    torch.testing.assert_close(answer, teacher(training.inputs[index]).detach())


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("chunk", [0, 2 * 20 * 3 * 16 * 4, 2**23])
def test_gathered_batches_are_those_of_the_order(
    memory_format: torch.memory_format, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dsd_bench.training.gathering.CHUNK", chunk)
    inputs = torch.randn(50, 3, 4, 4).contiguous(memory_format=memory_format)
    labels = torch.arange(50) * 7
    gatherer = Gatherer(inputs, labels, 20, memory_format)
    for first in (0, 1, 2, 0):
        order = torch.randperm(50)
        place = first
        for images, given, index in gatherer.batches(order, first, 3):
            expected = order[place * 20 : (place + 1) * 20]
            assert torch.equal(index, expected)
            assert torch.equal(images, inputs[expected])
            assert torch.equal(given, labels[expected])
            assert images.is_contiguous(memory_format=memory_format)
            place += 1
        assert place == 3


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_images_of_one_channel_lie_as_in_fresh_memory(memory_format: torch.memory_format) -> None:
    """Strides that could be either layout's decide which convolution runs, and so how it rounds."""
    inputs = torch.randn(6, 1, 4, 4)
    order = torch.randperm(6)
    wanted = inputs.index_select(0, order).contiguous(memory_format=memory_format)
    (got, _, _), *_ = Gatherer(inputs, torch.arange(6), 6, memory_format).batches(order, 0, 1)
    assert got.stride() == wanted.stride()


@pytest.mark.parametrize(("pixels", "together"), [(16, True), (9, False)])
def test_every_batch_begins_on_a_cache_line(pixels: int, together: bool) -> None:
    """Matrix products round by where their input lies, so it must not matter what was gathered."""
    inputs = torch.randn(60, 1, 1, pixels)
    gatherer = Gatherer(inputs, torch.arange(60), 20, torch.contiguous_format)
    batches = gatherer.batches(torch.arange(60), 0, 3)
    assert all(images.data_ptr() % 64 == 0 for images, _, _ in batches)
    assert (gatherer.together > 1) == together


class Half(Team):
    """One of two processes, whose sums are this process's own."""

    def all_reduce(self, value: torch.Tensor) -> torch.Tensor:
        return value

    def wrap_ddp(self, model: nn.Module) -> nn.Module:
        return model


def test_a_process_of_several_takes_its_share_of_every_batch(tiny: Make, tmp_path: Path) -> None:
    seen: dict[int, list[tuple[torch.Tensor, ...]]] = {}
    for rank in (0, 1):
        training = start(tiny(epochs=1), tmp_path)
        training.team = Half(rank, 2)
        seen[rank] = []

        def note(images: torch.Tensor, *rest: Any, mine: int = rank) -> None:
            labels, index, targets, whole = rest
            assert (targets, whole) == (None, 20)
            seen[mine].append((images, labels, index))

        training.step = note
        training.run(lambda t: None)
    alone = list(start(tiny(epochs=1), tmp_path)._batches(0, 0))
    for batch, *shares in zip(alone, seen[0], seen[1], strict=True):
        assert len(shares[0][0]) == len(shares[1][0]) == 10
        for whole, *parts in zip(batch, *shares, strict=True):
            assert torch.equal(torch.cat(parts), whole)


def test_a_network_learns_in_train_mode_and_is_left_to_be_measured(
    tiny: Make, tmp_path: Path
) -> None:
    training, seen = start(tiny(epochs=1), tmp_path), list[bool]()
    training.model.eval()  # as the round before left it
    training.run(lambda t: seen.append(t.model.training))
    assert seen == [True] * 3
    assert not training.model.training


def test_a_checkpoint_that_was_taken_up_does_not_stay_in_memory(tiny: Make, tmp_path: Path) -> None:
    training = start(tiny(epochs=1), tmp_path)
    tensors = {name: tensor.clone() for name, tensor in training.tensors().items()}
    held = weakref.ref(tensors["model/1.weight"])
    training.resume({**vars(training.cursor)}, tensors)
    del tensors
    alive: list[bool] = []
    training.run(lambda t: alive.append(held() is not None))
    assert alive == [False] * 3

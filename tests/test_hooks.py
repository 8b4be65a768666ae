"""What a regularizer may do beside adding to the loss: replace it, mix batches, see epochs."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import InMemoryStore
from test_protocol import make_run
from test_stepping import Tight, batches, stepper, weights
from test_training import Half, experiment
from torch import Tensor, nn
from torch.nn import functional

from dsd_bench import Component, Params, RunConfig, hookimpl
from dsd_bench.errors import Interrupted, RunError, UsageError
from dsd_bench.experiment.assemble import Sources
from dsd_bench.experiment.chain import check_chain
from dsd_bench.experiment.checks import check_runs
from dsd_bench.experiment.measure import measure_view
from dsd_bench.experiment.settings import Settings
from dsd_bench.masks import Masks
from dsd_bench.plugins import catalogue
from dsd_bench.regularizers import EpochView, MixBatch, Regularizer, Step, TrainingView
from dsd_bench.seeds import torch_stream
from dsd_bench.training.cuda_graph import WARM, GraphedStep
from dsd_bench.training.loop import Training
from dsd_bench.training.mixing import Mixer, augmenter
from dsd_bench.training.setup import ActiveRegularizer

Make = Callable[..., RunConfig]


class Squared(Regularizer):
    """Replaces cross-entropy by the squared distance of probabilities to targets."""

    def criterion(self, step: Step) -> Tensor:
        classes = step.logits.shape[1]
        labels = functional.one_hot(step.labels, classes).float()
        wanted = labels if step.targets is None else step.targets
        return (step.logits.float().softmax(1) - wanted).square().sum(1).mean()


class Same(Regularizer):
    def criterion(self, step: Step) -> Tensor:
        return functional.cross_entropy(step.logits.float(), step.labels)


class Blend(Regularizer):
    """Mixes each image with the one before it in its batch."""

    def mix(self, batch: MixBatch) -> MixBatch:
        return replace(
            batch,
            images=0.7 * batch.images + 0.3 * batch.images.roll(1, 0),
            targets=0.7 * batch.targets + 0.3 * batch.targets.roll(1, 0),
        )


class Noised(Regularizer):
    """Mixes in what it draws, so that each step needs the generator as it was."""

    def begin(self, view: TrainingView) -> None:
        self.generator = view.generator

    def mix(self, batch: MixBatch) -> MixBatch:
        draw = torch.rand(batch.images.shape, generator=self.generator)
        return replace(batch, images=batch.images + draw)


class Marked(Regularizer):
    """Paints the label into the first pixel."""

    def batch(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        assert labels is not None
        images = images.clone()
        images[:, 0, 0, 0] = labels.to(torch.uint8)
        return images


class Old(Regularizer):
    """Takes images alone."""

    def batch(self, images: Tensor) -> Tensor:  # type: ignore[override]
        return 255 - images


class Remembers(Regularizer):
    """Weighs each sample by how often it was seen, and all by the epochs so far."""

    def begin(self, view: TrainingView) -> None:
        assert (view.samples, view.classes) == (60, 10)
        if not hasattr(self, "seen"):
            self.seen = torch.zeros(view.samples)
        self.epochs = torch.ones(())

    def loss(self, loss: Tensor, step: Step) -> Tensor:
        self.seen[step.index] += 1
        each = functional.cross_entropy(step.logits.float(), step.labels, reduction="none")
        return loss + self.epochs * (each * self.seen[step.index]).mean()

    def epoch(self, view: EpochView) -> None:
        self.epochs.div_(view.epoch + view.round)

    def state(self) -> dict[str, Tensor]:
        return {"seen": self.seen, "epochs": self.epochs} if hasattr(self, "seen") else {}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        self.seen, self.epochs = tensors["seen"], tensors["epochs"]


class Plugin:
    @hookimpl
    def register_regularizers(self) -> list[Component]:
        of = (Squared, Same, Blend, Noised, Marked, Old, Remembers)
        return [Component(c.__name__.lower(), f"{__name__}:{c.__name__}", "test") for c in of]


@pytest.fixture(autouse=True)
def plugin() -> Any:
    catalogue.cache_clear()
    catalogue().add(Plugin(), "dsd-bench-test")
    yield
    catalogue.cache_clear()


def start(config: RunConfig, tmp_path: Path) -> Training:
    made = experiment(config, tmp_path)
    model = made.build(7)
    return Training(made.setup, model, Masks.dense(model), 0)


def plain_loop(
    config: RunConfig, tmp_path: Path, loss: Callable[[Tensor, Tensor, Tensor], Tensor]
) -> nn.Module:
    """Train by hand; ``loss(images, labels, index)`` takes normalised images."""
    made = experiment(config, tmp_path)
    model, data = made.build(7), made.setup.data
    plain_loop.model = model  # type: ignore[attr-defined]
    optimizer = torch.optim.SGD(
        model.parameters(), config.protocol.lr, momentum=0.9, weight_decay=0.001
    )
    images = data.train.gather(torch.arange(60)).float() * data.scale + data.shift_by
    for epoch in range(2):
        draw = torch_stream("cpu", config.seed, "round", 0, "order", epoch)
        optimizer.param_groups[0]["lr"] = config.protocol.lr * (1, 0.1)[epoch]
        for index in torch.randperm(60, generator=draw).split(20):
            optimizer.zero_grad()
            loss(images[index], data.train.labels[index], index).backward()
            optimizer.step()
    return model


def assert_same(training: Training, other: nn.Module) -> None:
    for one, two in zip(training.model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


# -- criterion


def test_a_criterion_replaces_the_loss(tiny: Make, tmp_path: Path) -> None:
    config = tiny(reg=["squared"], lr=0.5)
    training = start(config, tmp_path)
    training.run(lambda t: None)

    def loss(images: Tensor, labels: Tensor, index: Tensor) -> Tensor:
        wanted = torch.eye(10)[labels]
        return ((plain_loop.model(images).softmax(1) - wanted) ** 2).sum(1).mean()  # type: ignore[attr-defined]

    assert_same(training, plain_loop(config, tmp_path, loss))


def test_what_adds_to_the_loss_adds_to_the_criterion(tiny: Make, tmp_path: Path) -> None:
    """In whatever order they stand; and a criterion that is cross-entropy changes no bit."""
    states = []
    for reg in (["l2:0.01"], ["l2:0.01", "same"], ["same", "l2:0.01"]):
        training = start(tiny(reg=reg), tmp_path)
        training.run(lambda t: None)
        states.append(weights(training.model))
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], states[2])


def check(config: RunConfig, tmp_path: Path) -> None:
    check_runs([config], Sources(tmp_path, tmp_path), Settings())


def test_two_criteria_are_refused_by_name(tiny: Make, tmp_path: Path) -> None:
    check(tiny(reg=["same", "l1"]), tmp_path)
    with pytest.raises(UsageError, match="'same' and 'squared' both replace the loss"):
        check(tiny(reg=["same", "l1", "squared"]), tmp_path)


def test_a_criterion_that_gives_no_scalar_is_refused(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Same, "criterion", lambda self, step: step.logits.sum(1))
    with pytest.raises(UsageError, match="cannot be trained with 'same'"):
        check(tiny(reg=["same"]), tmp_path)


# -- mix


def mixed(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    other, targets = images.roll(1, 0), torch.eye(10)[labels]
    return 0.7 * images + 0.3 * other, 0.7 * targets + 0.3 * targets.roll(1, 0)


@pytest.mark.parametrize("reg", [["blend"], ["blend", "squared"], ["dropout:0", "blend", "l1:0"]])
def test_the_loss_is_of_mixed_images_and_targets(
    tiny: Make, tmp_path: Path, reg: list[str]
) -> None:
    config = tiny(reg=reg)
    training = start(config, tmp_path)
    assert training.inputs is not None  # what is mixed is gathered as ever
    training.run(lambda t: None)

    def loss(images: Tensor, labels: Tensor, index: Tensor) -> Tensor:
        images, targets = mixed(images, labels)
        logs = plain_loop.model(images).log_softmax(1)  # type: ignore[attr-defined]
        if "squared" in reg:
            return ((logs.exp() - targets) ** 2).sum(1).mean()
        return -(targets * logs).sum(1).mean()

    assert_same(training, plain_loop(config, tmp_path, loss))


def test_a_chain_mixes_what_was_mixed_before() -> None:
    draw = torch.Generator().manual_seed(0)
    images, labels = torch.rand(5, 1, 2, 2, generator=draw), torch.tensor([0, 1, 2, 0, 1])
    index = torch.tensor([7, 3, 1, 0, 9])
    twice = Mixer([("a", Blend(Params())), ("b", Blend(Params()))], 3)
    got, given, places, targets = twice((images, labels, index))

    def blend(value: Tensor) -> Tensor:
        return 0.7 * value + 0.3 * value.roll(1, 0)

    torch.testing.assert_close(got, blend(blend(images)))
    torch.testing.assert_close(targets, blend(blend(torch.eye(3)[labels])))
    assert given is labels
    assert places is index


def test_the_teacher_is_asked_about_the_mixed_images(tiny: Make, tmp_path: Path) -> None:
    made = experiment(tiny(reg=["l1:0", "blend"]), tmp_path)
    model, teacher = made.build(7), made.build(9).requires_grad_(False)
    seen: list[Tensor] = []

    class Asks(Regularizer):
        def begin(self, view: TrainingView) -> None:
            assert view.teacher is not None
            self.teacher = view.teacher

        def loss(self, loss: Tensor, step: Step) -> Tensor:
            assert torch.equal(self.teacher(step.images, step.index), teacher(step.images))
            seen.append(step.images)
            return loss

    chain = [ActiveRegularizer("asks", Asks(Params()), teacher), made.setup.regularizers[1]]
    training = Training(replace(made.setup, regularizers=chain), model, Masks.dense(model), 0)
    training.run(lambda t: None)
    assert len(seen) == 6


def test_the_teacher_itself_is_seen_by_those_who_have_one(tiny: Make, tmp_path: Path) -> None:
    made = experiment(tiny(), tmp_path)
    model, teacher = made.build(7), made.build(9).eval().requires_grad_(False)
    seen: list[object] = []

    class Sees(Regularizer):
        def begin(self, view: TrainingView) -> None:
            seen.append(view.teacher_model)

    chain = [
        ActiveRegularizer("a", Sees(Params()), teacher),
        ActiveRegularizer("b", Sees(Params())),
    ]
    training = Training(replace(made.setup, regularizers=chain), model, Masks.dense(model), 0)
    training.run(lambda t: None)
    assert seen == [teacher, None]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"images": torch.zeros(5, 1, 2, 1)},
            r"gave images \(5, 1, 2, 1\) of torch.float32, where",
        ),
        ({"targets": torch.ones(5, 3).double() / 3}, "gave targets .* of torch.float64"),
        ({"targets": torch.ones(4, 3) / 3}, r"gave targets \(4, 3\)"),
        ({"targets": torch.ones(5, 3)}, "gave targets that are no dist"),
        ({"targets": torch.full((5, 3), 0.3337)}, "gave targets that are no dist"),
        (
            {"targets": torch.tensor([[1.5, -0.5, 0.0]] * 5)},
            "gave targets that are no dist",
        ),
        ({"targets": torch.full((5, 3), torch.nan)}, "gave targets that are no dist"),
    ],
)
def test_what_is_no_batch_is_refused(change: dict[str, Tensor], words: str) -> None:
    class Odd(Regularizer):
        def mix(self, batch: MixBatch) -> MixBatch:
            return replace(batch, **change)

    labels = torch.tensor([0, 1, 2, 0, 1])
    with pytest.raises(RunError, match=f"^regularizer 'odd': mix {words}"):
        Mixer([("odd", Odd(Params()))], 3)((torch.zeros(5, 1, 2, 2), labels, torch.arange(5)))


def test_targets_are_compared_once_because_it_waits_for_the_device() -> None:
    class Late(Regularizer):
        def mix(self, batch: MixBatch) -> MixBatch:
            return replace(batch, targets=batch.targets * float(batch.index[0]))

    late, labels = Mixer([("late", Late(Params()))], 3), torch.tensor([0, 1])
    late((torch.zeros(2, 1), labels, torch.tensor([1, 0])))
    late((torch.zeros(2, 1), labels, torch.tensor([5, 0])))


@pytest.mark.parametrize("part", [3, 5, 16])
def test_parts_of_a_mixed_batch_have_the_whole_batch_s_gradient(part: int) -> None:
    whole, parts = Tight(), Tight()
    plain, split = stepper(whole), stepper(parts, micro_batch=part)
    tried = stepper(tight := Tight(room=5))
    for step in (plain, split, tried):
        step.regularizers = [Regularizer(Params())]
    for images, labels, index in batches(2):
        targets = torch.rand(16, 3, generator=torch.Generator().manual_seed(3)).softmax(1)
        for step in (plain, split, tried):
            step(images, labels, index, targets)
    for model in (parts, tight):
        torch.testing.assert_close(weights(model), weights(whole), rtol=1e-5, atol=1e-6)


def test_a_recorded_step_takes_targets_as_an_input() -> None:
    models = Tight(), Tight()
    plain, inner = stepper(models[0]), stepper(models[1], engine="graph")
    for step in (plain, inner):
        step.regularizers = [Regularizer(Params())]

    def record(run: Callable[[], None], generators: Any) -> Callable[[], None]:
        return run  # as a graph does: on the tensors that it was recorded with

    taped = GraphedStep(inner, inner.context, (), record)
    for number, (images, labels, index) in enumerate(batches(WARM + 3)):
        targets = torch.rand(16, 3, generator=torch.Generator().manual_seed(number)).softmax(1)
        plain(images, labels, index, targets)
        taped(images, labels, index, targets)
    assert torch.equal(weights(models[0]), weights(models[1]))


def test_a_process_of_several_takes_its_share_of_mixed_batches(tiny: Make, tmp_path: Path) -> None:
    seen: dict[int, list[tuple[Any, ...]]] = {}
    for rank in (0, 1):
        training = start(tiny(epochs=1, reg=["blend"]), tmp_path)
        training.team = Half(rank, 2)
        seen[rank] = []
        training.step = lambda *batch, mine=rank: seen[mine].append(batch)
        training.run(lambda t: None)
    alone = start(tiny(epochs=1, reg=["blend"]), tmp_path)
    assert alone.mixer is not None
    for batch, one, two in zip(map(alone.mixer, alone._batches(0, 0)), *seen.values(), strict=True):
        assert one[-1] == two[-1] == 20
        for whole, *parts in zip(batch, one, two):
            assert torch.equal(torch.cat(parts), whole)


def test_what_several_processes_cannot_share_is_refused(
    tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(reg=["blend", "same"])
    check_chain(config, 2)
    check_chain(config, 1, streamed=True)
    with pytest.raises(UsageError, match=r"'blend' mixes images.*files.*2 processes.*torchrun"):
        check_chain(config, 2, streamed=True)
    monkeypatch.setattr(Same, "needs_whole_batch", True)
    check_chain(config, 1)
    with pytest.raises(UsageError, match=r"'same' needs whole batches, and each of 2 processes"):
        check_chain(config, 2)


def test_a_loss_over_whole_batches_is_never_taken_in_parts() -> None:
    class Whole(Regularizer):
        needs_whole_batch = True

    tight = stepper(Tight(room=5))
    tight.regularizers = [Whole(Params())]
    with pytest.raises(
        RunError, match=r"the regularizer Whole does not allow.*--batch-size 4 fits"
    ):
        tight(*batches(1)[0])


# -- batch


def test_batch_sees_the_labels(tiny: Make, tmp_path: Path) -> None:
    training = start(tiny(reg=["marked"]), tmp_path)
    assert training.inputs is None
    for images, labels, _ in training._batches(0, 0):
        data = training.setup.data
        painted = (images - data.shift_by) / data.scale
        torch.testing.assert_close(painted[:, 0, 0, 0], labels.float(), rtol=0, atol=1e-3)


def test_batch_may_take_images_alone(tiny: Make, tmp_path: Path) -> None:
    """As plugins of before do; whoever has the method need not say that it augments."""
    dark, light = (next(start(tiny(reg=r), tmp_path)._batches(0, 0))[0] for r in (["old"], []))
    torch.testing.assert_close(dark, -light, rtol=0, atol=1e-5)  # pixels are -1..1


def test_any_signature_that_takes_labels_gets_them() -> None:
    def make(method: Any) -> Any:
        return augmenter(type("Mine", (Regularizer,), {"batch": method})(Params()))

    images, labels = torch.zeros(1), torch.ones(1)
    assert make(lambda self, *both: both)(images, labels) == (images, labels)
    assert make(lambda self, images, labels: labels)(images, labels) is labels
    assert make(lambda self, images: images)(images, labels) is images
    assert make(lambda self, images, *, strength=2: strength)(images, labels) == 2


# -- epoch, per-sample state, exact resuming


def test_after_every_epoch_it_is_told(tiny: Make, tmp_path: Path) -> None:
    training, told = start(tiny(reg=["remembers"], epochs=3), tmp_path), list[EpochView]()
    steps: list[int] = []

    def epoch(view: EpochView) -> None:
        told.append(view)
        steps.append(len(seen))

    seen: list[int] = []
    regularizer = training.regularizers[0]
    type(regularizer).epoch, original = lambda self, view: epoch(view), Remembers.epoch  # type: ignore[method-assign]
    try:
        training.run(lambda t: seen.append(t.steps_done))
    finally:
        Remembers.epoch = original  # type: ignore[method-assign]
    assert [(view.round, view.epoch, view.epochs) for view in told] == [
        (0, e, 3) for e in (1, 2, 3)
    ]
    assert steps == [2, 5, 8]  # before the last step of an epoch is told, so that it is saved
    assert all(view.model is training.model for view in told)


@pytest.mark.parametrize("reg", [["remembers"], ["noised", "remembers", "squared", "marked"]])
def test_interrupted_anywhere_it_ends_the_same(tiny: Make, tmp_path: Path, reg: list[str]) -> None:
    config = tiny(reg=reg)
    whole = make_run(config, tmp_path)
    whole.follow()
    for patience in range(15):
        memory = InMemoryStore()
        with pytest.raises(Interrupted):
            make_run(config, tmp_path, memory, patience).follow()
        again = make_run(config, tmp_path, copy.deepcopy(memory))
        again.follow()
        assert json.dumps(again.rows) == json.dumps(whole.rows)


# -- metrics see images


def test_a_metric_sees_the_images_as_the_network_takes_them(tiny: Make, tmp_path: Path) -> None:
    made = experiment(tiny(), tmp_path)
    model = made.build(7)
    view = measure_view(made.setup, model.eval(), Masks.dense(model), 0)
    for part, count in (("train", 60), ("val", 30), ("test", 597)):
        chunks = view.images(part)
        assert chunks is not None
        images, outputs = torch.cat(list(chunks)), view.outputs(part)
        assert images.shape == (count, 1, 8, 8)
        assert outputs is not None
        with torch.no_grad():
            torch.testing.assert_close(model(images), outputs.logits)
        again = view.images(part)
        assert again is not None
        assert len(torch.cat(list(again))) == count


def test_a_part_that_does_not_exist_has_no_images(tiny: Make, tmp_path: Path) -> None:
    options = {"dataset": "digits:train_size=60,val_size=0", "selection": "test"}
    made = experiment(tiny(**options), tmp_path)
    model = made.build(7)
    assert measure_view(made.setup, model, Masks.dense(model), 0).images("val") is None

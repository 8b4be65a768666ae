"""One training to completion.

The data live on the device; a step gathers its batch there, so nothing is done per sample in
Python and nothing waits for the host within an epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dsd_bench.config import Protocol
from dsd_bench.data.resident import Resident
from dsd_bench.device import Place
from dsd_bench.errors import Diverged
from dsd_bench.masks import Masks
from dsd_bench.regularizers import Regularizer, Step, TrainingView
from dsd_bench.seeds import capture_globals, restore_globals, seed_globals, stream, torch_stream

Tensors = dict[str, Tensor]
Teacher = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Cursor:
    """The place in a training: ``step`` batches of ``epoch`` are done."""

    epoch: int = 0
    step: int = 0
    scalars: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ingredients:
    """What a training is made of, beside the model and its masks.

    Attributes:
        protocol: schedule, optimiser, batch size.
        data: the data on the device.
        place: device, layout and precision.
        seed: the run's seed; every stream of the training is keyed by it and the round.
        regularizers: the chain, in order.
        names: the components' names of the chain; they key its streams.
        teachers: a teacher model for each regularizer that distils, else None.
    """

    protocol: Protocol
    data: Resident
    place: Place
    seed: int
    regularizers: Sequence[Regularizer] = ()
    names: Sequence[str] = ()
    teachers: Sequence[nn.Module | None] = ()


class Training:
    """One training of one round, which can be stopped and taken up again after any step."""

    def __init__(self, parts: Ingredients, model: nn.Module, masks: Masks, round: int) -> None:
        self.parts, self.model, self.masks, self.round = parts, model, masks, round
        self.train = parts.data.train
        self.device = parts.place.device
        self.cursor = Cursor()
        self.epochs = parts.protocol.epochs(round)
        self.batch = min(parts.protocol.batch_size, len(self.train))
        self.optimizer = make_optimizer(parts.protocol, model)
        self.transform = self._stream("transform")
        self.generators = [
            self._stream("regularizer", place, name) for place, name in enumerate(parts.names)
        ]
        parameters = dict(model.named_parameters())
        self.masked = [(parameters[name], mask) for name, mask in masks.all()]
        self.losses = torch.zeros((), device=self.device)
        self._resumed: Tensors = {}
        self.augmented = parts.data.transforms or any(r.augments for r in parts.regularizers)
        # Without augmentation every epoch sees the same numbers: normalise them once.
        self.inputs = None if self.augmented else parts.data.normalise(self.train.images)
        seed_globals(stream(parts.seed, "round", round, "global"))

    @property
    def steps_per_epoch(self) -> int:
        """Batches an epoch."""
        return steps_per_epoch(len(self.train), self.batch)

    @property
    def steps_done(self) -> int:
        """Steps since the training began."""
        return self.cursor.epoch * self.steps_per_epoch + self.cursor.step

    def run(self, after_step: Callable[[Training], None]) -> None:
        """Train to the end; ``after_step`` is called after every step and may raise to stop.

        Raises:
            Diverged: when an epoch's loss is not finite.
        """
        self.model.train()
        with ExitStack() as stack:
            self._begin_regularizers(stack)
            self._restore_generators()
            while self.cursor.epoch < self.epochs:
                self._epoch(after_step)
        self.model.eval()

    def _epoch(self, after_step: Callable[[Training], None]) -> None:
        epoch = self.cursor.epoch
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.parts.protocol, self.round, epoch)
        order = self._order(epoch)
        steps = self.steps_per_epoch
        while self.cursor.step < steps:
            first = self.cursor.step * self.batch
            self._step(order[first : first + self.batch])
            self.cursor.step += 1
            if self.cursor.step < steps:
                after_step(self)
        self.cursor.epoch, self.cursor.step = epoch + 1, 0
        if not bool(self.losses.isfinite()):
            raise Diverged(
                f"round {self.round}, epoch {epoch + 1}: the loss is no longer finite; "
                f"try a smaller --lr (it is {self.parts.protocol.lr}) or weaker regularizers"
            )
        after_step(self)

    def _step(self, index: Tensor) -> None:
        """One step: gather, augment, forward, loss, backward, mask, update."""
        images, labels = self._images(index), self.train.labels[index]
        with self.parts.place.autocast():
            logits = self.model(images)
        loss = functional.cross_entropy(logits.float(), labels)
        if self.parts.regularizers:
            seen = Step(images, labels, index, logits)
            for regularizer in self.parts.regularizers:
                loss = regularizer.loss(loss, seen)
        loss.backward()  # type: ignore[no-untyped-call]
        # With masked gradients neither a pruned weight nor its momentum ever leaves zero.
        for parameter, mask in self.masked:
            if parameter.grad is not None:
                parameter.grad.mul_(mask)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.losses += loss.detach()

    def _images(self, index: Tensor) -> Tensor:
        if self.inputs is not None:
            return self.inputs[index]
        images = self.parts.data.augment(self.train.images[index], self.transform)
        for regularizer in self.parts.regularizers:
            images = regularizer.batch(images)
        return self.parts.data.normalise(images)

    def _order(self, epoch: int) -> Tensor:
        """The epoch's order, drawn on the CPU so that every device has the same."""
        draw = torch_stream("cpu", self.parts.seed, "round", self.round, "order", epoch)
        return torch.randperm(len(self.train), generator=draw).to(self.device)

    def _stream(self, *names: str | int) -> torch.Generator:
        return torch_stream(self.device, self.parts.seed, "round", self.round, *names)

    def _begin_regularizers(self, stack: ExitStack) -> None:
        teachers = [*self.parts.teachers, *[None] * len(self.parts.regularizers)]
        for regularizer, generator, teacher in zip(
            self.parts.regularizers, self.generators, teachers, strict=False
        ):
            answer = self._teacher(teacher) if teacher is not None else None
            stack.callback(regularizer.end)
            regularizer.begin(TrainingView(self.model, self.round, self.device, generator, answer))

    def _teacher(self, model: nn.Module) -> Teacher:
        """Return the teacher's answers: looked up where the input never changes."""
        place = self.parts.place
        if self.inputs is not None:
            return remembered(model, self.inputs, place)

        def answer(images: Tensor, index: Tensor) -> Tensor:
            with torch.no_grad(), place.autocast():
                return model(images).float()  # type: ignore[no-any-return]

        return answer

    def tensors(self) -> Tensors:
        """Return everything that changes during the training, for a checkpoint."""
        held = {f"model/{k}": v for k, v in self.model.state_dict().items()}
        held |= {f"masks/{k}": v for k, v in self.masks.tensors().items()}
        self.cursor.scalars = {}
        for index, state in self.optimizer.state_dict()["state"].items():
            for key, value in state.items():
                if isinstance(value, Tensor):
                    held[f"optimizer/{index}/{key}"] = value
                else:
                    self.cursor.scalars[f"{index}/{key}"] = value
        held |= {f"globals/{k}": v for k, v in capture_globals().items()}
        held["losses"] = self.losses
        held |= {f"generators/{k}": g.get_state() for k, g in self._generators().items()}
        return held

    def resume(self, cursor: Mapping[str, Any], tensors: Tensors) -> None:
        """Go back to where :meth:`tensors` was taken; the model and masks are already there."""
        self.cursor = Cursor(**cursor)
        state = self.optimizer.state_dict()
        slots: dict[int, dict[str, Any]] = {}
        for name, tensor in part(tensors, "optimizer").items():
            index, _, key = name.partition("/")
            slots.setdefault(int(index), {})[key] = tensor
        for name, value in self.cursor.scalars.items():
            index, _, key = name.partition("/")
            slots.setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict({**state, "state": slots})
        self.losses.copy_(tensors["losses"])
        self._resumed = tensors

    def _generators(self) -> dict[str, torch.Generator]:
        """Every generator of the training by name; the name tells the kind of device."""
        named = {"transform": self.transform} | {
            str(place): generator for place, generator in enumerate(self.generators)
        }
        return {f"{self.device.type}/{name}": generator for name, generator in named.items()}

    def _restore_generators(self) -> None:
        """Set generators to where a checkpoint left them, after the regularizers' beginnings.

        A generator's state means nothing on another kind of device: there a run goes on with
        streams of its own, as its recorded plan says.
        """
        if not self._resumed:
            return
        states = part(self._resumed, "generators")
        for name, generator in self._generators().items():
            if name in states:
                generator.set_state(states[name].cpu())
            else:
                generator.manual_seed(stream(self.parts.seed, name, self.round, self.steps_done))
        restore_globals(part(self._resumed, "globals"))
        self._resumed = {}


def remembered(model: nn.Module, inputs: Tensor, place: Place) -> Teacher:
    """Compute the teacher's logits of all ``inputs`` once and return a look-up."""
    shape = (inputs.shape[1], inputs.shape[2], inputs.shape[3])
    with torch.no_grad(), place.autocast():
        logits = torch.cat([model(b).float() for b in torch.split(inputs, place.eval_batch(shape))])
    return lambda images, index: logits[index]


def make_optimizer(protocol: Protocol, model: nn.Module) -> torch.optim.Optimizer:
    """Return a fresh optimiser over all parameters of ``model``."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    decay = protocol.weight_decay
    if protocol.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, lr=protocol.lr, momentum=protocol.momentum, weight_decay=decay, foreach=True
        )
    kind = torch.optim.Adam if protocol.optimizer == "adam" else torch.optim.AdamW
    return kind(parameters, lr=protocol.lr, betas=(protocol.momentum, 0.999), weight_decay=decay)


def learning_rate(protocol: Protocol, round: int, epoch: int) -> float:
    """Return the learning rate of ``epoch`` (from 0): it drops after each milestone's epoch."""
    epochs = protocol.epochs(round)
    drops = sum(epoch >= round_half_up(m * epochs) for m in protocol.milestones)
    start = protocol.lr * (protocol.retrain_lr_scale if round else 1.0)
    return start * protocol.lr_drop**drops


def steps_per_epoch(samples: int, batch: int) -> int:
    """Return the batches of an epoch; a last one of one sample is left out (batch-norm: two)."""
    full, rest = divmod(samples, batch)
    return full + (rest > 1 or not full)


def round_half_up(value: float) -> int:
    """Round to the nearest whole number, halves up."""
    return int(value + 0.5)


def part(tensors: Tensors, prefix: str) -> Tensors:
    """Return the tensors under ``prefix/``, without it."""
    start = f"{prefix}/"
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}

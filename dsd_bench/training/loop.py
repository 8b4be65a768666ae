"""One training to completion: epochs, orders, batches, and the place in between.

Nothing is done per sample in Python and nothing waits for the host within an epoch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dsd_bench.errors import Diverged, RunError
from dsd_bench.masks import Masks
from dsd_bench.optimizers.plain import make_stepping
from dsd_bench.regularizers import EpochView, TrainingView, overrides
from dsd_bench.schedules import REDENSE, EndView, RateView, Schedule, phases_of
from dsd_bench.seeds import (
    capture_globals,
    restore_globals,
    seed_globals,
    seeded_globals,
    stream,
    torch_stream,
)
from dsd_bench.stateful import give_back, part
from dsd_bench.training.cuda_graph import GraphedStep
from dsd_bench.training.device import ComputeContext
from dsd_bench.training.gathering import Batch, Gatherer
from dsd_bench.training.mixing import Mixer, augmenter
from dsd_bench.training.schedule import steps_per_epoch
from dsd_bench.training.setup import TrainingSetup
from dsd_bench.training.step import Stepper
from dsd_bench.training.updating import Goal, remask
from dsd_bench.updaters import UpdateView

Tensors = dict[str, Tensor]
Teacher = Callable[[Tensor, Tensor], Tensor]
Shared = tuple[Tensor, Tensor, Tensor, Tensor | None, int]
"""This process's share of a batch, and the size of the batch."""


@dataclass
class Cursor:
    """The place in a training: ``step`` batches of ``epoch`` of its phase are done.

    Attributes:
        epoch: epochs of the phase that are done.
        step: batches of the next one that are done.
        before: the epochs that each phase before it took.
        scalars: what of the optimiser's state is a number.
    """

    epoch: int = 0
    step: int = 0
    before: list[int] = field(default_factory=list)
    scalars: dict[str, Any] = field(default_factory=dict)


class Training:
    """One phase of one round's training, which can be stopped and taken up again after any step.

    Args:
        setup: data, schedule and how to compute.
        model: the network as it is before the training.
        masks: what is pruned.
        round: keys the streams and the schedule.
        before: the epochs that each phase before it took; they are the round's first ones.
        goal: where masks that change in this phase are to end; None where they stay.
    """

    def __init__(
        self,
        setup: TrainingSetup,
        model: nn.Module,
        masks: Masks,
        round: int,
        before: Sequence[int] = (),
        goal: Goal | None = None,
    ) -> None:
        self.setup, self.model, self.masks, self.round = setup, model, masks, round
        self.goal = goal
        self.phases = phases_of(setup.schedule, round, setup.protocol)
        self.phase = self.phases[len(before)]
        names = _phase_key(self.phase.name, first=not before)
        self.key: tuple[str | int, ...] = ("round", round, *names)
        self.train = setup.data.train
        self.device, self.team = setup.context.device, setup.context.team
        self.cursor = Cursor(before=list(before))
        self.epochs, self.ended = self.phase.epochs, False
        self.batch = min(setup.protocol.batch_size, len(self.train))
        self.optimizer = make_stepping(setup.optimizer, model, setup.protocol, setup.recorded)
        self.transform = self._stream("transform")
        self.generators = [
            self._stream("regularizer", index, active.name)
            for index, active in enumerate(setup.regularizers)
        ]
        self.regularizers = [active.regularizer for active in setup.regularizers]
        self.augmenters = [augmenter(r) for r in self.regularizers if overrides(r, "batch")]
        mixing = [
            (active.name, active.regularizer)
            for active in setup.regularizers
            if overrides(active.regularizer, "mix")
        ]
        self.mixer = Mixer(mixing, setup.data.classes) if mixing else None
        chain, generators, changing = self.regularizers, self.generators, goal is not None
        self.stepper = Stepper(
            *(setup.context, model, masks, self.optimizer, chain, generators),
            clip_norm=setup.protocol.clip_norm,
            changing=changing,
        )
        self.step: Callable[..., None] = self.stepper
        if setup.context.plan.engine == "graph":
            self.step = GraphedStep(self.stepper, setup.context, self.generators)
        self._updates: tuple[int, ...] = ()
        if goal is not None and setup.updater is not None:
            total = self.epochs * self.steps_per_epoch
            self._updates = setup.updater.steps(total, self.steps_per_epoch)
        self._due = frozenset(self._updates)
        self._resumed: Tensors = {}
        self.inputs = self._unchanging_inputs()
        self._gatherer = self._gather_from(self.inputs)
        seed_globals(stream(setup.seed, *self.key, "global"))

    @property
    def steps_per_epoch(self) -> int:
        """Batches an epoch."""
        return steps_per_epoch(len(self.train), self.batch)

    @property
    def steps_done(self) -> int:
        """Steps since the round's training began."""
        epochs = sum(self.cursor.before) + self.cursor.epoch
        return epochs * self.steps_per_epoch + self.cursor.step

    @property
    def done(self) -> bool:
        """Whether the phase has ended."""
        return self.ended or self.cursor.epoch >= self.epochs

    @property
    def took(self) -> list[int]:
        """The epochs of each phase of the round so far, this one's included."""
        return [*self.cursor.before, self.cursor.epoch]

    def run(self, after_step: Callable[[Training], None]) -> None:
        """Train to the end; ``after_step`` is called after every step and may raise to stop.

        Raises:
            Diverged: when an epoch's loss is not finite.
        """
        self.model.train()
        with ExitStack() as stack:
            self._begin_regularizers(stack)
            self._restore_generators()
            while not self.done:
                self._epoch(after_step)
        self.model.eval()

    def _epoch(self, after_step: Callable[[Training], None]) -> None:
        epoch, steps = self.cursor.epoch, self.steps_per_epoch
        batches = self._batches(epoch, self.cursor.step)
        if self.mixer is not None:
            batches = map(self.mixer, batches)
        if self.setup.schedule.per_step:
            batches = self._paced(batches)
        else:
            self._set_rate()
        for batch in self._shares(batches) if self.team.size > 1 else batches:
            self.step(*batch)
            if self._due and self.steps_done + 1 in self._due:
                self._check_losses()
                self._update(self.steps_done + 1)
            self.cursor.step += 1
            if self.cursor.step == steps:
                break
            after_step(self)
        self._check_losses()
        self.cursor.epoch, self.cursor.step = epoch + 1, 0
        self._after_epoch()
        self.ended = not self.done and self._ends()
        after_step(self)

    def _check_losses(self) -> None:
        if not math.isfinite(self.team.all_reduce(self.stepper.losses).item()):
            raise Diverged(
                f"round {self.round}, epoch {self.cursor.epoch + 1}: the loss is no longer finite; "
                f"try a smaller --lr (it is {self.setup.protocol.lr}) or weaker regularizers"
            )

    def _update(self, done: int) -> None:
        """Change the masks after ``done`` steps."""
        active, goal = self.setup.updater, self.goal
        assert active is not None
        assert goal is not None
        key = (*self.key, "update", done)
        view = UpdateView(
            model=self.model,
            masks=self.masks,
            target=goal.target,
            began=goal.began,
            round=self.round,
            step=done,
            steps=self._updates,
            total=self.epochs * self.steps_per_epoch,
            device=self.device,
            generator=torch_stream("cpu", self.setup.seed, *key),
            batches=self.setup.batches(*key, "batches"),
        )
        with seeded_globals(stream(self.setup.seed, *key, "global")):
            try:
                masks, values = active.update(view)
            except RunError as error:
                where = f"round {self.round}, after step {done} of {view.total}"
                raise RunError(f"updater '{active.name}': {error} ({where})") from error
        self.setup.context.settle()
        remask(self.stepper, self.masks, masks, values)
        self.masks = masks

    def _set_rate(self) -> None:
        """Use the schedule's learning rate for the next step, or for the whole epoch."""
        schedule, cursor = self.setup.schedule, self.cursor
        step = cursor.step if schedule.per_step else 0
        place = (self.round, self.phase, cursor.epoch, step, self.steps_per_epoch)
        self.optimizer.set_rate(schedule.rate(RateView(self.setup.protocol, *place)))

    def _paced(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Set the learning rate before each batch."""
        for batch in batches:
            self._set_rate()
            yield batch

    def _ends(self) -> bool:
        """Ask the schedule, if it ever ends a phase early, whether this one ends now."""
        schedule, place = self.setup.schedule, (self.round, self.phase, self.cursor.epoch)
        if type(schedule).ends is Schedule.ends:
            return False
        ends = self.team.leads and bool(schedule.ends(EndView(self.model, self.masks, *place)))
        self.setup.context.settle()
        return bool(self.team.broadcast(ends))

    def _after_epoch(self) -> None:
        epoch = self.cursor.epoch
        for regularizer in self.regularizers:
            if overrides(regularizer, "epoch"):
                regularizer.epoch(EpochView(self.model, self.round, epoch, self.epochs))

    def _batches(self, epoch: int, first: int) -> Iterator[Batch]:
        """Yield the epoch's batches from batch number ``first`` on."""
        order = self._order(epoch)
        if self._gatherer is not None:
            yield from self._gatherer.batches(order, first, self.steps_per_epoch)
            return
        key = stream(self.setup.seed, *self.key, "decode", epoch)
        indices = torch.split(order, self.batch)[first:]
        labels = torch.split(self.train.labels.index_select(0, order), self.batch)[first:]
        batches = self.train.batches(order, self.batch, first, key)
        for images, given, index in zip(batches, labels, indices):
            yield self._augmented(images, given), given, index

    def _shares(self, batches: Iterator[Batch]) -> Iterator[Shared]:
        """Leave this process's share of each batch; of streamed images only that was decoded."""
        for images, labels, index, *mixed in batches:
            mine = self.team.share(len(labels))
            share = images if self.train.streamed else images[mine]
            targets = mixed[0][mine] if mixed else None
            yield share, labels[mine], index[mine], targets, len(labels)

    def _augmented(self, images: Tensor, labels: Tensor) -> Tensor:
        images = self.setup.data.augment(images, self.transform)
        if self.augmenters and self.train.streamed:  # then the images are this process's share
            labels = labels[self.team.share(len(labels))]
        for augment in self.augmenters:
            images = augment(images, labels)
        return self.setup.data.normalise(images)

    def _unchanging_inputs(self) -> Tensor | None:
        """Return all normalised inputs if no epoch changes them and they lie on the device."""
        setup = self.setup
        augments = bool(self.augmenters) or any(r.augments for r in self.regularizers)
        if augments or setup.data.transforms or self.train.streamed:
            return None
        everything = torch.arange(len(self.train), device=self.device)
        return setup.data.normalise(self.train.gather(everything))

    def _gather_from(self, inputs: Tensor | None) -> Gatherer | None:
        if inputs is None:
            return None
        return Gatherer(inputs, self.train.labels, self.batch, self.setup.data.memory_format)

    def _order(self, epoch: int) -> Tensor:
        """The epoch's order, drawn on the CPU so that every device has the same."""
        draw = torch_stream("cpu", self.setup.seed, *self.key, "order", epoch)
        return torch.randperm(len(self.train), generator=draw).to(self.device)

    def _stream(self, *names: str | int) -> torch.Generator:
        return torch_stream(self.device, self.setup.seed, *self.key, *names)

    def _begin_regularizers(self, stack: ExitStack) -> None:
        for active, generator in zip(self.setup.regularizers, self.generators):
            answer = self._teacher(active.teacher) if active.teacher is not None else None
            stack.callback(active.regularizer.end)
            sizes = len(self.train), self.setup.data.classes
            where = self.model, self.round, self.device
            view = TrainingView(*where, generator, answer, *sizes, active.teacher)
            before = self.model.state_dict().keys()
            active.regularizer.begin(view)
            if added := self.model.state_dict().keys() - before:
                raise RunError(
                    f"regularizer '{active.name}' adds tensors to the network, which a run that is "
                    f"taken up again would not find there: {', '.join(sorted(added))}; keep them "
                    "in the regularizer and its state()"
                )
        give_back(self.setup.stateful, self._resumed, self.device)

    def _teacher(self, model: nn.Module) -> Teacher:
        """Return the teacher's answers: looked up where the input never changes."""
        context = self.setup.context
        if self.inputs is not None and self.mixer is None:
            return remembered(model, self.inputs, context)

        def answer(images: Tensor, index: Tensor) -> Tensor:
            with torch.no_grad(), context.autocast():
                return model(images).float()  # type: ignore[no-any-return]

        return answer

    def tensors(self) -> Tensors:
        """Return everything that changes during the training (masks do not), for a checkpoint."""
        held = {f"model/{k}": v for k, v in self.model.state_dict().items()}
        state = self.optimizer.state()
        self.cursor.scalars = {k: v for k, v in state.items() if not isinstance(v, Tensor)}
        held |= {f"optimizer/{k}": v for k, v in state.items() if isinstance(v, Tensor)}
        held |= {f"globals/{k}": v for k, v in capture_globals().items()}
        held["losses"] = self.stepper.losses
        held |= {f"goal/{k}": v for k, v in self.goal.tensors().items()} if self.goal else {}
        held |= {f"generators/{k}": g.get_state() for k, g in self._generators().items()}
        return held

    def resume(self, cursor: Mapping[str, Any], tensors: Tensors) -> None:
        """Go back to where :meth:`tensors` was taken; the model and masks are already there."""
        self.cursor = Cursor(**cursor)
        self.optimizer.load({**part(tensors, "optimizer"), **self.cursor.scalars})
        self.stepper.losses.copy_(tensors["losses"])
        self._resumed = tensors

    def _generators(self) -> dict[str, torch.Generator]:
        """Every generator of the training by name; the name tells the kind of device."""
        named = {"transform": self.transform} | {
            str(index): generator for index, generator in enumerate(self.generators)
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
                generator.manual_seed(stream(self.setup.seed, name, self.round, self.steps_done))
        restore_globals(part(self._resumed, "globals"))
        self._resumed = {}


def remembered(model: nn.Module, inputs: Tensor, context: ComputeContext) -> Teacher:
    """Compute the teacher's logits of all ``inputs`` once and return a look-up."""
    shape = (inputs.shape[1], inputs.shape[2], inputs.shape[3])
    with torch.no_grad(), context.autocast():
        logits = torch.cat(
            [model(b).float() for b in torch.split(inputs, context.eval_batch(shape))]
        )
    return lambda images, index: logits.index_select(0, index)


def _phase_key(name: str, first: bool) -> tuple[str, ...]:
    """Return what sets a phase's streams apart from those of the round's others.

    Re-dense training is older than phases and has its streams from then.
    """
    if first:
        return ()
    return (name,) if name == REDENSE else ("phase", name)

"""One step with a run's regularizers, one pruning, one update of masks, on random images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from dsd_bench.config.run import ComponentConfig, RegularizerConfig, RunConfig
from dsd_bench.config.training import optimizer_of, passes_of
from dsd_bench.config.words import build_component
from dsd_bench.data.on_device import DeviceData
from dsd_bench.data.prepare import Prepared, Split
from dsd_bench.errors import DsdError, RunError, UsageError, message
from dsd_bench.experiment.assemble import updater_of
from dsd_bench.experiment.pruning import prune
from dsd_bench.masks import Masks, NothingLeft
from dsd_bench.metrics.prunable import find_prunable
from dsd_bench.models.building import Shape, in_one_line
from dsd_bench.optimizers import Ascending, Optimizer
from dsd_bench.optimizers.plain import make_stepping
from dsd_bench.plugins import catalogue
from dsd_bench.pruners import Pruner, PruneView
from dsd_bench.schedules.flat import Flat
from dsd_bench.stateful import Stateful, give_back, key, states
from dsd_bench.training.device import ComputeContext
from dsd_bench.training.distributed import Team
from dsd_bench.training.loop import Training
from dsd_bench.training.setup import ActiveRegularizer, TrainingSetup
from dsd_bench.training.updating import ActiveUpdater
from dsd_bench.updaters import UpdateView

Build = Callable[[ComponentConfig], nn.Module]


def dry_round(
    config: RunConfig,
    where: str,
    build: Build,
    shape: Shape,
    classes: int,
    context: ComputeContext,
    batch: int,
    updates: Sequence[int] = (),
) -> None:
    """Train one step with regularizers and optimiser, unless usual, prune once, update masks once.

    It draws from the global generators.

    Args:
        config: the run.
        where: the model, for messages.
        build: makes a new network of a model's configuration, on the context's device.
        shape: one image's ``(C, H, W)``.
        classes: number of classes.
        context: where and how precisely to compute.
        batch: images of the step.
        updates: steps after which the updater acts, if there is one.

    Raises:
        UsageError: naming the component that cannot do its part, and why.
    """
    # a single step needs neither a graph nor the other processes
    alone = ComputeContext(context.device, replace(context.plan, engine="eager"), team=Team())
    data, model = _random_data(shape, classes, batch, alone), build(config.model)
    find_prunable(model, shape)
    masks = Masks.dense(model)
    gathered: dict[str, Tensor] = {}
    used = [*config.regularizers, *([config.optimizer] if config.optimizer else [])]
    if used:
        names = ", ".join(f"'{chosen.name}'" for chosen in used)
        with _blaming(f"{where} cannot be trained with {names}"):
            gathered = _step(config, build, data, alone, model, masks)
    pruning = catalogue().get("pruner", config.pruner.name).component
    pruner: Pruner = build_component(catalogue(), "pruner", config.pruner)
    with _blaming(f"pruner '{pruning.name}' cannot prune {where}"):
        try:
            pruned = prune(pruner, pruning, _prune_view(model, masks, data, gathered)).masks
        except NothingLeft:
            pruned = masks
        _check_state(key("pruner", pruning.name), pruner, alone.device)
    if active := updater_of(config):
        with _blaming(f"updater '{active.name}' cannot change masks of {where}"):
            _update(active, model, (masks, pruned), data, updates)
            _check_state(key("updater", active.name), active.updater, alone.device)


@contextmanager
def _blaming(what: str) -> Iterator[None]:
    """Turn whatever a component raises into a sentence that names it."""
    try:
        yield
    except (UsageError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        reason = message(error) if isinstance(error, DsdError) else in_one_line(error)
        raise UsageError(f"{what}: {reason}") from error


def _random_data(shape: Shape, classes: int, batch: int, context: ComputeContext) -> DeviceData:
    draw, channels = numpy.random.default_rng(0), shape[0]
    labels = numpy.arange(batch, dtype=numpy.int64) % classes
    images = draw.integers(0, 256, (batch, *shape), dtype=numpy.uint8)
    part = Split(images, labels, labels)
    data = Prepared(
        train=part,
        val=None,
        test=part,
        classes=classes,
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
        flip=False,
        shift=0,
        crop=False,
        label_noise={},
    )
    return DeviceData.from_prepared(data, context.device, context.memory_format)


def _step(
    config: RunConfig,
    build: Build,
    data: DeviceData,
    context: ComputeContext,
    model: nn.Module,
    masks: Masks,
) -> dict[str, Tensor]:
    """Train one step; return what the regularizers have for the pruner."""

    def active(chosen: RegularizerConfig) -> ActiveRegularizer:
        made = build_component(catalogue(), "regularizer", chosen)
        if chosen.teacher is None:
            return ActiveRegularizer(chosen.name, made)
        teacher = build(chosen.teacher.config.model).eval().requires_grad_(False)
        return ActiveRegularizer(chosen.name, made, teacher)

    regularizers = [active(chosen) for chosen in config.regularizers]
    optimizer = optimizer_of(config)
    _check_passes(config, optimizer, model)
    how = optimizer, Flat(1, 1e-9)
    setup = TrainingSetup(config.protocol, data, context, 0, *how, regularizers)
    Training(setup, model, masks, 0).run(lambda training: None)
    for place, component in setup.stateful.items():
        _check_state(place, component, context.device)
    return setup.gathered()


def _check_passes(config: RunConfig, optimizer: Optimizer, model: nn.Module) -> None:
    """Refuse an optimiser of another number of passes than its component declares."""
    told = passes_of(config)
    found = 2 if isinstance(make_stepping(optimizer, model, config.protocol), Ascending) else 1
    if told != found:
        name = config.chosen("optimizer").name
        raise UsageError(
            f"optimizer '{name}' has {found} pass{'es' if found > 1 else ''} a step, its component "
            f"declares {told}: register it with Component(passes={found})"
        )


def _batches(data: DeviceData) -> Callable[[int], Iterator[tuple[Tensor, Tensor]]]:
    def batches(count: int) -> Iterator[tuple[Tensor, Tensor]]:
        everything = torch.arange(len(data.train), device=data.train.labels.device)
        for _ in range(count):
            yield data.normalise(data.train.gather(everything)), data.train.labels

    return batches


def _prune_view(
    model: nn.Module, masks: Masks, data: DeviceData, gathered: dict[str, Tensor]
) -> PruneView:
    device, draw = data.train.labels.device, torch.Generator().manual_seed(0)
    return PruneView(model.eval(), masks, 1, device, draw, _batches(data), gathered)


def _check_state(place: str, component: Stateful, device: torch.device) -> None:
    """Raise RunError unless a new component gives back the state that it is given."""
    before = states({place: component})
    if not before:
        return
    made: Any = component
    fresh = type(made)(made.params)
    give_back({place: fresh}, before, device)
    after = states({place: fresh})
    _, kind, _, name = place.split("/")
    lost = [k for k, tensor in before.items() if k not in after or not _same(tensor, after[k])]
    if lost := lost or list(after.keys() - before.keys()):
        entries = ", ".join(entry.removeprefix(f"{place}/") for entry in lost)
        raise RunError(
            f"{kind} '{name}' loads another state than it had, so a run could not be taken up "
            f"again; see its state() and load(): {entries}"
        )


def _same(one: Tensor, other: Tensor) -> bool:
    alike = one.shape == other.shape and one.dtype == other.dtype
    return alike and torch.equal(*(t.reshape(-1).view(torch.uint8) for t in (one, other)))


def _update(
    active: ActiveUpdater,
    model: nn.Module,
    masks: tuple[Masks, Masks],
    data: DeviceData,
    steps: Sequence[int],
) -> None:
    now, goal = active.begin(*masks)
    now.apply(model)
    view = UpdateView(
        model=model.train(),
        masks=now,
        target=goal.target,
        began=goal.began,
        round=1,
        step=steps[0],
        steps=steps,
        total=steps[-1],
        device=data.train.labels.device,
        generator=torch.Generator().manual_seed(0),
        batches=_batches(data),
    )
    active.update(view)

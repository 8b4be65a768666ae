"""From a configuration to everything it names: data on the device, components, teachers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from torch import nn

from dsd_bench.config.metrics import build_metric, metric_key
from dsd_bench.config.naming import command, component_word
from dsd_bench.config.run import ComponentConfig, DatasetConfig, RunConfig, TeacherConfig
from dsd_bench.config.training import optimizer_of, planned_phases, schedule_of
from dsd_bench.config.words import build_component
from dsd_bench.data import Dataset, DatasetParams, ImageFiles, RawData
from dsd_bench.data.on_device import DeviceData
from dsd_bench.data.prepare import Prepared, part_sizes, prepare
from dsd_bench.errors import DamagedFile, DataError, UsageError, plain
from dsd_bench.experiment.chain import check_chain
from dsd_bench.experiment.choosing import choice_of
from dsd_bench.experiment.given import begin_from
from dsd_bench.experiment.measure import BUILTIN
from dsd_bench.experiment.parts import Experiment
from dsd_bench.experiment.settings import Keep
from dsd_bench.models.building import Shape, construct
from dsd_bench.plugins import catalogue
from dsd_bench.schedules import Schedule, phases_of
from dsd_bench.seeds import seeded_globals
from dsd_bench.store.runs import finished, finished_plans
from dsd_bench.store.weights import read_weights
from dsd_bench.training.device import ComputeContext, other_numerics
from dsd_bench.training.layout import on_cpu, place
from dsd_bench.training.schedule import steps_per_epoch
from dsd_bench.training.setup import ActiveRegularizer, Tensors, TrainingSetup
from dsd_bench.training.updating import ActiveUpdater


@dataclass(frozen=True)
class Sources:
    """Where things that are no part of the configuration come from.

    Attributes:
        runs_dir: where teachers' runs lie.
        data_dir: where data sets lie.
        download: whether data and pretrained weights may be downloaded.
        checkpoint_seconds: longest time between checkpoints within a training.
        keep: which rounds' weights stay; None: by their size.
    """

    runs_dir: Path
    data_dir: Path
    download: bool = False
    checkpoint_seconds: float = 30.0
    keep: Keep | None = None


def assemble(
    config: RunConfig, context: ComputeContext, sources: Sources
) -> tuple[Experiment, Prepared]:
    """Build the experiment of ``config`` on ``context``; also return its data before the copy.

    Raises:
        UsageError: for what cannot be combined, DataError for missing or damaged data.
    """
    known = catalogue()
    prepared = load_data(config, sources)
    streamed = isinstance(prepared.train.images, ImageFiles)
    check_chain(config, context.team.size, streamed)
    check_selection(config, held_out=prepared.val is not None)
    _, channels, height, width = prepared.train.images.shape
    shape = (channels, height, width)
    lay_out(config.model, shape, prepared.classes, context, sources.download)
    data = DeviceData.from_prepared(
        prepared, context.device, context.memory_format, context.team.share
    )

    optimizer = optimizer_of(config)
    if context.plan.engine == "graph" and not optimizer.recordable:
        name = config.chosen("optimizer").name
        context.change(f"optimizer '{name}' cannot be recorded: no graph", engine="eager")

    def build(seed: int) -> nn.Module:
        return build_model(config.model, seed, data.shape, data.classes, context, sources.download)

    setup = TrainingSetup(
        protocol=config.protocol,
        data=data,
        context=context,
        seed=config.seed,
        optimizer=optimizer,
        schedule=schedule_of(config),
        regularizers=[
            ActiveRegularizer(
                chosen.name,
                build_component(known, "regularizer", chosen),
                load_teacher(chosen.teacher, data, context, sources) if chosen.teacher else None,
            )
            for chosen in config.regularizers
        ],
        updater=updater_of(config),
    )
    experiment = Experiment(
        config=config,
        setup=setup,
        build=build,
        pruner=build_component(known, "pruner", config.pruner),
        pruning=known.get("pruner", config.pruner.name).component,
        perturber=build_component(known, "perturber", config.perturber),
        stop=build_component(known, "stop", config.stop),
        choice=choice_of(config),
        measured=[known.get("metric", name).component.create() for name in BUILTIN],
        further={metric_key(word): build_metric(word) for word in config.metrics},
        checkpoint_seconds=sources.checkpoint_seconds,
        keep=sources.keep,
        begin=partial(begin, config, data.classes),
    )
    return experiment, prepared


def begin(config: RunConfig, classes: int, model: nn.Module) -> list[str]:
    """Put the weights that ``config`` begins from, if any, into a new network.

    Raises:
        UsageError: if they are not those that were planned with, or do not fit.
    """
    if config.weights is None:
        return []
    return begin_from(config.weights, model, named(config.model), classes)


def class_names(config: RunConfig, data_dir: Path) -> tuple[str, ...]:
    """Return the names of the classes of an image folder, nothing for other data sets."""
    if config.dataset.name != "imagefolder":
        return ()
    from dsd_bench.data.sets.imagefolder import ImageFolder

    dataset = build_component(catalogue(), "dataset", config.dataset)
    if not isinstance(dataset, ImageFolder):
        return ()
    return tuple(map(plain, dataset.class_names(data_dir)))


def load_data(config: RunConfig, sources: Sources) -> Prepared:
    """Read, check, split and corrupt the data of ``config``.

    Raises:
        DataError: if the data are missing, damaged, or other than when the run was planned.
    """
    raw, params = _raw(
        *(config.dataset.model_dump_json(), config.fingerprint, sources.data_dir, sources.download)
    )
    return prepare(
        raw, params, build_component(catalogue(), "noise", config.noise), config.data_seed
    )


def updater_of(config: RunConfig) -> ActiveUpdater | None:
    """Return the updater of a run, None if it has none."""
    if config.updater is None:
        return None
    made = build_component(catalogue(), "updater", config.updater)
    return ActiveUpdater(config.updater.name, made)


@dataclass(frozen=True)
class Measures:
    """What must be known of data to try a run out.

    Attributes:
        shape: one image's ``(C, H, W)``.
        classes: number of classes.
        train: samples of the train part.
        held_out: whether there is a validation part.
    """

    shape: Shape
    classes: int
    train: int
    held_out: bool


def measures(config: RunConfig, sources: Sources) -> Measures:
    """Return the sizes of ``config``'s data.

    The data are read only if the data set does not know its sizes without them.

    Raises:
        UsageError: if the sizes asked for do not fit the data, DataError as :func:`load_data`.
    """
    dataset: Dataset = build_component(catalogue(), "dataset", config.dataset)
    told = dataset.outline()
    if told is None:
        data = load_data(config, sources)
        _, channels, height, width = data.train.images.shape
        shape = (channels, height, width)
        return Measures(shape, data.classes, len(data.train), data.val is not None)
    train, held = part_sizes(dataset.params, told.train, told.val is not None)
    return Measures(told.shape, told.classes, train, bool(held or told.val))


def image_shape(config: RunConfig, sources: Sources) -> tuple[Shape, int]:
    """Return the ``(C, H, W)`` of ``config``'s images and the number of classes."""
    found = measures(config, sources)
    return found.shape, found.classes


def check_selection(config: RunConfig, held_out: bool) -> None:
    """Raise :class:`UsageError` if there is no part to select by."""
    if config.protocol.selection == "val" and not held_out:
        raise UsageError("nothing was held out to select by: give val_size, or --selection test")


def check_snapshots(config: RunConfig, steps: Collection[int], samples: int) -> None:
    """Raise :class:`UsageError` if one of ``steps`` lies beyond the dense training.

    Args:
        config: the run.
        steps: those whose state the perturber needs.
        samples: size of the train part.
    """
    epochs = sum(phase.epochs for phase in planned_phases(config, 0))
    last = epochs * steps_per_epoch(samples, min(config.protocol.batch_size, samples))
    if steps and max(steps) > last:
        raise UsageError(
            f"perturber '{config.perturber.name}' wants the state after step {max(steps)}, but "
            f"the dense training has {last} steps"
        )


def check_updater(config: RunConfig, samples: int, processes: int) -> tuple[int, ...]:
    """Return the steps after which masks change in round 1.

    Args:
        config: the run.
        samples: size of the train part.
        processes: how many train the model together.

    Raises:
        UsageError: if there are none in which the updater can act.
    """
    active, protocol = updater_of(config), config.protocol
    if active is None:
        return ()
    schedule = schedule_of(config)
    first = phases_of(schedule, 1, protocol)[0]
    where = f"--updater {active.name}: "
    if processes > 1:
        raise UsageError(
            f"{where}masks that change within a training need one process; run without torchrun"
        )
    if first.masks == "dense" or type(schedule).ends is not Schedule.ends:
        raise UsageError(
            f"{where}schedule '{config.chosen('schedule').name}' begins a round with all weights, "
            "or may end it early; masks that change need a sparse phase of known length"
        )
    pruning = catalogue().get("pruner", config.pruner.name).component
    if active.updater.begins != "pruned" and pruning.reconstructs:
        raise UsageError(
            f"{where}it begins with weights that pruner '{pruning.name}' took away, and for which "
            "those that stay already make up; use a pruner without new weights, such as magnitude"
        )
    per_epoch = steps_per_epoch(samples, min(protocol.batch_size, samples))
    return active.steps(first.epochs * per_epoch, per_epoch)


@lru_cache(maxsize=1)
def _raw(
    dataset: str, fingerprint: str, data_dir: Path, download: bool
) -> tuple[RawData, DatasetParams]:
    """Read a data set; a process that does several runs reads it once."""
    config = DatasetConfig.model_validate_json(dataset)
    made: Dataset = build_component(catalogue(), "dataset", config)
    found = made.fingerprint(data_dir)
    if found != fingerprint:
        raise DataError(
            f"data set '{config.name}' in {data_dir} is not the one this run was planned "
            f"with (fingerprint {found[:16]}, expected {fingerprint[:16]})"
        )
    return made.load(data_dir, download), made.params


def forget_data() -> None:
    """Read every data set anew from now on."""
    _raw.cache_clear()


def build_model(
    config: ComponentConfig,
    seed: int,
    shape: Shape,
    classes: int,
    context: ComputeContext,
    download: bool = False,
) -> nn.Module:
    """Return the model of ``config``, initialised from ``seed`` on the CPU, moved to the device.

    Raises:
        UsageError: if it cannot be built for such images.
    """
    return place(_new_model(config, seed, shape, classes, context, download), context)


def _new_model(
    config: ComponentConfig,
    seed: int,
    shape: Shape,
    classes: int,
    context: ComputeContext,
    download: bool,
) -> nn.Module:
    factory = build_component(catalogue(), "model", config)
    context.settle()
    with seeded_globals(seed):
        return construct(factory, named(config), shape, classes, download=download)


def lay_out(
    config: ComponentConfig,
    shape: Shape,
    classes: int,
    context: ComputeContext,
    download: bool = False,
) -> None:
    """Put the layout of a run with the model of ``config`` into the context's plan.

    Raises:
        UsageError: if the model cannot be built for such images.
    """
    layout = on_cpu(_new_model(config, 0, shape, classes, context, download), context.precision)
    context.lay_out(layout)


def named(model: ComponentConfig) -> str:
    """Return what messages call a model."""
    word = component_word("model", model.model_dump(mode="json"), catalogue().find)
    return f"model '{word}'"


def load_teacher(
    teacher: TeacherConfig, data: DeviceData, context: ComputeContext, sources: Sources
) -> nn.Module:
    """Return the trained teacher, in eval mode and without gradients.

    Raises:
        UsageError: if its run is not finished, its weights are not those that it ended with, or
            its classes are not the student's.
    """
    path = sources.runs_dir / teacher.run_id
    try:
        tensors = read_weights(path, teacher.weights, teacher.run_id)
    except DamagedFile as error:
        words = ("--config", path / "config.json", "--force")
        mend = "" if finished(path) else command("run", *words, runs_dir=sources.runs_dir)
        way = f"; mend it with: {mend}" if mend else ""  # of a finished run the error says it
        raise UsageError(f"teacher {teacher.run_id}: {error}{way}") from None
    bare = teacher.config.model.unfetched()  # its kept weights take the place of published ones
    model = build_model(bare, 0, data.shape, data.classes, context)
    if other := other_numerics(finished_plans(path), on_cpu(model, context.precision)):
        context.remarks.append(f"teacher {teacher.run_id} was computed under numerics {other[0]}")
    load_kept_weights(model, tensors, f"teacher {teacher.run_id}")
    return model.eval().requires_grad_(False)


def load_kept_weights(model: nn.Module, tensors: Tensors, where: str) -> None:
    """Load kept weights (their masks are left aside) into ``model``."""
    state = {name: t for name, t in tensors.items() if not name.startswith("masks/")}
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise UsageError(f"{where}: its weights do not fit this data's model: {first}") from None

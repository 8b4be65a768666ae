"""From a configuration to everything it names: data on the device, components, teachers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from torch import nn

from dsd_bench.config.naming import command
from dsd_bench.config.run import ComponentConfig, DatasetConfig, RunConfig, TeacherConfig
from dsd_bench.config.words import build_component
from dsd_bench.data import Dataset, DatasetParams, RawData
from dsd_bench.data.on_device import DeviceData
from dsd_bench.data.prepare import Prepared, prepare
from dsd_bench.errors import DamagedFile, DataError, UsageError
from dsd_bench.experiment.measure import BUILTIN
from dsd_bench.experiment.parts import Experiment
from dsd_bench.experiment.settings import Keep
from dsd_bench.plugins import catalogue
from dsd_bench.seeds import seeded_globals
from dsd_bench.store.runs import finished_plans
from dsd_bench.store.weights import read_weights
from dsd_bench.training.device import ComputeContext, other_numerics
from dsd_bench.training.loop import ActiveRegularizer, Tensors, TrainingSetup


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
    if prepared.val is None and config.protocol.selection == "val":
        raise UsageError("nothing was held out to select by: give val_size, or --selection test")
    data = DeviceData.from_prepared(
        prepared, context.device, context.memory_format, context.team.share
    )

    def build(seed: int) -> nn.Module:
        return build_model(config.model, seed, data.shape, data.classes, context, sources.download)

    setup = TrainingSetup(
        protocol=config.protocol,
        data=data,
        context=context,
        seed=config.seed,
        regularizers=[
            ActiveRegularizer(
                chosen.name,
                build_component(known, "regularizer", chosen),
                load_teacher(chosen.teacher, data, context, sources) if chosen.teacher else None,
            )
            for chosen in config.regularizers
        ],
    )
    experiment = Experiment(
        config=config,
        setup=setup,
        build=build,
        pruner=build_component(known, "pruner", config.pruner),
        perturber=build_component(known, "perturber", config.perturber),
        stop=build_component(known, "stop", config.stop),
        measured=[known.get("metric", name).component.create() for name in BUILTIN],
        further={name: known.get("metric", name).component.create() for name in config.metrics},
        checkpoint_seconds=sources.checkpoint_seconds,
        keep=sources.keep,
    )
    return experiment, prepared


def load_data(config: RunConfig, sources: Sources) -> Prepared:
    """Read, check, split and corrupt the data of ``config``.

    Raises:
        DataError: if the data are missing, damaged, or other than when the run was planned.
    """
    raw, params = _raw(config.dataset.model_dump_json(), config.fingerprint, sources)
    return prepare(
        raw, params, build_component(catalogue(), "noise", config.noise), config.data_seed
    )


def image_shape(config: RunConfig, sources: Sources) -> tuple[tuple[int, int, int], int]:
    """Return the ``(C, H, W)`` of ``config``'s images and the number of classes.

    The data are read only if the data set does not know its sizes without them.
    """
    outline = build_component(catalogue(), "dataset", config.dataset).outline()
    if outline is not None:
        return outline.shape, outline.classes
    data = load_data(config, sources)
    _, channels, height, width = data.train.images.shape
    return (channels, height, width), data.classes


@lru_cache(maxsize=1)
def _raw(dataset: str, fingerprint: str, sources: Sources) -> tuple[RawData, DatasetParams]:
    """Read a data set; a process that does several runs reads it once."""
    config = DatasetConfig.model_validate_json(dataset)
    made: Dataset = build_component(catalogue(), "dataset", config)
    found = made.fingerprint(sources.data_dir)
    if found != fingerprint:
        raise DataError(
            f"data set '{config.name}' in {sources.data_dir} is not the one this run was planned "
            f"with (fingerprint {found[:16]}, expected {fingerprint[:16]})"
        )
    return made.load(sources.data_dir, sources.download), made.params


def build_model(
    config: ComponentConfig,
    seed: int,
    shape: tuple[int, int, int],
    classes: int,
    context: ComputeContext,
    download: bool = False,
) -> nn.Module:
    """Return the model of ``config``, initialised from ``seed`` on the CPU, moved to the device."""
    factory = build_component(catalogue(), "model", config)
    context.settle()
    with seeded_globals(seed):
        model: nn.Module = factory.build(shape, classes, download=download)
    return model.to(context.device, memory_format=context.memory_format)  # type: ignore[call-overload,no-any-return]


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
        mend = command("run", *words, runs_dir=sources.runs_dir)
        raise UsageError(f"teacher {teacher.run_id}: {error}; mend it with: {mend}") from None
    if other := other_numerics(finished_plans(path)):
        context.remarks.append(f"teacher {teacher.run_id} was computed under numerics {other[0]}")
    model = build_model(teacher.config.model, 0, data.shape, data.classes, context)
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

"""How long runs will take here: a few steps of the real engine on synthetic images.

Timings are kept in a file of the user's cache folder, keyed by everything that they depend on; it
may be deleted at any time.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy
import torch

from dsd_bench.config.run import RegularizerConfig, RunConfig, digest
from dsd_bench.config.training import optimizer_of
from dsd_bench.config.words import build_component
from dsd_bench.costs.counting import Sizes
from dsd_bench.costs.expected import planned_work
from dsd_bench.data import DatasetParams, RawData, Samples
from dsd_bench.data.on_device import DeviceData
from dsd_bench.data.prepare import prepare
from dsd_bench.environment import cache_folder
from dsd_bench.errors import DsdError, UsageError
from dsd_bench.experiment.assemble import build_model, lay_out
from dsd_bench.experiment.measure import measure_view
from dsd_bench.masks import Masks
from dsd_bench.plugins import catalogue
from dsd_bench.schedules.flat import Flat
from dsd_bench.seeds import preserved_globals
from dsd_bench.store.files import write_atomic
from dsd_bench.store.reading import read_json
from dsd_bench.training import device
from dsd_bench.training.cuda_graph import WARM as UNCAPTURED
from dsd_bench.training.loop import Training
from dsd_bench.training.setup import ActiveRegularizer, TrainingSetup

WARM, BLOCK, BLOCKS = UNCAPTURED + 1, 4, 5
"""Steps before the first timing (the one that a GPU captures is among them), steps timed together,
and how many such blocks at most."""
ENOUGH = 2.0
"""Seconds after which slow steps are neither warmed up nor timed any longer; one always is."""
WAITED = 0.2
"""Share of the time, and seconds, for which a timing that is kept may have waited for a core."""


@dataclass(frozen=True)
class Pace:
    """What was timed, in seconds.

    Attributes:
        step: one training step (forward, loss, backward, update), the median of some.
        image: measuring one image after a training.
    """

    step: float
    image: float


def expected_seconds(
    config: RunConfig, context: device.ComputeContext, cache: Path | None = None
) -> float | None:
    """Return how long ``config`` alone will take on ``context``, its teachers not included.

    Training and measuring are counted; reading data, pruning and files are not. A stop rule may
    end it earlier. None where the number of trainings or the data's sizes cannot be known.

    Args:
        config: the run.
        context: from :func:`dsd_bench.training.device.make_context`, with the run's precision.
        cache: the file of timings; default: :func:`cache_file`.

    Raises:
        UsageError: if the model does not fit the data, or regularizers refuse the model.
    """
    work = planned_work(config)
    if work is None:
        return None
    found = pace(config, work.sizes, context, cache)
    steps = work.images / _batch(config, work.sizes)
    return steps * found.step + work.trainings * work.sizes.measured * found.image


def pace(
    config: RunConfig, sizes: Sizes, context: device.ComputeContext, cache: Path | None = None
) -> Pace:
    """Return the pace of ``config``, timed now unless it was timed before on the same context.

    A timing during which others had the processor is true now, and not kept.
    """
    file = cache or cache_file()
    lay_out(config.model.unfetched(), sizes.shape, sizes.classes, context)
    key = digest(timed_part(config, sizes, context))
    known = read_cache(file)
    if key not in known:
        began, computed = time.perf_counter(), time.process_time()
        known[key] = measure_pace(config, sizes, context)
        took = time.perf_counter() - began
        waited = took - (time.process_time() - computed)
        if context.device.type != "cpu" or waited <= max(WAITED, WAITED * took):
            _write_cache(file, key, known[key])
    return known[key]


def timed_part(config: RunConfig, sizes: Sizes, context: device.ComputeContext) -> dict[str, Any]:
    """Return everything that a pace depends on, as JSON."""
    return {
        "plan": context.plan.to_json(),
        "precision": context.precision,
        "hardware": device.hardware(context.device),
        "versions": device.versions(),
        "model": config.model.model_dump(mode="json"),
        "shape": list(sizes.shape),
        "classes": sizes.classes,
        "batch": _batch(config, sizes),
        "optimizer": config.chosen("optimizer").model_dump(mode="json"),
        "augmented": _augmented(config, sizes),
        "regularizers": [
            {
                "name": chosen.name,
                "version": chosen.version,
                "params": {k: v for k, v in chosen.params.items() if k != "teacher"},
                "teacher": chosen.teacher and chosen.teacher.config.model.model_dump(mode="json"),
            }
            for chosen in config.regularizers
        ],
    }


def _batch(config: RunConfig, sizes: Sizes) -> int:
    return min(config.protocol.batch_size, sizes.train)


def _augmented(config: RunConfig, sizes: Sizes) -> bool:
    """Guess whether the data set's own transform changes images: it does for coloured ones."""
    return config.dataset.params.get("transform") == "standard" and sizes.shape[0] == 3


def measure_pace(config: RunConfig, sizes: Sizes, context: device.ComputeContext) -> Pace:
    """Time some steps of a training and one measurement, on synthetic images.

    The network is new and dense; the generators of the process stay as they were.
    """
    with preserved_globals():
        setup = _setup(config, sizes, context)
        model = build_model(config.model.unfetched(), 0, sizes.shape, sizes.classes, context)
        masks = Masks.dense(model)
        training = Training(setup, model, masks, 0)
        clock = _Clock(context.device)
        with suppress(_Enough):
            training.run(clock)
        model.eval()
        view = measure_view(setup, model, masks, 0)
        image = _timed(lambda: view.outputs("train"), context.device) / len(setup.data.train)
    return Pace(clock.median(), image)


def _setup(config: RunConfig, sizes: Sizes, context: device.ComputeContext) -> TrainingSetup:
    """Return the setup of a training like ``config``'s that never ends, on random images."""
    return TrainingSetup(
        protocol=config.protocol,
        data=_synthetic(sizes, _batch(config, sizes), _augmented(config, sizes), context),
        context=context,
        seed=0,
        optimizer=optimizer_of(config),
        schedule=Flat(10**6, 1e-9),  # so small a rate that no loss diverges
        regularizers=[_active(chosen, sizes, context) for chosen in config.regularizers],
    )


def _active(
    chosen: RegularizerConfig, sizes: Sizes, context: device.ComputeContext
) -> ActiveRegularizer:
    """Return a regularizer with an untrained teacher, if it has one."""
    teacher = None
    if chosen.teacher is not None:
        model = chosen.teacher.config.model
        teacher = build_model(model.unfetched(), 0, sizes.shape, sizes.classes, context).eval()
        teacher.requires_grad_(False)
    built = build_component(catalogue(), "regularizer", chosen)
    return ActiveRegularizer(chosen.name, built, teacher)


def _synthetic(
    sizes: Sizes, batch: int, augmented: bool, context: device.ComputeContext
) -> DeviceData:
    """Return four batches of random images on the device."""
    draw = numpy.random.default_rng(0)
    count = min(sizes.train, 4 * batch)
    samples = Samples(
        draw.integers(0, 256, (count, *sizes.shape), dtype=numpy.uint8),
        draw.integers(0, sizes.classes, count),
    )
    channels = sizes.shape[0]
    raw = RawData(
        *(samples, samples, sizes.classes, (0.5,) * channels, (0.25,) * channels),
        flip=augmented,
        shift=4 if augmented else 0,
    )
    prepared = prepare(raw, DatasetParams(val_size=0), None, 0)
    return DeviceData.from_prepared(prepared, context.device, context.memory_format)


class _Enough(Exception):
    """Enough steps were timed."""


class _Clock:
    """Is called after every step: times blocks of them and ends the training."""

    def __init__(self, where: torch.device) -> None:
        self.where, self.seconds = where, list[float]()
        self._made = self._began = time.perf_counter()
        self._block: tuple[int, float] | None = None

    def __call__(self, training: Training) -> None:
        done = training.steps_done
        if self._block is None:
            if done >= WARM or time.perf_counter() - self._made > ENOUGH:
                self._began = _now(self.where)
                self._block = done, self._began
            return
        first, start = self._block
        if done - first < BLOCK and time.perf_counter() - self._began <= ENOUGH:
            return
        now = _now(self.where)
        self.seconds.append((now - start) / (done - first))
        self._block = done, now
        if len(self.seconds) == BLOCKS or now - self._began > ENOUGH:
            raise _Enough

    def median(self) -> float:
        """Return the median seconds of a step."""
        return statistics.median(self.seconds)


def _now(where: torch.device) -> float:
    """Return the time when the device has done everything so far."""
    if where.type != "cpu":
        getattr(torch, where.type).synchronize()
    return time.perf_counter()


def _timed(act: Callable[[], Any], where: torch.device) -> float:
    start = _now(where)
    act()
    return _now(where) - start


def cache_file() -> Path:
    """Return where timings are kept."""
    return cache_folder() / "calibration.json"


def read_cache(file: Path) -> dict[str, Pace]:
    """Return the timings in ``file``; what is missing, damaged or of another version is not."""
    try:
        entries = read_json(file)
    except UsageError:
        return {}
    found = {}
    for key, entry in entries.items():
        with suppress(TypeError, ValueError):
            made = Pace(**{name: float(seconds) for name, seconds in dict(entry).items()})
            if all(math.isfinite(seconds) and seconds > 0 for seconds in asdict(made).values()):
                found[key] = made
    return found


def _write_cache(file: Path, key: str, found: Pace) -> None:
    """Add a timing; a folder that may not be written only costs the next call its time."""
    with suppress(OSError, DsdError):
        file.parent.mkdir(parents=True, exist_ok=True)
        entries = read_cache(file) | {key: found}
        values = {name: asdict(entry) for name, entry in entries.items()}
        write_atomic(file, json.dumps(values, indent=1).encode())

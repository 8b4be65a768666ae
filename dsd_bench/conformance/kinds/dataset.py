"""Checks of data sets; what needs files finds them in ``$DSD_BENCH_DATA``, or ``data``."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy

from dsd_bench.config.layers import normalise
from dsd_bench.conformance.checks import Broken, Skipped, blaming, check, demand
from dsd_bench.conformance.runs import small, whole_runs
from dsd_bench.conformance.subjects import Subject
from dsd_bench.data import Dataset, DatasetParams, RawData, Samples
from dsd_bench.data.files import ImageFiles
from dsd_bench.data.prepare import check_raw, prepare
from dsd_bench.errors import DataError, UsageError
from dsd_bench.seeds import seeded_globals

FOLDER = "DSD_BENCH_DATA"
"""Environment variable that names the folder of data sets."""


def _data_dir() -> Path:
    return Path(os.environ.get(FOLDER, "data"))


def _made(subject: Subject) -> Dataset:
    """Return the data set, if its files are there."""
    dataset: Dataset = subject.make()
    try:
        dataset.check(_data_dir(), False)
    except DataError as error:
        raise Skipped(f"its files are not in {_data_dir()}; ${FOLDER} says where") from error
    return dataset


def _loaded(subject: Subject) -> RawData:
    if "raw" not in subject.memory:
        subject.memory["raw"] = _made(subject).load(_data_dir(), False)
    raw = subject.memory["raw"]
    demand(isinstance(raw, RawData), f"load gives a {type(raw).__name__}, not RawData")
    found: RawData = raw
    return found


def _parts(raw: RawData) -> Iterator[tuple[str, Samples]]:
    for name, samples in (("train", raw.train), ("val", raw.val), ("test", raw.test)):
        if samples is not None:
            yield name, samples


@check("dataset")
def params(subject: Subject) -> None:
    """Its parameters are those of every data set, and its own."""
    found = subject.entry.component.params
    demand(issubclass(found, DatasetParams), "its parameters derive not from DatasetParams")


@check("dataset")
def recipe(subject: Subject) -> None:
    """Its recipe is options of `dsd-bench run` that can be resolved, whatever the model."""
    dataset: Dataset = subject.make()
    for model in (None, "mlp", "resnet18"):
        with blaming(f"its recipe for the model {model} is refused"):
            normalise(dict(dataset.recipe(model)))
    _made(subject)
    small(dataset=subject.word)


@check("dataset")
def missing_files(subject: Subject) -> None:
    """Where its files are missing it says which, and where they come from; it downloads nothing."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            subject.make().check(Path(folder), False)
        except DataError as error:
            demand(len(str(error)) > 20, f"its message helps nobody: {error}")
        demand(not list(Path(folder).iterdir()), "check writes into the data folder")


@check("dataset")
def fingerprint(subject: Subject) -> None:
    """It knows its data by a text that is the same whenever it is asked for."""
    dataset = _made(subject)
    with seeded_globals(1):
        first = dataset.fingerprint(_data_dir())
    with seeded_globals(2):
        again = subject.make().fingerprint(_data_dir())
    demand(type(first) is str and len(first) >= 8, f"its fingerprint is {first!r}")
    demand(first == again, f"its fingerprint is {first}, then {again}")


@check("dataset")
def arrays(subject: Subject) -> None:
    """Images are uint8 `(N, C, H, W)`, labels int64 of classes that there are, statistics fit."""
    raw = _loaded(subject)
    try:
        check_raw(raw)
    except DataError as error:
        raise Broken(str(error)) from error
    channels = raw.train.images.shape[1]
    for name, samples in _parts(raw):
        demand(samples.labels.dtype == numpy.int64, f"{name} labels are {samples.labels.dtype}")
        demand(samples.images.shape[1] == channels, f"{name} images have other channels")
    for name in ("mean", "std"):
        values = getattr(raw, name)
        demand(len(values) == channels, f"{name} has {len(values)} values for {channels} channels")
    demand(all(value > 0 for value in raw.std), "std is not above 0")


@check("dataset")
def same_data(subject: Subject) -> None:
    """Loaded again it is the same, whatever the global generators."""
    raw = _loaded(subject)
    with seeded_globals(5):
        again = _made(subject).load(_data_dir(), False)
    for (name, one), (_, other) in zip(_parts(raw), _parts(again)):
        demand(numpy.array_equal(one.labels, other.labels), f"{name} labels differ")
        if not isinstance(one.images, ImageFiles) and not isinstance(other.images, ImageFiles):
            demand(numpy.array_equal(one.images, other.images), f"{name} images differ")


@check("dataset")
def outline(subject: Subject) -> None:
    """The sizes that it knows without files are those of the data."""
    told = subject.make().outline()
    if told is None:
        raise Skipped("it tells no sizes")
    raw = _loaded(subject)
    _, channels, height, width = raw.train.images.shape
    found = (channels, height, width), raw.classes
    demand((told.shape, told.classes) == found, f"outline says {told}, the data have {found}")
    test = raw.test_size if raw.test is None else len(raw.test.labels)
    train = len(raw.train.labels) - (test if raw.test is None else 0)
    demand((told.train, told.test) == (train, test), f"outline says {told}, not {train}, {test}")


@check("dataset")
def splits(subject: Subject) -> None:
    """It can be split into train, validation and test parts, smaller ones too."""
    raw, own = _loaded(subject), subject.params
    try:
        prepare(raw, own, None, 0)  # type: ignore[arg-type]
    except UsageError as error:
        raise Broken(f"it cannot be split: {error}") from error


def _of_a_run(subject: Subject) -> dict[str, Any]:
    _loaded(subject)
    values = {**subject.values, "train_size": 60}
    held = {"val_size": 30} if subject.memory["raw"].val is None else {}
    return {"dataset": {"name": subject.name, **values, **held}, "data_dir": str(_data_dir())}


whole_runs("dataset", _of_a_run)

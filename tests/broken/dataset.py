"""Data sets that each break one check."""

from __future__ import annotations

import itertools

import numpy

from dsd_bench.data import Dataset, Outline, RawData, Samples
from dsd_bench.errors import DataError

from .process import SEED

COUNT = itertools.count()


class Good(Dataset):
    """Draw images of noise."""

    def outline(self):
        return Outline((1, 4, 4), 2, train=120, test=40)

    def fingerprint(self, data_dir):
        return "sha256:noise"

    def load(self, data_dir, download):
        draw = numpy.random.default_rng(0)
        images = draw.integers(0, 256, (160, 1, 4, 4), dtype=numpy.uint8)
        labels = numpy.arange(160) % 2
        train, test = Samples(images[:120], labels[:120]), Samples(images[120:], labels[120:])
        return RawData(train, test, 2, (0.5,), (0.5,))


class Params(Good):
    """Its parameters are not those of a data set."""


class Recipe(Good):
    """Has an option that there is not."""

    def recipe(self, model):
        return {"colour": "blue"}


class MissingFiles(Good):
    """Says next to nothing."""

    def check(self, data_dir, download):
        raise DataError("no")


class Fingerprint(Good):
    """Is another one each time."""

    def fingerprint(self, data_dir):
        return f"sha256:{next(COUNT)}"


class Arrays(Good):
    """Has labels beyond its classes."""

    def load(self, data_dir, download):
        raw = super().load(data_dir, download)
        return RawData(Samples(raw.train.images, raw.train.labels + 1), raw.test, 2, (0.5,), (0.5,))


class SameData(Good):
    """Draws from numpy's global generator."""

    def load(self, data_dir, download):
        raw = super().load(data_dir, download)
        images = numpy.random.randint(0, 256, (120, 1, 4, 4)).astype(numpy.uint8)
        return RawData(Samples(images, raw.train.labels), raw.test, 2, (0.5,), (0.5,))


class OutlineTold(Good):
    """Tells other sizes than it has."""

    def outline(self):
        return Outline((1, 4, 4), 2, train=100, test=60)


class Splits(Good):
    """Has too few images for its own validation part."""

    def load(self, data_dir, download):
        raw = super().load(data_dir, download)
        one = Samples(raw.train.images[:1], raw.train.labels[:1])
        return RawData(one, None, 2, (0.5,), (0.5,), test_size=1)


class Resumes(Good):
    """Has other images whenever it is loaded."""

    def load(self, data_dir, download):
        raw = super().load(data_dir, download)
        images = raw.train.images + numpy.uint8(next(COUNT))
        return RawData(Samples(images, raw.train.labels), raw.test, 2, (0.5,), (0.5,))


class SurvivesKill(Good):
    """Goes by Python's hash, which another process has another of."""

    def load(self, data_dir, download):
        raw = super().load(data_dir, download)
        draw = numpy.random.default_rng(SEED)
        images = draw.integers(0, 256, raw.train.images.shape, numpy.uint8)
        return RawData(Samples(images, raw.train.labels), raw.test, 2, (0.5,), (0.5,))

"""Real data sets, where ``DSD_BENCH_DATA`` names a folder with them: ``pytest -m slow``."""

from __future__ import annotations

import os
from pathlib import Path

import numpy
import pytest

from dsd_bench.data.builtin import register_datasets
from dsd_bench.data.prepare import prepare
from dsd_bench.data.sets.cifar import CIFAR100, SUPERCLASSES
from dsd_bench.params import validate

COMPONENTS = {component.name: component for component in register_datasets()}
ROOT = Path(os.environ.get("DSD_BENCH_DATA", "/nonexistent"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("DSD_BENCH_DATA" not in os.environ, reason="DSD_BENCH_DATA is not set"),
]


def made(name, **values):
    component = COMPONENTS[name]
    return component.create(validate(component.params, {"val_size": 0, **values}, name))


@pytest.mark.parametrize(
    ("name", "values", "percent"),
    [
        ("cifar10n", {"labels": "aggre"}, 9.01),
        ("cifar10n", {"labels": "rand1"}, 17.23),
        ("cifar10n", {"labels": "rand2"}, 18.12),
        ("cifar10n", {"labels": "rand3"}, 17.64),
        ("cifar10n", {}, 40.21),
        ("cifar100n", {}, 40.20),
    ],
)
def test_human_noise_is_as_much_as_was_published(name, values, percent):
    """Wei et al., ICLR 2022, Table 1 and Section 3."""
    data = made(name, **values)
    split = prepare(data.load(ROOT, False), data.params, None, 0)
    assert len(split.train) == 50_000
    assert round(100 * split.label_noise["rate"], 2) == percent
    assert numpy.bincount(split.train.clean).tolist() == [50_000 // split.classes] * split.classes


@pytest.mark.parametrize(("name", "rate"), [("cifar10", 0.2), ("cifar100", 0.4)])
def test_asymmetric_noise_on_all_images(name, rate):
    from dsd_bench.noise.builtin import AsymmetricParams
    from dsd_bench.noise.labels import Asymmetric

    data = made(name)
    noise = Asymmetric(AsymmetricParams(rate=0.4))
    split = prepare(data.load(ROOT, False), data.params, noise, 0)
    assert split.label_noise["rate"] == rate


def test_superclasses_are_those_of_the_files():
    """The file is trusted: its MD5 is torchvision's."""
    import pickle

    made("cifar100").load(ROOT, False)
    with (ROOT / CIFAR100.folder / "train").open("rb") as stream:
        content = pickle.load(stream, encoding="latin1")  # noqa: S301
    pairs = set(zip(content["fine_labels"], content["coarse_labels"]))
    assert pairs == set(enumerate(SUPERCLASSES))

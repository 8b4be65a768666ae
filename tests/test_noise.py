from __future__ import annotations

from dataclasses import replace

import fakes
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsd_bench.data import Samples
from dsd_bench.data.builtin import register_datasets
from dsd_bench.data.prepare import prepare
from dsd_bench.data.sets.cifar import SUPERCLASSES, next_within
from dsd_bench.errors import UsageError
from dsd_bench.noise import LabelNoise
from dsd_bench.noise.builtin import register_label_noise
from dsd_bench.params import validate

COMPONENTS = {component.name: component for component in register_label_noise()}


def make(name: str, **values: object) -> LabelNoise:
    component = COMPONENTS[name]
    return component.create(validate(component.params, values, name))


def stream(seed: int = 0) -> numpy.random.Generator:
    return numpy.random.default_rng(seed)


counts = st.integers(0, 300)
seeds = st.integers(0, 2**32)


@given(n=counts, rate=st.floats(0, 0.999), classes=st.integers(2, 12), seed=seeds)
def test_symmetric_makes_exactly_round_rate_n_labels_wrong(n, rate, classes, seed):
    labels = stream(seed + 1).integers(0, classes, n)
    noisy = make("symmetric", rate=rate).corrupt(labels, classes, stream(seed))
    assert (noisy != labels).sum() == round(rate * n)
    assert noisy.dtype == numpy.int64
    assert ((noisy >= 0) & (noisy < classes)).all()


@given(n=counts, rate=st.floats(0, 1), seed=seeds)
def test_uniform_touches_exactly_round_rate_n_samples(n, rate, seed):
    # Among 2^40 classes nobody draws the true one by chance.
    noisy = make("uniform", rate=rate).corrupt(numpy.zeros(n, dtype=int), 2**40, stream(seed))
    assert (noisy != 0).sum() == round(rate * n)


RATED = ["symmetric", "uniform", "asymmetric", "pairflip"]


@pytest.mark.parametrize("name", ["none", *RATED])
def test_the_true_labels_stay_untouched(name):
    labels = numpy.arange(100) % 10
    before = labels.copy()
    noisy = make(name, **({} if name == "none" else {"rate": 0.5})).corrupt(labels, 10, stream())
    assert (labels == before).all()
    assert not numpy.shares_memory(noisy, labels)


def test_none_changes_nothing_and_draws_nothing():
    labels, draw = numpy.arange(50) % 7, stream()
    assert (make("none").corrupt(labels, 7, draw) == labels).all()
    assert draw.random() == stream().random()


@pytest.mark.parametrize("name", RATED)
def test_the_stream_alone_decides(name):
    labels, noise = numpy.arange(200) % 10, make(name, rate=0.4)
    first, same, other = (noise.corrupt(labels, 10, stream(seed)) for seed in (0, 0, 1))
    assert (first == same).all()
    assert (first != other).any()


@pytest.mark.parametrize(("name", "kept"), [("symmetric", 0.0), ("uniform", 0.25)])
def test_every_class_is_as_likely_as_the_noise_says(name, kept):
    labels = numpy.full(40_000, 2)
    rate = 1.0 if name == "uniform" else 0.99999
    noisy = make(name, rate=rate).corrupt(labels, 4, stream())
    shares = numpy.bincount(noisy, minlength=4) / len(labels)
    assert shares == pytest.approx([(1 - kept) / 3] * 2 + [kept] + [(1 - kept) / 3], abs=0.01)


def test_noisy_samples_are_spread_over_the_file():
    labels = numpy.zeros(1000, dtype=int)
    wrong = make("symmetric", rate=0.2).corrupt(labels, 10, stream()) != labels
    assert 70 < wrong[:500].sum() < 130


def test_more_noise_only_adds_samples():
    labels = numpy.arange(500) % 10
    some, more = (
        make("symmetric", rate=rate).corrupt(labels, 10, stream()) != labels for rate in (0.2, 0.5)
    )
    assert (more | ~some).all()


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        *(("symmetric", 1.0), ("symmetric", -0.1), ("uniform", 1.1), ("uniform", float("nan"))),
        *(("asymmetric", 1.1), ("asymmetric", -0.1), ("pairflip", 1.1), ("pairflip", -0.1)),
    ],
)
def test_rates_out_of_range_are_refused(name, rate):
    with pytest.raises(UsageError, match="rate"):
        make(name, rate=rate)


@pytest.mark.parametrize("name", RATED)
def test_the_rate_must_be_said(name):
    with pytest.raises(UsageError, match="'rate' is required"):
        make(name)


@pytest.mark.parametrize("name", RATED)
def test_validation_labels_are_clean_by_default(name):
    assert make(name, rate=0.1).params.validation is False  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["symmetric", "asymmetric", "pairflip"])
def test_another_class_is_needed(name):
    with pytest.raises(UsageError, match=f"'{name}' needs at least 2 classes"):
        make(name, rate=0.5).corrupt(numpy.zeros(4, dtype=int), 1, stream())


@given(n=counts, rate=st.floats(0, 1), classes=st.integers(2, 12), seed=seeds)
def test_pairflip_makes_exactly_round_rate_n_labels_the_next_class(n, rate, classes, seed):
    labels = stream(seed + 1).integers(0, classes, n)
    noisy = make("pairflip", rate=rate).corrupt(labels, classes, stream(seed))
    wrong = noisy != labels
    assert wrong.sum() == round(rate * n)
    assert (noisy[wrong] == (labels[wrong] + 1) % classes).all()


@given(data=st.data(), n=counts, rate=st.floats(0, 1), seed=seeds)
def test_asymmetric_takes_a_share_of_the_confused_for_what_they_are_confused_with(
    data, n, rate, seed
):
    confused = numpy.array(data.draw(st.lists(st.integers(0, 4), min_size=5, max_size=5)))
    labels = stream(seed + 1).integers(0, 5, n)
    noisy = make("asymmetric", rate=rate).corrupt_knowing(labels, confused, stream(seed))
    candidates = [label for label in labels.tolist() if confused[label] != label]
    wrong = noisy != labels
    assert wrong.sum() == round(rate * len(candidates))
    assert (noisy[wrong] == confused[labels[wrong]]).all()
    assert noisy.dtype == numpy.int64


def test_asymmetric_without_further_knowledge_takes_the_next_class():
    labels = numpy.arange(100) % 10
    noisy = make("asymmetric", rate=1).corrupt(labels, 10, stream())
    assert (noisy == (labels + 1) % 10).all()


CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
PATRINI = {"truck": "automobile", "bird": "airplane", "deer": "horse", "cat": "dog", "dog": "cat"}


def split(data: str, root, noise: LabelNoise, monkeypatch):
    fakes.install(data, root, monkeypatch)
    component = {c.name: c for c in register_datasets()}[data]
    params = validate(component.params, {"val_size": 0}, data)
    raw = component.create(params).load(root, False)
    clean = numpy.repeat(numpy.arange(raw.classes), 20)
    images = numpy.zeros((len(clean), 3, 1, 1), dtype=numpy.uint8)
    return prepare(replace(raw, train=Samples(images, clean)), params, noise, 0)


def test_on_cifar10_asymmetric_is_the_literatures(tmp_path, monkeypatch):
    found = split("cifar10", tmp_path, make("asymmetric", rate=0.4), monkeypatch)
    matrix = numpy.array(found.label_noise["matrix"])
    assert found.label_noise["rate"] == 0.4 * 5 / 10
    for true, name in enumerate(CIFAR10):
        expected = {true}
        if name in PATRINI:
            expected.add(CIFAR10.index(PATRINI[name]))
            assert 0.1 < 1 - matrix[true, true] < 0.7
        assert set(numpy.flatnonzero(matrix[true])) == expected


def test_on_cifar100_asymmetric_stays_within_the_superclass(tmp_path, monkeypatch):
    found = split("cifar100", tmp_path, make("asymmetric", rate=0.25), monkeypatch)
    train = found.train
    wrong = train.labels != train.clean
    assert wrong.sum() == 500
    assert (train.labels[wrong] == numpy.array(next_within(SUPERCLASSES))[train.clean[wrong]]).all()


def test_elsewhere_asymmetric_and_pairflip_are_the_same(tmp_path, monkeypatch):
    kinds = (make(name, rate=0.3) for name in ("asymmetric", "pairflip"))
    first, second = (
        split("mnist", tmp_path / str(place), noise, monkeypatch).train.labels
        for place, noise in enumerate(kinds)
    )
    assert (first == second).all()

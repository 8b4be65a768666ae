from __future__ import annotations

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@pytest.mark.parametrize("name", ["none", "symmetric", "uniform"])
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


@pytest.mark.parametrize("name", ["symmetric", "uniform"])
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
    [("symmetric", 1.0), ("symmetric", -0.1), ("uniform", 1.1), ("uniform", float("nan"))],
)
def test_rates_out_of_range_are_refused(name, rate):
    with pytest.raises(UsageError, match="rate"):
        make(name, rate=rate)


@pytest.mark.parametrize("name", ["symmetric", "uniform"])
def test_the_rate_must_be_said(name):
    with pytest.raises(UsageError, match="'rate' is required"):
        make(name)


@pytest.mark.parametrize("name", ["symmetric", "uniform"])
def test_validation_labels_are_clean_by_default(name):
    assert make(name, rate=0.1).params.validation is False


def test_symmetric_needs_another_class():
    with pytest.raises(UsageError, match="at least 2 classes"):
        make("symmetric", rate=0.5).corrupt(numpy.zeros(4, dtype=int), 1, stream())

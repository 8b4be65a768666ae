"""Checks of label noises."""

from __future__ import annotations

from collections.abc import Iterator

import numpy

from dsd_bench.conformance.checks import blaming, check, demand
from dsd_bench.conformance.runs import whole_runs
from dsd_bench.conformance.subjects import Subject
from dsd_bench.noise import LabelNoise, Labels, next_class
from dsd_bench.seeds import seeded_globals


def _cases() -> Iterator[tuple[Labels, Labels]]:
    """Yield true classes and what each is taken for: few and many classes, few and many labels."""
    for classes in (2, 3, 10):
        for count in (1, 7, 200):
            labels = numpy.random.default_rng(count).integers(0, classes, count)
            yield labels, numpy.array(next_class(classes))
            yield labels, numpy.arange(classes)  # none is taken for another
    yield numpy.zeros(30, dtype=numpy.int64), numpy.array(next_class(3))


def _noisy(noise: LabelNoise, labels: Labels, confused: Labels, seed: int = 3) -> Labels:
    with blaming(f"of {len(labels)} labels of {len(confused)} classes it raises"):
        return noise.corrupt_knowing(labels, confused, numpy.random.default_rng(seed))


@check("noise")
def same_draw(subject: Subject) -> None:
    """Noisy labels follow from its own stream alone: asked again, or made anew, the same."""
    noise = subject.make()
    for labels, confused in _cases():
        with seeded_globals(1):
            first = _noisy(noise, labels, confused)
        with seeded_globals(2):
            again = _noisy(noise, labels, confused)
            anew = _noisy(subject.make(), labels, confused)
        demand(numpy.array_equal(first, again), "asked again with the same stream it differs")
        demand(numpy.array_equal(first, anew), "made anew it differs under the same stream")


@check("noise")
def labels(subject: Subject) -> None:
    """Noisy labels are int64, as many as there were, of classes that there are."""
    for given, confused in _cases():
        found = _noisy(subject.make(), given, confused)
        told = f"{getattr(found, 'dtype', type(found))} {getattr(found, 'shape', '')}"
        right = isinstance(found, numpy.ndarray) and found.shape == given.shape
        demand(right and found.dtype == numpy.int64, f"it gives {told}, not int64 {given.shape}")
        some = found.min() >= 0 and found.max() < len(confused)
        demand(some, f"it gives the classes {found.min()} to {found.max()} of {len(confused)}")


@check("noise")
def leaves_labels(subject: Subject) -> None:
    """The true classes that it is given stay as they were."""
    for given, confused in _cases():
        before, known = given.copy(), confused.copy()
        _noisy(subject.make(), given, confused)
        demand(
            numpy.array_equal(given, before), "it changes the labels that it was given, in place"
        )
        demand(
            numpy.array_equal(confused, known), "it changes what classes are taken for, in place"
        )


whole_runs("noise", lambda subject: {"noise": subject.word})

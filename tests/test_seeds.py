from __future__ import annotations

import random

import numpy
import torch
from hypothesis import given
from hypothesis import strategies as st

from dsd_bench import seeds


def test_streams_never_change() -> None:
    assert seeds.stream(0, "init") == 5194000436390057084
    assert seeds.stream(3, "round", 2, "order", 7) == 8352748342903917948


names = st.lists(st.text(max_size=4) | st.integers(0, 99), min_size=1, max_size=3)


@given(st.integers(0, 2**31), names, names)
def test_different_names_are_different_streams(seed: int, one: list, other: list) -> None:  # type: ignore[type-arg]
    same = [(type(x), x) for x in one] == [(type(x), x) for x in other]
    assert (seeds.stream(seed, *one) == seeds.stream(seed, *other)) == same


def test_global_generators_come_back() -> None:
    seeds.seed_globals(5)
    random.gauss(0, 1)  # leaves a cached second value behind
    numpy.random.standard_normal()
    state = seeds.capture_globals()
    expected = (random.gauss(0, 1), numpy.random.standard_normal(), torch.rand(3).tolist())
    with seeds.seeded_globals(1):
        inside = (random.random(), numpy.random.random(), torch.rand(1).item())
    seeds.restore_globals(state)
    again = (random.gauss(0, 1), numpy.random.standard_normal(), torch.rand(3).tolist())
    assert again == expected
    with seeds.seeded_globals(1):
        assert inside == (random.random(), numpy.random.random(), torch.rand(1).item())

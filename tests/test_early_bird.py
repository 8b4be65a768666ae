"""The schedule ``early-bird`` against a computation with NumPy, and in whole runs."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy
import pytest
import torch
from torch import nn

from dsd_bench import RunConfig, run
from dsd_bench.masks import Masks
from dsd_bench.schedules import EndView, Phase
from dsd_bench.schedules.builtin import EarlyBirdParams
from dsd_bench.schedules.early_bird import EarlyBird

SIZES = 12, 20
"""Weights of the two layers."""


def walk(epochs: int = 40) -> numpy.ndarray:
    """Return the weights after each epoch, whose steps become smaller."""
    draw = numpy.random.default_rng(3)
    steps = draw.normal(size=(epochs, sum(SIZES))) / (1 + numpy.arange(epochs))[:, None] ** 1.5
    return steps.cumsum(0)


def view(weights: numpy.ndarray, epoch: int, round: int = 0) -> EndView:
    model = nn.Sequential(nn.Linear(SIZES[0], 1), nn.Linear(SIZES[1], 1))
    parts = numpy.split(weights, [SIZES[0]])
    with torch.no_grad():
        for layer, part in zip(model, parts, strict=True):
            layer.weight.copy_(torch.from_numpy(part)[None])  # type: ignore[union-attr, operator]
    return EndView(model, Masks.dense(model), round, Phase("train", 100), epoch)


def expected(path: numpy.ndarray, distance: float, last: int, fraction: float) -> int | None:
    """Return after which epoch the training ends: masks of the largest weights, by sorting."""
    gone = round(fraction * path.shape[1])
    masks = []
    for weights in path.astype(numpy.float32):
        mask = numpy.ones(len(weights), bool)
        mask[numpy.argsort(numpy.abs(weights))[:gone]] = False
        masks.append(mask)
    differ = [float(numpy.mean(one != other)) for one, other in pairwise(masks)]
    for index in range(last, len(differ) + 1):
        if all(value < distance for value in differ[index - last : index]):
            return index + 1
    return None


def found(schedule: EarlyBird, path: numpy.ndarray, first: int = 1) -> int | None:
    for epoch in range(first, len(path) + 1):
        if schedule.ends(view(path[epoch - 1], epoch)):
            return epoch
    return None


@pytest.mark.parametrize(
    ("distance", "last", "fraction"),
    [(0.1, 5, 0.5), (0.07, 3, 0.3), (0.2, 1, 0.7), (0.001, 4, 0.5)],
)
def test_it_ends_where_masks_of_the_largest_weights_say(
    distance: float, last: int, fraction: float
) -> None:
    schedule = EarlyBird(EarlyBirdParams(distance=distance, last=last, fraction=fraction))
    end = expected(walk(), distance, last, fraction)
    assert end is None or end > last
    assert found(schedule, walk()) == end


@pytest.mark.parametrize(("distance", "ends"), [(0.0625, False), (0.0626, True)])
def test_a_distance_that_is_just_reached_does_not_end_it(distance: float, ends: bool) -> None:
    """Two of 32 weights change places where masks are cut (the first layer keeps its largest)."""
    before = numpy.arange(1, 33.0)
    after = before.copy()
    after[[16, 17]] = before[[17, 16]]
    schedule = EarlyBird(EarlyBirdParams(distance=distance, last=1))
    assert not schedule.ends(view(before, 1))
    assert schedule.ends(view(after, 2)) is ends


def test_it_goes_on_in_another_object_from_its_state() -> None:
    whole, begun, resumed = (EarlyBird(EarlyBirdParams()) for _ in range(3))
    end = found(whole, walk())
    assert end is not None
    assert begun.state() == {}
    for epoch in range(1, end - 2):
        assert not begun.ends(view(walk()[epoch - 1], epoch))
    resumed.load(begun.state())
    assert found(resumed, walk(), end - 2) == end


def test_later_rounds_are_not_ended() -> None:
    schedule = EarlyBird(EarlyBirdParams(distance=1.0, last=1))
    assert not any(schedule.ends(view(walk()[0], epoch, round=1)) for epoch in (1, 2, 3))
    assert schedule.state() == {}


def test_the_dense_training_is_that_of_fewer_epochs(
    tiny: Callable[..., RunConfig], tmp_path: Path
) -> None:
    """With ``last=1`` and any distance it ends after two epochs: one for each mask."""
    options = {"lr_drop": 1.0, "rounds": 1}
    early = tiny(schedule="early-bird:distance=1,last=1", dense_epochs=5, **options)
    short = tiny(dense_epochs=2, **options)
    rows = [run(config, runs_dir=tmp_path, executor="inline").rows for config in (early, short)]
    assert rows[0][0]["epochs"] == [2]
    kept = [[{k: v for k, v in row.items() if k != "epochs"} for row in one] for one in rows]
    assert kept[0] == kept[1]

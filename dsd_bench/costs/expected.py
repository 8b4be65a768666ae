"""What a run will cost, before it is made."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import TypeAdapter

from dsd_bench.config.run import RunConfig
from dsd_bench.config.training import passes_of
from dsd_bench.config.words import component_params
from dsd_bench.costs import COPIES
from dsd_bench.costs.counted import Counted
from dsd_bench.costs.counting import (
    Sizes,
    count_model,
    images_of_training,
    known_sizes,
)
from dsd_bench.costs.remembered import remembered
from dsd_bench.executors.planning import teachers
from dsd_bench.metrics.step import Whole
from dsd_bench.plugins import catalogue
from dsd_bench.pruners import PrunerParams

_PRUNINGS = TypeAdapter[int](Whole)


@dataclass(frozen=True)
class Cost:
    """What a run is expected to cost; its teachers are runs of their own and not in it.

    Attributes:
        trainings: the dense one and one for each pruning.
        images: images that pass the network in all of them.
        forward, backward: dense MACs of all of them.
        teaching: dense MACs of the teachers' forward passes, one for each image and epoch.
        at_most: whether a stop criterion may end the run earlier.
        bytes: that the run's folder will take, about: ``COPIES`` of the network.
    """

    trainings: int
    images: int
    forward: int
    backward: int
    teaching: int
    at_most: bool
    bytes: int

    @property
    def macs(self) -> int:
        """All of them."""
        return self.forward + self.backward + self.teaching


@dataclass(frozen=True)
class Work:
    """What a run will do: see :class:`Cost`; ``sizes`` of the data, ``counted`` of the model."""

    sizes: Sizes
    counted: Counted
    trainings: int
    images: int


def planned_work(config: RunConfig) -> Work | None:
    """Return what ``config`` will do, None where sizes or trainings cannot be known."""
    sizes = known_sizes(config)
    if sizes is None:
        return None
    counted = count_model(config.model, sizes.shape, sizes.classes)
    trainings = planned_trainings(config, counted)
    if trainings is None:
        return None
    images = sum(sum(images_of_training(config, round, sizes.train)) for round in range(trainings))
    return Work(sizes, counted, trainings, images)


def expected_cost(config: RunConfig) -> Cost | None:
    """Return what ``config`` will cost; needs no data and reads no file.

    None where it cannot be known: the data set tells its sizes only from its files, or the
    number of rounds follows from a target sparsity and a pruner without a plain ``fraction``.

    Args:
        config: the run; rounds that are there already are counted as if they were not.

    Raises:
        UsageError: if sizes do not fit the data, or the model not the images.
    """
    work = planned_work(config)
    if work is None:
        return None
    passed = work.images * passes_of(config)
    return Cost(
        trainings=work.trainings,
        images=work.images,
        forward=passed * work.counted.step.forward,
        backward=passed * work.counted.step.backward,
        teaching=passed * teaching_step(config, work.sizes),
        at_most=config.stop.name != "never",
        bytes=COPIES * work.counted.state_bytes,
    )


def teaching_step(config: RunConfig, sizes: Sizes) -> int:
    """Return the dense forward MACs of one image through all teachers of ``config``."""
    shape, classes = sizes.shape, sizes.classes
    return sum(count_model(t.model, shape, classes).step.forward for t in teachers(config))


def planned_trainings(config: RunConfig, counted: Counted) -> int | None:
    """Return the number of trainings up to the last round or the target sparsity.

    None if it cannot be known: a target, and a pruner that does not take a plain fraction of
    the remaining weights.
    """
    protocol = config.protocol
    if protocol.rounds is not None:
        return protocol.rounds + 1
    params = component_params(catalogue(), "pruner", config.pruner)
    target = protocol.target_sparsity
    if target is None or not isinstance(params, PrunerParams):
        return None
    sizes = list(counted.prunable.values())
    groups = sizes if params.scope == "layer" else [sum(sizes)]
    asked = [groups, params.fraction, target]
    return 1 + remembered(
        "prunings", asked, [], _PRUNINGS, lambda: prunings(groups, params.fraction, target)
    )


def prunings(groups: list[int], fraction: float, target: float) -> int:
    """Return how many prunings bring the sparsity to ``target`` or above it.

    Args:
        groups: weights of each group that is ranked together.
        fraction: of each group's remaining weights, pruned each time; a group keeps one weight.
        target: sparsity, in (0, 1).
    """
    from dsd_bench.masks import prune_count  # it loads torch

    left, whole, count = list(groups), sum(groups), 0
    while 1 - sum(left) / whole < target and max(left, default=0) > 1:
        left = [max(1, size - prune_count(fraction, size)) for size in left]
        count += 1
    return count

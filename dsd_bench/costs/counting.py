"""From a configuration to the MACs of one image and the images of a training.

Needs no torch for a model that was counted before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pydantic import TypeAdapter

from dsd_bench.config.run import ComponentConfig, RunConfig
from dsd_bench.config.training import planned_phases
from dsd_bench.config.words import build_component
from dsd_bench.costs.counted import Counted
from dsd_bench.costs.remembered import remembered
from dsd_bench.data import Dataset
from dsd_bench.data.prepare import part_sizes
from dsd_bench.environment.contained import contained
from dsd_bench.plugins import catalogue
from dsd_bench.training.schedule import steps_per_epoch

_COUNTED = TypeAdapter(Counted)


@dataclass(frozen=True)
class Sizes:
    """What a cost needs to know of the data.

    Attributes:
        shape: one image's ``(C, H, W)``.
        classes: number of classes.
        train: samples of the train part.
        measured: samples of all parts, which every round measures once.
    """

    shape: tuple[int, int, int]
    classes: int
    train: int
    measured: int


def known_sizes(config: RunConfig) -> Sizes | None:
    """Return the sizes as far as the data set tells them without its files, else None.

    Raises:
        UsageError: if the sizes asked for do not fit the data.
    """
    dataset: Dataset = build_component(catalogue(), "dataset", config.dataset)
    with contained():
        told = dataset.outline()
    if told is None:
        return None
    train, held = part_sizes(dataset.params, told.train, told.val is not None)
    measured = train + (held if told.val is None else told.val) + told.test
    return Sizes(told.shape, told.classes, train, measured)


def read_sizes(config: RunConfig, data_dir: Path) -> Sizes:
    """Return the sizes of data that only their files tell of; reads them all.

    Raises:
        DataError: if they are missing, damaged or other than when the run was planned.
    """
    from dsd_bench.experiment.assemble import Sources, load_data

    data = load_data(config, Sources(Path(), data_dir))
    _, channels, height, width = data.train.images.shape
    measured = sum(len(part) for part in (data.train, data.val, data.test) if part)
    return Sizes((channels, height, width), data.classes, len(data.train), measured)


def images_of_training(
    config: RunConfig, round: int, samples: int, took: Sequence[int] = ()
) -> tuple[int, int]:
    """Return the images that pass the network in the training of ``round``.

    The second number is of those that pass it while its pruned weights are back (dense phases of
    the schedule), 0 where they do not come back.

    Args:
        config: the run.
        round: the dense training may have another length than the rest.
        samples: size of the train part.
        took: the epochs of each of its phases, where they are not the planned ones.
    """
    batch = min(config.protocol.batch_size, samples)
    epoch = min(samples, steps_per_epoch(samples, batch) * batch)
    phases = planned_phases(config, round)
    took = took or [phase.epochs for phase in phases]
    dense = sum(n for n, phase in zip(took, phases) if round and phase.masks == "dense")
    return epoch * (sum(took) - dense), epoch * dense


def count_model(config: ComponentConfig, shape: tuple[int, int, int], classes: int) -> Counted:
    """Count the model of ``config``.

    It is built once, and remembered for later commands (:mod:`dsd_bench.costs.remembered`), which
    then need no torch.

    Args:
        config: the model's.
        shape: one image's ``(C, H, W)``.
        classes: number of classes.

    Raises:
        UsageError: if the model cannot take such images.
    """
    return _count(config.model_dump_json(), shape, classes)


@lru_cache(maxsize=256)
def _count(word: str, shape: tuple[int, int, int], classes: int) -> Counted:
    config = ComponentConfig.model_validate_json(word).unfetched()

    def afresh() -> Counted:
        from dsd_bench.costs.networks import count_afresh  # it loads torch

        return count_afresh(config, shape, classes)

    return remembered("model", [shape, classes], [("model", config)], _COUNTED, afresh)

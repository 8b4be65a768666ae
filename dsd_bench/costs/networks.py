"""A model is built and counted."""

from __future__ import annotations

import math

import torch
from torch import nn

from dsd_bench.config.run import ComponentConfig
from dsd_bench.config.words import build_component
from dsd_bench.costs.counted import Counted
from dsd_bench.errors import DsdError
from dsd_bench.masks import prunable_parameters
from dsd_bench.metrics.macs import count_step
from dsd_bench.metrics.prunable import find_prunable
from dsd_bench.models.building import materialise
from dsd_bench.plugins import catalogue
from dsd_bench.seeds import seeded_globals

SMALL = 3 * 64 * 64
"""Numbers of an image up to which a real pass is quicker than one without values, for which
torch imports its compiler (2 s)."""


def count_afresh(config: ComponentConfig, shape: tuple[int, int, int], classes: int) -> Counted:
    """Count the model of ``config``; see :func:`dsd_bench.costs.counting.count_model`.

    For large images it is built without values (device ``meta``) if it allows that.

    Raises:
        UsageError: if the model cannot take such images.
    """
    if math.prod(shape) > SMALL:
        try:
            return _count_on("meta", config, shape, classes)
        except DsdError:
            raise
        except Exception:  # some models look at values while they are built or run
            return _count_on("cpu", config, shape, classes)
    return _count_on("cpu", config, shape, classes)


def _count_on(
    device: str, config: ComponentConfig, shape: tuple[int, int, int], classes: int
) -> Counted:
    factory = build_component(catalogue(), "model", config)
    with torch.device(device), seeded_globals(0):
        model: nn.Module = factory.build(shape, classes, download=False)
        materialise(model, f"model '{config.name}'", shape)
        find_prunable(model, shape)
        step = count_step(model, torch.zeros(1, *shape))
    prunable = {name: weight.numel() for name, weight in prunable_parameters(model).items()}
    state = model.state_dict().values()
    return Counted(step, prunable, sum(part.numel() * part.element_size() for part in state))

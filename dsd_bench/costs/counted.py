"""What is counted of a model, as a value; needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dsd_bench.metrics.step import StepMacs, Whole


@dataclass(frozen=True)
class Counted:
    """A model, counted.

    Attributes:
        step: the MACs of one image, forward and backward.
        prunable: weights of each prunable parameter, by name.
        state_bytes: of all parameters and buffers.
    """

    step: StepMacs
    prunable: Mapping[str, Whole]
    state_bytes: Whole

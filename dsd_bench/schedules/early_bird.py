"""The schedule ``early-bird``: the dense training ends when what would be pruned stays the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from dsd_bench.masks import prune_by_scores
from dsd_bench.params import Params
from dsd_bench.schedules import EndView
from dsd_bench.schedules.builtin import EarlyBirdParams
from dsd_bench.schedules.step import Step


class EarlyBird(Step):
    """Draw a mask after each epoch of the dense training; end it when masks hardly change.

    You et al., ICLR 2020, Section 3: the training ends as soon as the last few distances between
    masks of successive epochs are all below a threshold; a distance is the share of weights that
    are in one mask alone. Their masks are of channels, by the scales of batch norms; these are of
    weights, by magnitude over all layers, so that any network has them. Rates are those of
    ``step``, as if the training went on.
    """

    params: EarlyBirdParams
    checked_params: ClassVar = {"distance": 1.0, "last": 1}
    checked_beside: ClassVar = {"dense_epochs": 4}

    def __init__(self, params: Params) -> None:
        super().__init__(params)
        self._drawn: Mapping[str, Tensor] = {}
        self._distances: list[float] = []

    def ends(self, view: EndView) -> bool:
        """Whether the last ``last`` distances between masks are all below ``distance``."""
        if view.round:
            return False
        weights = dict(view.model.named_parameters(remove_duplicate=False))
        sizes = {name: weights[name].detach().abs() for name in view.masks.weights}
        drawn = prune_by_scores(sizes, view.masks, self.params.fraction, "global").weights
        if self._drawn:
            self._distances.append(_distance(self._drawn, drawn))
        self._drawn, self._distances = drawn, self._distances[-self.params.last :]
        enough = len(self._distances) == self.params.last
        return enough and max(self._distances) < self.params.distance

    def state(self) -> dict[str, Tensor]:
        """Return the last mask and the last distances."""
        if not self._drawn:
            return {}
        masks = {f"mask/{name}": mask for name, mask in self._drawn.items()}
        return {**masks, "distances": torch.tensor(self._distances, dtype=torch.float64)}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Undo :meth:`state`."""
        masks = {name: tensor for name, tensor in tensors.items() if name != "distances"}
        self._drawn = {name.removeprefix("mask/"): mask for name, mask in masks.items()}
        self._distances = tensors["distances"].tolist()


def _distance(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """Return the share of weights that are in one mask alone."""
    differ = sum(int((mask ^ other[name]).sum()) for name, mask in one.items())
    return differ / sum(mask.numel() for mask in one.values())

"""Model factories."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dsd_bench.params import Params

if TYPE_CHECKING:
    import torch


class ModelFactory:
    """Base of all model factories."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def build(
        self, shape: tuple[int, int, int], classes: int, *, download: bool = False
    ) -> torch.nn.Module:
        """Return a freshly initialised network on the CPU, ``(N, C, H, W) -> (N, classes)``.

        The core has seeded the global generators of Python, numpy and torch from the run's own
        stream and restores them afterwards, so drawing from them is reproducible.

        Args:
            shape: one image's ``(C, H, W)``.
            classes: number of classes.
            download: whether pretrained weights may be downloaded.

        Raises:
            dsd_bench.errors.UsageError: if this model cannot take such images.
        """
        raise NotImplementedError

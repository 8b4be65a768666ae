"""Metrics: what is measured after each training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dsd_bench.params import Params

if TYPE_CHECKING:
    import torch

    from dsd_bench.masks import Masks


@dataclass(frozen=True)
class Outputs:
    """One pass over one part of the data, in eval mode and un-augmented.

    Attributes:
        logits: float32 ``(N, classes)`` on the device.
        labels: int64 ``(N,)``, given labels.
        clean: int64 ``(N,)``, true classes where known, else the given labels.
        relu_counts: one int64 tensor for each application of a rectifier (ReLU and its like) in a
            forward pass, in order: for every element of its output (channel x position) the
            number of images for which it was on. Only for the train part, else empty.
    """

    logits: torch.Tensor
    labels: torch.Tensor
    clean: torch.Tensor
    relu_counts: tuple[torch.Tensor, ...] = ()


@dataclass(frozen=True)
class MeasureView:
    """What a metric may look at; nothing of it may be changed.

    Attributes:
        model: the trained network, in eval mode.
        masks: its masks.
        round: the round's index.
        device: where the model lives.
        shape: one image's ``(C, H, W)``.
        outputs: ``outputs("train" | "val" | "test")``, computed once and shared by all metrics;
            None where that part does not exist.
        images: ``images("train" | "val" | "test")`` yields a part's images in order, normalised
            float32 ``(B, C, H, W)`` on the device, un-augmented, as the network takes them; a
            pass of one's own, each time. None where that part does not exist.
    """

    model: torch.nn.Module
    masks: Masks
    round: int
    device: torch.device
    shape: tuple[int, int, int]
    outputs: Callable[[str], Outputs | None]
    images: Callable[[str], Iterator[torch.Tensor] | None] = lambda part: None


class Metric:
    """Base of all metrics. Built-in ones fill ``rounds.jsonl``, others ``metrics/<name>.jsonl``.

    Parameters that are not at their default are part of the file's name, and of the key of the
    values in the rows that stop criteria read: ``<name>+<key>-<value>``.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def measure(self, view: MeasureView) -> Mapping[str, Any]:
        """Return JSON values by name; None for what is absent, never NaN."""
        raise NotImplementedError

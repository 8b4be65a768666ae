"""Models that each break one check."""

from __future__ import annotations

import torch
from torch import nn

from dsd_bench.models import ModelFactory

from .process import FACTOR


class Good(ModelFactory):
    """Build two linear layers."""

    def build(self, shape, classes, *, download=False):
        size = shape[0] * shape[1] * shape[2]
        return nn.Sequential(nn.Flatten(), nn.Linear(size, 6), nn.ReLU(), nn.Linear(6, classes))


class SameSeed(Good):
    """Draws its weights from a generator that nobody seeds."""

    draw = torch.Generator().manual_seed(0)

    def build(self, shape, classes, *, download=False):
        model = super().build(shape, classes)
        nn.init.normal_(model[1].weight, generator=self.draw)
        return model


class Logits(Good):
    """Gives probabilities in double."""

    def build(self, shape, classes, *, download=False):
        return nn.Sequential(super().build(shape, classes), Double())


class Double(nn.Module):
    def forward(self, logits):
        return logits.double()


class Prunable(Good):
    """Has no linear layer."""

    def build(self, shape, classes, *, download=False):
        return Scale(classes)


class Scale(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.scale = nn.Parameter(torch.randn(classes))

    def forward(self, images):
        return images.flatten(1).mean(1, keepdim=True) * self.scale


class EvaluatesAlike(Good):
    """Centres the batch in eval mode too."""

    def build(self, shape, classes, *, download=False):
        return nn.Sequential(Centre(), super().build(shape, classes))


class Centre(nn.Module):
    def forward(self, images):
        return images - images.mean(0)


class WholeState(Good):
    """Counts batches outside of its state."""

    def build(self, shape, classes, *, download=False):
        return nn.Sequential(Shift(), super().build(shape, classes))


class Shift(nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = 0

    def forward(self, images):
        self.seen += self.training
        return images + self.seen


class AnyDtype(Good):
    """Adds a matrix in float32."""

    def build(self, shape, classes, *, download=False):
        return nn.Sequential(super().build(shape, classes), Mixed(classes))


class Mixed(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.classes = classes

    def forward(self, logits):
        return logits @ torch.eye(self.classes, device=logits.device)


class AnyDevice(Good):
    """Makes a tensor on the CPU, wherever it lives."""

    def build(self, shape, classes, *, download=False):
        return nn.Sequential(super().build(shape, classes), Added(classes))


class Added(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.classes = classes

    def forward(self, logits):
        return logits + torch.ones(self.classes, dtype=logits.dtype)


class Resumes(Good):
    """Moves in training by what no checkpoint holds."""

    def build(self, shape, classes, *, download=False):
        return nn.Sequential(Slow(), super().build(shape, classes))


class Slow(nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = 0

    def forward(self, images):
        if not self.training:
            return images
        self.seen += 1
        return images * (1 + 0.1 * self.seen)


class SurvivesKill(Good):
    """Goes by Python's hash, which another process has another of."""

    def build(self, shape, classes, *, download=False):
        return nn.Sequential(Scaled(), super().build(shape, classes))


class Scaled(nn.Module):
    def forward(self, images):
        return images * FACTOR

"""Metrics that each break one check."""

from __future__ import annotations

import itertools

import torch

from dsd_bench.metrics import Metric

COUNT = itertools.count()


class Good(Metric):
    """The mean logit on the test part."""

    def measure(self, view):
        return {"mean": float(view.outputs("test").logits.mean())}


class Values(Good):
    """Gives what is no number."""

    def measure(self, view):
        return {"mean": float("nan")}


class SameValues(Good):
    """Draws from torch's global generator."""

    def measure(self, view):
        return {"mean": float(torch.rand(()))}


class ChangesNothing(Good):
    """Sorts logits that others read too."""

    def measure(self, view):
        view.outputs("test").logits.clamp_(0, 0.1)
        return super().measure(view)


class AbsentParts(Good):
    """Wants a validation part."""

    def measure(self, view):
        return {"mean": float(view.outputs("val").logits.mean())}


class OddNetworks(Good):
    """Knows networks of one kind only."""

    def measure(self, view):
        return {"mean": float(view.model[1].weight.mean())}


class OnlyWatches(Good):
    """Prunes what it measures."""

    def measure(self, view):
        if view.shape == (1, 8, 8):
            with torch.no_grad():
                next(view.model.parameters()).mul_(0.5)
        return super().measure(view)


class Resumes(Good):
    """Counts how often it was asked."""

    asked = 0

    def measure(self, view):
        self.asked += 1
        return {"asked": self.asked}


class SurvivesKill(Good):
    """Goes by Python's hash, which another process has another of."""

    def measure(self, view):
        return {"hash": hash("a word")}

"""Label noises that each break one check."""

from __future__ import annotations

import numpy

from dsd_bench.noise import LabelNoise

from .process import SEED


class Good(LabelNoise):
    """Redraw every third label."""

    def corrupt(self, labels, classes, draw):
        noisy = labels.copy()
        noisy[::3] = draw.integers(0, classes, len(noisy[::3]))
        return noisy


class SameDraw(Good):
    """Draws from numpy's global generator."""

    def corrupt(self, labels, classes, draw):
        noisy = labels.copy()
        noisy[::3] = numpy.random.randint(0, classes, len(noisy[::3]))
        return noisy


class Labels(Good):
    """Gives the class after the last."""

    def corrupt(self, labels, classes, draw):
        return labels + 1


class LeavesLabels(Good):
    """Works in place."""

    def corrupt(self, labels, classes, draw):
        labels[::3] = 0
        return labels


class Resumes(Good):
    """Counts how often it was asked."""

    asked = 0

    def corrupt(self, labels, classes, draw):
        Resumes.asked += 1
        noisy = labels.copy()
        noisy[: self.asked] = 0
        return noisy


class SurvivesKill(Good):
    """Goes by Python's hash, which another process has another of."""

    def corrupt(self, labels, classes, draw):
        return super().corrupt(labels, classes, numpy.random.default_rng(SEED))

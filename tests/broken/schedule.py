"""Schedules that each break one check."""

from __future__ import annotations

from dsd_bench.schedules import Phase, Schedule

from .process import FACTOR


class Good(Schedule):
    """Fall in a straight line."""

    factor = 1.0

    def rate(self, view):
        return self.factor * view.start * (1 - view.epoch / view.phase.epochs)


class Phases(Good):
    """Has two phases of one name."""

    def phases(self, round, protocol):
        return Phase("train", 2), Phase("train", 1)


class Rates(Good):
    """Falls below zero."""

    def rate(self, view):
        return view.start * (0.9 - view.epoch)


class Pure(Good):
    """Falls whenever it is asked."""

    asked = 0

    def rate(self, view):
        self.asked += 1
        return view.start / self.asked


class Ends(Good):
    """Leaves the network in eval mode."""

    def ends(self, view):
        view.model.eval()
        return False


class Resumes(Good):
    """Counts epochs, which no checkpoint holds."""

    asked = 0

    def rate(self, view):
        self.asked += 1
        return view.start / self.asked


class SurvivesKill(Good):
    """Goes by Python's hash, which another process has another of."""

    factor = FACTOR

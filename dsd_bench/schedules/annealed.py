"""Schedules that anneal the learning rate: a cosine, and one cycle up and down."""

from __future__ import annotations

import math

from dsd_bench.schedules import REDENSE, RateView, Schedule
from dsd_bench.schedules.builtin import CosineParams, OneCycleParams


class Cosine(Schedule):
    """Half a cosine from the protocol's rate down to a share of it, in each training.

    That is ``torch.optim.lr_scheduler.CosineAnnealingLR`` over the training's epochs or steps.
    """

    params: CosineParams

    @property
    def per_step(self) -> bool:  # type: ignore[override]
        """Whether the rate changes before every step."""
        return self.params.every == "step"

    def rate(self, view: RateView) -> float:
        """Return the rate of an epoch or step."""
        if view.phase.name == REDENSE:
            return view.start * self.params.redense
        place, whole = view.epoch, view.phase.epochs
        if self.per_step:
            place, whole = _steps(view)
        final = view.start * self.params.final
        return _cosine(view.start, final, place / whole)


class OneCycle(Schedule):
    """One cycle in each training: up to the protocol's rate, and down again to almost nothing.

    That is ``torch.optim.lr_scheduler.OneCycleLR`` over the training's steps; the momentum stays as
    it is (``cycle_momentum=False``).
    """

    params: OneCycleParams
    per_step = True

    def rate(self, view: RateView) -> float:
        """Return the rate of a step."""
        if view.phase.name == REDENSE:
            return view.start * self.params.redense
        place, steps = _steps(view)
        anneal = _cosine if self.params.anneal == "cos" else _line
        first = view.start / self.params.div_factor
        top, last = self.params.pct_start * steps - 1, steps - 1
        if place <= top:
            return anneal(first, view.start, place / top if top else 1.0)
        return anneal(
            view.start, first / self.params.final_div_factor, (place - top) / (last - top)
        )


def _steps(view: RateView) -> tuple[int, int]:
    """Return which step of the phase is next, from 0, and how many it has."""
    return view.epoch * view.steps_per_epoch + view.step, view.phase.epochs * view.steps_per_epoch


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def _line(start: float, end: float, share: float) -> float:
    return start + (end - start) * share

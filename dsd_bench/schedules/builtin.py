"""The built-in schedules: their parameters and registration; implementations load lazily."""

from __future__ import annotations

from dsd_bench.components import PAPER, Component
from dsd_bench.hookspecs import hookimpl


@hookimpl
def register_schedules() -> list[Component]:
    """Return the built-in schedules."""
    return [
        Component(
            name="step",
            implementation="dsd_bench.schedules.step:Step",
            summary="the learning rate drops at --milestones, by --lr-drop",
            citation=PAPER,
        ),
    ]

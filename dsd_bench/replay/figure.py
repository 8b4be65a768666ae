"""The trade-off of stop rules as a figure: trainings saved against accuracy given up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from dsd_bench.figures import figure, look, save
from dsd_bench.replay import MethodReplay


def draw(methods: Mapping[str, Sequence[MethodReplay]], path: Path) -> None:
    """Write the trade-off as SVG or PNG; bars are one standard deviation over the seeds.

    Down and to the right is better: more saved, less given up. Each point is numbered by the
    place of its rule in the table.

    Args:
        methods: for each configuration, by name, what every rule does to it.
        path: the file.

    Raises:
        UsageError: for another suffix than ``.svg`` and ``.png``.
    """
    with figure(120, 80) as (fig, axes):
        panel = axes[0][0]
        for place, (name, found) in enumerate(methods.items()):
            drawn = look(place)
            panel.errorbar(
                [100 * one.trainings_saved.mean for one in found],
                [100 * one.given_up.mean for one in found],
                xerr=[100 * (one.trainings_saved.std or 0.0) for one in found],
                yerr=[100 * (one.given_up.std or 0.0) for one in found],
                color=drawn.colour,
                marker=drawn.mark,
                linestyle="none",
                elinewidth=0.6,
                capsize=2,
                label=name,
            )
            for number, one in enumerate(found, start=1):
                at = (100 * one.trainings_saved.mean, 100 * one.given_up.mean)
                panel.annotate(
                    str(number), at, xytext=(4, 4), textcoords="offset points",
                    color=drawn.colour, fontsize=7,
                )  # fmt: skip
        panel.set_xlabel("trainings saved (%)")
        panel.set_ylabel("accuracy given up against the oracle (points)")
        if len(methods) > 1:
            panel.legend()
        save(fig, path)

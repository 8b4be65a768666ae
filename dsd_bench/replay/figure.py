"""The trade-off of rules as a figure: what they save against the accuracy that they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from dsd_bench.analysis import Spread
from dsd_bench.figures import GREY, figure, look, save

Points = Mapping[str, Sequence[tuple[Spread, Spread]]]
"""For each configuration, by name, of every rule what it saves and what it costs, in 0..1."""


def draw(methods: Points, path: Path, saved: str, cost: str, words: str = "") -> None:
    """Write the trade-off as SVG, PDF or PNG; bars are one standard deviation over the seeds.

    Down and to the right is better: more saved, less given up. Each point is numbered by the
    place of its rule in the table.

    Args:
        methods: what is drawn.
        path: the file.
        saved: what the x axis is called, in %.
        cost: what the y axis is called, in points.
        words: what all are of: data, noise and model.

    Raises:
        UsageError: for another suffix than ``.svg``, ``.pdf`` and ``.png``.
    """
    with figure(120, 80) as (fig, axes):
        panel = axes[0][0]
        for place, (name, found) in enumerate(methods.items()):
            drawn = look(place)
            panel.errorbar(
                [100 * x.mean for x, _ in found],
                [100 * y.mean for _, y in found],
                xerr=[100 * (x.std or 0.0) for x, _ in found],
                yerr=[100 * (y.std or 0.0) for _, y in found],
                color=drawn.colour,
                marker=drawn.mark,
                linestyle="none",
                elinewidth=0.6,
                capsize=2,
                label=name,
            )
            for number, (x, y) in enumerate(found, start=1):
                at = (100 * x.mean, 100 * y.mean)
                panel.annotate(
                    str(number), at, xytext=(4, 4), textcoords="offset points",
                    color=drawn.colour, fontsize=7,
                )  # fmt: skip
        panel.set_xlabel(saved)
        panel.set_ylabel(cost)
        if words:
            fig.suptitle(words, x=0.01, ha="left", fontsize=7, color=GREY)
        if len(methods) > 1:
            panel.legend()
        save(fig, path)

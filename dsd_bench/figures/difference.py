"""Two methods above, and below them how far they are apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dsd_bench.analysis.paired import At
from dsd_bench.figures.compared import WIDTHS, Drawn, Kept, Options, finish, panel
from dsd_bench.figures.curves import column_name
from dsd_bench.figures.scales import density, scale_x
from dsd_bench.figures.style import COLOURS, GREY, figure, look, save


def draw(
    pair: tuple[Drawn, Drawn], column: str, rounds: Sequence[At], path: Path, note: str = ""
) -> None:
    """Draw both curves, and their difference with its 95 % interval over the same axis.

    Args:
        pair: the methods.
        column: the accuracy that is compared.
        rounds: the differences; hollow marks where the second is read between two rounds.
        path: ``.svg``, ``.pdf`` or ``.png``.
        note: what both are of.

    Raises:
        UsageError: see :func:`dsd_bench.figures.save`.
    """
    options, kept = Options(), Kept()
    looks = {one.label: look(place) for place, one in enumerate(pair)}
    with figure(WIDTHS[1], 84, 2, 1, sharex="col") as (fig, axes):
        above, below = axes[0][0], axes[1][0]
        panel(above, pair, column, looks, options, kept)
        above.set_ylabel(column_name(column))
        at = [density(one.sparsity) for one in rounds]
        means = [100 * one.difference.mean for one in rounds]
        colour = COLOURS[3]
        banded = [(x, one.difference) for x, one in zip(at, rounds) if one.difference.error]
        below.fill_between(
            [x for x, _ in banded],
            [100 * (one.low or 0.0) for _, one in banded],
            [100 * (one.high or 0.0) for _, one in banded],
            color=colour, alpha=0.25, linewidth=0,
        )  # fmt: skip
        (line,) = below.plot(
            at, means, color=colour, marker=".", label="difference, band: 95 % interval"
        )
        between = [(x, y) for x, y, one in zip(at, means, rounds) if one.interpolated]
        if between:
            below.plot(
                *zip(*between), color=colour, linestyle="none", marker=".", markerfacecolor="white"
            )
        below.axhline(0.0, color=GREY, linewidth=0.8, zorder=1)
        below.set_ylabel("first - second, points")
        kept.lines["difference"] = line
        scale_x(below, "sparsity", label=True)
        scale_x(above, "sparsity", label=False)  # the range of both, by the longest curve
        above.tick_params(labelbottom=False)
        finish(fig, kept, note, options)
        save(fig, path)

"""Figures as SVG, PDF and PNG, equal byte for byte; readable in grey and by colour-blind readers.

Import it where it is used, within functions: it loads matplotlib (0.3 s)::

    from dsd_bench.figures import curves, figure, legend, panel_curves, save

    with figure(120, 80) as (fig, axes):
        lines = panel_curves(axes[0][0], {"vanilla": [run.rows for run in runs]})
        legend(axes[0][0], lines)
        save(fig, "curve.svg")

Everything is drawn and saved within the block of :func:`figure` or :func:`grid`. ``pyplot`` is
never used, so figures leave no state behind.
"""

from dsd_bench.figures.curves import (
    Band,
    Groups,
    column_name,
    curves,
    factor,
    legend,
    panel_curves,
    stacked,
)
from dsd_bench.figures.layouts import Cell, bars, grid, heat
from dsd_bench.figures.phases import shade_phases
from dsd_bench.figures.scales import Epochs, Scale, density, positions, scale_x
from dsd_bench.figures.style import (
    COLOURS,
    DASHES,
    GREY,
    MARKS,
    Look,
    check_suffix,
    figure,
    house_style,
    look,
    save,
)

__all__ = [
    "COLOURS",
    "DASHES",
    "GREY",
    "MARKS",
    "Band",
    "Cell",
    "Epochs",
    "Groups",
    "Look",
    "Scale",
    "bars",
    "check_suffix",
    "column_name",
    "curves",
    "density",
    "factor",
    "figure",
    "grid",
    "heat",
    "house_style",
    "legend",
    "look",
    "panel_curves",
    "positions",
    "save",
    "scale_x",
    "shade_phases",
    "stacked",
]

"""The looks of all figures, and files of them that are equal byte for byte.

Nothing here uses pyplot: a figure is a value, no window and no backend is chosen for the process.
The bytes depend on the figure and on matplotlib's version alone; not on the date, the machine, the
reader's fonts or a ``matplotlibrc``.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.text import Text

from dsd_bench.errors import UsageError, plain
from dsd_bench.store.files import output_folder, write_atomic

Share = bool | Literal["none", "all", "row", "col"]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's palette without its yellow, which is too pale on white; darkest pairs first."""

DASHES = ("-", (0, (5, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (1.2, 1.2)), (0, (8, 2, 2, 2, 2, 2)))
"""Line styles: with the marks they tell the series apart where colours are lost."""

MARKS = "os^Dv<>Pp"
"""One character each, as matplotlib names them."""

GREYS = ("#000000", "#6e6e6e", "#3c3c3c", "#8c8c8c")
"""Of the series of style ``grey``: dashes and marks tell them apart."""

GREY = "#595959"
"""Of words and lines that belong to no series; 7:1 on white."""

_RC = {
    "font.family": "DejaVu Sans",
    "font.size": 8.0,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8.0,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#e0e0e0",
    "grid.linewidth": 0.6,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "lines.linewidth": 1.4,
    "lines.markersize": 3.5,
    "legend.fontsize": 7.0,
    "legend.title_fontsize": 7.0,
    "legend.frameon": False,
    "legend.handlelength": 3.0,
    "figure.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "dsd-bench",
    "pdf.fonttype": 42,
    "text.usetex": False,
}
Style = Literal["paper", "serif", "grey", "slides"]
STYLES: dict[Style, dict[str, Any]] = {
    "paper": {},
    "serif": {
        "font.family": ["STIXGeneral", "DejaVu Sans"],
        "font.size": 9.0,
        "axes.titlesize": 9.5,
        "axes.labelsize": 9.0,
        "legend.fontsize": 8.0,
        "legend.title_fontsize": 8.0,
        "xtick.labelsize": 8.0,
        "ytick.labelsize": 8.0,
    },
    "grey": {},
    "slides": {
        "font.size": 13.0,
        "axes.titlesize": 14.0,
        "axes.labelsize": 13.0,
        "legend.fontsize": 12.0,
        "legend.title_fontsize": 12.0,
        "xtick.labelsize": 12.0,
        "ytick.labelsize": 12.0,
        "lines.linewidth": 2.4,
        "lines.markersize": 6.0,
        "axes.linewidth": 1.0,
    },
}
"""What each style changes of the house style; ``grey`` has colours of its own (:data:`GREYS`)."""

_MM = 1 / 25.4
_DPI = 200
_CANVAS = {".svg": FigureCanvasSVG, ".pdf": FigureCanvasPdf, ".png": FigureCanvasAgg}
_METADATA: dict[str, dict[str, Any]] = {
    ".svg": {"Date": None, "Creator": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    ".png": {"Software": None},
}


@contextmanager
def house_style(style: Style = "paper") -> Iterator[None]:
    """Draw in this block as all figures of a style look, whatever a ``matplotlibrc`` says."""
    with matplotlib.style.context(["default", _RC, STYLES[style]]):
        yield


@contextmanager
def figure(
    width_mm: float,
    height_mm: float,
    rows: int = 1,
    cols: int = 1,
    *,
    sharex: Share = False,
    sharey: Share = False,
    style: Style = "paper",
) -> Iterator[tuple[Figure, list[list[Axes]]]]:
    """Make a figure of ``rows`` x ``cols`` panels, to be drawn on within the block.

    ``with figure(120, 80) as (fig, axes): axes[0][0].plot(...); save(fig, path)``. Room for
    labels and legends is made when it is saved (constrained layout).

    Args:
        width_mm: of the whole figure, in millimetres; 170 fills a page.
        height_mm: likewise.
        rows: of panels.
        cols: of panels.
        sharex: which panels share their x axis: True (all), ``"row"``, ``"col"``, False.
        sharey: likewise.
        style: of everything in it.

    Yields:
        The figure and ``axes[row][col]``.
    """
    with house_style(style):
        made = Figure(figsize=(width_mm * _MM, height_mm * _MM), layout="constrained")
        panels = made.subplots(rows, cols, squeeze=False, sharex=sharex, sharey=sharey)
        yield made, [list(row) for row in panels]


@dataclass(frozen=True)
class Look:
    """How one series is drawn; no two of the first 315 are equal.

    Attributes:
        colour: as matplotlib takes it.
        dashes: the line's style.
        mark: of its points.
    """

    colour: str
    dashes: Any
    mark: str

    def line(self) -> dict[str, Any]:
        """Return the arguments of ``Axes.plot``."""
        return {"color": self.colour, "linestyle": self.dashes, "marker": self.mark}


def look(place: int, style: Style = "paper") -> Look:
    """Return the look of the series at ``place``, counted from 0."""
    colours = GREYS if style == "grey" else COLOURS
    return Look(
        colours[place % len(colours)], DASHES[place % len(DASHES)], MARKS[place % len(MARKS)]
    )


def check_suffix(path: Path) -> None:
    """Refuse a file that is neither SVG, PDF nor PNG, before anything is computed for it.

    Raises:
        UsageError: it names the suffixes that are possible.
    """
    if path.suffix.lower() not in _CANVAS:
        *others, last = _CANVAS
        known = f"{', '.join(others)} or {last}"
        raise UsageError(f"figure '{path}': the name must end in {known}, not '{path.suffix}'")


def _make_plain(fig: Figure) -> None:
    """Let no word of a file or a plugin be a formula, or hide: labels are text."""
    for text in fig.findobj(Text):
        if isinstance(text, Text) and ("$" in text.get_text() or not text.get_text().isprintable()):
            text.set_text(plain(text.get_text(), lines=True))
            text.set_parse_math(False)


def save(fig: Figure, path: Path | str) -> None:
    """Write a figure by the suffix of ``path``: SVG (text as outlines), PDF, or PNG (200 dpi).

    The same figure gives the same bytes. Missing folders are made; an old file is replaced whole.

    Raises:
        UsageError: for another suffix, or if the folder cannot be made.
        RunError: if the file cannot be written.
    """
    path = Path(path)
    check_suffix(path)
    kind = path.suffix.lower()
    content = io.BytesIO()
    _make_plain(fig)
    with house_style():
        canvas = _CANVAS[kind](fig)
        canvas.print_figure(content, format=kind[1:], dpi=_DPI, metadata=_METADATA[kind])
    output_folder(path.parent)
    write_atomic(path, content.getvalue())

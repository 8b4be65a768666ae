"""What choosers choose on the embedded data: figures from docs/recorded/choosers.csv.

That file is what ``dsd-bench replay runs/* --choose best --choose one-se --choose max-drop:0.01
--csv`` prints of the default runs and of those with ``--reg kd``, six seeds each.
"""

from __future__ import annotations

import csv
from pathlib import Path

from dsd_bench.figures import figure, look, save

RECORDED = Path(__file__).parents[1] / "recorded" / "choosers.csv"
PRUNABLE = 8832
"""Weights of the embedded network that can be pruned."""

Line = dict[str, str]


def draw_all(folder: Path) -> dict[tuple[str, str], str]:
    """Draw what each recorded chooser returns beside what ``best`` does.

    Args:
        folder: where the figures go.

    Returns:
        For each (kind, name) Markdown with its figure, which lies in ``images/curves``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = list(csv.DictReader(RECORDED.read_text("utf-8").splitlines()))
    names = dict.fromkeys(line["chooser"].partition(":")[0] for line in lines)
    return {("chooser", name): _draw(name, lines, folder) for name in names}


def _draw(name: str, lines: list[Line], folder: Path) -> str:
    own = [line for line in lines if line["chooser"].partition(":")[0] == name]
    file = f"chooser-{name}.svg"
    with figure(120, 80) as (fig, [[axis]]):
        for place, method in enumerate(dict.fromkeys(line["method"] for line in own)):
            drawn = look(place)
            for number, line in enumerate(one for one in own if one["method"] == method):
                best = (_left(line["best_nonzero"]), 100 * float(line["best_accuracy"]))
                chosen = (_left(line["nonzero"]), 100 * float(line["accuracy"]))
                x, y = zip(best, chosen)
                axis.plot(x, y, color=drawn.colour, linewidth=0.8)
                axis.plot(*best, drawn.mark, color=drawn.colour, fillstyle="none")
                axis.plot(*chosen, drawn.mark, color=drawn.colour, label="" if number else method)
        axis.set_xscale("log")
        axis.set_xticks([100, 10], ["100", "10"])
        axis.invert_xaxis()
        axis.set_xlabel("remaining weights (%)")
        axis.set_ylabel("test accuracy (%)")
        axis.legend()
        save(fig, folder / file)
    return (
        "## On the embedded data\n\n"
        f"![test accuracy and remaining weights of what is chosen](../../images/curves/{file})\n\n"
        "The network that it returns (full marks) of each of six seeds, and the one that `best`"
        " does (open marks). [Replayed](../../replay.md#what-would-a-chooser-have-returned) over"
        " the default runs and those with `--reg kd`."
    )


def _left(nonzero: str) -> float:
    return 100 * int(nonzero) / PRUNABLE

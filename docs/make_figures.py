"""Draw docs/images from docs/recorded: ``python docs/make_figures.py [FOLDER]``.

docs/recorded has the default run's six seeds, and those of two distillations. To record them anew::

    dsd-bench run && dsd-bench run --reg kd && dsd-bench run --reg kd:teacher=dense
    python docs/make_figures.py --record runs
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes

from dsd_bench.analysis import Evidence, area, judge, mean_curve, memorisation, phases, spread
from dsd_bench.analysis.evidence import null_depths, standard_errors, unimodal
from dsd_bench.analysis.measures import compression, peak
from dsd_bench.config.naming import label
from dsd_bench.figures import (
    GREY,
    bars,
    curves,
    density,
    figure,
    legend,
    look,
    panel_curves,
    positions,
    save,
    scale_x,
    shade_phases,
    stacked,
)
from dsd_bench.figures.studies import save_study
from dsd_bench.plugins import catalogue
from dsd_bench.replay import rule
from dsd_bench.store.runs import load_run, stored_ids

DOCS = Path(__file__).parent
RECORDED = DOCS / "recorded"
METHODS = {
    "vanilla": "magnitude",
    "kd-best": "magnitude + kd",
    "kd-dense": "magnitude + kd:teacher=dense",
}
"""What is recorded, by file: the runs' label. Their data are the default, digits."""
COLUMNS = (
    "round", "sparsity", "train_loss", "train_accuracy", "train_accuracy_clean",
    "train_accuracy_noisy", "val_accuracy", "test_accuracy", "entropy",
)  # fmt: skip
N_TEST = 597
MADE_WITH = "made-with.txt"
Rows = list[list[dict[str, Any]]]


def record(runs_dir: Path) -> None:
    """Write the curves of the finished default runs in ``runs_dir`` to docs/recorded.

    Raises:
        SystemExit: if another number of seeds than six is there.
    """
    found = [load_run(runs_dir / run_id) for run_id in stored_ids(runs_dir)]
    for name, method in METHODS.items():
        runs = [run for run in found if label(run.config, catalogue().find) == method]
        runs.sort(key=lambda run: run.seed)
        if [run.seed for run in runs] != list(range(6)):
            raise SystemExit(f"{runs_dir}: of {method} there must be seeds 0 to 5 alone")
        lines = [json.dumps(_record(run.seed, row)) + "\n" for run in runs for row in run.rows]
        (RECORDED / f"{name}.jsonl").write_text("".join(lines), "utf-8")


def _record(seed: int, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns that the figures need, floats rounded to six digits."""
    values = {key: row[key] for key in COLUMNS}
    return {"seed": seed} | {
        key: round(value, 6) if isinstance(value, float) else value for key, value in values.items()
    }


def recorded(name: str) -> Rows:
    """Return the rows of each seed of a recorded configuration."""
    lines = map(json.loads, (RECORDED / f"{name}.jsonl").read_text("utf-8").splitlines())
    return [list(rows) for _, rows in groupby(lines, key=lambda row: row["seed"])]


def judged(rows: Rows) -> Evidence:
    """Judge the test curves."""
    return judge([[row["test_accuracy"] for row in one] for one in rows], N_TEST)


def main(folder: Path = DOCS / "images") -> None:
    """Draw every figure, and note the version of matplotlib: other versions give other bytes."""
    for name, draw in FIGURES.items():
        draw(folder / f"{name}.svg")
    (folder / MADE_WITH).write_text(f"matplotlib {matplotlib.__version__}\n", "utf-8")


def draw_descent(path: Path) -> None:
    """D, fall and rise on the vanilla curve."""
    rows = recorded("vanilla")
    curve, found = mean_curve(rows), judged(rows).descent
    bottom = curve[found.bottom or 0]
    with figure(120, 78) as (fig, [[axis]]):
        panel_curves(axis, {"vanilla": rows}, band=None)
        here, top = density(bottom.sparsity), peak(curve, bottom.round)
        low, highest = 100 * bottom.mean, density(top.sparsity) if top else here
        fall, rise = 100 * found.fall, 100 * found.rise
        axis.plot([1.0, here], [low + fall] * 2, color=GREY, lw=0.7, ls=":")
        axis.plot([here, highest], [low, low], color=GREY, lw=0.7, ls=":")
        _arrow(axis, here, low, low + fall, f"fall {fall:.1f}", left=True)
        _arrow(axis, highest, low, low + rise, f"rise {rise:.1f}")
        word = f"bottom (round {bottom.round})\nD = min(fall, rise) = {min(fall, rise):.1f} points"
        axis.annotate(word, (here, low), (0, -8), textcoords="offset points", ha="center", va="top")
        axis.set_ylim(54)
        save(fig, path)


def _arrow(axis: Axes, x: float, low: float, high: float, word: str, left: bool = False) -> None:
    style = {"arrowstyle": "<->", "color": GREY, "lw": 0.8, "shrinkA": 0, "shrinkB": 0}
    axis.annotate("", (x, low), (x, high), arrowprops=style)
    place, offset = (x, low + (0.75 if left else 0.35) * (high - low)), (-4 if left else 4, 0)
    side = "right" if left else "left"
    axis.annotate(word, place, offset, textcoords="offset points", va="center", ha=side)


def draw_evidence(path: Path) -> None:
    """The nearest curve without a dip, and the depths that noise gives it."""
    rows = recorded("vanilla")
    accuracies = [[row["test_accuracy"] for row in one] for one in rows]
    means = [statistics.fmean(values) for values in zip(*accuracies)]
    evidence = judged(rows)
    noise = standard_errors(accuracies, means, evidence.descent.bottom or 0, N_TEST)
    with figure(170, 68, cols=2) as (fig, [[left, right]]):
        lines = curves(left, {"mean over seeds": rows}, "test_accuracy", band=None)
        null = [100 * value for value in unimodal(means)]
        at = positions(mean_curve(rows))
        style = look(1).line() | {"marker": ""}
        lines += left.plot(at, null, label="nearest curve without double descent", **style)
        scale_x(left)
        left.set_ylabel("test accuracy, %")
        left.set_title("the null")
        legend(fig, lines)
        depths = [100 * depth for depth in null_depths(means, noise)]
        right.hist(depths, bins=30, color="#c8c8c8")
        marks = (("D", evidence.descent.depth, 3), ("threshold", evidence.threshold or 0, -3))
        for place, (name, value, offset) in enumerate(marks):
            chosen = look(place)
            right.axvline(100 * value, color=chosen.colour, ls=chosen.dashes, lw=1.4)
            right.annotate(
                f"{name} {100 * value:.1f}", (100 * value, 0.94), (offset, 0),
                xycoords=("data", "axes fraction"), textcoords="offset points",
                ha="left" if offset > 0 else "right",
            )  # fmt: skip
        right.margins(y=0.15)
        right.set_xlim(0, 7)
        right.set_xlabel("depth of the null plus noise, points")
        right.set_ylabel("simulated curves")
        right.set_title(f"chance {evidence.chance:.3f}")
        save(fig, path)


def draw_phases(path: Path) -> None:
    """The phases of the vanilla curve, over what ``analyze --figure`` shows."""
    rows = recorded("vanilla")
    save_study(path, {"vanilla": rows}, "test_accuracy", phases(mean_curve(rows), judged(rows)))


def draw_dodged(path: Path) -> None:
    """Vanilla beside both kinds of distillation."""
    groups = {
        "vanilla": recorded("vanilla"),
        "kd, dense teacher": recorded("kd-dense"),
        "kd, best pruned teacher": recorded("kd-best"),
    }
    with figure(120, 82) as (fig, [[axis]]):
        lines = panel_curves(axis, groups)
        vanilla = groups["vanilla"]
        shade_phases(axis, phases(mean_curve(vanilla), judged(vanilla)))
        legend(fig, lines, columns=3)
        save(fig, path)


def draw_measures(path: Path) -> None:
    """Area, peak and compression on the curve of distillation from the dense teacher."""
    rows = recorded("kd-dense")
    curve = mean_curve(rows)
    at = positions(curve)
    with figure(120, 78) as (fig, [[axis]]):
        axis.fill_between(at, [100 * p.mean for p in curve], color="#56b4e9", alpha=0.2, lw=0)
        panel_curves(axis, {"kd, dense teacher": rows}, band=None)
        told = area(curve)
        axis.text(0.4, 45, f"area {100 * (told or 0):.1f} %", ha="center", color=GREY)
        dense, top = curve[0], peak(curve)
        furthest = compression(curve, rows, "test_accuracy").mean
        axis.axhline(100 * dense.mean - 1, color=GREY, lw=0.7, ls=":")
        axis.text(1.0, 100 * dense.mean - 1.8, "dense - 1 point", va="top", color=GREY)
        if top and furthest:
            place = (density(top.sparsity), 100 * top.mean)
            word = f"peak {100 * top.mean:.1f} %"
            axis.annotate(word, place, (0, 7), textcoords="offset points", ha="center")
            place = (density(furthest.sparsity), 100 * furthest.mean)
            word, style = f"compression {100 * furthest.sparsity:.1f} %", {"arrowstyle": "-"}
            axis.annotate(
                word, place, (-14, -42), textcoords="offset points", ha="right",
                arrowprops=style | {"color": GREY, "lw": 0.7},
            )  # fmt: skip
        axis.set_ylim(40, 78)
        save(fig, path)


def draw_memorisation(path: Path) -> None:
    """The three training accuracies and the test's, with the three events."""
    rows = recorded("vanilla")
    names = {
        "train_accuracy": "train, labels as given",
        "train_accuracy_clean": "train, right labels",
        "train_accuracy_noisy": "train, wrong labels as given",
        "test_accuracy": "test",
    }
    told = memorisation([(one[0]["seed"], one) for one in rows])
    with figure(120, 88) as (fig, [[axis]]):
        lines = []
        for place, (column, name) in enumerate(names.items()):
            lines += curves(axis, {name: rows}, column, looks=[look(place)])
        scale_x(axis)
        axis.set_ylabel("accuracy, %")
        curve = mean_curve(rows)
        bottom = curve[judged(rows).descent.bottom or 0]
        falls = [one.entropy_round for one in told.seeds if one.entropy_round] if told else []
        if told and told.sparsity:
            fall = statistics.fmean(curve[place].sparsity for place in falls)
            events = (
                ("bottom ", bottom.sparsity, "right", 1.01),
                ("entropy falls", fall, "center", 1.06),
                (" half forgotten", told.sparsity.mean, "left", 1.01),
            )
            for word, sparsity, side, height in events:
                at = density(sparsity)
                axis.axvline(at, color=GREY, lw=0.8, ls=(0, (2, 2)), zorder=0.5)
                axis.text(
                    at, height, word, transform=axis.get_xaxis_transform(),
                    ha=side, va="bottom", color=GREY, fontsize=7,
                )  # fmt: skip
        axis.set_ylim(0, 104)
        legend(fig, lines, columns=2)
        save(fig, path)


def draw_entropy(path: Path) -> None:
    """Test accuracy above the entropy of the neurons, with the phases behind both."""
    rows = recorded("vanilla")
    told = phases(mean_curve(rows), judged(rows))
    with figure(120, 100, rows=2, sharex="col") as (fig, axes):
        panels = [row[0] for row in axes]
        stacked(panels, {"vanilla": rows}, ("test_accuracy", "entropy"))
        for place, axis in enumerate(panels):
            shade_phases(axis, told, names=place == 0)
        save(fig, path)


def draw_gate(path: Path) -> None:
    """What two stop rules keep of each seed: the usual early stop, and Algorithm 2."""
    rows = recorded("vanilla")
    with figure(120, 82) as (fig, [[axis]]):
        lines = panel_curves(axis, {"vanilla, pruned to the end": rows})
        shade_phases(axis, phases(mean_curve(rows), judged(rows)))
        for place, word in enumerate(("patience", "entropy-gate"), start=1):
            kept = [kept_by(word, one) for one in rows]
            chosen = look(place)
            lines += axis.plot(
                [density(row["sparsity"]) for row in kept],
                [100 * row["test_accuracy"] for row in kept],
                label=f"kept by {word}, each seed", color=chosen.colour,
                marker=chosen.mark, markersize=7, ls="none", alpha=0.8,
            )  # fmt: skip
        legend(fig, lines, columns=1)
        save(fig, path)


def kept_by(word: str, rows: list[dict[str, Any]]) -> Mapping[str, Any]:
    """Return the round that a run with a stop rule would have kept: the best on validation."""
    criterion = rule(word).built
    count = 1
    while count < len(rows) and criterion.stop(rows[:count], "val_accuracy") is None:
        count += 1
    return max(rows[:count], key=lambda row: float(row["val_accuracy"]))


def draw_tracks(path: Path) -> None:
    """Methods of one track: test accuracy of what validation selects, over the seeds."""
    names = METHODS.values()
    chosen = {
        name: [max(one, key=lambda row: float(row["val_accuracy"])) for one in recorded(file)]
        for file, name in zip(METHODS, names)
    }
    with figure(120, 45) as (fig, [[axis]]):
        bars(
            axis,
            {name: spread([row["test_accuracy"] for row in rows]) for name, rows in chosen.items()},
        )
        axis.set_xlabel("test accuracy of the selected round, %")
        axis.set_xlim(0, 100)
        save(fig, path)


FIGURES: dict[str, Callable[[Path], None]] = {
    "descent": draw_descent,
    "evidence": draw_evidence,
    "phases": draw_phases,
    "dodged": draw_dodged,
    "measures": draw_measures,
    "memorisation": draw_memorisation,
    "entropy": draw_entropy,
    "gate": draw_gate,
    "tracks": draw_tracks,
}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--record"]:
        record(Path(sys.argv[2]))
        main()
    else:
        main(*map(Path, sys.argv[1:2]))

"""Figures: bytes that repeat, looks that differ, axes that say what they show."""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib
import pytest

from dsd_bench import configure, run
from dsd_bench.analysis import Spread, judge, mean_curve, memorisation, phases
from dsd_bench.errors import UsageError
from dsd_bench.figures import (
    COLOURS,
    Epochs,
    bars,
    curves,
    figure,
    grid,
    heat,
    legend,
    look,
    panel_curves,
    positions,
    save,
    shade_phases,
    stacked,
)

ROOT = Path(__file__).parent.parent
DIPPING = [0.63, 0.62, 0.60, 0.56, 0.60, 0.70, 0.75, 0.72, 0.60]


def rows_of(values: list[float]) -> list[dict[str, Any]]:
    return [
        {"round": index, "sparsity": 1 - 0.5**index, "test_accuracy": value, "train_loss": 1.0}
        for index, value in enumerate(values)
    ]


GROUPS = {
    "vanilla": [rows_of(DIPPING), rows_of([value + 0.02 for value in DIPPING])],
    "other": [rows_of([0.8] * 9)],
}


def draw(path: Path) -> None:
    with figure(90, 60) as (fig, [[axis]]):
        legend(axis, panel_curves(axis, GROUPS, title="a title"))
        save(fig, path)


@pytest.mark.parametrize("suffix", ["svg", "pdf", "png"])
def test_bytes_repeat_whatever_the_user_s_settings(tmp_path: Path, suffix: str) -> None:
    draw(tmp_path / f"a.{suffix}")
    with matplotlib.rc_context({"font.size": 20, "svg.hashsalt": "x", "axes.facecolor": "red"}):
        draw(tmp_path / f"b.{suffix}")
    first, second = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in "ab")
    assert first == second
    assert matplotlib.__version__.encode() not in first


def test_settings_are_as_before() -> None:
    before = dict(matplotlib.rcParams)
    with figure(50, 50):
        assert matplotlib.rcParams["svg.hashsalt"] == "dsd-bench"
    assert dict(matplotlib.rcParams) == before


def test_pyplot_is_never_loaded(tmp_path: Path) -> None:
    code = (
        "import sys; from dsd_bench.figures import *\n"
        f"with figure(50, 50) as (fig, axes): save(fig, {str(tmp_path / 'x.png')!r})\n"
        "print('matplotlib.pyplot' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize("name", ["x.gif", "x", "x.svgz"])
def test_other_suffixes_are_refused(tmp_path: Path, name: str) -> None:
    with figure(50, 50) as (fig, _), pytest.raises(UsageError, match=r"\.svg, \.pdf or \.png"):
        save(fig, tmp_path / name)


def test_a_file_where_a_folder_should_be_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with figure(50, 50) as (fig, _), pytest.raises(UsageError, match="no folder"):
        save(fig, tmp_path / "file" / "x.svg")


def test_series_differ_without_colour() -> None:
    looks = [(repr(look(place).dashes), look(place).mark) for place in range(45)]
    assert len(set(looks)) == 45
    assert len({look(place).colour for place in range(len(COLOURS))}) == len(COLOURS)


def test_every_colour_stands_out_on_white() -> None:
    def lightness(colour: str) -> float:
        parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        linear = [
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    assert all(lightness(colour) < 0.45 for colour in COLOURS)


def test_lines_are_the_mean_and_bands_its_spread() -> None:
    with figure(90, 60) as (_, [[axis]]):
        lines = curves(axis, GROUPS, "test_accuracy")
        assert list(lines[0].get_ydata()) == pytest.approx([100 * v + 1 for v in DIPPING])
        assert list(lines[0].get_xdata()) == pytest.approx([0.5**index for index in range(9)])
        (band,) = axis.collections  # one seed has none
        heights = band.get_paths()[0].vertices[:, 1]
        top = 76 + 100 * 0.02 / math.sqrt(2)
        assert max(heights) == pytest.approx(top)


def test_the_band_may_be_the_range_or_nothing() -> None:
    with figure(90, 60, cols=2) as (_, [[left, right]]):
        curves(left, GROUPS, "test_accuracy", band="range")
        curves(right, GROUPS, "test_accuracy", band=None)
        assert max(left.collections[0].get_paths()[0].vertices[:, 1]) == pytest.approx(77)
        assert not right.collections


def test_rounds_that_fewer_seeds_reached_are_hollow() -> None:
    with figure(60, 50) as (_, axes):
        whole = next(iter(GROUPS.values()))
        cut = [list(whole[0]), *[list(rows)[:-1] for rows in whole[1:]]]
        curves(axes[0][0], {"one": cut}, "test_accuracy")
        line, hollow = axes[0][0].get_lines()
        assert len(hollow.get_xdata()) == 1 < len(line.get_xdata())  # type: ignore[arg-type]
        assert hollow.get_markerfacecolor() == "white"


def test_a_legend_that_is_too_wide_gets_fewer_columns() -> None:
    with figure(90, 60) as (fig, axes):
        lines = [axes[0][0].plot([0, 1], label=f"a rather long name {i}")[0] for i in range(4)]
        legend(fig, lines)
        (made,) = fig.legends
        assert made.get_window_extent().width <= fig.bbox.width


def test_a_group_without_the_column_keeps_its_look() -> None:
    groups = {"absent": [[{"round": 0, "sparsity": 0.0}]], "there": GROUPS["other"]}
    with figure(90, 60) as (_, [[axis]]):
        (line,) = curves(axis, groups, "test_accuracy")
    assert (line.get_label(), line.get_color()) == ("there", look(1).colour)


def test_the_sparsity_axis_runs_from_dense_to_sparse_and_says_sparsity() -> None:
    with figure(120, 60) as (fig, [[axis]]):
        panel_curves(axis, GROUPS)
        fig.draw_without_rendering()
        labels = [label.get_text() for label in axis.get_xticklabels()]
        assert axis.get_xlim()[0] > axis.get_xlim()[1]
        assert labels == ["0", "50", "80", "90", "95", "98", "99", "99.5"]


def test_ticks_thin_out_in_a_narrow_panel() -> None:
    with figure(30, 60) as (fig, [[axis]]):
        panel_curves(axis, GROUPS)
        fig.draw_without_rendering()
        assert [label.get_text() for label in axis.get_xticklabels()] == ["0", "90", "99"]


def test_other_scales() -> None:
    curve = mean_curve(GROUPS["other"])
    assert positions(curve, "round")[:3] == [0, 1, 2]
    assert positions(curve, Epochs(200, 50))[:3] == [200, 250, 300]
    with pytest.raises(UsageError, match="did you mean 'sparsity'"):
        positions(curve, "sparsty")


def test_an_axis_of_weights_is_shared_by_networks_of_several_sizes() -> None:
    small, large = (
        [{**row, "nonzero": round(size * (1 - row["sparsity"]))} for row in rows_of(DIPPING)]
        for size in (12_800, 1_280_000)
    )
    assert positions(mean_curve([small]), "weights")[:3] == [12_800, 6_400, 3_200]
    assert positions(mean_curve([small, small[:1]]), "weights")[0] == 12_800
    with figure(90, 60) as (fig, [[axis]]):
        panel_curves(axis, {"small": [small], "large": [large]}, x="weights")
        fig.draw_without_rendering()
        left, right = axis.get_xlim()
        assert left > 1_280_000 > 50 > right
        labels = [label.get_text() for label in axis.get_xticklabels()]
        assert {"100", "1,000", "10,000", "100,000", "1,000,000"} <= set(labels)
        assert axis.get_xlabel() == "weights left"


def test_rows_that_do_not_count_their_weights_have_no_place_on_that_axis() -> None:
    assert all(map(math.isnan, positions(mean_curve(GROUPS["other"]), "weights")))


def test_a_net_without_weights_is_not_drawn() -> None:
    rows = [{"round": 0, "sparsity": 1.0, "test_accuracy": 0.1}]
    assert math.isnan(positions(mean_curve([rows]))[0])


def test_stacked_panels_share_one_axis() -> None:
    with figure(90, 100, rows=2, sharex="col") as (_, axes):
        lines = stacked([row[0] for row in axes], GROUPS, ("test_accuracy", "train_loss"))
        assert [axis.get_xlabel() for [axis] in axes] == ["", "sparsity, %"]
        assert [axis.get_ylabel() for [axis] in axes] == ["test accuracy, %", "train loss, nats"]
        assert len(lines) == 2


@pytest.mark.parametrize("x", ["sparsity", "round", Epochs(10, 10)])
def test_phases_are_shaded_from_edge_to_edge(x: Any) -> None:
    seeds = GROUPS["vanilla"]
    curve = mean_curve(seeds)
    found = phases(curve, judge([[row["test_accuracy"] for row in rows] for rows in seeds], 10_000))
    assert len(found) == 4
    with figure(120, 60) as (_, [[axis]]):
        curves(axis, {"vanilla": seeds}, "test_accuracy", x)
        limits = axis.get_xlim()
        shade_phases(axis, found, x, curve)
        spans = [sorted(patch.get_extents().intervalx) for patch in axis.patches]
        assert axis.get_xlim() == limits
        assert len(spans) == 4
        assert all(a[1] == pytest.approx(b[0]) for a, b in itertools.pairwise(spans))
        numerals = [text.get_text().split()[-1].strip("()") for text in axis.texts]
        assert numerals == ["I", "II", "III", "IV"]


def test_phases_on_another_axis_need_the_curve() -> None:
    found = phases(mean_curve([rows_of(DIPPING)]), judge([DIPPING], 100_000))
    with figure(90, 60) as (_, [[axis]]), pytest.raises(UsageError, match="mean curve"):
        shade_phases(axis, found, "round")


def test_no_phases_shade_nothing() -> None:
    with figure(90, 60) as (_, [[axis]]):
        shade_phases(axis, [])
        assert not axis.patches


def test_a_grid_names_only_its_outer_axes() -> None:
    with grid(list("abcd"), cols=3) as (fig, cells):
        assert [cell.axis.get_title(loc="left") for cell in cells] == list("abcd")
        assert [cell.bottom for cell in cells] == [False, True, True, True]
        assert [cell.left for cell in cells] == [True, False, False, True]
        assert len(fig.axes) == 4


def test_heat_writes_every_number_and_leaves_gaps() -> None:
    with figure(60, 50) as (_, [[axis]]):
        heat(axis, [[1.0, None], [2.25, 3.0]], ["r", "s"], ["c", "d"])
        assert [text.get_text() for text in axis.texts] == ["1.0", "2.2", "3.0"]


def test_bars_have_their_deviation() -> None:
    with figure(60, 50) as (_, [[axis]]):
        bars(axis, {"a": Spread(0.5, 0.1, 3), "none": None, "b": Spread(0.2, None, 1)})
        assert [patch.get_width() for patch in axis.patches] == pytest.approx([50, 20])  # type: ignore[attr-defined]
        assert [label.get_text() for label in axis.get_yticklabels()] == ["a", "none", "b"]


# -- the figures of docs/


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_figures", ROOT / "docs/make_figures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_docs_show_every_figure_and_no_other() -> None:
    text = "".join(page.read_text("utf-8") for page in (ROOT / "docs").rglob("*.md"))
    files = {path.name for path in (ROOT / "docs/images").glob("*.svg")}
    drawn = {f"{name}.svg" for name in script().FIGURES}
    assert drawn <= files
    assert all(f"images/{name}" in text for name in drawn)


@pytest.mark.parametrize("name", list(script().FIGURES))
def test_the_docs_figures_are_what_the_script_draws(tmp_path: Path, name: str) -> None:
    made = script()
    with_version = (ROOT / "docs/images" / made.MADE_WITH).read_text("utf-8").split()[1]
    if with_version != matplotlib.__version__:
        pytest.skip(f"drawn with matplotlib {with_version}, other versions give other bytes")
    made.FIGURES[name](tmp_path / f"{name}.svg")
    assert (tmp_path / f"{name}.svg").read_bytes() == (
        ROOT / "docs/images" / f"{name}.svg"
    ).read_bytes()


@pytest.mark.parametrize("name", ["vanilla", "kd-best", "kd-dense"])
def test_the_docs_curves_have_the_default_run_s_seeds(name: str) -> None:
    rows = script().recorded(name)
    assert [[(row["seed"], row["round"]) for row in one] for one in rows] == [
        [(seed, index) for index in range(21)] for seed in range(6)
    ]


def test_the_docs_say_what_their_curves_show() -> None:
    text = " ".join((ROOT / "docs/analysis.md").read_text("utf-8").split())
    vanilla = script().recorded("vanilla")
    told = memorisation([(one[0]["seed"], one) for one in vanilla])
    assert told is not None
    for name, found in (("bottom", told.bottom_after), ("entropy", told.entropy_after)):
        assert found is not None
        assert found.std is not None
        words = f"{-found.mean:.1f} \u00b1 {found.std:.1f} rounds"
        assert words in text, (name, words)
    fits = [one[0]["train_accuracy_noisy"] for one in script().recorded("kd-best")]
    assert f"fits {100 * sum(fits) / len(fits):.0f} % of the wrong labels" in text


def test_the_docs_curves_are_recorded_from_run_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = script()
    runs = tmp_path / "runs"
    monkeypatch.setattr(made, "METHODS", {"vanilla": "magnitude"})
    monkeypatch.setattr(made, "RECORDED", tmp_path)
    for seed in range(6):
        run(configure(seed=seed, rounds=1, epochs=1, model="mlp:hidden=8"), runs_dir=runs)
    made.record(runs)
    rows = made.recorded("vanilla")
    assert [one[0]["seed"] for one in rows] == list(range(6))
    assert list(rows[0][0]) == ["seed", *made.COLUMNS]
    for folder in sorted(runs.iterdir())[:1]:
        (folder / "config.json").unlink()
    with pytest.raises(SystemExit, match="seeds 0 to 5 alone"):
        made.record(runs)


def test_recorded_curves_have_three_seeds_of_21_rounds() -> None:
    for path in (ROOT / "tests/recorded").glob("*.jsonl"):
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        assert [(row["seed"], row["round"]) for row in rows] == [
            (seed, index) for seed in range(3) for index in range(21)
        ]

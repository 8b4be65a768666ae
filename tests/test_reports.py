"""Labels, grouping, plots, tables, frames, CSV and the views of runs under way."""

from __future__ import annotations

import io
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, ConsoleDimensions
from rich.style import Style
from rich.text import Text

from dsd_bench import configure
from dsd_bench.analysis import study, summarise
from dsd_bench.cli.header import print_header
from dsd_bench.components import Component
from dsd_bench.config import naming
from dsd_bench.executors import Job
from dsd_bench.executors.planning import plan
from dsd_bench.params import Params, param
from dsd_bench.reports.axes import Frame
from dsd_bench.reports.builtin import TerminalParams
from dsd_bench.reports.canvas import Canvas
from dsd_bench.reports.csv import Csv
from dsd_bench.reports.following import print_next
from dsd_bench.reports.frames import IDENTITY, MEASURED, runs_frame
from dsd_bench.reports.live import LiveView, PlainView
from dsd_bench.reports.methods import methods_of
from dsd_bench.reports.plot import Annotation, Plot, Series
from dsd_bench.reports.progress import Progress, planned_rounds
from dsd_bench.reports.resizing import ResizedLive
from dsd_bench.reports.studies import print_study
from dsd_bench.reports.summary import print_summary
from dsd_bench.reports.terminal import Terminal, show
from dsd_bench.reports.words import duration, open_console
from dsd_bench.store import StoredRun

DIP = [0.66, 0.64, 0.60, 0.58, 0.62, 0.70, 0.75, 0.72]
PLAIN = Style()


def part(name: str, **params: Any) -> dict[str, Any]:
    return {"name": name, "version": 1, "params": params}


def config_of(seed: int = 0, **changes: Any) -> dict[str, Any]:
    protocol = {"rounds": 20, "target_sparsity": None, "dense_epochs": 200, "retrain_epochs": 50}
    protocol |= {"selection": "val", "precision": "fp32"} | changes.pop("protocol", {})
    run_id = f"{abs(hash((seed, str(changes), str(protocol)))) % 16**16:016x}"
    return {
        "run_id": run_id,
        "curve_id": run_id,
        "schema": 1,
        "seed": seed,
        "data_seed": seed,
        "fingerprint": "f",
        "protocol": protocol,
        "dataset": part("digits", val_size=200, train_size=None),
        "noise": part("symmetric", rate=0.4),
        "model": part("mlp", hidden="64x64"),
        "pruner": part("magnitude", fraction=0.2, scope="global"),
        "perturber": part("none"),
        "stop": part("never"),
        "regularizers": [],
    } | changes


def kd(seed: int, teacher: str = "best") -> dict[str, Any]:
    taught = {"run_id": f"{seed:016x}", "weights": "best", "config": config_of(seed)}
    return part("kd", alpha=0.8, teacher=teacher) | {"teacher": taught}


def row(index: int, test: float | None, **more: Any) -> dict[str, Any]:
    left = round(8832 * 0.8**index)
    return {
        "round": index,
        "sparsity": 1 - left / 8832,
        "nonzero": left,
        "train_loss": 0.1,
        "train_accuracy": 0.99 - 0.05 * index,
        "val_accuracy": 0.5 + 0.01 * index,
        "test_accuracy": test,
        "entropy": 0.8 - 0.05 * index,
        "entropy_per_layer": [0.7, 0.9],
        "sparsity_per_layer": [0.1, 0.2],
    } | more


def run_of(
    seed: int = 0,
    curve: list[float | None] | None = None,
    result: dict[str, Any] | None = None,
    **changes: Any,
) -> StoredRun:
    config = config_of(seed, **changes)
    curve = list(DIP) if curve is None else curve
    rows = tuple(row(i, a and a + 0.01 * seed) for i, a in enumerate(curve))
    return StoredRun(config["run_id"], Path("runs"), config, rows, result)


DONE = {"status": "done", "best_round": 6, "stopped_by": "rounds"}
TESTED = DONE | {"best_round": 4, "samples": {"train": 1000, "val": 200, "test": 597}}


def printed(draw: Any, width: int = 100, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, write_through=True)
    draw(Console(file=stream, width=width, height=50))
    return raw.getvalue().decode(encoding)


# -- labels


class MagnitudeParams(Params):
    fraction: float = param(0.2, help="x")
    power: float = param(1, help="x")
    scope: str = param("global", help="x")


def lookup(kind: str, name: str) -> Component | None:
    if (kind, name) == ("pruner", "magnitude"):
        return Component("magnitude", "a.b:C", "x", MagnitudeParams)
    return None


def test_without_a_catalogue_every_parameter_is_named() -> None:
    assert naming.label(config_of()) == "magnitude:fraction=0.2,scope=global"


def test_with_a_catalogue_defaults_are_left_out() -> None:
    assert naming.label(config_of(), lookup) == "magnitude"


def test_a_default_written_as_a_whole_number_is_a_default() -> None:
    config = config_of(pruner=part("magnitude", fraction=0.2, power=1.0))
    assert naming.label(config, lookup) == "magnitude"


def test_with_a_catalogue_the_main_parameter_stands_bare() -> None:
    config = config_of(pruner=part("magnitude", fraction=0.5, scope="layer"))
    assert naming.label(config, lookup) == "magnitude:0.5,scope=layer"


def test_label_names_perturber_regularizers_in_order_and_stop() -> None:
    config = config_of(
        perturber=part("rewind", step=0),
        regularizers=[part("l2", weight=0.1), part("kd", teacher="0123456789abcdef")],
        stop=part("patience", patience=1),
    )
    assert naming.label(config, lookup) == (
        "magnitude + rewind:step=0 + l2:weight=0.1 + kd:teacher=01234567, stop patience:patience=1"
    )


def test_setting_leaves_out_absent_noise() -> None:
    assert naming.setting(config_of(noise=part("none"))) == "digits:val_size=200, mlp:hidden=64x64"


def test_words_leave_out_parameters_without_a_value() -> None:
    assert naming.method_words(config_of())["dataset"] == "digits:val_size=200"


def test_equal_labels_get_what_tells_them_apart() -> None:
    configs = [config_of(), config_of(protocol={"lr": 0.1}), config_of(regularizers=[part("l1")])]
    configs[0]["protocol"]["lr"] = 0.02
    assert naming.distinct_labels(configs, lookup) == [
        "magnitude, lr=0.02",
        "magnitude, lr=0.1",
        "magnitude + l1",
    ]


def test_runs_of_another_seed_share_a_key_also_with_teachers() -> None:
    keys = {naming.configuration_key(config_of(s, regularizers=[kd(s)])) for s in range(3)}
    assert len(keys) == 1


def test_a_plugin_s_own_seed_parameter_is_no_seed_of_the_run() -> None:
    one, two = (config_of(pruner=part("random", seed=seed)) for seed in (0, 1))
    assert naming.configuration_key(one) != naming.configuration_key(two)


@pytest.mark.parametrize(
    "changes",
    [{"protocol": {"selection": "test"}}, {"noise": part("none")}, {"stop": part("patience")}],
)
def test_another_configuration_has_another_key(changes: dict[str, Any]) -> None:
    assert naming.configuration_key(config_of()) != naming.configuration_key(config_of(**changes))


def test_groups_hold_each_run_once_with_seeds_ascending() -> None:
    runs = [run_of(2), run_of(0), run_of(2), run_of(1, regularizers=[part("l1")])]
    groups = naming.group_runs(runs)
    assert [[run.seed for run in group] for group in groups] == [[0, 2], [1]]


def test_a_fixed_data_seed_makes_one_group() -> None:
    runs = [run_of(seed, data_seed=0) for seed in range(3)]
    assert len(naming.group_runs(runs)) == 1


def test_fixed_and_following_data_seeds_stay_apart() -> None:
    runs = [run_of(0), run_of(1), run_of(2, data_seed=0), run_of(3, data_seed=0)]
    assert [len(group) for group in naming.group_runs(runs)] == [2, 2]


@pytest.mark.parametrize(
    ("seeds", "word"), [([2, 0, 1], "0-2"), ([3, 0], "0,3"), ([5], "5"), ([0, 1, 4, 5], "0-1,4-5")]
)
def test_seeds_are_written_as_the_option_takes_them(seeds: list[int], word: str) -> None:
    assert naming.seeds_word(seeds) == word


# -- canvas, axes, plot


def cells(canvas: Canvas, ascii_only: bool = False) -> list[str]:
    return [line.plain for line in canvas.render(ascii_only)]


def test_dots_fill_a_braille_cell_bit_by_bit() -> None:
    canvas = Canvas(1, 1)
    seen = set()
    for x in range(2):
        for y in range(4):
            canvas.dot(x, y, PLAIN)
            seen.add(cells(canvas)[0])
    assert len(seen) == 8
    assert cells(canvas) == ["⣿"]


@pytest.mark.parametrize(("y", "character"), [(0, "'"), (1, "-"), (2, "-"), (3, ".")])
def test_ascii_shows_the_height_of_a_dot(y: int, character: str) -> None:
    canvas = Canvas(1, 1)
    canvas.dot(0, y, PLAIN)
    assert cells(canvas, ascii_only=True) == [character]


def test_what_lies_outside_is_not_drawn() -> None:
    canvas = Canvas(2, 2)
    canvas.line((-5, -5), (-1, 20), PLAIN)
    canvas.shade(9, 0, 3, PLAIN)
    canvas.write(1, 5, "abc", PLAIN)
    assert cells(canvas) == ["  ", "  "]


def test_lines_hide_shade_and_characters_hide_lines() -> None:
    canvas = Canvas(3, 1)
    for x in range(6):
        canvas.shade(x, 0, 3, PLAIN)
    canvas.line((2, 0), (5, 0), PLAIN)
    canvas.write(2, 0, "o", PLAIN)
    assert cells(canvas, ascii_only=True) == [":'o"]


def frame_of(remaining: list[float], values: list[float], width: int = 80) -> Frame:
    return Frame.around(remaining, values, (width, 12))


def test_equal_fractions_of_the_remaining_weights_are_equally_far_apart() -> None:
    frame = frame_of([0.8**i for i in range(20)], [0, 1])
    columns = [frame.column(0.8**i) for i in range(20)]
    steps = {b - a for a, b in pairwise(columns) if a is not None and b is not None}
    assert max(steps) - min(steps) <= 1
    assert min(steps) > 0


def test_more_is_higher() -> None:
    frame = frame_of([1.0, 0.1], [20.0, 80.0])
    assert frame.row(80.0) < frame.row(50.0) < frame.row(20.0)


def test_ticks_name_densities_where_they_lie() -> None:
    frame = frame_of([1.0, 0.0115], [0, 1])
    ticks = {text: column for column, text in frame._x_labels()}
    assert list(ticks) == ["100", "50", "20", "10", "5", "2", "1"]
    dot = frame.column(0.1)
    assert dot is not None
    assert ticks["10"] == dot // 2


@given(
    st.lists(st.floats(1e-5, 1.0), min_size=1, max_size=8),
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=8),
    st.integers(24, 120),
)
def test_every_point_lies_inside_the_frame(
    remaining: list[float], values: list[float], width: int
) -> None:
    frame = frame_of(remaining, values, width)
    for x in remaining:
        column = frame.column(x)
        assert column is not None
        assert 0 <= column < 2 * frame.columns
    assert all(0 <= frame.row(value) < 4 * frame.rows for value in values)


def lines_of(plot: Plot, width: int = 60, ascii_only: bool = False) -> list[str]:
    return [line.plain for line in plot.lines(width, ascii_only)]


@pytest.mark.parametrize("width", [24, 40, 80, 133])
def test_a_plot_fits_its_width(width: int) -> None:
    series = Series("s", [0.8**i for i in range(20)], [50.0 + i for i in range(20)])
    lines = lines_of(Plot("y", [series], height=7), width)
    assert all(len(line) <= width for line in lines)
    assert len(lines) == 1 + 7 + 2 + 1 + (len(lines) == 12)


def test_series_have_their_own_marks_and_names() -> None:
    x = [1.0, 0.5]
    text = "\n".join(lines_of(Plot("y", [Series("first", x, [1, 2]), Series("second", x, [5, 4])])))
    assert text.count("●") == 3
    assert text.count("◆") == 3
    assert "● first" in text
    assert "◆ second" in text


def test_the_first_series_lies_on_top() -> None:
    same = ([1.0, 0.1], [1.0, 2.0])
    plot = Plot("y", [Series("first", *same), Series("second", *same)], legend=False)
    text = "\n".join(lines_of(plot))
    assert (text.count("●"), text.count("◆")) == (2, 0)


def test_ascii_plots_hold_ascii_only() -> None:
    series = Series("s", [1.0, 0.5, 0.1], [1, 3, 2], [0, 2, 1], [2, 4, 3])
    text = "\n".join(lines_of(Plot("y", [series]), ascii_only=True))
    assert text.isascii()
    assert text.count("o") == 4
    assert ":" in text


@pytest.mark.parametrize(
    "series",
    [
        Series("one", [1.0], [0.5]),
        Series("flat", [1.0, 0.5, 0.2], [0.0, 0.0, 0.0]),
        Series("empty", [], []),
        Series("nothing left", [1.0, 0.0], [0.5, 0.1]),
        Series("gaps only", [1.0, 0.5], [None, None]),
    ],
)
def test_odd_series_can_be_drawn(series: Series) -> None:
    assert len(lines_of(Plot("y", [series]))) > 10


def test_a_gap_is_not_bridged_but_its_neighbours_show() -> None:
    series = Series("s", [1.0, 0.5, 0.25], [1.0, None, 1.0])
    body = lines_of(Plot("y", [series], height=4, legend=False), ascii_only=True)[1:5]
    (line,) = [line[line.index("o") :] for line in body if "o" in line]
    assert line.strip() == "o" + " " * (len(line.strip()) - 2) + "o"


def test_points_between_gaps_show_even_where_marks_are_thinned() -> None:
    known = [0.0 if index % 2 else None for index in range(200)]
    series = Series("s", [0.97**i for i in range(200)], known)
    body = lines_of(Plot("y", [series], height=3, legend=False))[1:4]
    text = "".join(body)
    assert 10 < text.count("●") < 40
    assert sum(0x2800 < ord(character) < 0x2900 for character in text) > 10


def test_annotations_stand_on_their_side_of_the_point() -> None:
    series = Series("s", [1.0, 0.3, 0.1], [80.0, 20.0, 90.0])
    notes = [Annotation(0.3, 20.0, "dip", below=True), Annotation(0.1, 90.0, "sweet spot")]
    lines = lines_of(Plot("y", [series], annotations=notes))
    point = next(i for i, line in reversed(list(enumerate(lines[:-1]))) if "●" in line)
    assert next(i for i, line in enumerate(lines) if "dip" in line) > point
    assert next(i for i, line in enumerate(lines) if "sweet spot" in line) < point


# -- frames and CSV


def test_frame_has_one_line_per_run_and_round_with_fixed_columns() -> None:
    frame = runs_frame([run_of(0), run_of(1, curve=[0.5, None])])
    assert len(frame) == len(DIP) + 2
    assert tuple(frame.columns) == (*IDENTITY, *MEASURED, "best")
    assert frame["seed"].tolist() == [0] * len(DIP) + [1, 1]
    assert frame["test_accuracy"].isna().tolist()[-2:] == [False, True]


def test_frame_marks_the_selected_round() -> None:
    frame = runs_frame([run_of(result=DONE)])
    assert frame.loc[frame["best"], "round"].tolist() == [6]


def test_frame_names_components_by_their_words() -> None:
    line = runs_frame([run_of(regularizers=[part("l1", weight=0.1), kd(0)])]).iloc[0]
    assert line["pruner"] == "magnitude:fraction=0.2,scope=global"
    assert line["regularizers"] == "l1:weight=0.1 + kd:alpha=0.8,teacher=best"


def test_frame_keeps_further_scalars_and_leaves_lists() -> None:
    run = run_of(curve=[])
    run = StoredRun(run.run_id, run.path, run.config, (row(0, 0.5, flatness=3.0),), None)
    frame = runs_frame([run])
    assert frame["flatness"].tolist() == [3.0]
    assert "entropy_per_layer" not in frame


def test_empty_frame_has_its_columns() -> None:
    assert tuple(runs_frame([]).columns) == (*IDENTITY, *MEASURED, "best")


def test_csv_reads_back_exactly() -> None:
    import pandas as pd

    runs = [run_of(seed, curve=[1 / 3, 2 / 7]) for seed in range(2)]
    stream = io.StringIO()
    Csv(Params()).report(runs, stream)
    back = pd.read_csv(io.StringIO(stream.getvalue()))
    assert back["test_accuracy"].tolist() == runs_frame(runs)["test_accuracy"].tolist()
    assert len(stream.getvalue().splitlines()) == 5


# -- terminal


def test_one_method_shows_every_measure() -> None:
    runs = [run_of(seed, result=DONE) for seed in range(3)]
    text = printed(lambda console: show(console, runs))
    assert "seeds 0-2" in text
    assert "selected on validation" in text
    assert "● test" in text
    assert "◆ train (given labels)" in text
    assert "entropy, bits" in text
    assert "bands: lowest to highest seed" in text
    header = next(line for line in text.splitlines() if line.startswith("round"))
    assert header.split() == ["round", "left", "%", "weights", "train", "val", "test", "entropy"]
    line = next(line for line in text.splitlines() if line.strip().startswith("6  "))
    assert line.split() == ["6", "26.21", "2,315", "69.0", "56.0±0.0", "76.0±1.0", "0.500", "★3"]


def test_several_methods_are_overlaid_and_listed_side_by_side() -> None:
    runs = [run_of(result=DONE), run_of(curve=[0.86] * 8, regularizers=[kd(0)], result=DONE)]
    text = printed(lambda console: show(console, runs, lookup=lookup), width=80)
    assert "● magnitude  seed 0" in text
    assert "◆ magnitude + kd" in text
    line = next(line for line in text.splitlines() if line.strip().startswith("6  "))
    assert line.split() == ["6", "26.21", "75.0", "★", "86.0", "★"]


def test_methods_of_other_sparsities_list_their_own() -> None:
    other = run_of(pruner=part("random", fraction=0.5))
    rows = tuple(entry | {"sparsity": 1 - 0.5 ** entry["round"]} for entry in other.rows)
    runs = [run_of(), StoredRun(other.run_id, other.path, other.config, rows, None)]
    text = printed(lambda console: show(console, runs))
    assert next(x for x in text.splitlines() if x.startswith("round")).count("left %") == 2


def test_selection_on_test_is_marked() -> None:
    text = printed(lambda console: show(console, [run_of(protocol={"selection": "test"})]))
    assert "selected on test" in text
    assert "best round on test" in text
    assert "validation" not in text


def test_unfinished_runs_say_how_far_they_came() -> None:
    text = printed(lambda console: show(console, [run_of(result=DONE), run_of(1)]), width=140)
    assert "seed 1 unfinished after round 7" in text


def test_no_round_yet() -> None:
    assert "No round is finished yet" in printed(lambda console: show(console, [run_of(curve=[])]))


def test_without_test_data_validation_is_shown() -> None:
    text = printed(lambda console: show(console, [run_of(curve=[None, None])]))
    assert "● val" in text


def test_the_table_can_be_left_out() -> None:
    params = TerminalParams(table=False)
    assert "weights  train" not in printed(lambda c: show(c, [run_of()], params))


@pytest.mark.parametrize("width", [30, 80, 200])
def test_the_view_adapts_to_the_width(width: int) -> None:
    text = printed(lambda console: show(console, [run_of(0), run_of(1)]), width)
    *lines, command = text.splitlines()
    assert command.startswith("  dsd-bench run --config ")  # whole, to be pasted
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("draw", [show, print_summary])
def test_an_ascii_terminal_gets_ascii(draw: Any) -> None:
    text = printed(lambda console: draw(console, [run_of(0), run_of(1)]), encoding="ascii")
    assert "+-" in text


def test_a_name_that_the_stream_cannot_encode_is_replaced() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    Terminal(TerminalParams()).report([run_of(dataset=part("imagefolder", path="fötos"))], stream)
    assert b"imagefolder:f?tos" in raw.getvalue()


# -- the end of a run


def summary_text(runs: list[StoredRun], n_test: int | None = 597, width: int = 120) -> str:
    return printed(lambda c: print_summary(c, runs, "dsd-bench show abc", n_test, lookup), width)


def test_summary_tells_dip_sweet_spot_and_models() -> None:
    text = summary_text([run_of(seed, result=DONE) for seed in range(3)])
    assert "dense       67.0 ± 1.0 %" in text
    assert "59.0 ± 1.0 % at sparsity 48.8 % (round 3): falls 8.0, recovers 17.0 points" in text
    assert "sparse double descent: depth 8.0 points, more than the 4.6 that noise explains" in text
    assert "76.0 ± 1.0 % at sparsity 73.8 % (round 6): 9.0 points above dense" in text
    assert "seed 2: 77.0 %, at sparsity 73.8 % (round 6)" in text
    assert "more: dsd-bench show abc" in text
    assert "test." not in text


def test_summary_of_a_monotone_curve() -> None:
    text = summary_text([run_of(curve=[0.8, 0.7, 0.6], result=DONE | {"best_round": 0})])
    assert "no double descent: the curve does not fall and recover" in text
    assert not re.search(r"(?m)^dip", text)
    assert "best of curve  80.0 % at sparsity 0.0 % (round 0)" in text


def test_summary_without_the_test_set_s_size_does_not_judge() -> None:
    text = summary_text([run_of(result=DONE)], n_test=None)
    assert "cannot be told from noise without the size of the test set" in text
    assert "sparse double descent" not in text


def test_summary_of_stopped_and_unfinished_seeds() -> None:
    stopped = {"best_round": 2, "stopped_by": "patience", "reason": "no gain"}
    runs = [run_of(0, curve=[0.6, 0.5, 0.7], result=stopped), run_of(1), run_of(2, curve=[])]
    text = summary_text(runs)
    assert "seed 0 after round 2, 18 trainings saved: no gain" in text
    assert "seed 1 unfinished after round 7, seed 2 unfinished before round 0" in text
    assert "over the 3 rounds that all seeds reached" in text


def test_an_interrupted_run_says_so_instead_of_a_verdict() -> None:
    """Its curve dips, and would give a verdict, but it may yet go anywhere."""
    text = summary_text([run_of(seed, result=DONE if seed else None) for seed in range(3)])
    assert "verdict      none yet: seed 0 unfinished after round 7" in text
    assert "best so far  76.0 ± 1.0 %" in text
    for word in ("double descent", "noise explains", "sweet spot", "dip", "falls"):
        assert word not in text
    assert "try next: the same command goes on where it stopped\n  dsd-bench run " in text


@pytest.mark.parametrize("several", [False, True])
def test_every_view_uses_the_same_words(several: bool) -> None:
    """For somebody who has never heard of them: each is explained where it stands."""
    runs = [run_of(seed, result=TESTED) for seed in range(1 + 2 * several)]
    method = methods_of(runs, lookup)[0]
    told = [
        summary_text(runs),
        printed(lambda console: show(console, runs, lookup=lookup)),
        printed(lambda console: print_study(console, method, study(runs, 597))),
    ]
    for text in told:
        words = " ".join(text.split())
        for said in (
            "the unpruned network: round 0",
            "the worst before it recovers; sparsity: share of weights pruned away",
            "the round that is kept: best on validation images, not trained on",
        ):
            assert said in words
        if several:
            assert "the best after the dip, with 1/4 of the weights" in words
            assert "verdict sparse double descent: depth 8.0 points" in words
            assert "the network gets worse (dip), then better (sweet spot)" in words
        else:
            assert "verdict cannot tell: depth 8.0 points" in words


def step_words(runs: list[StoredRun], *again: str) -> str:
    """Return the command that is to be tried next."""
    method = methods_of(runs, lookup)[0]
    text = printed(
        lambda console: print_next(console, method, summarise(method.runs, 597), again), 300
    )
    return text.splitlines()[-1].strip() if text else ""


FLAT = [0.66, 0.66, 0.66, 0.65, 0.6]


@pytest.mark.parametrize(
    ("runs", "again", "words"),
    [
        ([run_of(seed, result=TESTED) for seed in range(3)], "run", "dsd-bench run --reg kd"),
        (
            [run_of(seed, result=TESTED) for seed in range(3)],
            "run --reg l1 --json --force",
            "dsd-bench run --reg l1 --reg kd",
        ),
        ([run_of(0, result=TESTED)], "run --seeds 0 --lr 1", "dsd-bench run --lr 1 --seeds 0-1"),
        ([run_of(0, result=TESTED)], "run --seeds=0 --lr=1", "dsd-bench run --lr=1 --seeds 0-1"),
        ([run_of(2, result=TESTED)], "run", "dsd-bench run --seeds 0,2"),
        (
            [run_of(0, FLAT, result=TESTED | {"stopped_by": "patience"})],
            "run --stop patience",
            "dsd-bench run --stop never",
        ),
        (
            [run_of(0, FLAT, result=TESTED, noise=part("none"))],
            "run --noise none",
            "dsd-bench run --noise symmetric:0.4",
        ),
        ([run_of(0, FLAT, result=TESTED)], "run", ""),
        ([run_of(0)], "run --config 'my file'", "dsd-bench run --config 'my file'"),
    ],
)
def test_what_to_try_next(runs: list[StoredRun], again: str, words: str) -> None:
    assert step_words(runs, *shlex.split(again)) == words


def test_a_net_that_does_not_fit_its_labels_is_trained_longer() -> None:
    run = run_of(0, FLAT, result=TESTED)
    rows = tuple(one | {"train_accuracy": 0.8} for one in run.rows)
    assert step_words([replace(run, rows=rows)], "run") == "dsd-bench run --dense-epochs 400"


def test_a_net_without_a_dense_training_gets_one() -> None:
    run = run_of(0, FLAT, result=TESTED, protocol={"dense_epochs": 0})
    rows = tuple(one | {"train_accuracy": 0.1} for one in run.rows)
    assert step_words([replace(run, rows=rows)], "run") == "dsd-bench run --dense-epochs 50"


def test_a_distilled_method_is_laid_beside_its_teachers(tmp_path: Path) -> None:
    runs = [run_of(seed, result=TESTED, regularizers=[kd(seed)]) for seed in range(3)]
    for run in runs:
        teacher = tmp_path / run.config["regularizers"][0]["teacher"]["run_id"]
        teacher.mkdir()
        (teacher / "result.json").write_text("{}")
    placed = [replace(run, path=tmp_path / run.run_id) for run in runs]
    words = shlex.split(step_words(placed))
    assert words[:2] == ["dsd-bench", "analyze"]
    assert words[-4:] == ["--baseline", "00000000,00000000,00000000", "--runs-dir", str(tmp_path)]


def test_summary_marks_selection_on_test() -> None:
    text = summary_text([run_of(result=DONE, protocol={"selection": "test"})])
    assert text.count("selected on test") == 2


def test_a_network_that_was_never_pruned() -> None:
    text = summary_text([run_of(curve=[0.7], result=DONE | {"best_round": 0})])
    assert "only the unpruned network is there" in text
    assert "pruned step by step" not in text


def test_summary_without_test_data() -> None:
    text = summary_text([run_of(curve=[None] * 3, result=DONE | {"best_round": 2})])
    assert "val accuracy, %" in text
    assert "seed 0: 52.0 %" in text


# -- runs under way


def jobs_of(*runs: StoredRun, needs: dict[int, int] | None = None) -> list[Job]:
    return [
        Job(
            run.run_id,
            Path("runs"),
            (runs[needs[index]].run_id,) if needs and index in needs else (),
            naming.label(run.config, lookup),
        )
        for index, run in enumerate(runs)
    ]


def configs_of(*runs: StoredRun) -> dict[str, dict[str, Any]]:
    return {run.run_id: run.config for run in runs}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def event(run: StoredRun, kind: str, **values: Any) -> dict[str, Any]:
    return {"event": kind, "run_id": run.run_id, **values}


def training(run: StoredRun, index: int, epoch: int, epochs: int = 50) -> dict[str, Any]:
    values = {"round": index, "epoch": epoch, "epochs": epochs, "images_per_second": 12300}
    return event(run, "progress", **values)


def test_time_left_follows_from_the_epochs() -> None:
    run, clock = run_of(), Clock()
    progress = Progress(jobs_of(run), configs_of(run), clock)
    progress.handle(event(run, "started", resumed_from_round=None))
    assert progress.seconds_left is None
    clock.now = 10.0
    progress.handle(training(run, 0, 100, 200))
    assert progress.share == pytest.approx(100 / 1200)
    assert progress.seconds_left == pytest.approx(110.0)


def test_epochs_of_an_earlier_attempt_do_not_count_as_speed() -> None:
    run, clock = run_of(), Clock()
    progress = Progress(jobs_of(run), configs_of(run), clock)
    progress.handle(event(run, "started", resumed_from_round=3, rows=run.rows[:3]))
    progress.handle(training(run, 3, 21))
    clock.now = 10.0
    progress.handle(training(run, 3, 30))
    done = 200 + 2 * 50 + 30
    assert progress.runs[run.run_id].epochs_done == done
    assert progress.seconds_left == pytest.approx((1200 - done) * 10 / 10)


def test_rounds_of_an_earlier_attempt_are_known() -> None:
    run = run_of()
    progress = Progress(jobs_of(run), configs_of(run))
    progress.handle(event(run, "started", resumed_from_round=3, rows=run.rows[:3]))
    last = progress.runs[run.run_id].last_row
    assert last is not None
    assert last["round"] == 2


def test_an_ended_run_has_nothing_left() -> None:
    run, clock = run_of(), Clock()
    progress = Progress(jobs_of(run), configs_of(run), clock)
    progress.handle(event(run, "started", resumed_from_round=None))
    progress.handle(event(run, "round", row=run.rows[0]))
    clock.now = 5.0
    progress.handle(event(run, "finished", result=DONE))
    assert progress.share == 1.0
    assert progress.seconds_left == 0.0


def test_epochs_of_a_curve_count_once_whoever_trains_them() -> None:
    first, second, clock = run_of(), run_of(1), Clock()
    jobs = [replace(one, curve="c") for one in jobs_of(first, second)]
    progress = Progress(jobs, configs_of(first, second), clock)
    progress.handle(event(first, "started", resumed_from_round=None))
    clock.now = 10.0
    progress.handle(training(first, 0, 100, 200))
    assert progress.share == pytest.approx(100 / 1200)
    assert progress.seconds_left == pytest.approx(110.0)
    progress.handle(event(first, "round", row=first.rows[0]))
    progress.handle(event(first, "finished", result=DONE))  # a stop rule ended it
    progress.handle(event(second, "started", resumed_from_round=1, rows=second.rows[:1]))
    assert progress.share == pytest.approx(200 / 1200)
    assert progress.seconds_left == pytest.approx(1000 * 10 / 200)


def test_rounds_to_a_target_sparsity_are_estimated() -> None:
    config = config_of(protocol={"rounds": None, "target_sparsity": 0.36})
    assert planned_rounds(config) == 2
    assert planned_rounds(config | {"pruner": part("other")}) is None


def test_without_a_number_of_rounds_no_time_is_promised() -> None:
    changes = {"protocol": {"rounds": None, "target_sparsity": 0.9}, "pruner": part("other")}
    run = run_of(**changes)
    progress = Progress(jobs_of(run), configs_of(run))
    progress.handle(training(run, 0, 1))
    assert (progress.share, progress.seconds_left) == (None, None)


def plain_lines(runs: list[StoredRun], events: list[dict[str, Any]], **kwargs: Any) -> list[str]:
    stream = io.StringIO()
    with PlainView(stream, jobs_of(*runs, **kwargs), configs_of(*runs)) as view:
        for one in events:
            view.handle(one)
    return stream.getvalue().splitlines()


def test_plain_view_writes_a_line_per_round() -> None:
    run = run_of()
    events = [training(run, 3, 50), event(run, "round", row=run.rows[3])]
    assert plain_lines([run], events) == [
        "[seed 0] round 3/20 sparsity 48.8 % test 58.0 % entropy 0.65 (12,300 images/s)"
    ]


@pytest.mark.parametrize("several", [False, True])
def test_plain_view_tells_progress_within_long_trainings(several: bool) -> None:
    runs, clock, stream = [run_of(seed) for seed in range(1 + several)], Clock(), io.StringIO()
    view = PlainView(stream, jobs_of(*runs), configs_of(*runs), clock)
    for run in runs:
        view.handle(event(run, "started", resumed_from_round=None))
    for second in range(1, 91):  # a tenth of an epoch a second: 1200 epochs take 12,000 seconds
        clock.now = float(second)
        for run in runs:
            view.handle(training(run, 0, second // 10, 200) | {"within": second % 10 / 10})
    lines = [line for line in stream.getvalue().splitlines() if line.startswith("[seed 0] round")]
    assert len(lines) == 90 // 15
    whose = " for all 2 runs" if several else ""
    told = r"\[seed 0\] round 0/20 epoch 3\.0/200 \(12,300 images/s\), about 3 h (\d+) min left"
    found = re.fullmatch(told + whose, lines[1])
    assert found is not None, lines[1]
    assert int(found[1]) in range(19, 25)


def test_plain_view_is_quiet_within_short_trainings() -> None:
    run, clock, stream = run_of(), Clock(), io.StringIO()
    view = PlainView(stream, jobs_of(run), configs_of(run), clock)
    for index, done in enumerate(run.rows):
        clock.now = 10.0 * index + 5
        view.handle(training(run, index, 25))
        clock.now = 10.0 * index + 10
        view.handle(event(run, "round", row=done))
    assert len(stream.getvalue().splitlines()) == len(run.rows)


def test_plain_view_tells_start_resume_end_failure_and_notes() -> None:
    student, teacher = run_of(regularizers=[kd(0)]), run_of()
    events = [
        event(teacher, "started", resumed_from_round=None),
        event(teacher, "finished", result=DONE | {"reason": "all 20 rounds are done"}),
        event(student, "started", resumed_from_round=4),
        event(student, "note", text="an observer failed"),
        event(student, "failed", error="the loss is not a number"),
    ]
    assert plain_lines([teacher, student], events, needs={1: 0}) == [
        "[teacher seed 0] started",
        "[teacher seed 0] done: best round 6 (all 20 rounds are done)",
        "[seed 0] resumed in round 4",
        "[seed 0] note: an observer failed",
        "[seed 0] failed",
    ]


def test_plain_view_without_test_data_shows_validation() -> None:
    run = run_of(curve=[None])
    (line,) = plain_lines([run], [event(run, "round", row=run.rows[0])])
    assert "val 50.0 %" in line


def live_text(
    runs: list[StoredRun],
    events: list[dict[str, Any]],
    width: int = 100,
    height: int = 40,
    **kw: Any,
) -> str:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True)
    view = LiveView(console, jobs_of(*runs, **kw), configs_of(*runs))
    for one in events:
        view.handle(one)
    with console.capture() as capture:
        console.print(view.render(), no_wrap=True)
    return _bare(capture.get())


def _bare(text: str) -> str:
    return Text.from_ansi(text).plain


def test_live_view_shows_each_run_and_the_curve() -> None:
    runs = [run_of(0), run_of(1)]
    events = [event(runs[0], "round", row=entry) for entry in runs[0].rows]
    events.append(training(runs[0], 8, 25))
    text = live_text(runs, events)
    line = next(line for line in text.splitlines() if line.startswith("seed 0"))
    assert line.split()[:7] == ["seed", "0", "8/20", "79.0", "%", "72.0", "%"]
    assert line.split()[-2:] == ["25/50", "12,300"]
    assert next(x for x in text.splitlines() if x.startswith("seed 1")).split()[-1] == "waiting"
    assert "● magnitude" in text
    assert "0 of 2 runs done" in text


def test_live_bar_is_as_full_as_the_training() -> None:
    run = run_of()
    console = Console(file=io.StringIO(), width=100, height=40)
    view = LiveView(console, jobs_of(run), configs_of(run))
    view.handle(training(run, 0, 50, 200))
    line = view._table(5)[1]
    bar = [span for span in line.spans if str(span.style) == "bold green"]
    assert [span.end - span.start for span in bar] == [10]


def test_live_view_tells_teachers_and_failures() -> None:
    teacher, student = run_of(), run_of(regularizers=[kd(0)])
    events = [event(teacher, "failed", error="out of memory")]
    text = live_text([teacher, student], events, needs={1: 0})
    line = next(line for line in text.splitlines() if line.startswith("teacher seed 0"))
    assert line.split()[-4:] == ["failed", "out", "of", "memory"]


def test_live_view_names_the_accuracy_it_shows() -> None:
    run = run_of(curve=[None])
    text = live_text([run], [event(run, "round", row=run.rows[0])])
    header = next(line for line in text.splitlines() if line.startswith("run"))
    assert header.split() == ["run", "round", "sparsity", "val", "epoch", "images/s"]
    assert "val accuracy so far" in text


def test_live_view_shows_runs_under_way_first_where_room_is_short() -> None:
    runs = [run_of(seed) for seed in range(30)]
    text = live_text(runs, [training(runs[25], 0, 1)], height=16)
    lines = text.splitlines()
    assert len(lines) <= 16
    assert any(line.startswith("seed 25") for line in lines)
    assert "and 18 more" in text


@pytest.mark.parametrize("width", [40, 80])
def test_live_view_fits(width: int) -> None:
    run = run_of()
    events = [event(run, "round", row=run.rows[0]), training(run, 1, 10)]
    assert max(map(len, live_text([run], events, width).splitlines())) <= width


@given(low=st.floats(0, 100), size=st.floats(0.01, 100), rows=st.sampled_from([6, 9, 14, 20]))
def test_a_y_axis_names_at_least_two_values(low: float, size: float, rows: int) -> None:
    frame = Frame.around([1.0, 0.1], [low, low + size], (80, rows))
    assert 2 <= len(frame._y_labels()) <= rows


@pytest.mark.parametrize("labels", [1, 6])
@pytest.mark.parametrize("height", [6, 12, 19, 20, 24, 40])
@pytest.mark.parametrize("width", [60, 140])
def test_live_view_leaves_the_last_row_of_the_window_free(
    width: int, height: int, labels: int
) -> None:
    pruners = [part(f"a-pruner-with-a-long-name-{number}") for number in range(labels)]
    runs = [run_of(seed, pruner=pruner) for seed in range(4) for pruner in pruners]
    events = [event(run, "round", row=row) for run in runs for row in run.rows]
    lines = live_text(runs, events, width, height).splitlines()
    assert len(lines) < height
    assert max(map(len, lines)) <= width
    assert lines[-1].startswith(f"0 of {len(runs)} runs done")
    if height == 40:
        assert any("accuracy so far" in line for line in lines)


def test_live_view_lists_all_runs_where_they_just_fit() -> None:
    runs = [run_of(seed) for seed in range(9)]
    assert "more" not in live_text(runs, [], height=12)
    assert "and 2 more" in live_text(runs, [], height=11)


def test_nothing_moves_sideways_in_the_live_view() -> None:
    run = run_of()
    stages = [
        [],
        [training(run, 0, 5, 200)],
        [event(run, "round", row=run.rows[0]), training(run, 1, 5)],
        [event(run, "round", row=row) for row in run.rows] + [training(run, 8, 50)],
    ]
    texts = (live_text([run], events).splitlines() for events in stages)
    heads = {next(line for line in text if line.startswith("run ")) for text in texts}
    assert len(heads) == 1


@pytest.mark.parametrize(("epochs", "told"), [(1199, "99 %"), (1, "0 %")])
def test_a_share_is_rounded_down(epochs: int, told: str) -> None:
    run = run_of()
    progress = training(run, 20, epochs - 1150) if epochs > 200 else training(run, 0, epochs, 200)
    assert f"0 of 1 run done \u00b7 {told}" in live_text([run], [progress])


def test_the_clock_runs_while_workers_start() -> None:
    clock, run = Clock(), run_of()
    console = Console(file=io.StringIO(), width=100, height=40)
    view = LiveView(console, jobs_of(run), configs_of(run), clock)
    clock.now = 4.0
    assert view._footer().plain == "0 of 1 run done \u00b7 starting \u00b7 4 s gone"


def rows_cleared(sizes: Sequence[tuple[int, int]], lines: Sequence[str]) -> int:
    """Return how many rows the first frame after the last of some resizes goes up."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, force_interactive=True)
    console.size = ConsoleDimensions(*sizes[0])
    text = "\n".join(lines)
    with ResizedLive(text, console=console, auto_refresh=False, vertical_overflow="crop") as live:
        for size in sizes:
            start = len(stream.getvalue())
            console.size = ConsoleDimensions(*size)
            live.refresh()
        return stream.getvalue()[start:].count("\x1b[1A")


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((80, 24), (80, 24), 2),  # from the last of three lines to the first
        ((80, 24), (120, 24), 2),
        ((80, 24), (80, 40), 2),
        ((80, 24), (60, 24), 3),  # 70 cells are two rows now
        ((80, 24), (35, 24), 4),  # so are 40
        ((80, 24), (20, 24), 6),
        ((80, 24), (20, 5), 4),  # no further than the window's top
    ],
)
def test_a_resized_window_is_cleared_of_the_frame_as_it_is_broken(before, after, expected) -> None:
    assert rows_cleared([before, after], ["x" * 70, "", "y" * 40]) == expected


def test_what_a_lower_window_hid_is_cleared_when_it_comes_back() -> None:
    lines = [str(number) for number in range(10)]
    assert rows_cleared([(80, 24), (80, 6)], lines) == 9
    assert rows_cleared([(80, 24), (80, 6), (80, 24)], lines) == 5 + 4
    assert rows_cleared([(80, 24), (80, 6), (80, 8)], lines) == 5 + 2


def test_live_view_vanishes_and_leaves_notes() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=80, height=30, force_terminal=True)
    run = run_of()
    with LiveView(console, jobs_of(run), configs_of(run)) as view:
        view.handle(event(run, "note", text="an observer failed"))
        view.handle(event(run, "round", row=run.rows[0]))
    assert "seed 0: note: an observer failed" in _bare(stream.getvalue())
    assert stream.getvalue().endswith("\x1b[2K")


def test_events_of_unknown_runs_are_ignored() -> None:
    run, other = run_of(), run_of(5)
    assert "0 of 1 run done" in live_text([run], [training(other, 0, 1)])


# -- the rest


@pytest.mark.parametrize(("seconds", "text"), [
    (0, "0 s"), (21.4, "21 s"), (59.6, "1 min 0 s"), (899, "14 min 59 s"), (3599.7, "1 h"),
    (3723, "1 h 2 min"), (86399, "1 d"), (100_000, "1 d 4 h"), (3_456_789, "40 days"),
])  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_console_on_a_file_writes_no_escape_codes() -> None:
    stream = io.StringIO()
    open_console(stream).print("x", style="bold")
    assert stream.getvalue() == "x\n"


def test_views_load_without_the_heavy_packages() -> None:
    code = (
        "import sys, dsd_bench.analysis, dsd_bench.config.naming, dsd_bench.reports.builtin, "
        "dsd_bench.reports.terminal, dsd_bench.reports.csv, dsd_bench.reports.frames, "
        "dsd_bench.reports.live, dsd_bench.reports.summary\n"
        "print(*{'torch', 'pandas', 'scipy', 'sklearn', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


# -- the head


def head_text(width: int, terminal: bool) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal)
    run = configure(target_sparsity=0.9)
    planned = plan([run], Path("runs"))
    with console.capture() as capture:
        print_header(console, planned, Path("runs"))
    return _bare(capture.get()).splitlines()


def test_the_head_is_broken_between_words_on_a_terminal_only() -> None:
    whole = head_text(60, terminal=False)
    lines = head_text(60, terminal=True)
    assert max(map(len, lines)) <= 60
    start = next(place for place, line in enumerate(lines) if line.startswith("protocol"))
    end = next(place for place, line in enumerate(lines) if line.startswith("run "))
    assert end > start + 1
    assert all(line.startswith(" " * 13) for line in lines[start + 1 : end])
    told = " ".join(line[13:].strip() for line in lines[start:end])
    assert f"protocol     {told}" in whole

"""Calibration errors and likelihoods on boards: where runs have them, and only there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from board_runs import config, write_lines, write_run

from dsd_bench.boards.agreement import first_difference
from dsd_bench.boards.check import check, write
from dsd_bench.boards.files import read_row
from dsd_bench.boards.rows import submit
from dsd_bench.boards.schema import CheckedRow, CheckedSeed
from dsd_bench.errors import UsageError
from dsd_bench.figures import column_name
from dsd_bench.figures.compared import Options
from dsd_bench.figures.curves import factor
from dsd_bench.reports.pictures import draw_runs
from dsd_bench.store import load_run
from dsd_bench.store.further import further_metrics, measured_rows
from dsd_bench.suites.quantities import NOTHING, QUANTITIES, Quantity

ECE = [0.1, 0.2, 0.3, 0.04, 0.5]


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Any]:
    return partial(write_run, tmp_path / "runs")


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    return tmp_path / "boards"


def measured(run: Any, name: str = "ece+bins-9", column: str = "test", values: Any = ECE) -> Any:
    (run.path / "metrics").mkdir(exist_ok=True)
    lines = [{"round": place, column: value} for place, value in enumerate(values)]
    write_lines(run.path / "metrics" / f"{name}.jsonl", lines)
    return load_run(run.path)


def held(path: Path) -> list[Any]:
    row = read_row(path)
    assert isinstance(row, CheckedRow)
    return [entry.ece and (entry.ece.metric, entry.ece.test) for entry in row.seeds]


def seed(path: Path) -> CheckedSeed:
    row = read_row(path)
    assert isinstance(row, CheckedRow)
    return row.seeds[0]


def table(boards: Path) -> list[list[str]]:
    (board,) = boards.glob("*/README.md")
    text = board.read_text().partition("## Along the curves")[2]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize("column", ["test", "test_ece"])
def test_a_board_shows_the_error_of_the_selected_models(make, boards, column):
    runs = [measured(make(config(seed)), column=column) for seed in (0, 1)]
    (path,) = submit(runs, boards)
    assert held(path) == [("ece+bins-9", ECE)] * 2
    submit([make(config(0, retrain_lr_scale=0.1))], boards)
    write(boards)
    names, _, *body = table(boards)
    at = names.index("ECE %")
    assert names[at - 1] == "NLL"
    assert sorted(cells[at] for cells in body) == ["4.00", "–"]
    assert {cells[at - 1] for cells in body} == {"1.250"}
    assert all(len(cells) == len(names) for cells in body)
    assert check(boards) == []


def test_columns_that_nobody_has_are_absent(make, boards):
    (path,) = submit([make()], boards)
    assert "ece" not in path.read_text()
    write(boards)
    names = table(boards)[0]
    assert {"NLL", "ECE %"} & set(names) == {"NLL"}
    assert all(len(cells) == len(names) for cells in table(boards))


@pytest.mark.parametrize("values", [ECE[:4], [*ECE[:4], None], [*ECE, 0.1]])
def test_what_lacks_a_round_is_not_told(make, boards, values):
    (path,) = submit([measured(make(), values=values)], boards)
    assert held(path) == [None]


def test_of_several_the_usual_one_counts_and_else_none(make, boards):
    run = measured(measured(make()), "ece+bins-15")
    (path,) = submit([run], boards)
    assert held(path) == [None]
    (path,) = submit([measured(run, "ece", values=[0.25] * 5)], boards)
    assert held(path) == [("ece", [0.25] * 5)]


def test_seeds_of_other_metrics_have_no_mean(make, boards):
    submit([measured(make(config(0))), measured(make(config(1)), "ece+bins-3")], boards)
    write(boards)
    assert "ECE %" not in table(boards)[0]


def test_a_later_measurement_is_added_and_another_one_needs_leave(make, boards):
    run = make()
    submit([run], boards)
    (path,) = submit([measured(run)], boards)
    assert held(path) == [("ece+bins-9", ECE)]
    with pytest.raises(UsageError, match="has other results"):
        submit([measured(run, values=[0.5] * 5)], boards)


def test_a_rerun_that_does_not_measure_it_contradicts_nothing(make, boards):
    run = make()
    (path,) = submit([run], boards)
    without = seed(path)
    submit([measured(run)], boards)
    having = seed(path)
    assert having.ece is not None
    assert first_difference(having, without) is None
    other = having.model_copy(update={"ece": having.ece.model_copy(update={"test": [0.5] * 5})})
    assert "ece" in str(first_difference(having, other))


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"test": [0.1]}, "ece.test: 1 values, but 5 rounds"),
        ({"test": [1.5] * 5}, "ece.test.0"),
        ({"test": [None] * 5}, "ece.test.0"),
        ({"metric": "nll"}, "ece.metric"),
        ({"metric": "ece+<b>"}, "ece.metric"),
        ({"metric": "ece\n"}, "ece.metric"),
        ({"more": 1}, "ece.more"),
    ],
)
def test_a_false_measurement_is_refused(make, boards, change, key):
    (path,) = submit([measured(make())], boards)
    told = json.loads(path.read_text())
    told["seeds"][0]["ece"].update(change)
    path.write_text(json.dumps(told, sort_keys=True, indent=1) + "\n")
    with pytest.raises(UsageError) as error:
        read_row(path)
    assert key in str(error.value) or "control" in str(error.value)


# --- the shipped metric's values in tables and figures -----------------------------------------


def shipped(run: Any, values: list[float]) -> Any:
    """Give a run what ``--metric ece`` says."""
    (run.path / "metrics").mkdir(exist_ok=True)
    lines = [
        {"round": place, "test_ece": value, "test_confidence": 1 - value}
        for place, value in enumerate(values)
    ]
    write_lines(run.path / "metrics" / "ece.jsonl", lines)
    return load_run(run.path)


def test_tables_show_the_error_of_the_dense_and_the_selected_round(
    make: Callable[..., Any],
) -> None:
    run = shipped(make(), ECE)
    selected = run.result["best_round"]
    dense, ece = QUANTITIES["dense_ece"], QUANTITIES["ece"]
    assert isinstance(dense, Quantity)
    assert isinstance(ece, Quantity)
    assert (dense.of(run), ece.of(run)) == (ECE[0], ECE[selected])
    loss = QUANTITIES["loss"]
    assert isinstance(loss, Quantity)
    assert loss.of(run) == run.rows[selected]["test_loss"]


def test_tables_have_a_dash_where_nobody_measured(make: Callable[..., Any]) -> None:
    assert QUANTITIES["ece"].say([make()]) == NOTHING


def test_rows_know_what_further_metrics_said(make: Callable[..., Any]) -> None:
    run = shipped(make(), ECE[:3])
    rows = measured_rows(run)
    assert [row.get("ece.test_ece") for row in rows[:4]] == [*ECE[:3], None]
    assert [{k: v for k, v in row.items() if "." not in k} for row in rows] == list(run.rows)
    assert "ece.test_ece" not in run.rows[0]


def test_a_line_of_a_round_that_is_not_there_is_left_out(make: Callable[..., Any]) -> None:
    run = shipped(make(), ECE)
    write_lines(
        run.path / "metrics" / "ece.jsonl",
        [{"round": at, "test_ece": 0.5} for at in (-1, len(run.rows), "0", None)],
    )
    assert further_metrics(run) == {"ece": {}}


@pytest.mark.parametrize(
    ("column", "name", "times"),
    [
        ("ece.test_ece", "test ECE, %", 100),
        ("ece+bins-9.val_ece", "validation ECE, %", 100),
        ("ece.train_confidence", "train confidence, %", 100),
        ("other.test_ece", "other.test ece", 1),
        ("ece.test_ece_of_mine", "ece.test ece of mine", 1),
    ],
)
def test_figures_name_it_with_its_unit(column: str, name: str, times: float) -> None:
    assert (column_name(column), factor(column)) == (name, times)


def test_curves_of_the_error_are_drawn(make: Callable[..., Any], tmp_path: Path) -> None:
    run = shipped(make(), ECE)
    figure = tmp_path / "ece.svg"
    draw_runs([run], figure, Options(rows=["test_accuracy", "ece.test_ece"]))
    assert "test ECE, %" in re.sub(r"<!--\s*|\s*-->", "", figure.read_text())
    with pytest.raises(UsageError, match=r"'ece\.test_ec'.*did you mean 'ece\.test_ece'"):
        draw_runs([run], figure, Options(rows=["ece.test_ec"]))

"""Slopes and choices of docs/questions.md, and that its tables are those of the recorded runs."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from scipy.stats import ttest_1samp

from benchmarks import questions
from benchmarks.paper_page import BLOCK, PAGES, TABLES, fill, load
from dsd_bench.plugins import catalogue
from dsd_bench.store.runs import StoredRun, load_run
from dsd_bench.suites.cells import Cell
from dsd_bench.suites.results import Result

ROOT = Path(__file__).parent.parent
PAGE = PAGES["questions"]


def curve(plain: StoredRun, seed: int, start: int, at_best: int, dips: bool = True) -> StoredRun:
    """A curve from ``start`` weights, with its bottom at twice the weights of its sweet spot."""
    accuracies = (0.6, 0.5, 0.7) if dips else (0.6, 0.65, 0.7)
    rows = tuple(
        {**plain.rows[0], "round": place, "nonzero": count, "test_accuracy": accuracy}
        for place, (count, accuracy) in enumerate(zip((start, 2 * at_best, at_best), accuracies))
    )
    return dataclasses.replace(plain, rows=rows, config={**plain.config, "seed": seed})


def started(*cells: list[StoredRun]) -> list[Result]:
    found = []
    for runs in cells:
        labels = {"noise": "40 %", "start": f"{runs[0].rows[0]['nonzero']:,} weights"}
        found.append(Result(Cell(labels, (None,) * len(runs)), tuple(runs)))  # type: ignore
    return found


def test_a_slope_is_that_of_a_line_through_logarithms(plain: StoredRun) -> None:
    starts = (1_000, 4_000, 50_000, 300_000)
    counts = {0: (300, 340, 290, 420), 1: (310, 200, 350, 260)}
    made = started(
        *([curve(plain, s, x, counts[s][i]) for s in counts] for i, x in enumerate(starts))
    )
    expected = {s: numpy.polyfit(numpy.log(starts), numpy.log(counts[s]), 1)[0] for s in counts}
    assert questions.slopes(made, "sweet_weights") == pytest.approx(expected)
    assert questions.slopes(made, "bottom_weights") == pytest.approx(expected)
    assert questions.slope([(x, 3 * x**0.25) for x in starts]) == pytest.approx(0.25)

    table = questions.slopes_table(made)
    bound = ttest_1samp(list(expected.values()), 0).confidence_interval(0.95)
    line = next(line for line in table.splitlines() if "sweet spot" in line)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:3] == ["40 %", "sweet spot", "2"]
    assert cells[3:5] == [f"{(300 * 310) ** 0.5:.0f}", f"{(420 * 260) ** 0.5:.0f}"]
    assert cells[5] == f"{numpy.mean(list(expected.values())):.2f}"
    assert cells[6] == f"{bound.low:.2f} to {bound.high:.2f}"


def test_a_seed_that_does_not_dip_is_fitted_to_its_other_starts(plain: StoredRun) -> None:
    starts = (1_000, 4_000, 50_000, 300_000)
    made = started(
        *([curve(plain, 0, x, 300 + x // 1000, dips=x != 4_000)] for x in starts)
    )  # fmt: skip
    known = [x for x in starts if x != 4_000]
    expected = numpy.polyfit(numpy.log(known), numpy.log([300 + x // 1000 for x in known]), 1)[0]
    assert questions.slopes(made, "sweet_weights") == pytest.approx({0: expected})
    assert questions.slopes(made[:2], "sweet_weights") == {}


def test_layers_are_told_at_the_bottom_of_the_first_cell(plain: StoredRun) -> None:
    def pruned(seed: int, second: float, fit: float, best: float) -> StoredRun:
        run = curve(plain, seed, 1_000, 100)
        rows = [dict(row) for row in run.rows]
        rows[1]["sparsity_per_layer"] = {"a": 0.75, "b": second}
        rows[1] |= {"train_accuracy_noisy": fit, "train_accuracy_clean": 1.0}
        rows[2]["test_accuracy"] = best
        return dataclasses.replace(run, rows=tuple(rows))

    cells = []
    for label, second, more in (("one", 0.5, 0.0), ("other", 0.25, 0.02)):
        runs = (pruned(0, second, 0.5, 0.7 + more), pruned(1, second + 0.1, 0.6, 0.8 + more / 2))
        cells.append(Result(Cell({"pruner": label}, (None, None)), runs))  # type: ignore
    lines = [line.strip("| ").split(" | ") for line in questions.layers_table(cells).splitlines()]
    assert lines[0][1].startswith("n (round 1, ")
    assert lines[2] == ["one", "2", "25.0", "45.0", "55.0", "100.0", "–", "–", "–"]
    assert lines[3][:6] == ["other", "2", "25.0", "70.0", "55.0", "100.0"]
    bound = ttest_1samp([2.0, 1.0], 0).confidence_interval(0.95)
    assert lines[3][6:] == ["–", *[f"+1.5 ({bound.low:.1f} to {bound.high:.1f})"] * 2]


def test_choices_are_those_of_runs_with_the_chooser(tiny_run: Any, tmp_path: Path) -> None:
    told = tiny_run("--seeds", "0-1", "--rounds", "5")["runs"]
    really = tiny_run("--seeds", "0-1", "--rounds", "5", "--choose", "one-se")["runs"]
    runs = [load_run(tmp_path / "runs" / one["run_id"]) for one in told]
    found = questions.choices(runs)
    chosen = [load_run(tmp_path / "runs" / one["run_id"]) for one in really]
    assert [c.round for _, c in found] == [run.result["best_round"] for run in chosen if run.result]
    assert [c.best_round for _, c in found] == [r.result["best_round"] for r in runs if r.result]

    labels = {"noise": "40 %", "method": "vanilla", "chooser": "best"}
    best = Result(Cell(labels, (None, None)), tuple(runs))  # type: ignore
    other = Result(Cell({**labels, "chooser": "one-se"}, (None, None)), tuple(chosen))  # type: ignore
    lines = questions.choosers_table([best, other]).splitlines()
    assert len(lines) == 3
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    accuracies = [100 * run.rows[c.round]["test_accuracy"] for run, (_, c) in zip(runs, found)]
    assert cells[6].startswith(
        f"{numpy.mean(accuracies):.1f} ± {numpy.std(accuracies, ddof=1):.1f}"
    )
    questions.choosers_figure([best, other], tmp_path / "choices.svg")
    assert "hollow: chosen by best" in (tmp_path / "choices.svg").read_text()


# -- the page


@pytest.fixture
def ratios(tmp_path: Path, use: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process find plugins/dsd-bench-ratios, where it is not installed."""
    if catalogue().find("pruner", "erk") is None:
        told = tmp_path / "dsd_bench_ratios-0.1.0.dist-info"
        told.mkdir()
        (told / "METADATA").write_text("Name: dsd-bench-ratios\nVersion: 0.1.0\n")
        (told / "entry_points.txt").write_text("[dsd_bench]\nratios = dsd_bench_ratios.plugin\n")
        monkeypatch.syspath_prepend(ROOT / "plugins" / "dsd-bench-ratios")
        use(tmp_path)


def blocks() -> list[re.Match[str]]:
    return [b for b in BLOCK.finditer((ROOT / PAGE.path).read_text("utf-8")) if b[2] in TABLES]


@pytest.mark.parametrize("block", blocks(), ids=lambda block: f"{block[2]}-{block[3]}-{block[4]}")
def test_tables_are_those_of_the_recorded_runs(
    block: re.Match[str], ratios: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert fill(block, Path("nowhere"), None, PAGE) == block[0], (
        "run benchmarks/paper_page.py --page questions"
    )


def test_the_page_tells_of_every_recorded_run(
    ratios: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that no table shows should not lie there."""
    told = {block[3] for block in blocks() if not block[4]}
    assert told >= {"starts", "ratios", "one-se"}
    assert PAGE.small is not None
    configs = [json.loads(p.read_text()) for p in (ROOT / PAGE.small).glob("*/config.json")]
    assert {config["seed"] for config in configs} == set(range(6))
    monkeypatch.chdir(ROOT)
    found = [result for name in told for result in load(name, "small", PAGE.small)[1]]
    shown = {run.run_id for result in found for run in result.runs}
    assert {config["run_id"] for config in configs} == shown

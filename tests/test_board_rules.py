"""Rules that need no training, on boards: against replays of the runs, and by hand."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from board_runs import config, part, stop_rule, write_run

from dsd_bench import configure, run
from dsd_bench.boards.check import check, generate, write
from dsd_bench.boards.files import read_row
from dsd_bench.boards.ranking import Line, rank
from dsd_bench.boards.replayed import (
    CHOOSERS,
    STOPS,
    Told,
    choosers,
    chosen,
    methods_of,
    stop_rules,
    stopped,
)
from dsd_bench.boards.rows import submit
from dsd_bench.boards.rules import page
from dsd_bench.replay import MethodReplay, outcomes, rule
from dsd_bench.replay.choices import MethodChoice, summaries, way
from dsd_bench.replay.curves import read_curve, read_rounds
from dsd_bench.store import StoredRun

OPTIONS: dict[str, Any] = {
    "dataset": "digits:train_size=120,val_size=40",
    "model": "mlp:hidden=12",
    "batch_size": 20,
    "dense_epochs": 12,
    "retrain_epochs": 4,
    "rounds": 7,
    "lr": 0.1,
    "pruner": "magnitude:fraction=0.4",
}
METHODS: tuple[dict[str, Any], ...] = ({}, {"redense_epochs": 2}, {"perturber": "reinit"})


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[list[StoredRun]]:
    """Two seeds of each of three methods."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs")
    return [
        [run(configure(**OPTIONS, **own, seed=seed), runs_dir=folder) for seed in (0, 1)]
        for own in METHODS
    ]


def lines_of(runs: Sequence[StoredRun], folder: Path) -> tuple[Line, ...]:
    return rank([read_row(path) for path in submit(runs, folder)]).lines


@pytest.fixture(scope="module")
def lines(
    runs: list[list[StoredRun]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Line, ...]:
    return lines_of([one for of in runs for one in of], tmp_path_factory.mktemp("boards"))


def mean(found: Sequence[Any], name: str) -> Any:
    return pytest.approx(statistics.fmean(getattr(one, name).mean for one in found))


@pytest.mark.parametrize("number", range(len(STOPS)))
def test_a_stop_rule_does_to_rows_what_it_does_to_their_runs(
    number: int, runs: list[list[StoredRun]], lines: tuple[Line, ...]
) -> None:
    told = stopped(stop_rules()[number], methods_of(lines))
    found: list[MethodReplay] = []
    for seeds in runs:
        found += outcomes([read_curve(one) for one in seeds], [rule(STOPS[number])])
    pairs = {"regret": "given_up", "trainings": "trainings_saved", "macs": "macs_saved"}
    for name, of_runs in pairs.items():
        spread = told.values[name]
        assert spread is not None
        assert spread.mean == mean(found, of_runs), name
        assert spread.n == 3
    assert told.curves == 6
    shares = []
    for seeds, again in ((runs[0], found[0]), (runs[2], found[2])):
        for one, replay in zip(seeds, again.replays):
            costs = [(4 if row["round"] else 12) * row["macs_effective"] for row in one.rows]
            shares.append(sum(costs[replay.round + 1 :]) / sum(costs))
    effective = told.values["effective"]
    assert effective is not None
    assert effective.mean == pytest.approx(statistics.fmean(shares))
    assert effective.n == 2  # rows of re-dense trainings do not tell


@pytest.mark.parametrize("number", range(len(CHOOSERS)))
def test_a_chooser_chooses_of_rows_what_it_chooses_of_their_runs(
    number: int, runs: list[list[StoredRun]], lines: tuple[Line, ...]
) -> None:
    told = chosen(choosers()[number], methods_of(lines))
    found: list[MethodChoice] = []
    for seeds in runs:
        found += summaries([read_rounds(one) for one in seeds], [way(CHOOSERS[number])])
    pairs = {"lost": "lost", "regret": "given_up", "fewer": "fewer", "sparsity": "sparsity"}
    for name, of_runs in pairs.items():
        spread = told.values[name]
        assert spread is not None
        assert spread.mean == mean(found, of_runs), name


# --- by hand --------------------------------------------------------------------------------

DIPS = (0.70, 0.60, 0.40, 0.75, 0.80)
"""Light, then critical in rounds 1 and 2, then sweet."""


def made(folder: Path, test: Sequence[float] = DIPS, seeds: int = 6, **changes: Any) -> Any:
    return [
        write_run(folder / "runs", config(seed, **changes), test, images=1000)
        for seed in range(seeds)
    ]


def replayed(word: str, lines: tuple[Line, ...]) -> Told:
    (found,) = [one for one in stop_rules() if one.word == word]
    return stopped(found, methods_of(lines))


def value(told: Told, name: str) -> float:
    spread = told.values[name]
    assert spread is not None
    return spread.mean


def test_who_stops_on_the_way_down_ends_in_the_dip(tmp_path: Path) -> None:
    lines = lines_of(made(tmp_path), tmp_path / "boards")
    (method,) = methods_of(lines)
    assert method.critical == {1, 2}
    told = replayed("patience", lines)
    assert value(told, "dip") == 1
    assert value(told, "regret") == pytest.approx(0.1)
    assert value(told, "trainings") == pytest.approx(3 / 5)
    assert value(told, "macs") == pytest.approx(150 / 400)
    work = [200 * 1000, *(50 * left for left in (800, 640, 512, 410))]
    assert value(told, "effective") == pytest.approx(sum(work[2:]) / sum(work))
    never = replayed("never", lines)
    assert [value(never, name) for name in ("dip", "regret", "trainings", "macs")] == [0, 0, 0, 0]


def test_a_curve_without_a_dip_cannot_end_in_one(tmp_path: Path) -> None:
    lines = lines_of(made(tmp_path, (0.9, 0.8, 0.7, 0.6, 0.5)), tmp_path / "boards")
    (method,) = methods_of(lines)
    assert method.critical is None
    told = replayed("patience", lines)
    assert told.values.get("dip") is None
    assert value(told, "regret") == 0


def test_only_curves_to_their_end_count_and_once(tmp_path: Path) -> None:
    stops = made(tmp_path, stop=stop_rule("patience", tolerance=0.0, patience=1), test=DIPS[:2])
    again = made(tmp_path, chooser={"name": "plugin", "version": 1, "params": {}})
    rows = [read_row(path) for path in submit([*made(tmp_path), *stops, *again], tmp_path / "b")]
    lines = rank(rows).lines
    assert len(lines) == 3
    assert len(methods_of(lines)) == 1
    text = page(lines)
    assert text is not None
    assert "- 6 curves of 1 method that went" in text
    assert "Left out, as a rule stopped them: magnitude, stop patience." in text


def test_where_every_run_was_stopped_there_is_no_page(tmp_path: Path) -> None:
    stops = made(tmp_path, stop=stop_rule("patience", tolerance=0.0, patience=1), test=DIPS[:2])
    lines = lines_of(stops, tmp_path / "boards")
    assert page(lines) is None
    texts = generate(tmp_path / "boards")
    assert {path.name for path in texts} == {"README.md", "pareto.svg"}
    assert all("rules.md" not in text for text in texts.values())


def test_a_rule_leaves_out_curves_that_lack_what_it_reads(tmp_path: Path) -> None:
    lines = lines_of(made(tmp_path), tmp_path / "boards")
    row = lines[0].row
    bare = [
        entry.model_copy(
            update={"rounds": entry.rounds.model_copy(update={"entropy": [None] * len(DIPS)})}
        )
        for entry in row.seeds
    ]
    lines = rank([row.model_copy(update={"seeds": bare})]).lines
    assert replayed("entropy-gate", lines).curves == 0
    assert replayed("patience", lines).curves == 6
    text = page(lines)
    assert text is not None
    (line,) = [one for one in text.splitlines() if one.startswith("| `entropy-gate` |")]
    assert set(line.replace("`entropy-gate`", "").split("|")) == {"", "  ", " – ", " 0 "}


def test_what_a_schedule_does_not_say_is_unknown(tmp_path: Path) -> None:
    lines = lines_of(made(tmp_path), tmp_path / "boards")
    row = lines[0].row
    track = row.track.model_copy(update={"schedule": {"dense_epochs": "long"}})
    lines = rank([row.model_copy(update={"track": track})]).lines
    told = replayed("patience", lines)
    assert told.values.get("macs") is None
    assert value(told, "trainings") == pytest.approx(3 / 5)


def test_the_page_is_generated_linked_and_checked(tmp_path: Path) -> None:
    boards = tmp_path / "boards"
    lines_of(made(tmp_path), boards)
    (file,) = [path for path in write(boards) if path.name == "rules.md"]
    assert write(boards) == []
    assert check(boards) == []
    assert "(rules.md)" in (file.parent / "README.md").read_text()
    text = file.read_text()
    assert "### Methods with double descent (1)" in text
    assert "Other methods" not in text
    assert "| `patience` | 10.00 | – | 60.00 | 37.50 |" in text
    file.write_text(text.replace("10.00", "9.00"))
    assert check(boards) == [
        f"{file}: differs from what its rows give; run `dsd-bench leaderboard`"
    ]
    file.unlink()
    assert check(boards) == [f"{file}: missing; run `dsd-bench leaderboard`"]
    write(boards)
    stray = boards / "elsewhere" / "rules.md"
    stray.parent.mkdir()
    stray.write_text("mine")
    assert check(boards) == [f"{stray}: nothing generates it; delete it"]


def test_the_tables_are_those_of_a_calculation_by_hand(tmp_path: Path) -> None:
    """One method dips, one only falls; each keeps 1000, 800, 640, 512 and 410 weights.

    Patience trains the first two of five rounds: it saves 3 of 5 trainings, 3 * 50 of 400 epochs,
    and 50 * (640 + 512 + 410) of 200 * 1000 + 50 * (800 + 640 + 512 + 410) effective ones.
    """
    dips = made(tmp_path)
    falls = made(tmp_path, test=(0.80, 0.79, 0.70, 0.60, 0.50), perturber=part("reinit"))
    text = page(lines_of([*dips, *falls], tmp_path / "boards"))
    assert text is not None
    stops, chooses = text.split("## Which round to return")
    with_dip, others = stops.split("### Methods with double descent (1)")[1].split(
        "### Other methods (1)"
    )
    names = "| rule | regret | 95 % interval | trainings saved % | MACs saved % | effective % |"
    assert f"{names} ended in the dip % | curves |" in with_dip
    assert "| `patience` | 10.00 | – | 60.00 | 37.50 | 24.55 | 100.00 | 6 |" in with_dip
    assert "| `never` | 0.00 | – | 0.00 | 0.00 | 0.00 | 0.00 | 6 |" in with_dip
    assert f"{names} curves |" in others
    assert "| `patience` | 0.00 | – | 60.00 | 37.50 | 24.55 | 6 |" in others
    with_dip, others = chooses.split("### Other methods (1)")
    assert "| `max-drop:0.01` | 0.00 | – | 0.00 | – | 59.00 | 0.00 | 6 |" in with_dip
    assert "| `best` | 0.00 | – | 0.00 | – | 0.00 | 0.00 | 6 |" in others
    assert "| `max-drop:0.01` | 1.00 | – | 20.00 | – | 20.00 | 1.00 | 6 |" in others


# --- the selected round of a row ------------------------------------------------------------

Change = Callable[[list[float]], int]
ONE_SE = {"name": "one-se", "version": 1, "params": {}}


def max_drop(drop: float) -> dict[str, Any]:
    return {"name": "max-drop", "version": 1, "params": {"drop": drop}}


def refused(folder: Path, best: int, test: Sequence[float], **changes: Any) -> str | None:
    """Return why a row is refused whose runs say that they chose round ``best``."""
    from dsd_bench.errors import UsageError

    one = write_run(folder / "runs", config(0, **changes), test, images=100, best_round=best)
    try:
        submit([one], folder / "boards")
    except UsageError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("chooser", "test", "best", "says"),
    [
        (max_drop(0.05), (0.8, 0.9, 0.86, 0.85, 0.5), 3, None),
        (max_drop(0.05), (0.8, 0.9, 0.86, 0.85, 0.5), 2, "best_round: 2, but 'max-drop' chooses 3"),
        (max_drop(0.05), (0.8, 0.9, 0.86, 0.84, 0.5), 3, "best_round: 3, but 'max-drop' chooses 2"),
        (None, (0.8, 0.9, 0.9), 2, "best_round: 2, but the first of the best val_accuracy is 1"),
        (None, (0.8, 0.9, 0.9), 1, None),
        ({"name": "plugin", "version": 1, "params": {}}, (0.8, 0.9, 0.1), 2, None),
        (
            {**max_drop(0.0), "version": 9},
            (0.8, 0.9, 0.1),
            2,
            "version: 9, but 'max-drop' here has",
        ),
        (
            {**max_drop(0.0), "params": {"drip": 1}},
            (0.8, 0.9, 0.1),
            2,
            "chooser.params.drip: Extra",
        ),
        # 90 right of 100: 87 may be within (up to 3 + 2 * 10 images differ), 84 cannot
        (ONE_SE, (0.8, 0.9, 0.87, 0.5), 2, None),
        (ONE_SE, (0.8, 0.9, 0.87, 0.5), 1, None),
        (ONE_SE, (0.8, 0.9, 0.84, 0.5), 2, "2, which is not within one standard error of round 1"),
        # a round with one image fewer is within, whatever the images
        (ONE_SE, (0.8, 0.9, 0.89, 0.5), 1, "1, but round 2 is sparser and within one standard"),
        (ONE_SE, (0.8, 0.9, 0.5, 0.89), 1, "1, but round 3 is sparser and within one standard"),
        (ONE_SE, (0.8, 0.9, 0.88, 0.5), 1, None),
        (ONE_SE, (0.9, 0.8, 0.5), 0, None),
        (ONE_SE, (0.8, 0.9, 0.5), 0, "0, but round 1 is sparser and within one standard"),
    ],
)
def test_the_selected_round_is_what_the_chooser_chooses(
    chooser: Any, test: Sequence[float], best: int, says: str | None, tmp_path: Path
) -> None:
    chosen_by = {"chooser": chooser} if chooser else {}
    found = refused(tmp_path, best, test, rounds=len(test) - 1, **chosen_by)
    if says is None:
        assert found is None
    else:
        assert found is not None
        assert says in found


def test_where_the_dense_network_is_best_the_images_decide(tmp_path: Path) -> None:
    """The bits of 88 right of 100 are among those of 90: 2 images differ, all lost, 4 > 2."""
    test = (0.90, 0.88, 0.5)
    found = refused(tmp_path, 1, test, chooser=ONE_SE, rounds=2)
    assert found is not None
    assert "1, which is not within one standard error of round 0" in found


def test_an_interval_takes_three_methods(lines: tuple[Line, ...]) -> None:
    """Two have a t of 12.7: their interval would reach beyond all accuracies."""
    for count in (2, 3):
        text = page(lines[:count])
        assert text is not None
        assert f"### Other methods ({count})" in text
        (found,) = [one for one in text.splitlines() if one.startswith("| `target:0.9` |")]
        assert (found.split("|")[3].strip() == "–") == (count == 2)

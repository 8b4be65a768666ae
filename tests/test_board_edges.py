"""Boards at the edges: bounds of what a row may say, ties, and every word of a method's lines."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from board_runs import DIP, config, kd, part, plan, rehash, stop_rule, write_lines, write_run
from pydantic import ValidationError

from dsd_bench.boards.cells import percent
from dsd_bench.boards.check import check, write
from dsd_bench.boards.files import parse, read_row
from dsd_bench.boards.places import method_slug
from dsd_bench.boards.rows import submit
from dsd_bench.boards.schema import MethodConfig, Rounds
from dsd_bench.boards.summary import summarise
from dsd_bench.errors import UsageError

Make = Callable[..., Any]
LOSSES = ("train_loss", "val_loss", "test_loss")
ACCURACIES = (
    "train_accuracy",
    "train_accuracy_clean",
    "train_accuracy_noisy",
    "val_accuracy",
    "test_accuracy",
)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return functools.partial(write_run, tmp_path / "runs")


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    return tmp_path / "leaderboards"


def texts(boards: Path) -> tuple[str, str]:
    """Write the boards of one track; return the index and the board."""
    write(boards)
    (board,) = boards.glob("*/README.md")
    return (boards / "README.md").read_text(), board.read_text()


# -- the text of a row file


@pytest.mark.parametrize(
    "spell",
    [
        lambda told: json.dumps(told, sort_keys=True) + "\n",
        lambda told: json.dumps(told, sort_keys=True, indent=2) + "\n",
        lambda told: json.dumps(told, sort_keys=True, indent=1),
        lambda told: json.dumps(dict(sorted(told.items(), reverse=True)), indent=1) + "\n",
        lambda told: json.dumps(told, sort_keys=True, indent=1).replace("0.75", "0.750") + "\n",
    ],
)
def test_a_row_spelled_otherwise_is_refused(
    make: Make, boards: Path, spell: Callable[[Any], str]
) -> None:
    (path,) = submit([make()], boards)
    told = json.loads(path.read_text())
    path.write_text(spell(told))
    assert json.loads(path.read_text()) == told
    with pytest.raises(UsageError, match=rf"{path.name}: not as `dsd-bench submit` writes it"):
        read_row(path)
    assert [str(path) in text for text in check(boards)] == [True]


# -- bounds


def columns(**changes: Any) -> Rounds:
    """Return one round of ordinary values but for ``changes``."""
    value = {name: [0.5] for name in Rounds.model_fields} | {"nonzero": [3]}
    return Rounds.model_validate(value | changes)


@pytest.mark.parametrize(
    ("names", "least", "most", "beyond"),
    [
        (("sparsity", *ACCURACIES), 0.0, 1.0, (-1e-12, 1.0000001, 1.5)),
        (("entropy",), 0.0, 1.0, (-1e-12, 1.001, 1.5)),
        (LOSSES, 0.0, 1e38, (-1e-12, 1.01e38)),
        (("macs_dense", "macs_effective"), 0, 10**18, (-1, 10**18 + 1)),
        (("nonzero",), 0, 2**53, (-1, 2**53 + 1)),
    ],
)
def test_values_of_a_round_are_bounded(
    names: tuple[str, ...], least: Any, most: Any, beyond: tuple[Any, ...]
) -> None:
    for name in names:
        for value in (least, most):
            assert getattr(columns(**{name: [value]}), name) == [value]
        for value in (*beyond, float("nan"), float("inf"), True, "0"):
            with pytest.raises(ValidationError, match=name):
                columns(**{name: [value]})


def test_entropy_may_be_over_one_bit_by_rounding() -> None:
    assert columns(entropy=[1 + 5e-10])


def test_columns_have_one_length_from_1_to_2000() -> None:
    one = columns().model_dump()
    assert Rounds.model_validate({name: values * 2000 for name, values in one.items()})
    with pytest.raises(ValidationError, match="2,001 rounds"):
        Rounds.model_validate({name: values * 2001 for name, values in one.items()})
    with pytest.raises(ValidationError, match="at least 1"):
        Rounds.model_validate({name: [] for name in one})
    with pytest.raises(ValidationError, match="val_loss 2"):
        columns(val_loss=[1.0, 1.0])


@pytest.mark.parametrize(
    ("key", "bad"), [("seed", 2**31), ("seed", -1), ("best_round", -1), ("layers", -1)]
)
def test_numbers_of_a_seed_are_bounded(make: Make, boards: Path, key: str, bad: int) -> None:
    (path,) = submit([make(config(2**31 - 1))], boards)
    told = json.loads(path.read_text())
    told["seeds"][0][key] = bad
    with pytest.raises(UsageError, match=rf"seeds\.0\.{key}: "):
        parse(told, "")


def test_all_labels_may_be_noisy(make: Make, boards: Path) -> None:
    """At most as many noisy images as there are: all of them leave no clean ones to fit."""
    run = make(label_noise={"rate": 1.0, "matrix": []})
    lines = [json.loads(line) for line in (run.path / "rounds.jsonl").read_text().splitlines()]
    noisy = {"train_accuracy_clean": None, "train_accuracy_noisy": 0.9}
    write_lines(run.path / "rounds.jsonl", [line | noisy for line in lines])
    (path,) = submit([rehash(run.path)], boards)
    assert json.loads(path.read_text())["seeds"][0]["samples"]["noisy"] == 1000


def test_effective_macs_need_dense_ones(make: Make, boards: Path) -> None:
    (path,) = submit([make()], boards)
    told = json.loads(path.read_text())
    told["seeds"][0]["rounds"]["macs_dense"] = [None] * len(DIP)
    with pytest.raises(UsageError, match=r"macs_effective\.0: 2000 of None"):
        parse(told, "")


@pytest.mark.parametrize("schema", [0, 3, True, "2", None, 2.5, [2]])
def test_rows_of_other_schemas_are_told_so(make: Make, boards: Path, schema: Any) -> None:
    (path,) = submit([make()], boards)
    told = json.loads(path.read_text()) | {"schema": schema}
    with pytest.raises(UsageError) as error:
        parse(told, "here")
    assert str(error.value) == "here: schema: no row of schema 1 or 2"


def test_what_was_read_cannot_be_changed(make: Make, boards: Path) -> None:
    (path,) = submit([make()], boards)
    row = read_row(path)
    for value, name in ((row, "track"), (row.track, "precision"), (row.seeds[0], "seed")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(value, name, getattr(value, name))


@pytest.mark.parametrize(
    ("result", "says"),
    [
        ({"samples": {"train": "many", "val": 100, "test": 100}}, "samples.train"),
        ({"samples": {"train": True, "val": 100, "test": 100}}, "samples.train"),
        ({"samples": {"val": 100, "test": 100}}, "samples.train"),
        ({"samples": [1000, 100, 100]}, "samples"),
        ({"samples": None}, "samples"),
        ({"label_noise": {"rate": "much"}}, "samples.noisy"),
        ({"label_noise": None}, "label_noise"),
        ({"plan": "cpu"}, "plan"),
        ({"best_round": None}, "best_round"),
    ],
)
def test_a_damaged_result_is_refused_naming_the_key(
    make: Make, boards: Path, result: Any, says: str
) -> None:
    with pytest.raises(UsageError, match=rf": (\S+: )*{re.escape(says)}\b"):
        submit([make(**result)], boards)
    assert not boards.exists()


def test_a_run_without_rounds_is_refused(make: Make, boards: Path) -> None:
    run = make(best_round=None)
    for name in ("rounds.jsonl", "correct.jsonl"):
        (run.path / name).write_text("")
    with pytest.raises(UsageError, match=r"rounds\.jsonl"):
        submit([rehash(run.path)], boards)


def test_a_dense_network_alone_makes_a_row(make: Make, boards: Path) -> None:
    (path,) = submit([make(config(rounds=0), DIP[:1])], boards)
    assert read_row(path).seeds[0].stopped_by == "rounds"
    (line,) = [
        text for text in texts(boards)[1].splitlines() if "](rows/" in text and "| 1 |" in text
    ]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[3:10] == [
        *("70.00\u00a0±\u00a0–", "–", "", "0.00", "1", "400.00\u00a0M", "100.00")
    ]
    (line,) = [
        text for text in texts(boards)[1].splitlines() if text.endswith("no double descent |")
    ]
    assert [cell.strip() for cell in line.strip("|").split("|")][1:7] == ["70.00", *["–"] * 5]


def test_the_last_round_may_have_pruned_less_only_where_layers_are_unknown(
    make: Make, boards: Path
) -> None:
    """Of the last weights fewer can go; how many depends on layers, which old rows do not tell."""
    (path,) = submit([make()], boards)
    told = json.loads(path.read_text())
    (seed,) = told["seeds"]
    for place, accepted in ((3, False), (4, True)):
        rounds = {**seed["rounds"], "nonzero": [1000, 800, 640, 512, 410]}
        rounds["nonzero"] = [n + 5 * (i == place) for i, n in enumerate(rounds["nonzero"])]
        rounds["sparsity"] = [1 - n / 1000 for n in rounds["nonzero"]]
        new = told | {"seeds": [seed | {"rounds": rounds}]}
        with pytest.raises(UsageError, match=rf"nonzero\.{place}: {rounds['nonzero'][place]}, but"):
            parse(new, "")
        late = ("samples", "layers", "correct", "code")
        first = {key: value for key, value in new["seeds"][0].items() if key not in late}
        old = {k: v for k, v in new.items() if k not in ("config", "mixed", "tried")}
        old |= {"schema": 1, "seeds": [first]}
        if accepted:
            assert parse(old, "").seeds[0].rounds.nonzero[-1] == 415
        else:
            with pytest.raises(UsageError, match=r"nonzero\.3: 517, but magnitude"):
                parse(old, "")


@pytest.mark.parametrize(("off", "right"), [(0, True), (2, True), (3, False), (-3, False)])
def test_in_scope_layer_a_round_is_off_by_less_than_a_weight_a_layer(
    make: Make, boards: Path, off: int, right: bool
) -> None:
    """The run has two layers: rounding each may add up to two weights, not to three."""
    pruner = {"name": "magnitude", "version": 1, "params": {"fraction": 0.2, "scope": "layer"}}
    (path,) = submit([make(config(pruner=pruner))], boards)
    told = json.loads(path.read_text())
    (seed,) = told["seeds"]
    assert seed["layers"] == 2
    rounds = {**seed["rounds"]}
    rounds["nonzero"] = [n + off * (place == 1) for place, n in enumerate(rounds["nonzero"])]
    rounds["sparsity"] = [1 - n / rounds["nonzero"][0] for n in rounds["nonzero"]]
    new = told | {"seeds": [seed | {"rounds": rounds}]}
    if right:
        parse(new, "")
        return
    with pytest.raises(UsageError, match=r"nonzero\.1: .*, but magnitude with fraction 0\.2"):
        parse(new, "")


@pytest.mark.parametrize("numerics", [0, -1, True, 1.0, "1", None])
def test_numerics_of_a_plan_are_counted_from_1(make: Make, boards: Path, numerics: Any) -> None:
    with pytest.raises(UsageError, match=r"plan\.0\.numerics: .* is no whole number from 1"):
        submit([make(plan=[plan(numerics=numerics)])], boards)
    assert submit([make(plan=[plan(numerics=1)])], boards)


# -- where a run ends


@pytest.mark.parametrize(
    ("fraction", "target", "rounds"),
    [(0.2, 0.2, 2), (0.1, 0.1, 2), (0.3, 0.3, 2), (0.5, 0.75, 3), (0.2, 0.36, 3)],
)
def test_a_target_sparsity_that_is_reached_exactly_ends_the_run(
    make: Make, boards: Path, fraction: float, target: float, rounds: int
) -> None:
    """1 - 800 / 1000 is below 0.2 in binary, and the protocol does not mind: nor may boards."""
    pruner = part("magnitude", fraction=fraction, scope="global")
    configuration = config(pruner=pruner, rounds=None, target_sparsity=target)
    exact = make(configuration, DIP[:rounds], stopped_by="target-sparsity")
    assert exact.rows[-1]["sparsity"] == pytest.approx(target, abs=1e-12)
    (path,) = submit([exact], boards)
    assert read_row(path).seeds[0].stopped_by == "target-sparsity"
    path.unlink()
    for curve, stopped_by, says in (
        (DIP[: rounds + 1], "target-sparsity", "went on beyond the target sparsity"),
        (DIP[:rounds], "nothing-left", "by its rounds target-sparsity"),
        (DIP[: rounds - 1], "target-sparsity", "by its rounds nothing-left"),
    ):
        with pytest.raises(UsageError, match=says):
            submit([make(configuration, curve, stopped_by=stopped_by)], boards)


# -- words of a board


@pytest.mark.parametrize(
    ("changes", "result", "words"),
    [
        (
            {},
            {},
            "pruner magnitude:fraction=0.2,scope=global; perturber none; regularizers none; "
            "stop never; 4 prunings; learning rate of retraining x 1",
        ),
        (
            {"stop": stop_rule("patience", tolerance=0.25, patience=3), "retrain_lr_scale": 0.1},
            {"stopped_by": "rounds"},
            "stop patience:patience=3,tolerance=0.25 (version 2); at most 4 prunings; "
            "learning rate of retraining x 0.1",
        ),
        (
            {"rounds": None, "target_sparsity": 0.59, "redense_epochs": 3},
            {"stopped_by": "target-sparsity"},
            "stop never; to sparsity 0.59; learning rate of retraining x 1; "
            "re-dense training 3 epochs",
        ),
        (
            {
                "stop": part("mine"),
                "rounds": None,
                "target_sparsity": 0.59,
                "perturber": part("rewind", step=0),
            },
            {"stopped_by": "mine"},
            "perturber rewind:step=0; regularizers none; stop mine; at most to sparsity 0.59; "
            "learning rate of retraining x 1",
        ),
    ],
)
def test_a_method_is_told_in_full(
    make: Make, boards: Path, changes: Any, result: Any, words: str
) -> None:
    submit([make(config(**changes), DIP, **result)], boards)
    (told,) = [line for line in texts(boards)[1].splitlines() if line.startswith("   - pruner")]
    assert told.endswith(words)


def test_a_run_is_told_in_full(make: Make, boards: Path) -> None:
    run = make(config(4, [kd(4)], rounds=9), DIP)
    (teacher,) = run.config["regularizers"]
    submit([run], boards)
    (told,) = [line for line in texts(boards)[1].splitlines() if line.startswith("   - seed")]
    assert told == (
        f"   - seed 4: run `{run.run_id}`, round 3 of 4 selected, 75.00 %; ended by nothing-left; "
        f"teacher run `{teacher['teacher']['run_id']}`"
    )


@pytest.mark.parametrize(("selection", "words"), [("val", "validation"), ("test", "test")])
def test_a_board_says_on_what_was_selected(
    make: Make, boards: Path, selection: str, words: str
) -> None:
    submit([make(config(selection=selection))], boards)
    index, board = texts(boards)
    assert f"model of the round that is best on {words}; mean" in board
    for text in (index, board):
        assert ("the test set chose the" in text) == (selection == "test")
        assert ("numbers are optimistic" in text or "number is optimistic" in text) == (
            selection == "test"
        )


def test_the_index_counts_what_is_tied_with_the_best(make: Make, boards: Path) -> None:
    low = [value - 0.3 for value in DIP]
    runs = [make(config(seed)) for seed in range(5)]
    runs += [make(config(seed, [part("l1")])) for seed in range(5)]
    runs += [make(config(seed, [part("l2")]), low) for seed in range(5)]
    submit([*runs, make(config(0, [part("dropout")]))], boards)
    index, board = texts(boards)
    (line,) = [text for text in index.splitlines() if "/README.md)" in text]
    assert line.endswith("| 4 | magnitude | 1 | 75.00 |")
    starts = re.findall(r"^(\d)\. \*\*([^*]*)\*\*", board, re.MULTILINE)
    names = ["magnitude", "magnitude + l1", "magnitude + l2", "magnitude + dropout"]
    assert starts == [(str(place), name) for place, name in enumerate(names, 1)]


def test_the_mean_of_what_one_seed_lacks_is_unknown(make: Make, boards: Path) -> None:
    runs = [make(config(0)), make(config(1))]
    path = runs[1].path / "rounds.jsonl"
    rows = [json.loads(text) | {"macs_effective": None} for text in path.read_text().splitlines()]
    write_lines(path, rows)
    (row,) = submit([runs[0], rehash(runs[1].path)], boards)
    told = summarise(read_row(row))
    assert (told.macs_effective, told.macs_dense) == (None, 2000)


def test_teachers_of_which_one_is_unknown_are_not_counted(make: Make, boards: Path) -> None:
    known, unknown = kd(0, "dense"), kd(0, rounds=None, target_sparsity=0.9)
    counts = [
        summarise(read_row(path)).teacher_trainings
        for chain in ([], [known], [known, known], [known, unknown], [unknown])
        for path in submit([make(config(0, chain))], boards)
    ]
    assert counts == [0, 1, 2, None, None]


@pytest.mark.parametrize(("value", "text"), [(-0.0, "0.00"), (0.0, "0.00"), (0.12345, "12.35")])
def test_percentages_have_two_decimals_and_no_negative_zero(value: float, text: str) -> None:
    assert percent(value) == text


def test_a_network_that_fits_97_percent_interpolates(make: Make, boards: Path) -> None:
    for right, says in ((970, "97.0 % of its labels: it interpolates"), (969, "does not")):
        run = make()
        lines = [json.loads(line) for line in (run.path / "rounds.jsonl").read_text().splitlines()]
        lines[0] |= {
            "train_accuracy": right / 1000,
            "train_accuracy_clean": 1.0,
            "train_accuracy_noisy": (right - 600) / 400,
        }
        write_lines(run.path / "rounds.jsonl", lines)
        submit([rehash(run.path)], boards, replace=True)
        assert says in texts(boards)[1]


# -- names of files


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "magnitude"),
        ({"perturber": part("rewind", step=0)}, "magnitude-rewind"),
        ({"stop": part("patience")}, "magnitude-patience"),
        ({"stop": part("target"), "chooser": part("one-se")}, "magnitude-target-one-se"),
        ({"regularizers": [part("l1"), part("kd")]}, "magnitude-l1-kd"),
        (
            {
                "regularizers": [
                    {**part("kd"), "teacher": {"weights": "best", "trainings": 5, "differs": {}}}
                ]
            },
            "magnitude-kd-best",
        ),
        ({"pruner": part("x" * 60)}, "x" * 60),
        ({"pruner": part("x" * 61)}, "x" * 60),
        ({"pruner": part("x" * 59 + "-y")}, "x" * 59),
        ({"pruner": part("A.b 1.5")}, "a-b-1.5"),
    ],
)
def test_a_methods_file_is_named_after_its_parts(changes: Any, words: str) -> None:
    value = {
        "pruner": part("magnitude", fraction=0.2),
        "perturber": part("none"),
        "stop": part("never"),
        "regularizers": [],
        "retrain_lr_scale": 1.0,
        "rounds": 4,
        "target_sparsity": None,
    }
    name = method_slug(MethodConfig.model_validate(value | changes))
    assert re.fullmatch(rf"{re.escape(words)}-[0-9a-f]{{8}}", name)

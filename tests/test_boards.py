"""Row files and boards, on synthetic run folders."""

from __future__ import annotations

import functools
import itertools
import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from board_runs import DIP, config, kd, part, plan, rehash, row, write_run
from hypothesis import given, settings
from hypothesis import strategies as st

from dsd_bench.analysis import Spread
from dsd_bench.boards.cells import amount
from dsd_bench.boards.check import check, generate, write
from dsd_bench.boards.files import absurd, encode, odd, parse, read_row
from dsd_bench.boards.methods import method_of
from dsd_bench.boards.places import row_path, track_slug
from dsd_bench.boards.ranking import rank
from dsd_bench.boards.rows import submit
from dsd_bench.boards.schema import Track
from dsd_bench.boards.summary import interval, summarise
from dsd_bench.boards.words import escape, seeds_words
from dsd_bench.errors import UsageError


@pytest.fixture
def make(tmp_path):
    """Return a function that writes a finished run's folder and reads it back."""
    return functools.partial(write_run, tmp_path / "runs")


@pytest.fixture
def boards(tmp_path):
    return tmp_path / "leaderboards"


@pytest.fixture
def study(make):
    """Return 3 seeds of 3 methods."""
    runs = [make(config(seed), shift(DIP, seed)) for seed in range(3)]
    runs += [make(config(seed, [kd(seed)]), shift(DIP, 3 + seed)) for seed in range(3)]
    stop = part("patience", tolerance=0.0, patience=1)
    runs += [make(config(seed, stop=stop), DIP[:2]) for seed in range(3)]
    return runs


def shift(curve, steps):
    return tuple(value + steps / 100 for value in curve)


def contents(folder: Path):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def line(board: str, words: str) -> str:
    return next(text for text in board.splitlines() if text.startswith("| ") and words in text)


def cells(board: str, words: str) -> list[str]:
    told = line(board, words).replace("\u00a0", " ").replace("\u2011", "-")  # hard ones
    return [cell.strip() for cell in told.strip("|").split("|")]


def board_of(boards: Path) -> str:
    write(boards)
    (path,) = boards.glob("*/README.md")
    return path.read_text("utf-8")


# -- row files


def test_a_row_holds_the_numbers_of_rounds_jsonl_unrounded(make, boards):
    third = tuple(round(100 * value) / 300 for value in DIP)
    run = make(config(7), third, images=300)
    (path,) = submit([run], boards)
    told = json.loads(path.read_text())
    (seed,) = told["seeds"]
    assert (seed["seed"], seed["run_id"], seed["best_round"]) == (7, run.run_id, 3)
    assert seed["rounds"]["test_accuracy"] == [r["test_accuracy"] for r in run.rows] == list(third)
    assert seed["rounds"]["macs_effective"] == [r["macs_effective"] for r in run.rows]
    assert all(type(value) is int for value in seed["rounds"]["macs_effective"])
    assert told["method"]["pruner"] == part("magnitude", fraction=0.2, scope="global")
    assert "rounds" not in told["track"]["schedule"]
    assert told["track"]["schedule"]["milestones"] == [0.5, 0.75]


def test_a_row_file_is_canonical_json(study, boards):
    for path in submit(study, boards):
        text = path.read_text()
        assert text == json.dumps(json.loads(text), sort_keys=True, indent=1) + "\n"
        assert read_row(path) == parse(text, "")


def test_seeds_of_one_method_share_a_file_and_methods_a_track(study, boards):
    paths = submit(study, boards)
    assert len(paths) == 3
    assert len({path.parent for path in paths}) == 1
    assert [[e.seed for e in read_row(path).seeds] for path in paths] == [[0, 1, 2]] * 3


def test_an_optimiser_and_a_schedule_belong_to_the_method(make, boards):
    sam = {"optimizer": part("sam", rho=0.05)}
    cycle = {"schedule": part("one-cycle", pct_start=0.3)}
    runs = [make(config(0, **changes)) for changes in ({}, sam, cycle, {**sam, **cycle})]
    paths = submit(runs, boards)
    assert len({path.parent for path in paths}) == 1
    rows = {path.name.rsplit("-", 1)[0]: read_row(path) for path in paths}
    assert set(rows) == {
        "magnitude",
        "magnitude-sam",
        "magnitude-one-cycle",
        "magnitude-sam-one-cycle",
    }
    assert rows["magnitude-sam"].method.optimizer.params == {"rho": 0.05}
    assert rows["magnitude-sam"].method.schedule is None
    assert "optimizer" not in json.loads(paths[0].read_text())["method"]
    board = board_of(boards)
    assert line(board, "[magnitude, sam, one-cycle]")
    assert "optimizer sam:rho=0.05; schedule one-cycle:pct_start=0.3; regularizers none" in board


def test_only_the_usual_training_says_whether_the_dense_network_interpolates(make, boards):
    submit([make(config(0, optimizer=part("sam", rho=0.05)))], boards)
    assert "interpolates is unknown" in board_of(boards)
    submit([make(config(0))], boards)
    assert "interpolates is unknown" not in board_of(boards)


def test_any_order_of_submitting_gives_the_same_bytes(study, tmp_path):
    submit(study, tmp_path / "a")
    for run in reversed(study):
        submit([run], tmp_path / "b")
    submit(study[4:] + study[:4], tmp_path / "c")
    assert contents(tmp_path / "a") == contents(tmp_path / "b") == contents(tmp_path / "c")


def test_submitting_again_changes_nothing_and_other_results_replace_only_with_leave(make, boards):
    submit([make(config(0)), make(config(1))], boards)
    before = contents(boards)
    (path,) = submit([make(config(0))], boards)
    assert contents(boards) == before
    submit([make(config(0), shift(DIP, 1))], boards, replace=True)
    assert [e.rounds.test_accuracy[0] for e in read_row(path).seeds] == [0.71, 0.70]


def test_how_the_teacher_was_named_does_not_matter(make, boards):
    teacher = config(0).run_id
    runs = [make(config(0, [kd(0, named=teacher)])), make(config(1, [kd(1)]))]
    (path,) = submit(runs, boards)
    (part,) = read_row(path).method.regularizers
    assert "teacher" not in part.params
    assert part.teacher.model_dump() == {"weights": "best", "trainings": 5, "differs": {}}
    assert [e.teachers for e in read_row(path).seeds] == [[teacher], [config(1).run_id]]


def test_a_students_stop_rule_is_not_expected_of_its_teacher(make, boards):
    stop = part("patience", tolerance=0.0, patience=1)
    (path,) = submit([make(config(0, [kd(0)], stop=stop))], boards)
    assert read_row(path).method.regularizers[0].teacher.differs == {}


def test_a_chooser_is_the_students_alone(make, boards):
    chooser = {"name": "max-drop", "version": 1, "params": {"drop": 0.01}}
    configuration = config(0, regularizers=[kd(0)], chooser=chooser)
    assert method_of(configuration).regularizers[0].teacher.differs == {}


@pytest.mark.parametrize(
    ("other", "differs", "trainings"),
    [
        (kd(0, "dense"), {}, 1),
        (kd(0, model=part("mlp", hidden="32")), {"model": part("mlp", hidden="32")}, 5),
        (kd(0, lr=0.5, rounds=9), {"lr": 0.5, "rounds": 9}, 10),
        (kd(0, rounds=None, target_sparsity=0.9), {"rounds": None, "target_sparsity": 0.9}, None),
        (kd(0, stop=part("target", sparsity=0.5)), {"stop": part("target", sparsity=0.5)}, None),
        (kd(5, data_seed=0), {"seed": 5}, 5),
    ],
)
def test_another_teacher_is_another_method(make, boards, other, differs, trainings):
    paths = submit([make(config(0, [kd(0)])), make(config(0, [other]))], boards)
    assert len(paths) == 2
    teachers = [read_row(path).method.regularizers[0].teacher for path in paths]
    (found,) = [t for t in teachers if (t.weights, t.differs) != ("best", {})]
    assert (found.differs, found.trainings) == (differs, trainings)


def test_a_teachers_own_teacher_is_described_and_counted(make, boards):
    inner = kd(0, "dense", rounds=2)
    (path,) = submit([make(config(0, [kd(0, regularizers=[inner])]))], boards)
    row = read_row(path)
    (told,) = row.method.regularizers
    assert told.teacher.trainings == 5 + 1
    assert told.teacher.differs["regularizers"][0]["teacher"]["differs"] == {"rounds": 2}  # type: ignore[call-overload]
    assert len(row.seeds[0].teachers) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"pruner": part("random", fraction=0.2, scope="global")},
        {"perturber": part("rewind", step=0)},
        {"regularizers": [part("l1", weight=1e-5)]},
        {"stop": part("patience", tolerance=0.0, patience=1)},
        {"retrain_lr_scale": 0.1},
        {"rounds": 9},
        {"pruner": {**part("mine", fraction=0.2, scope="global"), "version": 2}},
    ],
)
def test_what_varies_within_a_track(make, boards, changes):
    paths = submit([make(config()), make(config(**changes))], boards)
    assert len(paths) == 2
    assert len({path.parent for path in paths}) == 1
    board = board_of(boards)
    assert len({cells(board, path.name)[1].split("](")[0] for path in paths}) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset": part("digits", train_size=500, val_size=200.0, transform="none")},
        {"fingerprint": "sha256:4567"},
        {"noise": part("symmetric", rate=0.2, validation=False)},
        {"model": part("mlp", hidden="32")},
        {"dense_epochs": 100},
        {"weight_decay": 0.0},
        {"precision": "bf16"},
        {"data_seed": 9},
    ],
)
def test_what_makes_another_track(make, boards, changes):
    paths = submit([make(config()), make(config(**changes))], boards)
    assert len({path.parent for path in paths}) == 2


@pytest.mark.parametrize(
    "name", ["../../../etc/passwd", "..", "/tmp/x", "..\\..", "a b", "x" * 101]
)
def test_what_is_no_name_of_a_component_is_refused(make, boards, name):
    for key in ("dataset", "noise", "model", "pruner", "perturber", "stop"):
        message = refused([make(config(**{key: part(name)}))], boards)
        assert f"{key}.name: {name[:80]!r} is no name of a component" in message


def test_values_from_a_result_file_stay_inside_the_folder(make, boards):
    (path,) = submit(
        [make(config(dataset=part("d", train_size="../.."), model=part("m", size="..")))], boards
    )
    assert path.resolve().is_relative_to(boards.resolve())
    assert len(path.relative_to(boards).parts) == 3
    assert all(set(p) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-") for p in path.parts[-3:])
    assert not any(p.startswith(".") or ".." in p for p in path.parts[-3:])


# -- what submit refuses


def refused(runs, boards) -> str:
    with pytest.raises(UsageError) as error:
        submit(runs, boards)
    assert not boards.exists()
    return str(error.value)


def test_unfinished_runs_are_refused_all_at_once(make, boards):
    runs = [make(config(seed), status=None) for seed in (0, 1)] + [make(config(2))]
    message = refused(runs, boards)
    assert runs[0].run_id in message
    assert runs[1].run_id in message
    assert "unfinished" in message


def test_failed_runs_are_refused(make, boards):
    assert "'failed'" in refused([make(status="failed")], boards)


def test_no_runs_and_a_run_given_twice_are_refused(make, boards):
    assert "no runs" in refused([], boards)
    assert "given twice" in refused([make(), make()], boards)


def test_selection_on_test_and_on_validation_are_not_submitted_together(make, boards):
    runs = [make(config(0)), make(config(0, selection="test"))]
    message = refused(runs, boards)
    assert runs[1].run_id in message
    assert runs[0].run_id not in message


def test_a_changed_config_is_refused(make, boards):
    run = make()
    path = run.path / "config.json"
    path.write_text(path.read_text().replace("0.02", "0.03"))
    assert "hash" in refused([rehash(run.path)], boards)


def test_a_false_teacher_is_refused(make):
    liar = kd(0)
    liar["teacher"]["run_id"] = "0" * 16
    with pytest.raises(ValueError, match="run_id 0000000000000000 is not that of its config"):
        make(config(0, [liar]))


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('"test_accuracy": 0.65', '"test_accuracy": 1.65', "rounds.jsonl:3: test_accuracy"),
        ('"test_accuracy": 0.65', '"test_accuracy": null', "rounds.test_accuracy.2"),
        ('"val_accuracy": 0.65', '"val_accuracy": null', "rounds.val_accuracy"),
        ('"entropy": 0.7', '"entropy": NaN', "rounds.jsonl:1: "),
        ('"nonzero": 640', '"nonzero": true', "rounds.jsonl:3: nonzero"),
        ('"round": 2', '"round": 3', "rounds.jsonl:3: round"),
        ('"val_accuracy": 0.65', '"val_accuracy": 0.95', "best_round"),
    ],
)
def test_damaged_rounds_are_refused_naming_run_and_key(make, boards, old, new, key):
    run = make()
    path = run.path / "rounds.jsonl"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UsageError) as caught:
        submit([rehash(run.path)], boards)
    assert key in str(caught.value)
    assert str(run.path) in str(caught.value)


def test_nothing_is_written_if_one_run_is_wrong(make, boards):
    good, bad = make(config(0)), make(config(1), best_round=0)
    assert str(bad.path) in refused([good, bad], boards)


# -- reading row files


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (lambda row: row.update(extra=1), "extra"),
        (lambda row: row.update(schema=3), "schema"),
        (lambda row: row["track"].update(selection="train"), "track.selection"),
        (lambda row: row["seeds"][0].update(run_id="../x"), "seeds.0.run_id"),
        (lambda row: row["seeds"][0].update(best_round=2), "best_round"),
        (lambda row: row["seeds"][0].update(data_seed=5), "data_seed"),
        (lambda row: row["seeds"].reverse(), "seeds"),
        (lambda row: row["seeds"].append(row["seeds"][0]), "seeds"),
        (lambda row: row["seeds"][1].update(run_id=row["seeds"][0]["run_id"]), "run_id"),
        (lambda row: row["seeds"][0]["rounds"]["entropy"].pop(), "seeds.0.rounds"),
        (lambda row: row["seeds"][0]["rounds"].pop("sparsity"), "seeds.0.rounds.sparsity"),
        (
            lambda row: row["seeds"][0]["rounds"]["val_accuracy"].__setitem__(1, -0.1),
            "val_accuracy.1",
        ),
        (lambda row: row["seeds"][0]["versions"].update(torch=math.nan), "NaN|not JSON|compliant"),
        (lambda row: row.update(seeds=[]), "seeds"),
    ],
)
def test_a_wrong_row_file_is_refused_naming_file_and_key(make, boards, change, key):
    (path,) = submit([make(config(0)), make(config(1))], boards)
    told = json.loads(path.read_text())
    change(told)
    path.write_text(json.dumps(told, sort_keys=True, indent=1) + "\n")
    with pytest.raises(UsageError, match=key) as error:
        read_row(path)
    assert str(path) in str(error.value)
    assert str(path) in " ".join(check(boards))


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"schema": 1}', "[" * 100_000])
def test_a_file_that_is_no_row_is_refused(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"x\.json"):
        read_row(path)


@given(
    st.recursive(
        st.one_of(
            st.text(),
            st.floats(allow_nan=False, allow_infinity=False),
            st.integers(-(10**45), 10**45),
        ),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    )
)
def test_what_no_row_may_hold_is_never_overlooked(value):
    if list(absurd({"key": value}, "")):
        assert odd(json.dumps({"key": value}, indent=1))
        assert odd(json.dumps({"key": value}, ensure_ascii=False, separators=(",", ":")))


def test_a_row_that_says_two_things_is_refused(make, boards):
    (path,) = submit([make()], boards)
    path.write_text(path.read_text().replace('"best_round": 3', '"best_round": 1, "best_round": 3'))
    with pytest.raises(UsageError, match="'best_round' is there twice"):
        read_row(path)


def test_a_row_may_lie_only_where_its_contents_belong(make, boards):
    (path,) = submit([make()], boards)
    (other,) = submit([make(config(0, selection="test"))], boards)
    shutil.copy(path, other.parent / "better-name.json")
    with pytest.raises(UsageError, match="its place is"):
        generate(boards)
    shutil.copy(path, other)
    with pytest.raises(UsageError, match="its place is"):
        generate(boards)


def test_tracks_whose_names_collide_are_not_mixed(make, boards, monkeypatch):
    monkeypatch.setattr("dsd_bench.boards.places.digest", lambda value: "0" * 16)
    submit([make(config(0))], boards)
    other = "sha256:4567"
    with pytest.raises(UsageError, match="another track or method"):
        submit([make(config(1, fingerprint=other))], boards)
    submit([make(config(0, [part("l1")], fingerprint=other))], boards)
    with pytest.raises(UsageError, match="of another track than the rows beside it"):
        generate(boards)


unit = st.floats(0, 1)
HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")


@settings(max_examples=50, deadline=None)
@given(
    st.lists(unit, min_size=1, max_size=5),
    st.sampled_from(["val", "test"]),
    st.text(st.characters(exclude_categories=HIDDEN, exclude_characters="<>|`]"), max_size=5),
    st.integers(0, 2**31 - 1),
)
def test_row_round_trip(curve, selection, word, seed):
    value = {
        "schema": 1,
        "track": {
            "config_schema": 1,
            "data_seed": None,
            "schedule": {"lr": 0.1, word: [word, None, 1, 0.1]},
            "selection": selection,
            "precision": "fp32",
            "fingerprint": word,
            **{key: part(key, x=word) for key in ("dataset", "noise", "model")},
        },
        "method": {
            **{key: part(key, x=word) for key in ("pruner", "perturber", "stop")},
            "regularizers": [],
            "retrain_lr_scale": 1.0,
            "rounds": len(curve) - 1,
            "target_sparsity": None,
        },
        "seeds": [
            {
                "seed": seed,
                "data_seed": seed,
                "run_id": "0" * 16,
                "teachers": [],
                "best_round": curve.index(max(curve)),
                "stopped_by": "rounds",
                "rounds": {
                    **{
                        key: curve
                        for key in row(0, 0, 0, 1)
                        if "layer" not in key and key != "round"
                    },
                    "nonzero": [10 - place for place in range(len(curve))],
                    "sparsity": [1 - (10 - place) / 10 for place in range(len(curve))],
                    "macs_dense": [1] * len(curve),
                    "macs_effective": [1] * len(curve),
                },
                "plan": [word],
                "versions": {word: word},
                "hardware": {},
            }
        ],
    }
    made = parse(value, "")
    again = parse(encode(made), "")
    assert again == made
    assert encode(again) == encode(made)
    assert row_path(again) == row_path(made)
    assert again.seeds[0].rounds.test_accuracy == curve


# -- numbers


@pytest.mark.parametrize(
    ("seeds", "apart", "answer"),
    [
        (3, 0.3, "The seeds are too few to tell; the highest mean, 75.00 %, has magnitude."),
        (6, 0.3, "magnitude has the highest mean of the selected models, 75.00 % with 48.80 % of "
         "the weights gone; no other is tied with it."),
        (6, 0.0, "magnitude has the highest mean of the selected models, 75.00 % with 48.80 % of "
         "the weights gone; 1 more cannot be told from it."),
    ],
)  # fmt: skip
def test_a_board_asks_one_question_first_and_answers_it(make, boards, seeds, apart, answer):
    runs = [make(config(seed)) for seed in range(seeds)]
    runs += [make(config(seed, [kd(seed)]), [v - apart for v in DIP]) for seed in range(seeds)]
    submit(runs, boards)
    first = [text for text in board_of(boards).splitlines() if text][3]
    question = "**Which method keeps the highest test accuracy as weights are pruned away?**"
    assert first == f"{question} {answer}"


def test_the_numbers_of_a_line_are_the_closed_forms(make, boards):
    tests = [(0.5, 0.2, 0.6, 0.1), (0.5, 0.3, 0.7, 0.1), (0.6, 0.4, 0.8, 0.1)]
    submit([make(config(seed, rounds=3), test) for seed, test in enumerate(tests)], boards)
    board = board_of(boards)
    place, label, seeds, accuracy, low_high, tied, sparsity, count, work, macs, again, front = (
        cells(board, "rows/")
    )
    assert front == ""  # too few seeds
    half = 4.302652729911275 * 10 / math.sqrt(3)  # t(0.975, 2) from tables
    assert (place, seeds, accuracy, tied) == ("–", "3 (0-2), **too few**", "70.00 ± 10.00", "")
    assert low_high == f"{70 - half:.2f} to {70 + half:.2f}"
    assert (sparsity, count, again) == ("36.00", "4", "–")
    _, dense, *at, good, loss, depth, dip = cells(board, "| 53.33 |")
    assert (dense, at, loss) == ("53.33", ["–"] * 4, "1.250")
    assert good == "70.00 at 36.00"
    assert (depth, dip) == ("23.33", "double descent")  # mean curve 53.33, 30, 70, 10
    assert work == "700.00 M"  # 1000 images of 2000 MACs, 200 + 3 x 50 epochs
    assert macs == "64.00"
    assert label.startswith("[magnitude](rows/magnitude-")


def test_the_dip_is_that_of_the_mean_curve_over_the_rounds_that_all_seeds_have(make, boards):
    stop, curves = part("mine"), [(0.5, 0.1, 0.9), (0.5, 0.9, 0.1, 0.9, 0.1)]
    runs = [make(config(0, stop=stop), curves[0], stopped_by="mine")]
    runs += [make(config(1, stop=stop), curves[1])]
    (path,) = submit(runs, boards)
    told = summarise(read_row(path))
    assert told.depth == pytest.approx(0)
    assert told.trainings == 4


def test_one_seed_has_neither_spread_nor_interval(make, boards):
    submit([make()], boards)
    board = board_of(boards)
    assert cells(board, "rows/")[3:5] == ["75.00 ± –", "–"]


def test_the_interval_covers_what_it_says():
    numpy = pytest.importorskip("numpy")
    draws = numpy.random.default_rng(0).normal(0.7, 0.02, (4000, 3))
    covered = [
        low <= 0.7 <= high
        for values in draws
        for low, high in [interval(Spread(values.mean(), values.std(ddof=1), 3))]
    ]
    assert numpy.mean(covered) == pytest.approx(0.95, abs=0.012)


def test_unmeasured_macs_are_absent(make, boards):
    run = make()
    path = run.path / "rounds.jsonl"
    rows = [json.loads(text) | {"macs_effective": None} for text in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(value) + "\n" for value in rows))
    submit([rehash(run.path)], boards)
    assert cells(board_of(boards), "rows/")[-2] == "–"


def test_the_teachers_trainings_stand_apart(study, boards):
    submit(study, boards)
    board = board_of(boards)
    assert cells(board, "kd:teacher=best")[7] == "5 + 5"
    assert cells(board, "stop patience")[7] == "2"


# -- boards


def test_what_is_not_ranked_goes_by_mean(make, boards):
    made = functools.partial(make, images=25_000)
    runs = [made(config(0), DIP)]
    runs += [made(config(0, stop=part("mine")), shift(DIP, 0.004))]
    runs += [made(config(0, [part("l1")]), shift(DIP, -5))]
    runs += [made(config(0, [part("l2")]), shift(DIP, 5))]
    submit(runs, boards)
    board = board_of(boards)
    assert "Nothing is ranked: that takes at least 5 seeds" in board
    lines = [text.split("|") for text in board.splitlines() if "| [" in text]
    assert [parts[1].strip() for parts in lines] == ["–"] * 4
    order = [parts[2].split("]")[0].strip(" [") for parts in lines]
    assert order == ["magnitude + l2", "magnitude", "magnitude, stop mine", "magnitude + l1"]


def test_places_come_before_means(make, boards):
    """Who scatters may be the lowest in the mean and still not shown to be below the best.

    Four that hardly scatter make the median variance small, and l5's own is large: its mean is
    0.12 below l1's with an error of about 0.05.
    """
    made = functools.partial(make, images=1000)
    scattered = (0.95, 0.60, 0.95, 0.63, 0.95, 0.60)
    levels = {"l1": [0.90] * 6, "l2": [0.82] * 6, "l3": [0.84] * 6, "l4": [0.83] * 6}
    runs = []
    for name, values in (levels | {"l5": scattered}).items():
        for seed, value in enumerate(values):
            curve = (value + (seed % 3) / 1000, 0.3, 0.2, 0.1, 0.05)
            runs.append(made(config(seed, [part(name)]), curve))
    found = rank([read_row(path) for path in submit(runs, boards)])
    told = [(one.place, one.label.removeprefix("magnitude + ")) for one in found.lines]
    assert told == [(1, "l1"), (1, "l5"), (2, "l3"), (3, "l4"), (4, "l2")]


def test_methods_without_the_seeds_of_most_are_not_ranked(make, boards):
    runs = [make(config(seed, [part("l1", weight=one)])) for one in (1.0, 2.0) for seed in range(6)]
    runs += [make(config(seed), shift(DIP, 5)) for seed in (0, 1, 4)]
    runs += [make(config(seed, [kd(seed)]), shift(DIP, -5)) for seed in range(1, 8)]
    submit(runs, boards)
    board = board_of(boards)
    assert cells(board, "l1:weight=1")[:3:2] == ["1", "6 (0-5)"]
    assert cells(board, "[magnitude]")[:3:2] == ["–", "3 (0-1,4), **too few**"]
    assert cells(board, "kd")[:3:2] == ["–", "7 (1-7), **others**"]
    order = [text.split("|")[1].strip() for text in board.splitlines() if "| [" in text]
    assert order == ["1", "1", "–", "–"]


def test_every_number_selected_on_test_is_marked(make, boards):
    validation = (0.1, 0.2, 0.3, 0.2, 0.1)
    submit([make(config(s, selection="test"), shift(DIP, s), validation) for s in (0, 1)], boards)
    board = board_of(boards)
    assert "(selected on test)" in board.splitlines()[2]
    marked = cells(board, "rows/")
    found = [place for place, cell in enumerate(marked) if cell.endswith("†")]
    assert found == [3, 4, 6, 9]
    assert marked[3] == "75.50 ± 0.71†"
    assert all("%†" in text for text in board.splitlines() if ": run `" in text)
    overview = (boards / "README.md").read_text()
    assert "75.50† |" in overview
    assert "**selected on test**" in overview


def test_selection_on_test_never_shares_a_board(make, boards):
    submit([make(config(0))], boards)
    submit([make(config(0, selection="test"))], boards)
    found = generate(boards).items()
    texts = {at: text for at, text in found if at.parent != boards and at.name == "README.md"}
    assert len(texts) == 2
    assert sorted("selected on test" in text for text in texts.values()) == [False, True]


def test_every_run_and_its_teacher_is_named(study, boards):
    submit(study, boards)
    board = board_of(boards)
    assert all(f"run `{run.run_id}`" in board for run in study)
    assert board.count("; teacher run `") == 3
    assert "torch 2.15.0" in board
    assert "cpu a chip" in board
    assert "teacher (best pruned weights)" in board


def test_a_mixed_machine_park_is_told_apart(make, boards):
    submit([make(config(0)), make(config(1), hardware={"cpu": "another"})], boards, mixed=True)
    board = board_of(boards)
    told = board.split("## Versions and hardware")[1]
    first, second = told.split("- method 1 (seeds 0)")[1].split("- method 1 (seeds 1)")
    assert "cpu a chip" in first
    assert "cpu another" in second


def test_boards_are_the_same_bytes_every_time_and_wherever_they_lie(study, tmp_path):
    for name, runs in (("a", study), ("b", study[::-1])):
        submit(runs, tmp_path / name)
        write(tmp_path / name)
        write(tmp_path / name)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_the_index_names_the_best_of_every_board(study, make, boards):
    submit(study, boards)
    submit([make(config(0, precision="bf16"))], boards)
    write(boards)
    overview = (boards / "README.md").read_text()
    lines = [text for text in overview.splitlines() if "/README.md)" in text]
    assert len(lines) == 2
    assert any("magnitude + kd:teacher=best (not ranked) | 0 | 79.00 |" in text for text in lines)
    assert all((boards / text.split("](")[1].split(")")[0]).is_file() for text in lines)


def test_an_empty_folder_has_an_index_and_a_missing_one_is_an_error(boards):
    with pytest.raises(UsageError, match="no such folder"):
        generate(boards)
    boards.mkdir()
    assert "No rows yet" in generate(boards)[boards / "README.md"]


def test_every_table_line_has_the_columns_of_its_head(make, boards):
    submit([make(config(0, stop=part("ab", key="|"), noise=part("n", **{"|": "||"})))], boards)
    write(boards)
    for path in boards.rglob("README.md"):
        tables = path.read_text().split("\n\n")
        for lines in (text.splitlines() for text in tables if text.startswith("|")):
            assert len({text.count("|") for text in lines}) == 1


# -- foreign text


HOSTILE = "<script>alert(1)</script>| # x [a](http://b.c) `c` *d* _e_ &amp; www.f.g h@i.j $k$"


ACTIVE = ("<script", "http://", "](http", "www.", "h@i", "`c`", "*d*", " _e_", "$k")


def test_foreign_text_is_inert_everywhere(make, boards):
    bad = part("bad", **{HOSTILE: HOSTILE})
    keys = ("dataset", "noise", "model", "pruner", "perturber", "stop")
    run = make(
        config(0, [bad], fingerprint=HOSTILE, **dict.fromkeys(keys, bad)),
        stopped_by="bad",
    )
    submit([run], boards)
    write(boards)
    for path in boards.rglob("README.md"):
        text = path.read_text("utf-8")
        body = text.split("-->", 1)[1]
        assert "script&#62;" in body
        for active in ACTIVE:
            assert active not in body
        assert "&amp;" not in body


def test_foreign_text_that_no_id_depends_on_has_no_markup(make, boards):
    told = {"versions": {"x": HOSTILE}, "hardware": {HOSTILE: 1}, "plan": [plan(x=[HOSTILE])]}
    message = refused([make(config(0), **told)], boards)
    for place in ("seeds.0.versions.x: ", "seeds.0.hardware: ", "seeds.0.plan.0.x.0: "):
        assert place in message


@pytest.mark.parametrize("character", ["\n", "\x00", "\x1b", "\x9b", "\u202e", "\u200b", "\u2028"])
def test_characters_that_hide_or_steer_are_refused(make, boards, character):
    for run in (
        make(config(0, noise=part("n", x=character))),
        make(config(0, fingerprint=character)),
    ):
        assert "holds a control, direction or invisible character" in refused([run], boards)


@given(st.text(st.characters(exclude_categories=["Cn"])))
def test_escaping_loses_nothing_that_can_be_seen(text):
    import html

    escaped = escape(text)
    assert escaped.isascii()
    assert not set(escaped) & set("<>|`*[]\\\n\r!$@~{}")
    shown = html.unescape(escaped)
    assert len(shown) == len(text)
    assert all(a == b or a == "?" for a, b in zip(shown, text) if a != "\ufffd")


@pytest.mark.parametrize("character", ["\x00", "\n", "\u202e", "\u2028", "\u200b"])
def test_what_cannot_be_seen_is_shown_as_a_question_mark(character):
    assert escape(f"a{character}b") == "a?b"


def test_ordinary_words_stay_readable():
    words = "vgg-like:depth=5,width_exponent=5 (8.9 %); entropy-gate + kd"
    assert escape(words) == words


@pytest.mark.parametrize(
    ("seeds", "words"),
    [([0], "0"), ([0, 1, 2], "0-2"), ([0, 3], "0,3"), ([1, 2, 5, 7, 8], "1-2,5,7-8")],
)
def test_seeds_as_the_command_line_takes_them(seeds, words):
    class Seed:
        def __init__(self, seed):
            self.seed = seed

    assert seeds_words([Seed(seed) for seed in seeds]) == words


# -- checking


def test_check_is_silent_about_what_write_wrote(study, boards):
    submit(study, boards)
    written = write(boards)
    names = ["README.md", "README.md", "pareto.svg", "rules.md"]
    assert sorted(path.name for path in written) == names
    assert check(boards) == []
    assert write(boards) == []


def test_check_names_what_was_edited_is_missing_or_stray(study, boards):
    submit(study, boards)
    index, board, *_ = sorted(write(boards), key=lambda path: (len(path.parts), path.name))
    board.write_text(board.read_text().replace("75.", "76."))
    index.unlink()
    stray = boards / "old" / "README.md"
    stray.parent.mkdir()
    stray.write_text("")
    problems = check(boards)
    assert [problem.split(": ")[0] for problem in problems] == [str(index), str(board), str(stray)]
    assert ["missing" in p for p in problems] == [True, False, False]
    write(boards)
    assert [problem.split(": ")[0] for problem in check(boards)] == [str(stray)]


def test_check_notices_a_changed_row(study, boards):
    path = submit(study, boards)[0]
    write(boards)
    told = json.loads(path.read_text())
    told["seeds"][0]["rounds"]["test_accuracy"][1] = 0.01
    path.write_text(encode(parse(told, "")))
    assert ["differs" in problem for problem in check(boards)] == [True, True]  # and the rules


def test_a_board_that_is_no_text_differs(make, boards):
    submit([make()], boards)
    path = write(boards)[0]
    path.write_bytes(b"\xff\xfe")
    assert str(path) in check(boards)[0]
    assert write(boards) == [path]


def test_boards_import_neither_torch_nor_pandas_nor_scipy():
    code = (
        "import sys, dsd_bench.boards.check, dsd_bench.boards.rows; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'pandas', 'scipy', 'sklearn')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_another_teacher_is_named_as_a_user_would(make, boards):
    inner = kd(0, "dense", rounds=2)
    teacher = kd(0, model=part("mlp", hidden="32"), regularizers=[part("l1", weight=1e-5), inner])
    submit([make(config(0, [teacher]))], boards)
    board = board_of(boards)
    assert "teacher (best pruned weights; model mlp:hidden=32; regularizers (l1:weight=" in board
    assert "regularizers (none), rounds 2), trainings 1, weights dense" in board


def test_another_version_of_a_component_is_named(make, boards):
    submit([make(config(pruner={**part("mine", fraction=0.2), "version": 2}))], boards)
    assert "pruner mine:fraction=0.2 (version 2)" in board_of(boards)


def test_labels_of_a_track_tell_every_pair_of_methods_apart(make, boards):
    rows = []
    for fraction, weights, scale in itertools.product((0.2, 0.5), ("best", "dense"), (1.0, 0.1)):
        pruner = part("magnitude", fraction=fraction, scope="global")
        changed = {"pruner": pruner, "retrain_lr_scale": scale}
        teacher = kd(0, weights, **changed)
        rows += submit([make(config(0, [teacher], **changed))], boards)
    labels = [found.label for found in rank([read_row(path) for path in rows]).lines]
    assert len(set(labels)) == 8
    assert "magnitude:fraction=0.5 + kd:teacher=dense, retraining lr x 0.1" in labels


# -- names and words of a track


def track(**changes):
    value = {
        "config_schema": 1,
        "dataset": part("digits", train_size=1000),
        "fingerprint": "f" * 64,
        "data_seed": None,
        "noise": part("symmetric", rate=0.4),
        "model": part("mlp", hidden="64x64"),
        "schedule": {"dense_epochs": 2},
        "selection": "val",
        "precision": "fp32",
    }
    return Track.model_validate(value | changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "digits-1000-symmetric-0.4-mlp-64x64"),
        ({"selection": "test"}, "digits-1000-symmetric-0.4-mlp-64x64-test"),
        ({"precision": "bf16"}, "digits-1000-symmetric-0.4-mlp-64x64-bf16"),
        ({"data_seed": 0}, "digits-1000-symmetric-0.4-mlp-64x64-data-0"),
        ({"model": part("mlp", hidden="x" * 12)}, "digits-1000-symmetric-0.4-mlp-" + "x" * 12),
        ({"model": part("mlp", hidden="x" * 13)}, "digits-1000-symmetric-0.4-mlp"),
        ({"dataset": part("digits", train_size=True)}, "digits-symmetric-0.4-mlp-64x64"),
    ],
)
def test_a_tracks_folder_is_named_after_what_its_runs_share(changes, words):
    name = track_slug(track(**changes))
    assert name.rpartition("-")[0] == words
    assert re.fullmatch("[0-9a-f]{8}", name.rpartition("-")[2])


def test_a_board_says_whose_seed_splits_the_data(make, tmp_path):
    for data_seed, words in ((None, "the seed of each run"), (5, "data seed 5")):
        folder = tmp_path / f"boards{data_seed}"
        changes = {} if data_seed is None else {"data_seed": data_seed}
        submit([make(config(seed, **changes), DIP) for seed in (1, 2)], folder)
        write(folder)
        assert words in board_of(folder)


@pytest.mark.parametrize(
    ("value", "text"),
    [(999, "999"), (1e3, "1.00 k"), (8830, "8.83 k"), (999_994, "999.99 k"), (1e6, "1.00 M"),
     (1e9, "1.00 G"), (2.5e12, "2.50 T"), (1.1e15, "1.10 P")],
)  # fmt: skip
def test_large_numbers_have_units(value, text):
    assert amount(value) == text

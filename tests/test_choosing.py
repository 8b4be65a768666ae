"""Choosers: pure functions of the rounds, and the runs that return what they choose."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_kept import StopsIn

from dsd_bench import Component, Params, configure, hookimpl, load_model, run
from dsd_bench.choosers import Chooser
from dsd_bench.choosers.builtin import register_choosers
from dsd_bench.choosers.rules import within
from dsd_bench.config.run import RunConfig
from dsd_bench.errors import RunError, UsageError
from dsd_bench.experiment.choosing import Choice
from dsd_bench.params import validate
from dsd_bench.plugins import catalogue
from dsd_bench.replay.curves import rows_with_metrics
from dsd_bench.store import StoredRun
from dsd_bench.store.checkpoint import weights_name
from dsd_bench.store.correct import pack, read_correct
from dsd_bench.store.runs import load_run
from dsd_bench.store.weights import kept_rounds


class Third(Chooser):
    """The end of the first third: its choice goes back to one that it had passed over."""

    def choose(self, rounds: Any, score: str) -> int:
        return len(rounds) // 3


COMPONENTS = {component.name: component for component in register_choosers()}
Make = Callable[..., RunConfig]
TinyRun = Callable[..., dict[str, Any]]


def chooser(name: str, **values: Any) -> Chooser:
    component = COMPONENTS[name]
    made: Chooser = component.create(validate(component.params, values, name))
    return made


def curve(right: list[list[int]], sparsities: list[float] | None = None) -> list[dict[str, Any]]:
    """Rows of rounds that get these images right, 1 or 0 an image; test is the other way round."""
    bits = [np.array(row, dtype=bool) for row in right]
    return [
        {
            "round": number,
            "sparsity": sparsities[number] if sparsities else 1 - 0.8**number,
            "val_accuracy": float(row.mean()),
            "test_accuracy": float((~row).mean()),
            "correct": {"val": pack(row), "test": pack(~row)},
        }
        for number, row in enumerate(bits)
    ]


def scored(*scores: float) -> list[dict[str, Any]]:
    return [
        {"round": n, "sparsity": 1 - 0.8**n, "val_accuracy": score}
        for n, score in enumerate(scores)
    ]


# --- the rules ------------------------------------------------------------------------------


def test_best_is_the_first_of_equals() -> None:
    assert chooser("best").choose(scored(0.5, 0.7, 0.7, 0.6), "val_accuracy") == 1


def test_max_drop_takes_the_sparsest_beyond_a_dip_too() -> None:
    rows = scored(0.90, 0.80, 0.95, 0.60, 0.93, 0.50)
    assert chooser("max-drop", drop=0.02).choose(rows, "val_accuracy") == 4
    assert chooser("max-drop", drop=0.019).choose(rows, "val_accuracy") == 2
    assert chooser("max-drop", drop=0.45).choose(rows, "val_accuracy") == 5
    assert chooser("max-drop", drop=0).choose(rows, "val_accuracy") == 2


def test_a_drop_is_in_accuracy_not_in_points() -> None:
    """Who means one point and a half by 1.5 shall not get the last round."""
    assert configure(choose="max-drop:1").chosen("chooser").params == {"drop": 1.0}
    for word in ("max-drop:1.5", "max-drop:-0.01"):
        with pytest.raises(UsageError, match="--choose max-drop: drop="):
            configure(choose=word)


def test_a_drop_that_is_the_limit_on_paper_is_within() -> None:
    """0.545 - 0.05 is less than 0.495 in binary."""
    assert chooser("max-drop", drop=0.05).choose(scored(0.545, 0.495), "val_accuracy") == 1
    assert chooser("max-drop", drop=0.05).choose(scored(0.545, 0.494), "val_accuracy") == 0


def test_of_rounds_with_the_very_best_accuracy_max_drop_takes_the_sparsest() -> None:
    assert chooser("max-drop", drop=0).choose(scored(0.7, 0.5, 0.7), "val_accuracy") == 2


IMAGES = st.integers(2, 12).flatmap(
    lambda n: st.lists(st.lists(st.integers(0, 1), min_size=n, max_size=n), min_size=1, max_size=6)
)


def by_numpy(right: list[list[int]]) -> int:
    """Return the sparsest round within one standard error, by the textbook's formula."""
    part = np.array(right, dtype=float)
    best = part[int(np.argmax(part.mean(axis=1)))]
    found = 0
    for number, row in enumerate(part):
        lost = best - row
        error = lost.std(ddof=1) / np.sqrt(len(lost))
        if lost.mean() <= error + 1e-12:
            found = number
    return found


@given(IMAGES)
def test_one_se_is_the_paired_standard_error_of_the_textbook(right: list[list[int]]) -> None:
    assert chooser("one-se").choose(curve(right), "val_accuracy") == by_numpy(right)


@given(IMAGES)
def test_on_test_it_reads_the_test_column_and_its_bits(right: list[list[int]]) -> None:
    turned = [[1 - flag for flag in row] for row in right]
    for name in COMPONENTS:
        expected = chooser(name).choose(curve(turned), "val_accuracy")
        assert chooser(name).choose(curve(right), "test_accuracy") == expected


@given(IMAGES)
def test_built_in_choosers_are_steady_as_they_say(right: list[list[int]]) -> None:
    """A further round changes the choice to nothing but that round."""
    rows = curve(right)
    for name in COMPONENTS:
        made = chooser(name)
        assert made.steady
        found = [made.choose(rows[:n], "val_accuracy") for n in range(1, len(rows) + 1)]
        for number in range(1, len(found)):
            assert found[number] in (found[number - 1], number)


def test_one_standard_error_by_hand() -> None:
    """Of 100 images one network alone gets 3 right, the other alone 1: 2 / 100, error 0.02."""
    assert within(0b1110, 0b0001)
    assert not within(0b1111, 0b0000)
    assert not within(0b11111, 0b00100)


def test_a_standard_error_of_zero() -> None:
    """Agreeing on all images is within, on none is not."""
    assert chooser("one-se").choose(curve([[1, 0, 1], [1, 0, 1]]), "val_accuracy") == 1
    assert chooser("one-se").choose(curve([[1, 1, 1], [0, 0, 0]]), "val_accuracy") == 0


def test_one_image_has_no_standard_error_and_ties() -> None:
    assert chooser("one-se").choose(curve([[1], [0]]), "val_accuracy") == 1


def test_of_equally_sparse_rounds_the_last() -> None:
    rows = curve([[1, 0], [1, 0], [1, 0]], [0.0, 0.5, 0.5])
    assert chooser("one-se").choose(rows, "val_accuracy") == 2
    assert chooser("max-drop").choose(rows, "val_accuracy") == 2


def test_what_a_chooser_cannot_do_without() -> None:
    old = scored(0.5, 0.6)
    with pytest.raises(RunError, match=r"one-se' needs which val images.*round 0.*--force"):
        chooser("one-se").choose(old, "val_accuracy")
    damaged = [{**row, "correct": {"val": "%", "test": None}} for row in old]
    with pytest.raises(RunError, match="cannot read which val images are right in round 0"):
        chooser("one-se").choose(damaged, "val_accuracy")
    for name in ("best", "max-drop"):
        with pytest.raises(RunError, match=f"chooser '{name}' needs 'test_accuracy', which round"):
            chooser(name).choose(old, "test_accuracy")
    with pytest.raises(RunError, match="chooser 'max-drop' needs 'sparsity'"):
        chooser("max-drop").choose([{"val_accuracy": 0.5}], "val_accuracy")


@pytest.mark.parametrize("answer", [-1, 2, True, None, 1.0, "0"])
def test_an_answer_that_is_no_round_is_refused(answer: Any) -> None:
    class Odd(Chooser):
        def choose(self, rounds: Any, score: str) -> int:
            return answer  # type: ignore[no-any-return]

    with pytest.raises(RunError, match=r"chooser 'odd' answers .* none of the rounds 0 to 1"):
        Choice("odd", Odd(Params()), "val_accuracy").of(scored(0.5, 0.6))


# --- which weights are held -----------------------------------------------------------------

SCORES = st.lists(st.sampled_from([0.5, 0.6, 0.69, 0.7, 0.71]), min_size=1, max_size=9)


def records(scores: list[float]) -> list[int]:
    """Return the rounds that beat all before them, the first included."""
    return [n for n, score in enumerate(scores) if all(score > one for one in scores[:n])]


def last_within(scores: list[float], drop: float) -> int:
    return max(n for n, score in enumerate(scores) if score > max(scores) - drop - 1e-6)


@given(SCORES)
def test_records_and_what_may_be_chosen_are_held(scores: list[float]) -> None:
    rows, ends = scored(*scores), range(1, len(scores) + 1)
    for name, drop in (("best", None), ("max-drop", 0.01), ("max-drop", 0.1)):
        made = chooser(name) if drop is None else chooser(name, drop=drop)
        choice = Choice(name, made, "val_accuracy")
        chosen = {last_within(scores[:n], drop) for n in ends} if drop else set()
        held = [n - 1 for n in ends if choice.holds(rows[:n])]
        assert held == sorted({*records(scores), *chosen})


class Dense(Chooser):
    """The dense network, whatever comes after it."""

    steady = True

    def choose(self, rounds: Any, score: str) -> int:
        return 0


def test_records_are_held_that_the_chooser_passes_over() -> None:
    """A run of the same curve that chooses the best may go on from them."""
    choice, rows = Choice("dense", Dense(Params()), "val_accuracy"), scored(0.5, 0.7, 0.6, 0.8)
    assert [choice.holds(rows[:n]) for n in range(1, 5)] == [True, True, False, True]


def test_a_chooser_that_may_go_back_holds_every_round() -> None:
    choice, rows = Choice("third", Third(Params()), "val_accuracy"), scored(0.9, 0.5, 0.4, 0.3)
    assert [choice.holds(rows[:n]) for n in range(1, 5)] == [True] * 4
    kept = ("other", *map(weights_name, (0, 1, 3)))
    assert choice.needed(rows, kept, False) == kept
    assert choice.needed(rows, kept, True) == kept[:3]  # 4 // 3 is 1
    names = [weights_name(number) for number in (0, 1)]
    assert choice.missing(rows, names, False) == [2, 3]
    assert choice.missing(rows, names, True) == []
    assert choice.missing(rows, names[:1], True) == [1]
    assert choice.missing(rows, [], False) == [0, 1, 2, 3]


@pytest.mark.parametrize("ended", [False, True])
def test_of_a_steady_chooser_the_dense_and_the_chosen_weights_are_needed(ended: bool) -> None:
    choice = Choice("max-drop", chooser("max-drop", drop=0.2), "val_accuracy")
    rows, names = scored(0.8, 0.9, 0.85, 0.75, 0.5), [weights_name(number) for number in range(5)]
    kept = ("other", *names)
    assert choice.needed(rows, kept, ended) == ("other", names[0], names[3])
    assert choice.missing(rows, names[:3], ended) == [3]
    assert choice.missing(rows, names[3:], ended) == []
    # before the first round nothing was chosen
    assert choice.needed([], kept, ended) == ("other", names[0])


def test_of_no_rounds_no_chooser_is_asked() -> None:
    choice = Choice("third", Third(Params()), "val_accuracy")
    names = ("other", *(weights_name(number) for number in range(2)))
    assert choice.needed([], names, False) == names[:2]
    assert choice.missing([], [], False) == []


# --- ids ------------------------------------------------------------------------------------


def test_best_changes_no_id_and_another_shares_the_curve() -> None:
    plain, named, other = (
        configure(**options)
        for options in ({}, {"choose": "best"}, {"choose": "max-drop:drop=0.02"})
    )
    assert plain == named
    assert "chooser" not in plain.to_json()
    assert other.run_id != plain.run_id
    assert other.curve_id == plain.curve_id
    again = RunConfig.from_json(json.loads(json.dumps(other.to_json())))
    assert again == other
    assert other.chooser is not None
    assert other.chooser.params == {"drop": 0.02}


def test_a_teacher_is_chosen_by_best(tmp_path: Path, tiny: Make) -> None:
    config = configure(reg=["kd"], choose="one-se")
    (kd,) = config.regularizers
    assert kd.teacher is not None
    assert kd.teacher.config == configure()
    with pytest.raises(UsageError, match=r"\[teacher\]: choose: a teacher is always the best"):
        configure(reg=["kd"], teacher={"choose": "one-se"})
    made = run(tiny(choose="one-se"), runs_dir=tmp_path)
    word = f"kd:teacher={made.run_id}"
    with pytest.raises(UsageError, match=r"chose its round by 'one-se'.*--choose best"):
        tiny(reg=[word], runs_dir=tmp_path)


# --- runs -----------------------------------------------------------------------------------

LONG: dict[str, Any] = {
    "rounds": 6,
    "dense_epochs": 6,
    "retrain_epochs": 2,
    "lr": 0.1,
    "epochs": None,
}
FILES = ("rounds.jsonl", "correct.jsonl", "best.safetensors", "dense.safetensors")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> StoredRun:
    """A run that chooses by one-se and does not choose what best would."""
    from fakes import TINY

    config = configure(**{**TINY, **LONG, "choose": "one-se"})
    made = run(config, runs_dir=tmp_path_factory.mktemp("whole"), keep="all")
    assert made.result is not None
    scores = [row["val_accuracy"] for row in made.rows]
    assert 0 < scores.index(max(scores)) < made.result["best_round"] < 6  # else it shows nothing
    return made


def same(one: StoredRun, other: StoredRun) -> None:
    for name in FILES:
        assert (one.path / name).read_bytes() == (other.path / name).read_bytes()
    assert one.result is not None
    assert other.result is not None
    assert one.result["best_round"] == other.result["best_round"]


def test_the_weights_it_returns_are_those_of_the_chosen_round(whole: StoredRun) -> None:
    right = read_correct(whole.path)
    by_hand = by_numpy([list(map(int, bits["val"])) for bits in right.values()])
    assert whole.result is not None
    assert whole.result["best_round"] == by_hand
    chosen, kept = load_model(whole.path).state_dict(), load_model(whole.path, by_hand).state_dict()
    assert all(chosen[name].equal(kept[name]) for name in chosen)


@pytest.mark.parametrize("keep", ["records", "none"])
def test_what_is_kept_holds_the_chosen_round(
    keep: Any, whole: StoredRun, tiny: Make, tmp_path: Path
) -> None:
    made = run(tiny(**LONG, choose="one-se"), runs_dir=tmp_path, keep=keep)
    same(made, whole)
    assert made.result is not None
    if keep == "none":
        assert kept_rounds(made.path) == sorted({0, made.result["best_round"]})
        return
    rows = rows_with_metrics(whole)
    ends = range(1, len(rows) + 1)
    wanted = {chooser(name).choose(rows[:n], "val_accuracy") for n in ends for name in ("best",)}
    wanted |= {chooser("one-se").choose(rows[:n], "val_accuracy") for n in ends}
    assert kept_rounds(made.path) == sorted({0, *wanted})
    assert len(wanted) < len(rows)


@pytest.mark.parametrize("keep", ["all", "records", "none"])
def test_a_run_that_is_cut_after_any_round_ends_the_same(
    keep: Any, whole: StoredRun, tiny: Make, tmp_path: Path
) -> None:
    from dsd_bench.executors import Settings
    from dsd_bench.experiment.runner import run_folder
    from dsd_bench.store.files import write_json

    config = tiny(**LONG, choose="one-se")
    path = tmp_path / config.run_id
    path.mkdir()
    write_json(path / "config.json", config.to_json())
    for rounds in range(1, 6):
        cut = run_folder(path, Settings(keep=keep), lambda event: None, StopsIn(path, rounds))
        assert cut.status == "interrupted"
    assert run_folder(path, Settings(keep=keep), lambda event: None, bool).status == "done"
    same(load_run(path), whole)


@pytest.mark.parametrize("keep", ["all", "records", "none"])
@pytest.mark.parametrize("rounds", range(6))
def test_a_longer_run_goes_on_from_a_shorter_one(
    rounds: int, keep: Any, whole: StoredRun, tiny: Make, tmp_path: Path
) -> None:
    options = {**LONG, "choose": "one-se"}
    run(tiny(**{**options, "rounds": rounds}), runs_dir=tmp_path, keep=keep)
    longer = run(tiny(**options), runs_dir=tmp_path, keep=keep)
    same(longer, whole)
    assert "goes on from" in (longer.path / "log.txt").read_text()


@pytest.mark.parametrize("word", ["best", "one-se", "max-drop:0.1"])
def test_runs_that_differ_in_the_chooser_share_their_rounds(
    word: str, whole: StoredRun, tiny: Make, tmp_path: Path
) -> None:
    run(tiny(**LONG, choose="max-drop:0.05"), runs_dir=tmp_path, keep="all")
    other = run(tiny(**LONG, choose=word), runs_dir=tmp_path)
    log = (other.path / "log.txt").read_text()
    assert "goes on from 7 rounds" in log
    assert other.rows == whole.rows
    apart = run(tiny(**LONG, choose=word), runs_dir=tmp_path / "apart", keep="all")
    same(other, apart)


def test_a_best_run_finds_its_records_in_one_that_chose_otherwise(
    tiny: Make, tmp_path: Path
) -> None:
    run(tiny(**LONG, choose="one-se"), runs_dir=tmp_path, keep="records")
    best = run(tiny(**LONG), runs_dir=tmp_path, keep="records")
    assert "goes on from 7 rounds" in (best.path / "log.txt").read_text()
    same(best, run(tiny(**LONG), runs_dir=tmp_path / "apart"))


@pytest.mark.parametrize("keep", ["records", "none"])
@pytest.mark.parametrize("rounds", [6, 5])
def test_where_the_weights_were_not_kept_it_says_so_and_trains(
    rounds: int, keep: Any, whole: StoredRun, tiny: Make, tmp_path: Path
) -> None:
    run(tiny(**{**LONG, "rounds": rounds}), runs_dir=tmp_path, keep=keep)
    with pytest.warns(UserWarning, match=r"not the weights of round .*'one-se' needs.*anew"):
        made = run(tiny(**LONG, choose="one-se"), runs_dir=tmp_path)
    same(made, whole)
    assert "training the curve anew" in (made.path / "log.txt").read_text()


class Plugin:
    @staticmethod
    @hookimpl
    def register_choosers() -> list[Component]:
        return [Component("third", "test_choosing:Third", "the first third")]


@pytest.fixture
def third() -> Any:
    catalogue.cache_clear()
    catalogue().add(Plugin(), "test")
    yield
    catalogue.cache_clear()


@pytest.mark.parametrize("keep", ["all", "records", "none"])
def test_of_a_chooser_that_goes_back_all_weights_are_held(
    keep: Any, third: None, tiny: Make, tmp_path: Path
) -> None:
    made = run(tiny(**LONG, choose="third"), runs_dir=tmp_path, keep=keep)
    assert made.result is not None
    assert made.result["best_round"] == 2
    assert kept_rounds(made.path) == ([0, 2] if keep == "none" else list(range(7)))
    shorter = run(tiny(**{**LONG, "rounds": 4}, choose="third"), runs_dir=tmp_path, keep=keep)
    assert shorter.result is not None
    assert shorter.result["best_round"] == 1

"""Replayed choosers against real runs with them, and against curves with known answers."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dsd_bench import configure, run
from dsd_bench.choosers import Chooser
from dsd_bench.errors import RunError, UsageError
from dsd_bench.params import Params
from dsd_bench.replay import rules, varied
from dsd_bench.replay.choices import Chosen, choose, summaries, way, ways
from dsd_bench.replay.curves import read_rounds
from dsd_bench.replay.rules import Rule
from dsd_bench.store import StoredRun

Command = Callable[..., tuple[int, str, str]]
WORDS = ("best", "one-se", "max-drop:0.05", "max-drop:0.2")
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


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[StoredRun]:
    """A curve of each of two seeds."""
    import torch

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("whole")
    return [run(configure(**OPTIONS, seed=seed), runs_dir=folder) for seed in (0, 1)]


@pytest.mark.parametrize("word", WORDS)
def test_a_replayed_chooser_is_what_a_real_run_with_it_does(
    whole: list[StoredRun], tmp_path: Path, word: str
) -> None:
    for full in whole:
        real = run(configure(**OPTIONS, choose=word, seed=full.seed), runs_dir=tmp_path)
        assert real.result is not None
        assert full.result is not None
        found = choose(*read_rounds(full), way(word))
        row = real.rows[real.result["best_round"]]
        assert found.round == row["round"]
        assert (found.accuracy, found.sparsity) == (row["test_accuracy"], row["sparsity"])
        assert found.best_round == full.result["best_round"]


def test_the_choosers_of_these_tests_choose_different_rounds(whole: list[StoredRun]) -> None:
    rounds = {choose(*read_rounds(full), way(word)).round for full in whole for word in WORDS}
    assert len(rounds) > 2


def rows(val: list[float], test: list[float] | None = None) -> list[dict[str, Any]]:
    told = zip(val, val if test is None else test, strict=True)
    return [
        {"round": n, "sparsity": 1 - 0.5**n, "nonzero": 64 >> n, "val_accuracy": v,
         "test_accuracy": t}
        for n, (v, t) in enumerate(told)
    ]  # fmt: skip


def test_what_is_saved_and_what_it_costs() -> None:
    curve = rows([0.90, 0.92, 0.91, 0.5], [0.80, 0.85, 0.82, 0.9])
    found = choose(configure(rounds=3), curve, way("max-drop:0.01"))
    assert (found.round, found.nonzero, found.best_round, found.oracle_round) == (2, 16, 1, 3)
    assert found.fewer == pytest.approx(0.5)
    assert found.lost == pytest.approx(0.03)
    assert found.given_up == pytest.approx(0.08)
    (best, dropped) = summaries(
        [(configure(rounds=3), curve), (configure(rounds=3, seed=1), rows([0.9, 0.8, 0.7, 0.6]))],
        [way("best"), way("max-drop:0.01")],
    )
    assert (best.fewer.mean, best.lost.mean) == (0, 0)
    assert dropped.fewer.mean == pytest.approx(0.25)
    assert dropped.fewer.std == pytest.approx(0.25 * 2**0.5)
    assert (dropped.round.mean, dropped.sparsity.mean) == (1, 0.375)


def test_all_that_is_told_of_a_choice() -> None:
    """Round 2 is chosen, round 1 is best on validation, and round 3 on test."""
    config = configure(rounds=3, seed=4)
    curve = rows([0.90, 0.92, 0.91, 0.5], [0.80, 0.85, 0.82, 0.9])
    assert choose(config, curve, way("max-drop:0.01")) == Chosen(
        chooser="max-drop",
        run_id=config.run_id,
        seed=4,
        round=2,
        sparsity=0.75,
        nonzero=16,
        accuracy=0.82,
        best_round=1,
        best_nonzero=32,
        best_accuracy=0.85,
        oracle_round=3,
        oracle_accuracy=0.9,
    )


def test_without_a_test_part_it_tells_by_validation() -> None:
    curve = [{**row, "test_accuracy": None} for row in rows([0.90, 0.92, 0.91, 0.5])]
    found = choose(configure(rounds=3), curve, way("max-drop:0.01"))
    assert (found.accuracy, found.best_accuracy, found.oracle_round) == (0.91, 0.92, 1)


def test_spreads_are_those_of_a_sample() -> None:
    """Three seeds that lose 0, 1 and 5 points: mean 2, and a deviation of the root of 7."""
    curves = [
        (configure(rounds=1, seed=seed), rows([0.9, 0.9], [0.8, 0.8 - lost]))
        for seed, lost in enumerate((0.0, 0.01, 0.05))
    ]
    (found,) = summaries(curves, [way("max-drop:0")])
    assert found.lost.mean == pytest.approx(0.02)
    assert found.lost.std == pytest.approx(0.07**0.5 / 10)
    assert [one.seed for one in found.choices] == [0, 1, 2]
    assert found.round.mean == 1


def test_a_grid_has_every_combination(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "rule_of", lambda *asked: asked)
    assert ways("x", {"a": [1, 2], "b": [3, 4]}) == [
        ("choose", "x", {"a": a, "b": b}) for a, b in ((1, 3), (1, 4), (2, 3), (2, 4))
    ]
    assert varied("x", {}) == [("stop", "x", {})]


def test_on_test_it_judges_and_tells_by_test() -> None:
    config = configure(rounds=2, selection="test")
    found = choose(config, rows([0.9, 0.8, 0.7], [0.7, 0.8, 0.8]), way("max-drop:0"))
    assert (found.round, found.best_round, found.accuracy) == (2, 1, 0.8)


def test_a_grid() -> None:
    words = [one.word for one in ways("max-drop", {"drop": ["0.02", "0.01"]})]
    assert words == ["max-drop:0.02", "max-drop"]
    with pytest.raises(UsageError, match="--choose max-drop"):
        ways("max-drop", {"dorp": ["1"]})


class Raises(Chooser):
    """Fails."""

    def choose(self, rounds: Any, score: str) -> int:
        raise ValueError("no idea")


def test_what_cannot_be_chosen_names_the_run() -> None:
    config, curve = configure(rounds=1), rows([0.5, 0.6])
    with pytest.raises(UsageError, match=f"run {config.run_id}: the chooser 'one-se' needs"):
        choose(config, curve, way("one-se"))
    broken = Rule("raises", way("best").config, Raises(Params()))
    with pytest.raises(RunError, match=r"chooser 'raises' failed on run .*ValueError: no idea"):
        choose(config, curve, broken)
    reads = Rule("reads", way("best").config, way("best").built, ("sparkle",))
    with pytest.raises(UsageError, match=r"'reads' reads sparkle, which run .*--metric sparkle"):
        choose(config, curve, reads)


# --- the command ------------------------------------------------------------------------------


def test_the_command(whole: list[StoredRun], command: Command) -> None:
    paths = [str(one.path) for one in whole]
    asked = [item for word in WORDS for item in ("--choose", word)]
    code, out, err = command("replay", *paths, *asked)
    assert (code, err) == (0, "")
    for text in ("max-drop:0.2", "one-se", "fewer", "lost", "given up", "best at"):
        assert text in out
    code, out, _ = command("replay", *paths, *asked, "--csv")
    lines = list(csv.DictReader(io.StringIO(out)))
    assert [line["chooser"] for line in lines] == [word for word in WORDS for _ in whole]
    code, out, _ = command("replay", *paths, *asked, "--json")
    (best, *others) = json.loads(out)["choosers"]
    assert best["lost"]["mean"] == 0
    assert all(len(one["runs"]) == 2 for one in others)
    for line, told in zip(lines[:2], best["runs"]):
        assert float(line["accuracy"]) == told["accuracy"]


def test_a_grid_and_its_figure(whole: list[StoredRun], command: Command, tmp_path: Path) -> None:
    figure = tmp_path / "choices.svg"
    words = ("--choose", "max-drop", "--vary", "drop=0.01,0.1", "--figure", str(figure))
    code, out, err = command("replay", str(whole[0].path), *words)
    assert code == 0
    assert "max-drop:0.1" in out
    assert "wrote" in err
    assert "weights saved" in figure.read_text()


@pytest.mark.parametrize(
    "words",
    [(), ("--stop", "never", "--choose", "best")],
)
def test_one_of_stop_and_choose(
    words: tuple[str, ...], whole: list[StoredRun], command: Command
) -> None:
    code, _, err = command("replay", str(whole[0].path), *words)
    assert code == 2
    assert "give --stop NAME, or --choose NAME" in err


def test_weights_that_were_not_kept_are_told(tmp_path: Path, command: Command) -> None:
    made = run(configure(**OPTIONS, seed=1), runs_dir=tmp_path, keep="none")
    code, out, _ = command("replay", str(made.path), "--choose", "max-drop:1")
    assert code == 0
    assert "weights not kept (--keep) of what max-drop:1 chooses, rounds 7 of seed 1" in " ".join(
        out.split()
    )
    assert "--choose max-drop:1" in " ".join(out.split())
    code, out, _ = command("replay", str(made.path), "--choose", "best")
    assert "not kept" not in out

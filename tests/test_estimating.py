"""What runs will take, before they are made: `run --dry-run`, the question before long work."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from rich.console import Console

from dsd_bench import RunConfig
from dsd_bench.cli import estimating
from dsd_bench.cli.estimating import Estimate, ask_first, estimate, light
from dsd_bench.executors import Settings
from dsd_bench.executors.planning import Planned, plan
from dsd_bench.reports.words import size_word
from dsd_bench.suites.costs import Budget, Expected, curves_left

Command = Callable[..., tuple[int, str, str]]
TinyRun = Callable[..., dict[str, Any]]
Make = Callable[..., RunConfig]
WORDS = "run --dataset digits:60,val_size=30 --model mlp:8 --batch-size 20 --epochs 2 --rounds"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def dry(command: Command, *words: str) -> dict[str, Any]:
    code, out, err = command(*words, "--dry-run", "--json")
    assert code == 0, err
    return json.loads(out)  # type: ignore[no-any-return]


def test_a_dry_run_runs_nothing_and_tells_what_is_there(
    tiny_run: TinyRun, command: Command
) -> None:
    (entry,) = tiny_run()["runs"]
    told = dry(command, *WORDS.split(), "2", "--seeds", "0-1", "--reg", "kd")
    assert sorted(path.name for path in Path("runs").iterdir()) == [entry["run_id"]]
    assert told["dry_run"] is True
    assert [one["status"] for one in told["teachers"]] == ["done", "to run"]
    assert [one["status"] for one in told["runs"]] == ["to run", "to run"]
    assert told["teachers"][0]["run_id"] == entry["run_id"]
    assert told["estimate"]["trainings"] == 3 * 3
    assert told["estimate"]["seconds"] > 0
    code, out, _ = command(*WORDS.split(), "2", "--seeds", "0-1", "--reg", "kd", "--dry-run")
    assert code == 0
    assert "4 runs: 1 finished, 3 to run (1 teacher among them)" in out
    assert "9 trainings; " in out


def test_what_is_told_is_what_is_run(tiny_run: TinyRun, command: Command) -> None:
    told = dry(command, *WORDS.split(), "1", "--seeds", "0-1")
    made = tiny_run("--rounds", "1", "--seeds", "0-1")
    assert [one["run_id"] for one in told["runs"]] == [one["run_id"] for one in made["runs"]]
    for one, run in zip(told["runs"], made["runs"]):
        folder = Path(run["path"])
        assert one["trainings"] == len((folder / "rounds.jsonl").read_text().splitlines())
        used = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        assert one["bytes"] / 20 < used < one["bytes"] * 20  # tiny: headers weigh more than weights
    assert dry(command, *WORDS.split(), "1", "--seeds", "0-1")["estimate"]["seconds"] == 0


def test_a_dry_run_needs_no_data(command: Command) -> None:
    words = "run --dataset cifar10 --model mlp:8 --seeds 0 --epochs 1".split()  # noqa: SIM905
    told = dry(command, *words)
    assert "cifar-10-batches-py is missing" in told["data_problem"]
    code, out, _ = command(*words, "--dry-run")
    assert code == 0
    assert "but: CIFAR10: " in out
    assert not Path("runs").exists()
    assert command(*words)[0] == 2


@pytest.mark.parametrize("words", ["--pruner magnitud", "--device tpu", "--executor lokal"])
def test_a_dry_run_refuses_what_a_run_refuses(words: str, command: Command) -> None:
    assert command("run", "--dry-run", *words.split())[0] == 2


def planned_of(tiny: Make, runs_dir: Path, **options: Any) -> list[Planned]:
    return plan([tiny(seed=seed, **options) for seed in (0, 1, 2)], runs_dir)


def costs_of(planned: list[Planned], seconds: float | None) -> Budget:
    one = Expected(10, seconds, 3, 1000)
    return Budget({item.job.run_id: one for item in planned}, True)


def test_runs_side_by_side_share_the_time(tiny: Make, tmp_path: Path) -> None:
    planned = planned_of(tiny, tmp_path)
    found = estimate(planned, costs_of(planned, 60.0), Settings(jobs=2))
    assert found == Estimate(9, 30, 90.0, 3000, 2, 3, 3, False)
    assert found.words == (
        "9 trainings; 30 MACs; about 1 min 30 s, 2 runs side by side; about 3.0 kB on disk"
    )
    unknown = estimate(planned, costs_of(planned, None), Settings(jobs=8))
    assert (unknown.seconds, unknown.side_by_side) == (None, 3)
    assert estimate(planned, costs_of(planned, 60.0), Settings(jobs=8)).seconds == 60.0


def test_a_stop_rule_makes_it_at_most(tiny: Make, tmp_path: Path) -> None:
    planned = planned_of(tiny, tmp_path, stop="patience")
    assert estimate(planned, costs_of(planned, 1.0), Settings()).words.startswith("at most 9 trai")


def left(config: RunConfig, **options: Any) -> tuple[int | None, float | None]:
    """Return trainings and seconds that are left of a run of 60 s."""
    planned = plan([config], Path("runs"), **options)
    found = estimate(planned, costs_of(planned, 60.0), Settings())
    return found.trainings, found.seconds


def test_rounds_that_are_there_are_not_trained_again(tiny_run: TinyRun, tiny: Make) -> None:
    (entry,) = tiny_run()["runs"]
    assert left(tiny()) == (0, 0.0)
    (Path(entry["path"]) / "result.json").unlink()
    assert left(tiny()) == (0, 0.0)  # three of three rounds
    rows = Path(entry["path"]) / "rounds.jsonl"
    rows.write_text(rows.read_text().splitlines(keepends=True)[0])
    assert left(tiny()) == (2, pytest.approx(60 * 4 / 6))
    assert left(tiny(), force=True) == (3, 60.0)


def test_nor_are_rounds_of_another_run_of_the_curve(tiny_run: TinyRun, tiny: Make) -> None:
    (entry,) = tiny_run()["runs"]
    assert left(tiny(choose="one-se")) == (0, 0.0)
    assert left(tiny(rounds=5)) == (0, pytest.approx(60 * 6 / 12))  # costs_of counts 3 trainings
    assert left(tiny(choose="one-se", metric=["ece"])) == (3, 60.0)  # which nobody recorded
    assert left(tiny(choose="one-se"), force=True) == (3, 60.0)
    assert left(tiny(seed=1)) == (3, 60.0)
    (Path(entry["path"]) / "config.json").write_text("{}")
    assert left(tiny(choose="one-se")) == (3, 60.0)


def test_a_curve_that_runs_share_counts_once(tiny: Make, tmp_path: Path) -> None:
    choosers = ("best", "one-se", "max-drop:0.01")
    configs = [tiny(seed=seed, choose=word) for word in choosers for seed in (0, 1)]
    planned = plan(configs, tmp_path)
    costs = costs_of(planned, 60.0)
    found = estimate(planned, costs, Settings(jobs=8))
    assert found == Estimate(6, 20, 60.0, 6000, 2, 2, 6, False)
    assert found.words.startswith("6 trainings of 2 curves, which the runs share; 20 MACs; about")
    assert costs.words(curves_left(planned)) == (
        "expected: 20 MACs, 2 min 0 s of training one run after another"
    )
    apart = plan(configs, tmp_path, force=True)  # each begins anew
    assert estimate(apart, costs, Settings(jobs=8)).trainings == 18


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, True),
        ({"dataset": "cifar10", "epochs": 160}, False),
        ({"dataset": "cifar10:train_size=500", "epochs": 5}, True),
        ({"target_sparsity": 0.9, "rounds": None}, True),
    ],
)
def test_small_runs_need_no_estimate(
    options: dict[str, Any], expected: bool, tiny: Make, tmp_path: Path
) -> None:
    assert light(planned_of(tiny, tmp_path, **options)) is expected


@pytest.fixture
def asked(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[list[str], str]]:
    """Pretend that somebody sits there and that the runs take that long; return the questions."""

    def ask(seconds: float, answer: bool = True, **given: Any) -> tuple[list[str], str]:
        questions: list[str] = []

        def confirm(text: str, abort: bool) -> None:
            questions.append(text)
            if not answer:
                raise click.Abort

        planned = planned_of(tiny, tmp_path)
        monkeypatch.setattr(estimating, "light", lambda planned: False)
        monkeypatch.setattr(estimating, "budget", lambda *args: costs_of(planned, seconds))
        monkeypatch.setattr(estimating.click, "confirm", confirm)
        tty = given.get("tty", True)
        monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: tty, fileno=lambda: 0))
        monkeypatch.setattr(estimating.os, "tcgetpgrp", lambda _: 1)
        monkeypatch.setattr(estimating.os, "getpgrp", lambda: 1 + given.get("background", 0))
        console = Console(force_terminal=given.get("terminal", True), record=True, width=300)
        ask_first(console, planned, Settings(jobs=1), given.get("yes", False))
        return questions, console.export_text()

    return ask


def test_before_long_work_a_person_is_asked(asked: Callable[..., Any]) -> None:
    questions, told = asked(40 * 86400 / 3)
    assert questions == ["go on?"]
    assert "about 40 days" in told
    assert "train_size" in told
    with pytest.raises(click.Abort):
        asked(40 * 86400, answer=False)


@pytest.mark.parametrize(
    "given",
    [{"yes": True}, {"tty": False}, {"terminal": False}, {"background": 1}, {"seconds": 60.0}],
)
def test_nobody_is_held_up_unasked(given: dict[str, Any], asked: Callable[..., Any]) -> None:
    assert asked(given.pop("seconds", 40 * 86400.0), **given) == ([], "")


@pytest.mark.parametrize(
    ("count", "word"),
    [
        (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (9_960, "10 kB"), (218_727_080, "219 MB"),
        (1_500_000_000, "1.5 GB"), (2_000_000_000_000, "2.0 TB"),
    ],
)  # fmt: skip
def test_sizes_in_words(count: int, word: str) -> None:
    assert size_word(count) == word

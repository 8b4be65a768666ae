"""Which runs are there: ``dsd-bench runs``, and what commands over ``runs/*`` leave out."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from fakes import TINY

from dsd_bench import configure, run
from dsd_bench.store.listing import list_runs, look
from dsd_bench.store.runs import load_run

Command = Callable[..., tuple[int, str, str]]
TinyRun = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds and a distilled run."""
    runs_dir = tmp_path_factory.mktemp("made") / "runs"
    for options in ({}, {"seed": 1}, {"reg": ["kd"]}):
        run(configure(**{**TINY, "rounds": 2, "epochs": 2, **options}), runs_dir=runs_dir)
    return runs_dir


@pytest.fixture
def zoo(made: Path, tmp_path: Path, command: Command) -> dict[str, Path]:
    """Make a run folder of every state, and things that are no runs."""
    shutil.copytree(made, tmp_path / "runs")
    runs = {path.name: load_run(path) for path in Path("runs").iterdir()}
    copies = {
        "kd": next(run.path for run in runs.values() if run.config["regularizers"]),
        "other": next(run.path for run in runs.values() if run.seed == 1),
    }
    copies["done"] = next(run.path for run in runs.values() if run.path not in copies.values())
    for number, name in enumerate(("unfinished", "failed", "damaged", "empty", "linked")):
        path = Path("runs", str(number) * 16)
        shutil.copytree(copies["done"], path)
        for file in ("config.json", "result.json"):
            value = json.loads((path / file).read_text()) | {"run_id": path.name}
            value.pop("sha256", None)  # of the files before they got another id
            (path / file).write_text(json.dumps(value))
        copies[name] = path
    (copies["unfinished"] / "result.json").unlink()
    (copies["failed"] / "result.json").unlink()
    (copies["failed"] / "failure.json").write_text('{"error": "the disk is full\\u001b[2J"}')
    (copies["damaged"] / "rounds.jsonl").write_text('{"round": 0')
    shutil.rmtree(copies["empty"])
    copies["empty"].mkdir()
    (copies["linked"] / "loop").symlink_to(Path("runs").absolute())
    Path("runs", "notes.txt").write_text("mine")
    Path("runs", "old").mkdir()
    return copies


def listed(command: Command, *words: str) -> dict[str, dict[str, Any]]:
    code, out, err = command("runs", "--json", *words)
    assert (code, err) == (0, "")
    return {one["run_id"]: one for one in json.loads(out)["runs"]}


def test_every_state_is_told(zoo: dict[str, Path], command: Command) -> None:
    told = listed(command)
    expected = {"done": "done", "other": "done", "kd": "done", "linked": "done"}
    expected |= {"unfinished": "unfinished", "failed": "failed"}
    expected |= {"damaged": "damaged", "empty": "damaged"}
    assert {name: told[path.name]["state"] for name, path in zoo.items()} == expected
    assert len(told) == len(zoo)
    assert "rounds.jsonl:1" in told[zoo["damaged"].name]["error"]
    one = told[zoo["kd"].name]
    assert (one["seed"], one["dataset"], one["rounds_done"], one["best_round"] in range(3)) == (
        0, "digits", 3, True,
    )  # fmt: skip
    assert "kd" in one["method"]
    assert datetime.fromisoformat(one["modified"]).timestamp() <= datetime.now().timestamp() + 1
    files = [path for path in zoo["kd"].rglob("*") if path.is_file()]
    assert one["bytes"] == sum(path.stat().st_size for path in files)


def test_a_link_is_not_followed(zoo: dict[str, Path]) -> None:
    assert look(zoo["linked"]).bytes < 2 * look(zoo["done"]).bytes


def test_the_newest_is_last(zoo: dict[str, Path]) -> None:
    for path in zoo["other"].rglob("*"):
        os.utime(path, (2e9, 2e9))
    assert list_runs(Path("runs"))[-1].path.name == zoo["other"].name


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["kd"], ["kd"]),
        (["KD", "digits"], ["kd"]),
        (["kd", "cifar"], []),
        (["--state", "failed", "--state", "damaged"], ["failed", "damaged", "empty"]),
        (["--dataset", "digits", "--state", "unfinished"], ["unfinished"]),
        (["--dataset", "cifar10"], []),
        (["--seeds", "1-3"], ["other"]),
        (["0000"], ["unfinished"]),
    ],
)
def test_filters(
    words: list[str], names: list[str], zoo: dict[str, Path], command: Command
) -> None:
    assert set(listed(command, *words)) == {zoo[name].name for name in names}
    code, out, _ = command("runs", "--ids", *words)
    assert (code, sorted(out.split())) == (0, sorted(zoo[name].name for name in names))


def test_the_list_for_people(zoo: dict[str, Path], command: Command) -> None:
    code, out, err = command("runs")
    assert (code, err) == (0, "")
    assert "8 runs in runs: 4 done, 1 unfinished, 1 failed, 2 damaged; " in out
    assert "the disk is full\\x1b[2J" in out
    assert "cannot be read" in out
    assert "1 run of 8 in runs" in command("runs", "kd")[1]


def test_without_runs(command: Command) -> None:
    code, _, err = command("runs")
    assert (code, err) == (2, "error: runs: cannot be listed: No such file or directory\n")
    Path("runs").mkdir()
    assert command("runs")[1] == "0 runs in runs\n"
    assert json.loads(command("runs", "--json")[1]) == {"runs": []}


@pytest.mark.parametrize("name", ["show", "analyze"])
def test_what_is_not_finished_is_left_out_with_a_note(
    name: str, zoo: dict[str, Path], command: Command
) -> None:
    code, out, err = command(name, *(str(path) for path in Path("runs").iterdir()))
    assert code == 0
    first, second = err.splitlines()
    assert first.startswith("note: no runs: runs/")
    assert {"runs/notes.txt", "runs/old"} == set(first.removeprefix("note: no runs: ").split(", "))
    assert second.startswith("note: 4 of 8 left out: ")
    for told in ("00000000 unfinished", "11111111 failed (the disk"):
        assert told in second
    assert "\x1b" not in err
    assert "seeds 0-1" in out


@pytest.mark.parametrize("name", ["show", "analyze"])
def test_alone_they_are_not_passed_over(name: str, zoo: dict[str, Path], command: Command) -> None:
    code, out, err = command(name, zoo["unfinished"].name)
    if name == "show":
        assert (code, err) == (0, "")
        assert "none yet: seed 0 unfinished after round 2" in out
    else:
        assert code == 2
        assert "is unfinished" in err
    code, _, err = command(name, zoo["damaged"].name)
    assert code == 2
    assert "rounds.jsonl:1" in err
    code, _, err = command(name, zoo["done"].name, "ffff")
    assert (code, "no run, folder of runs or method 'ffff' in runs" in err) == (2, True)


@pytest.mark.parametrize(
    "words", ["show --json", "analyze --json", "replay --stop patience --json", "ledger --json"]
)
def test_folders_of_runs_and_methods_stand_for_their_runs(
    words: str, tiny_run: TinyRun, command: Command
) -> None:
    ids = [entry["run_id"] for entry in tiny_run("--seeds", "0-1")["runs"]]
    (other,) = (entry["run_id"] for entry in tiny_run("--pruner", "random")["runs"])
    said = [command(*words.split(), *given) for given in (ids, ["magnitude"], ["magnitud*"])]
    assert [code for code, _, _ in said] == [0, 0, 0]
    assert said[0] == said[1] == said[2]
    assert other not in said[0][1]
    assert {*ids, other} <= set(re.findall("[0-9a-f]{16}", command(*words.split(), "runs")[1]))


def test_rows_of_a_folder_of_runs(tiny_run: TinyRun, command: Command) -> None:
    tiny_run("--seeds", "0-1")
    tiny_run("--pruner", "random")
    for word, count in (("runs", 2), ("random", 1)):
        code, out, _ = command("submit", word, "--dir", word + "-boards", "--json")
        assert (code, len(json.loads(out)["rows"])) == (0, count)


def test_show_as_json(zoo: dict[str, Path], command: Command) -> None:
    code, out, _ = command("show", "--json", zoo["done"].name, zoo["other"].name)
    told = json.loads(out)
    assert code == 0
    assert [run["run_id"] for run in told["runs"]] == [zoo["done"].name, zoo["other"].name]
    rows = [json.loads(line) for line in (zoo["done"] / "rounds.jsonl").read_text().splitlines()]
    assert told["runs"][0]["rows"] == rows
    (method,) = told["methods"]
    assert method["verdict"] in ("double descent", "no double descent", "cannot tell")
    assert method["dense"]["n"] == 2
    assert len(method["selected"]) == 2
    assert command("show", "--json", "--csv", zoo["done"].name)[0] == 2

"""Finished runs are not trusted: what changed is repaired, or refused."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dsd_bench import RunConfig, load_model
from dsd_bench.errors import DamagedFile, RunError, UsageError
from dsd_bench.executors import Settings
from dsd_bench.experiment import runner
from dsd_bench.experiment.mending import mend
from dsd_bench.store import files
from dsd_bench.store.folder import CHECKPOINT, PREVIOUS, RunFolder
from dsd_bench.store.runs import StoredRun, load_run
from dsd_bench.store.weights import read_weights
from dsd_bench.training import device

Command = Callable[..., tuple[int, str, str]]
TinyRun = Callable[..., dict[str, Any]]


def snapshot(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def result_of(path: Path) -> dict[str, Any]:
    return json.loads((path / "result.json").read_text())


@pytest.fixture
def finished(plain: StoredRun, tmp_path: Path) -> Path:
    """A copy of a finished run that may be spoilt."""
    path = tmp_path / "runs" / plain.run_id
    shutil.copytree(plain.path, path)
    return path


def config_of(path: Path) -> RunConfig:
    return RunConfig.from_json(json.loads((path / "config.json").read_text()))


def test_a_result_holds_the_hashes_of_all_that_is_kept(plain: StoredRun) -> None:
    found = result_of(plain.path)["sha256"]
    rest = (CHECKPOINT, PREVIOUS, "result.json", "timings.jsonl", "log.txt")
    expected = {
        name: hashlib.sha256(data).hexdigest()
        for name, data in snapshot(plain.path).items()
        if name not in rest and not name.startswith("provenance")
    }
    assert found == expected
    assert {"config.json", "rounds.jsonl", "correct.jsonl", "dense.safetensors"} <= found.keys()
    assert {"best.safetensors", "weights/round-001.safetensors"} <= found.keys()


SPOILT: dict[str, Callable[[bytes], bytes | None]] = {
    "cut": lambda data: data[: data.index(b"\n") + 1],
    "emptied": lambda data: b"",
    "a digit changed": lambda data: data.replace(b"0.", b"0.9", 1),
    "a line twice": lambda data: data + data.splitlines(keepends=True)[-1],
    "no JSON": lambda data: b"\x00\xff",
    "removed": lambda data: None,
}


@pytest.mark.parametrize("name", ["rounds.jsonl", "correct.jsonl"])
@pytest.mark.parametrize("how", SPOILT)
def test_a_changed_text_is_refused_by_readers_and_repaired_by_run(
    name: str, how: str, finished: Path
) -> None:
    before = snapshot(finished)
    data = SPOILT[how](before[name])
    if name == "correct.jsonl" and how == "a digit changed":
        data = before[name].replace(b'"round": 0', b'"round": 1')
    (finished / name).unlink()
    if data is not None:
        assert data != before[name]
        (finished / name).write_bytes(data)
    with pytest.raises(UsageError, match=name):
        load_run(finished)
    told: list[str] = []
    mend(finished, config_of(finished), told.append)
    after = snapshot(finished)
    assert after.pop("log.txt") != before.pop("log.txt")
    assert after == before
    assert len(told) == 1
    assert f"{name}: changed since the run ended; repaired" in told[0]
    load_run(finished)


def test_the_command_repairs_and_says_so(tiny_run: TinyRun, command: Command) -> None:
    (first,) = tiny_run("--metric", "entropy")["runs"]
    path = Path(first["path"])
    before = snapshot(path)
    for name in ("rounds.jsonl", "metrics/entropy.jsonl"):
        (path / name).write_text("")
    code, _, err = command("show", first["run_id"])
    assert (code, "rounds.jsonl" in err, "repairs it: dsd-bench run --config" in err) == (
        2,
        True,
        True,
    )
    code, out, _ = command("run", "--config", str(path / "config.json"), "--executor", "inline")
    assert code == 0
    assert "rounds.jsonl, metrics/entropy.jsonl: changed since the run ended; repaired" in out
    after = snapshot(path)
    assert {**after, "log.txt": b""} == {**before, "log.txt": b""}


def test_what_no_checkpoint_can_repair_is_refused(tiny_run: TinyRun, command: Command) -> None:
    (first,) = tiny_run()["runs"]
    path = Path(first["path"])
    whole = (path / "rounds.jsonl").read_bytes()
    (path / "rounds.jsonl").write_bytes(whole[:-9])
    for name in (CHECKPOINT, PREVIOUS):
        (path / name).write_bytes((path / name).read_bytes()[:-1])
    spoilt = snapshot(path)
    again = ("run", "--config", str(path / "config.json"), "--executor", "inline")
    code, _, err = command(*again)
    assert (code, err.count("\n")) == (2, 1)
    assert "rounds.jsonl" in err
    assert "damaged" in err
    assert "--force" in err
    assert snapshot(path) == spoilt
    (path / "rounds.jsonl").write_bytes(whole)  # put back
    assert command(*again)[0] == 0
    (path / "rounds.jsonl").write_bytes(b"")
    assert command(*again, "--force")[0] == 0
    assert (path / "rounds.jsonl").read_bytes() == whole


def test_rows_of_another_end_do_not_repair(finished: Path) -> None:
    """A checkpoint that holds other rows than those of the end is not what it ended with."""
    folder = RunFolder(finished, config_of(finished).curve_id)
    checkpoint = folder.read()
    folder.save(dataclasses.replace(checkpoint, rows=checkpoint.rows[:2]))
    (finished / PREVIOUS).unlink()
    spoilt = snapshot(finished)
    with pytest.raises(UsageError, match="not those of its end"):
        mend(finished, config_of(finished), lambda text: None)
    assert {**snapshot(finished), "x": b""} == {**spoilt, "x": b""}


@pytest.mark.parametrize("text", ["{}", "", '{"run_id": "0123456789abcdef"}', None])
def test_a_changed_configuration_is_written_anew(text: str | None, finished: Path) -> None:
    config, before = config_of(finished), snapshot(finished)
    (finished / "config.json").unlink()
    if text is not None:
        (finished / "config.json").write_text(text)
    with pytest.raises(UsageError, match=r"config\.json"):
        load_run(finished)
    mend(finished, config, lambda told: None)
    assert {**snapshot(finished), "log.txt": b""} == {**before, "log.txt": b""}


def test_a_configuration_of_the_same_run_in_other_words_is_taken(finished: Path) -> None:
    value = json.loads((finished / "config.json").read_text())
    (finished / "config.json").write_text(json.dumps({**value, "metrics": []}, indent=3))
    other = dict(result_of(finished))
    other["sha256"] = {**other["sha256"], "config.json": "0" * 64}
    (finished / "result.json").write_text(json.dumps(other))
    mend(finished, config_of(finished), lambda text: None)
    assert load_run(finished).run_id == finished.name


def test_runs_without_hashes_are_read_as_they_are(finished: Path) -> None:
    old = {k: v for k, v in result_of(finished).items() if k != "sha256"}
    (finished / "result.json").write_text(json.dumps(old))
    (finished / "rounds.jsonl").write_bytes((finished / "rounds.jsonl").read_bytes() + b"")
    before = snapshot(finished)
    mend(finished, config_of(finished), lambda text: None)
    assert snapshot(finished) == before
    load_run(finished)
    (finished / "config.json").write_text("{")
    mend(finished, RunConfig.from_json(json.loads(before["config.json"])), lambda text: None)
    assert (finished / "config.json").read_bytes() == before["config.json"]


def test_to_verify_a_run_takes_no_time(finished: Path) -> None:
    config = config_of(finished)
    began = time.process_time()
    for _ in range(5):
        mend(finished, config, lambda text: None)
    assert (time.process_time() - began) / 5 < 0.05


def test_hashes_name_no_file_outside(finished: Path, tmp_path: Path) -> None:
    """The names in result.json are not trusted as paths."""
    result = result_of(finished)
    for name in ("../../x", "/etc/passwd", "metrics/../../x.jsonl", "log.txt"):
        result["sha256"][name] = "0" * 64
    (finished / "result.json").write_text(json.dumps(result))
    load_run(finished)


# --- weights ---------------------------------------------------------------------------------


def test_weights_of_another_seed_are_noticed_wherever_they_are_read(
    tiny_run: TinyRun, command: Command
) -> None:
    words = ("--reg", "kd", "--rounds", "1", "--seeds")
    found = tiny_run(*words, "0-1")
    teachers = [Path(entry["path"]) for entry in found["teachers"]]
    student = Path(found["runs"][0]["path"])
    for name in ("best.safetensors", "dense.safetensors"):
        shutil.copy(teachers[1] / name, teachers[0] / name)
    with pytest.raises(DamagedFile, match=f"of run {teachers[1].name}, not of {teachers[0].name}"):
        load_model(teachers[0])
    shutil.rmtree(student)
    message = tiny_run(*words, "0", code=2)["runs"][0]["error"]
    assert "holds the weights of run" in message
    assert "--force" in message
    # a longer run of the teacher's curve does not take them over either
    (longer,) = tiny_run("--rounds", "2")["runs"]
    assert longer["resumed_from_round"] is None
    assert "cannot go on from" in (Path(longer["path"]) / "log.txt").read_text()


def test_other_weights_of_the_same_run_are_noticed(finished: Path) -> None:
    weights = finished / "weights"
    shutil.copy(weights / "round-001.safetensors", weights / "round-002.safetensors")
    with pytest.raises(DamagedFile, match="is not the file that the run ended with"):
        load_model(finished, 2)
    load_model(finished, 1)


def test_weights_that_do_not_say_whose_they_are(finished: Path) -> None:
    """The first release's: taken where nothing else is known, or where the hash is theirs."""
    from dsd_bench.store.tensors import read_tensors, write_tensors

    path = finished / "dense.safetensors"
    write_tensors(path, read_tensors(path)[0], {"name": "dense"})
    with pytest.raises(DamagedFile, match="is not the file"):
        load_model(finished, "dense")
    assert read_weights(finished, "dense", finished.name, hashes={})
    result = result_of(finished)
    result["sha256"]["dense.safetensors"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (finished / "result.json").write_text(json.dumps(result))
    load_model(finished, "dense")


# --- numerics --------------------------------------------------------------------------------


def test_plans_say_the_numerics(plain: StoredRun) -> None:
    assert [plan["numerics"] for plan in result_of(plain.path)["plan"]] == [1]


def test_rounds_of_other_numerics_are_never_gone_on_from(
    tiny_run: TinyRun, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = tiny_run("--rounds", "1")["runs"]
    (Path(one["path"]) / "result.json").unlink()
    monkeypatch.setattr(device, "numerics", lambda device, layout: 2)
    assert tiny_run("--rounds", "1")["runs"][0]["status"] == "done"  # nothing was left to train
    (other,) = tiny_run("--rounds", "2")["runs"]
    assert other["resumed_from_round"] is None
    log = (Path(other["path"]) / "log.txt").read_text()
    assert "cannot go on from" in log
    assert "numerics 1" in log
    assert [plan["numerics"] for plan in result_of(Path(other["path"]))["plan"]] == [2]


def test_an_unfinished_run_of_other_numerics_is_refused(
    tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = tiny_run("--rounds", "2")["runs"]
    path = Path(one["path"])
    folder = RunFolder(path, json.loads((path / "config.json").read_text())["curve_id"])
    checkpoint = folder.read()
    begun = dataclasses.replace(checkpoint, rows=checkpoint.rows[:1], round=1)
    folder.save(begun)
    (path / "result.json").unlink()
    monkeypatch.setattr(device, "numerics", lambda device, layout: 2)
    (refused,) = tiny_run("--rounds", "2", code=2)["runs"]
    assert "numerics 1" in refused["error"]
    assert "--force" in refused["error"]


VGG = ("--model", "vgg-like:depth=1,width_exponent=2")


def test_a_network_of_convolutions_goes_on_in_the_layout_it_began_in(
    tiny_run: TinyRun, command: Command
) -> None:
    (one,) = tiny_run(*VGG, "--rounds", "2", "--layout", "nchw")["runs"]
    path = Path(one["path"])
    (plan,) = result_of(path)["plan"]
    assert (plan["layout"], plan["numerics"]) == ("nchw", 1)
    folder = RunFolder(path, json.loads((path / "config.json").read_text())["curve_id"])
    checkpoint = folder.read()
    folder.save(dataclasses.replace(checkpoint, rows=checkpoint.rows[:1], round=1))
    (path / "result.json").unlink()
    (refused,) = tiny_run(*VGG, "--rounds", "2", code=2)["runs"]
    assert "--layout nchw" in refused["error"]
    (again,) = tiny_run(*VGG, "--rounds", "2", "--layout", "nchw")["runs"]
    assert again["status"] == "done"
    (fresh,) = tiny_run(*VGG, "--rounds", "2", "--force")["runs"]
    (plan,) = result_of(Path(fresh["path"]))["plan"]
    assert (plan["layout"], plan["numerics"]) == ("nhwc", 2)


# --- what need not be written, and what must not ----------------------------------------------


def test_a_finished_run_in_a_folder_that_cannot_be_written(
    tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tiny_run("--reg", "kd", "--rounds", "1")
    monkeypatch.setattr(os, "access", lambda path, mode: False)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("something was written")

    for place, name in ((files, "write_atomic"), (files, "append_line"), (runner, "locked")):
        monkeypatch.setattr(place, name, refuse)
    again = tiny_run("--reg", "kd", "--rounds", "1")
    assert [entry["reused"] for entry in (*again["runs"], *again["teachers"])] == [True, True]
    path = Path(first["runs"][0]["path"])
    outcome = runner.run_folder(path, Settings(), lambda event: None, lambda: False)
    assert outcome.status == "done"


@pytest.mark.parametrize("name", ["weights", "metrics"])
def test_a_linked_folder_is_never_written_through(
    name: str, tiny_run: TinyRun, tmp_path: Path
) -> None:
    run_id = tiny_run("--metric", "entropy", "--runs-dir", "first")["runs"][0]["run_id"]
    target = tmp_path / "target"
    target.mkdir()
    path = tmp_path / "runs" / run_id
    path.mkdir(parents=True)
    (path / name).symlink_to(target)
    (target / ".a.tmp").write_text("mine")
    (entry,) = tiny_run("--metric", "entropy", code=1)["runs"]
    assert f"{name}: is a link" in entry["error"]
    assert "\n" not in entry["error"]
    assert [file.name for file in target.iterdir()] == [".a.tmp"]


@pytest.mark.parametrize(
    "name",
    ["config.json", "rounds.jsonl", "result.json", "log.txt", "timings.jsonl", "correct.jsonl"],
)
def test_a_linked_file_keeps_what_it_links_to(name: str, tiny_run: TinyRun, tmp_path: Path) -> None:
    run_id = tiny_run("--runs-dir", "first")["runs"][0]["run_id"]
    path, target = tmp_path / "runs" / run_id, tmp_path / "target"
    target.write_text("mine")
    path.mkdir(parents=True)
    (path / name).symlink_to(target)
    (entry,) = tiny_run()["runs"]
    assert entry["status"] == "done"
    assert target.read_text() == "mine"


def spoil_folder(path: Path) -> None:
    path.mkdir()


def spoil_fifo(path: Path) -> None:
    os.mkfifo(path)


def spoil_text(path: Path) -> None:
    path.write_bytes(b'\xff{"round": []}\n[1]\n')


@pytest.mark.parametrize("name", ["timings.jsonl", "log.txt"])
@pytest.mark.parametrize("spoil", [spoil_folder, spoil_fifo, spoil_text])
def test_mere_information_never_stops_a_run(
    name: str, spoil: Callable[[Path], None], tiny_run: TinyRun, tmp_path: Path
) -> None:
    (first,) = tiny_run("--runs-dir", "first")["runs"]
    path = tmp_path / "runs" / first["run_id"]
    path.mkdir(parents=True)
    spoil(path / name)
    (entry,) = tiny_run()["runs"]
    assert entry["status"] == "done"
    rows = (Path(first["path"]) / "rounds.jsonl").read_bytes()
    assert (path / "rounds.jsonl").read_bytes() == rows


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("")
    with pytest.raises(RunError, match="weights: is a link or no folder"):
        files.own_folder(tmp_path / "weights")

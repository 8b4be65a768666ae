"""``dsd-bench clean``: only what is known and nobody needs; whatever else lies there stays."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dsd_bench import RunConfig, api
from dsd_bench.executors import Settings
from dsd_bench.store.cleaning import AGE, find_waste, remove
from dsd_bench.store.files import temporary
from dsd_bench.store.locks import locked
from dsd_bench.store.runs import StoredRun, finished

Make = Callable[..., RunConfig]
Command = Callable[..., tuple[int, str, str]]
OLD, NEW = "checkpoint.previous.safetensors", "checkpoint.safetensors"


@pytest.fixture
def runs(plain: StoredRun, tmp_path: Path) -> Path:
    """One finished run."""
    shutil.copytree(plain.path, tmp_path / "runs" / plain.run_id)
    return tmp_path / "runs"


def aged(path: Path, seconds: float = AGE + 60) -> Path:
    """Let a file or folder be that old."""
    now = path.lstat().st_mtime
    os.utime(path, (now - seconds, now - seconds), follow_symlinks=False)
    return path


def written(path: Path, data: str = "x" * 10) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data)
    return aged(path)


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def cleaned(folder: Path, **options: bool) -> set[str]:
    """Delete what may go and return what went."""
    before = names(folder)
    assert {why for _, why in remove(find_waste(folder, **options), **options)} <= {None}
    assert find_waste(folder, **options) == []
    assert names(folder) <= before
    return before - names(folder)


def test_a_finished_run_keeps_its_newest_checkpoint_and_can_be_extended(
    runs: Path, plain: StoredRun, tiny: Make
) -> None:
    assert cleaned(runs) == {f"{plain.run_id}/{OLD}"}
    longer = tiny(rounds=3)
    api.execute([longer], runs, Settings(), executor="inline")
    rows = (runs / longer.run_id / "rounds.jsonl").read_text().splitlines()
    assert rows[:3] == (runs / plain.run_id / "rounds.jsonl").read_text().splitlines()
    assert "goes on from 3 rounds" in (runs / longer.run_id / "log.txt").read_text()


def test_without_extending_both_go_and_the_run_stays_done(runs: Path, plain: StoredRun) -> None:
    gone = cleaned(runs, extend=False)
    assert gone == {f"{plain.run_id}/{OLD}", f"{plain.run_id}/{NEW}"}
    assert finished(runs / plain.run_id)


@pytest.mark.parametrize("damage", [b"", b"x" * 100])
def test_the_old_checkpoint_stays_where_the_newest_is_damaged(
    runs: Path, plain: StoredRun, damage: bytes
) -> None:
    (runs / plain.run_id / NEW).write_bytes(damage)
    assert find_waste(runs) == []
    (runs / plain.run_id / NEW).unlink()
    assert find_waste(runs) == []


def test_unfinished_runs_keep_both(runs: Path, plain: StoredRun) -> None:
    (runs / plain.run_id / "result.json").unlink()
    assert find_waste(runs) == []
    assert find_waste(runs, extend=False) == []


def test_leftovers_go_when_they_are_old(runs: Path, plain: StoredRun) -> None:
    path = runs / plain.run_id
    leftovers = [
        written(path / ".rounds.jsonl.4711.tmp"),
        written(temporary(path / "rounds.jsonl")),
        written(path / "weights" / ".round-001.safetensors.1.tmp"),
        written(path / "metrics" / ".x.jsonl.99.tmp"),
        written(path / f"{NEW}.new"),
    ]
    kept = [
        written(path / "notes.tmp"),
        written(path / ".hidden"),
        written(path / ".mine.tmp"),
        written(path / "weights" / f"{NEW}.new"),
        written(path / "mine" / ".rounds.jsonl.4711.tmp"),
        written(runs / ".rounds.jsonl.4711.tmp"),
        written(runs / "other" / ".rounds.jsonl.4711.tmp"),
    ]
    young = path / ".config.json.4711.tmp"
    young.write_text("somebody writes it")
    found = [one for one in find_waste(runs) if one.kind == "leftover"]
    assert {one.path for one in found} == set(leftovers)
    assert {one.bytes for one in found} == {10}
    cleaned(runs)
    assert not any(file.exists() for file in leftovers)
    assert all(file.exists() for file in [*kept, young])


def test_broken_folders_go_if_nothing_of_worth_or_unknown_is_in_them(runs: Path) -> None:
    (empty, damaged, rows, newer, foreign, young, folder) = (runs / (c * 16) for c in "0123456")
    for path in (empty, damaged, rows, newer, foreign, young, folder):
        path.mkdir()
    written(damaged / "config.json", '{"run_id":')
    written(damaged / "log.txt")
    written(damaged / "rounds.jsonl", "")
    written(rows / "rounds.jsonl", '{"round": 0}\n')
    written(newer / "config.json", '{"schema": 9}')
    written(foreign / "thesis.tex")
    (folder / "weights").mkdir()
    for path in (empty, damaged, rows, newer, foreign, folder):
        aged(path)
    assert {one.path for one in find_waste(runs) if one.kind == "broken"} == {empty, damaged}
    cleaned(runs)
    assert not empty.exists()
    assert not damaged.exists()
    assert all(path.exists() for path in (rows, newer, foreign, young, folder))


def test_links_are_never_followed(runs: Path, plain: StoredRun, tmp_path: Path) -> None:
    path, outside = runs / plain.run_id, tmp_path / "outside"
    shutil.copytree(path, outside)
    written(outside / ".rounds.jsonl.1.tmp")
    (runs / ("a" * 16)).symlink_to(outside)
    shutil.rmtree(path / "metrics", ignore_errors=True)
    (path / "metrics").symlink_to(outside)
    aged(path / "metrics")
    (path / ".x.1.tmp").symlink_to(outside / "config.json")
    aged(path / ".x.1.tmp")
    before = names(outside)
    assert cleaned(runs, extend=False) == {f"{plain.run_id}/{OLD}", f"{plain.run_id}/{NEW}"}
    assert names(outside) == before
    old = runs / plain.run_id / OLD
    old.symlink_to(outside / OLD)
    assert find_waste(runs) == []


def test_a_run_that_is_worked_on_is_left_alone(runs: Path, plain: StoredRun) -> None:
    path = runs / plain.run_id
    found = find_waste(runs)
    assert found
    with locked(path / "lock"):
        assert find_waste(runs) == []
    held = {"host": "node7", "boot": "b", "pid": 3, "started": "1", "beat": 0}
    (path / "lock").write_text(json.dumps(held))
    assert find_waste(runs) == []
    # taken by another host after the list was made: it cannot be known dead at once
    assert [why for _, why in remove(found)] == ["somebody is at work on this run"]
    assert (path / OLD).exists()
    (path / "lock").write_text("?")
    assert find_waste(runs) == []


def test_what_changed_since_the_list_is_left_alone(runs: Path, plain: StoredRun) -> None:
    found = find_waste(runs)
    (runs / plain.run_id / "result.json").unlink()
    assert [why for _, why in remove(found)] == ["it is needed again"]
    assert (runs / plain.run_id / OLD).exists()


def test_the_command_lists_asks_and_deletes(
    runs: Path, plain: StoredRun, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = runs / plain.run_id / OLD
    code, out, _ = command("clean", "--dry-run")
    assert code == 0
    assert "1 checkpoint of finished runs" in out
    assert f"{plain.run_id}/{OLD}" in out
    code, _, err = command("clean")
    assert code == 2
    assert "nobody to ask: give --yes" in err
    assert command("clean", "--json")[0] == 2
    assert old.exists()
    told = json.loads(command("clean", "--yes", "--json")[1])
    assert [(one["kind"], one["deleted"]) for one in told["found"]] == [("checkpoint", True)]
    assert not old.exists()
    assert "nothing to delete" in command("clean")[1]
    code, out, _ = command("clean", "--no-extend", "--yes")
    assert (code, out.splitlines()[-1].split(":")[0]) == (0, "deleted 1 of 1")
    code, _, err = command("clean", "nowhere")
    assert (code, err) == (2, "error: nowhere: no such folder\n")


def test_what_cannot_be_deleted_is_told(
    runs: Path, plain: StoredRun, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.unlink

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if path.name == OLD:
            raise PermissionError(1, "Operation not permitted")
        real(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    code, out, err = command("clean", "--yes")
    assert code == 1
    assert "deleted 0 of 1" in out
    assert err == f"error: runs/{plain.run_id}/{OLD}: cannot be deleted: Operation not permitted\n"

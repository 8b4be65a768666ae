from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fakes import row

from dsd_bench.errors import DamagedFile, RunError, UsageError
from dsd_bench.store import files
from dsd_bench.store.checkpoint import Checkpoint
from dsd_bench.store.folder import CHECKPOINT, PREVIOUS, RunFolder
from dsd_bench.store.runs import find_run, load_run, stored_ids
from dsd_bench.store.tensors import read_tensors, write_tensors

TENSORS = {
    "a": torch.arange(6.0).reshape(2, 3),
    "half": torch.tensor([1.5, -0.0], dtype=torch.bfloat16),
    "mask": torch.tensor([True, False]),
    "scalar": torch.tensor(3),
    "empty": torch.zeros(0),
}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_tensors_come_back(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_tensors(path, TENSORS, {"round": 3, "text": "\u00e9"})
    tensors, state = read_tensors(path)
    assert same(tensors, TENSORS)
    assert state == {"round": 3, "text": "\u00e9"}


def test_tensors_that_share_memory_can_be_written(tmp_path: Path) -> None:
    tied = torch.ones(3)
    write_tensors(tmp_path / "x", {"a": tied, "b": tied, "t": torch.ones(2, 3).t()}, {})
    assert read_tensors(tmp_path / "x")[0]["t"].shape == (3, 2)


def test_every_damaged_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"a": torch.arange(4.0)}, {"round": 1})
    whole = path.read_bytes()
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(DamagedFile):
            read_tensors(path)
    for length in (0, 5, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedFile):
            read_tensors(path)
    path.unlink()
    with pytest.raises(DamagedFile, match="no such file"):
        read_tensors(path)


def checkpoint(round: int, kept: tuple[str, ...] = ()) -> Checkpoint:
    rows = tuple(row(r, metrics={"m": {"v": r}}) for r in range(round))
    return Checkpoint(rows, round, True, {"epoch": 1, "step": 2}, TENSORS, ({"p": 1},), kept)


def equal(one: Checkpoint | None, other: Checkpoint) -> bool:
    return one is not None and one.state() == other.state() and same(one.tensors, other.tensors)


def test_folder_restores_the_newest_checkpoint(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.restore() is None
    folder.save(checkpoint(1))
    folder.save(checkpoint(2))
    assert equal(folder.restore(), checkpoint(2))
    rows = [json.loads(line) for line in (tmp_path / "rounds.jsonl").read_text().splitlines()]
    assert rows == [row(0), row(1)]
    further = (tmp_path / "metrics" / "m.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in further] == [{"round": 0, "v": 0}, {"round": 1, "v": 1}]


def test_folder_falls_back_to_the_previous_checkpoint(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.save(checkpoint(1))
    folder.save(checkpoint(2))
    (tmp_path / CHECKPOINT).write_bytes((tmp_path / CHECKPOINT).read_bytes()[:-3])
    assert equal(folder.restore(), checkpoint(1))
    assert len((tmp_path / "rounds.jsonl").read_text().splitlines()) == 1
    assert "damaged" in (tmp_path / "log.txt").read_text()
    (tmp_path / PREVIOUS).write_bytes(b"")
    assert folder.restore() is None


def test_killed_between_the_two_renames(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.save(checkpoint(1))
    os.replace(tmp_path / CHECKPOINT, tmp_path / PREVIOUS)
    assert equal(folder.restore(), checkpoint(1))


def test_a_checkpoint_whose_kept_weights_are_damaged_is_not_used(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.save(checkpoint(1))
    kept = ("round-001", "round-002")
    for name in kept:
        folder.keep(name, {"w": torch.ones(2)})
    whole = replace(checkpoint(2, kept), needed=("round-002",))
    folder.save(whole)
    assert equal(folder.restore(), whole)
    (tmp_path / "weights" / "round-001.safetensors").write_bytes(b"x")
    assert equal(folder.restore(), whole)
    (tmp_path / "weights" / "round-002.safetensors").write_bytes(b"x")
    assert equal(folder.restore(), checkpoint(1))


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    files.write_atomic(path, b"old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="disk is full"):
        files.write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def make_run(folder: Path, run_id: str) -> Path:
    path = folder / run_id
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"run_id": run_id}))
    return path


def test_runs_are_found_by_id_prefix_or_path(tmp_path: Path) -> None:
    one, two = make_run(tmp_path, "ab" + "0" * 14), make_run(tmp_path, "ac" + "0" * 14)
    (tmp_path / "notes").mkdir()
    assert stored_ids(tmp_path) == [one.name, two.name]
    assert find_run("ab", tmp_path) == one
    assert find_run(str(two), tmp_path) == two
    for word, says in (("a", "fits 2 runs"), ("ff", "no run 'ff'"), ("../x", "no run")):
        with pytest.raises(UsageError, match=says):
            find_run(word, tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '{"run_id": "../../etc"}', '{"run_id": 3}'])
def test_a_folder_that_is_no_run(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UsageError, match=r"config\.json"):
        load_run(tmp_path)

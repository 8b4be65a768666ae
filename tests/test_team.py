"""Several processes that train one model: the same run, within rounding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dsd_bench.environment import Launch, launched
from dsd_bench.errors import UsageError
from dsd_bench.executors import Settings
from dsd_bench.experiment import runner
from dsd_bench.experiment.runner import run_folder
from dsd_bench.store.correct import read_correct
from dsd_bench.training.distributed import Team

OPTIONS = (
    *("--dataset", "digits:train_size=61,val_size=30", "--model", "mlp:hidden=8"),
    *("--batch-size", "20", "--epochs", "3", "--seeds", "0", "--executor", "inline"),
    *("--perturber", "rewind:step=4", "--reg", "kd:teacher=dense", "--reg", "augment:cutout"),
)


def run(folder: Path, processes: int, *words: str) -> list[dict[str, Any]]:
    """Run in ``processes`` processes and return the student's rows."""
    start = [sys.executable, "-m"]
    if processes > 1:
        start += ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    command = [*start, "dsd_bench", "run", *OPTIONS, *words, "--runs-dir", str(folder), "--json"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, env=env, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)  # one process speaks
    assert [entry["status"] for entry in outcome["runs"]] == ["done"]
    path = Path(outcome["runs"][0]["path"])
    bits = [parts["test"] for parts in read_correct(path).values()]
    rows = [json.loads(line) for line in (path / "rounds.jsonl").read_text().splitlines()]
    assert [right.mean() for right in bits] == [row["test_accuracy"] for row in rows]
    return rows


def assert_close(rows: list[dict[str, Any]], others: list[dict[str, Any]]) -> None:
    assert len(rows) == len(others)
    for row, other in zip(rows, others):
        assert row["sparsity_per_layer"] == other["sparsity_per_layer"]
        for key in ("train_loss", "test_loss", "entropy", "val_accuracy", "test_accuracy"):
            assert row[key] == pytest.approx(other[key], abs=1e-5), key


def test_two_processes_make_the_same_run_and_others_go_on_with_it(tmp_path: Path) -> None:
    # 61 samples: the last batch of one is left out, shares of 20 are 10 and 10
    alone = run(tmp_path / "alone", 1, "--rounds", "2")
    assert_close(run(tmp_path / "two", 2, "--rounds", "1"), alone[:2])
    assert_close(run(tmp_path / "two", 3, "--rounds", "2"), alone)  # shares of 6, 7 and 7
    paths = (tmp_path / "two").glob("*/result.json")
    plans = [[plan["processes"] for plan in json.loads(p.read_text())["plan"]] for p in paths]
    assert [2, 3] in plans


@given(st.integers(0, 300), st.integers(1, 9))
def test_shares_are_the_whole_in_order(count: int, size: int) -> None:
    parts = [range(count)[Team(rank, size).share(count)] for rank in range(size)]
    assert [place for part in parts for place in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_batch_norm_over_processes_needs_gpus() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    assert Team().adapt(model) is model
    assert Team(0, 2).adapt(model[0]) is model[0]
    with pytest.raises(UsageError, match="batch norm over several processes needs GPUs"):
        Team(0, 2).adapt(model)
    synced = Team(0, 2, torch.device("cuda")).adapt(model)
    assert isinstance(synced[1], nn.SyncBatchNorm)  # type: ignore[index]
    assert set(synced.state_dict()) == set(model.state_dict())


def test_only_all_of_torchrun_s_words_count() -> None:
    words = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost"}
    assert launched(words) == Launch(1, 4)
    assert launched({k: v for k, v in words.items() if k != "MASTER_ADDR"}) == Launch()


@pytest.mark.parametrize("rank", [0, 1])
def test_a_failure_ends_the_process_for_which_the_others_wait(
    rank: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # going on with the next run would answer questions that the others ask about this one
    folder = tmp_path / "0123456789abcdef"
    folder.mkdir()
    alone = run_folder(folder, Settings(), lambda event: None, lambda: False)
    assert (alone.status, (folder / "failure.json").exists()) == ("failed", True)
    (folder / "failure.json").unlink()
    monkeypatch.setattr(runner, "launched", lambda: Launch(rank, 2))
    with pytest.raises(UsageError, match="no such file"):
        run_folder(folder, Settings(), lambda event: None, lambda: False)
    assert (folder / "failure.json").exists() == (rank == 0)  # only the leader writes

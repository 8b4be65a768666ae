"""The components in whole runs of a few seconds, as users run them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dsd_bench import configure, run
from dsd_bench.errors import UsageError

TINY: dict[str, Any] = {
    "dataset": "digits:train_size=60,val_size=30",
    "model": "mlp:hidden=8",
    "batch_size": 20,
    "epochs": 3,
    "rounds": 2,
}
WORDS = ("label-smoothing", "gce", "mixup", "elr")


def rows(runs_dir: Path, **options: Any) -> list[dict[str, Any]]:
    """Carry out a tiny run and return its rows."""
    return list(run(configure(**TINY, **options), runs_dir=runs_dir).rows)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return the rows of a run with none of them."""
    return rows(tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize("word", WORDS)
def test_each_trains_otherwise_and_the_same_again(
    word: str, tmp_path: Path, plain: list[dict[str, Any]]
) -> None:
    """Their defaults change the numbers, and nothing that is drawn is left to chance."""
    found = rows(tmp_path / "one", reg=[word])
    assert found == rows(tmp_path / "two", reg=[word])
    assert [row["sparsity"] for row in found] == [row["sparsity"] for row in plain]
    assert all(one["train_loss"] != two["train_loss"] for one, two in zip(found, plain))


@pytest.mark.parametrize("word", ["label-smoothing:0", "elr:weight=0"])
def test_without_strength_it_is_cross_entropy(
    word: str, tmp_path: Path, plain: list[dict[str, Any]]
) -> None:
    """To the last bit."""
    assert rows(tmp_path, reg=[word]) == plain


def test_they_combine_with_one_another_and_with_a_teacher(tmp_path: Path) -> None:
    """A smoothed teacher as in Lukasik et al. 2020, and mixtures of everything."""
    found = rows(tmp_path, reg=["mixup:0.3", "gce", "kd"], teacher={"reg": ["label-smoothing"]})
    assert len(found) == 3
    teacher, student = sorted(tmp_path.glob("*/config.json"), key=lambda p: "kd" in p.read_text())
    names = [regularizer["name"] for regularizer in json.loads(teacher.read_text())["regularizers"]]
    assert names == ["label-smoothing"]
    assert "mixup" in student.read_text()


def test_two_losses_or_mixtures_with_elr_are_refused_beforehand(tmp_path: Path) -> None:
    """By name, before a folder is made."""
    with pytest.raises(UsageError, match="'label-smoothing' and 'gce' both replace the loss"):
        rows(tmp_path, reg=["label-smoothing", "gce"])
    with pytest.raises(UsageError, match="no regularizer may mix"):
        rows(tmp_path, reg=["elr", "mixup"])
    assert not list(tmp_path.iterdir())


def test_two_processes_make_the_same_run(tmp_path: Path) -> None:
    """Within rounding: what is mixed with what is drawn for the whole batch."""
    reg = ["mixup", "gce"]
    alone = rows(tmp_path / "alone", reg=reg)
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    options = ["--dataset", TINY["dataset"], "--model", TINY["model"], "--batch-size", "20"]
    options += ["--epochs", "3", "--rounds", "2", "--seeds", "0", "--executor", "inline", "--json"]
    options += ["--reg", reg[0], "--reg", reg[1], "--runs-dir", str(tmp_path / "two")]
    command = [*start, "-m", "dsd_bench", "run", *options]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    path = Path(json.loads(done.stdout)["runs"][0]["path"])
    for one, line in zip(alone, (path / "rounds.jsonl").read_text().splitlines(), strict=True):
        two = json.loads(line)
        assert one["train_loss"] == pytest.approx(two["train_loss"], abs=1e-5)
        assert one["sparsity_per_layer"] == two["sparsity_per_layer"]

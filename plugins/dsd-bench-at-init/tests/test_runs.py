"""The pruners in whole runs of a few seconds, as users run them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from dsd_bench import configure, load_model, run

TINY: dict[str, Any] = {
    "dataset": "digits:train_size=60,val_size=30",
    "model": "mlp:hidden=8",
    "batch_size": 20,
    "epochs": 1,
    "rounds": 3,
    "lr": 1e-9,  # so that a trained network still shows where it began
    "weight_decay": 0,
}


@pytest.mark.parametrize("word", ["snip", "grasp", "synflow"])
def test_each_round_is_a_part_of_the_network_as_initialised(word: str, tmp_path: Path) -> None:
    """And is called so in the run's configuration; the counts are those of every pruner."""
    found = run(configure(**TINY, pruner=word), runs_dir=tmp_path)
    assert found.config["pruner"]["at_initialisation"] is True
    plain = run(configure(**TINY), runs_dir=tmp_path).rows
    assert [row["nonzero"] for row in found.rows] == [row["nonzero"] for row in plain]
    assert found.rows[0] == plain[0]
    whole = [p.detach() for p in load_model(found.path, 0).parameters()]
    before = [torch.ones_like(p) for p in whole]
    for row in found.rows[1:]:
        now = [p.detach() for p in load_model(found.path, row["round"]).parameters()]
        masks = [(p != 0).float() for p in now]
        for initial, weight, mask, last in zip(whole, now, masks, before, strict=True):
            if weight.dim() > 1:
                torch.testing.assert_close(weight, initial * mask, rtol=0, atol=1e-6)
                assert bool((mask <= last).all())
        before = masks


@pytest.mark.parametrize("word", ["snip", "grasp"])
def test_masks_are_those_of_one_pruning(word: str, tmp_path: Path) -> None:
    """Three rounds at a fifth, or one at as much as these take."""
    steps = run(configure(**TINY, pruner=word), runs_dir=tmp_path)
    share = 1 - steps.rows[-1]["nonzero"] / steps.rows[0]["nonzero"]
    options = {**TINY, "rounds": 1, "pruner": f"{word}:fraction={share}"}
    once = run(configure(**options), runs_dir=tmp_path)
    one, other = (load_model(path, last) for path, last in ((steps.path, 3), (once.path, 1)))
    for mine, its in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine == 0, its == 0)

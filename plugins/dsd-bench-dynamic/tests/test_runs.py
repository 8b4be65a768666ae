"""The updaters in whole runs of a few seconds, as users run them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dsd_bench import configure, load_model, run
from dsd_bench.errors import UsageError

TINY: dict[str, Any] = {
    "dataset": "digits:train_size=60,val_size=30",
    "model": "mlp:hidden=8",
    "batch_size": 20,
    "epochs": 3,
    "rounds": 2,
}
WORDS = ("gmp:every=2", "gmp:every=2,scope=layer,start=before", "rigl:every=2,share=0.5", "set")


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("perturber", ["none", "rewind"])
def test_each_trains_otherwise_to_the_same_sparsities(
    word: str, perturber: str, tmp_path: Path
) -> None:
    """Their defaults change the numbers, and nothing that is drawn is left to chance."""
    options = {**TINY, "perturber": perturber}
    plain = run(configure(**options), runs_dir=tmp_path / "plain").rows
    found = [run(configure(**options, updater=word), runs_dir=tmp_path / str(i)) for i in (0, 1)]
    rows = [one.rows for one in found]
    assert rows[0] == rows[1]
    assert [row["nonzero"] for row in rows[0]] == [row["nonzero"] for row in plain]
    assert rows[0][0] == plain[0]
    assert all(one["train_loss"] != two["train_loss"] for one, two in zip(rows[0][1:], plain[1:]))
    for number, row in enumerate(rows[0]):
        model = load_model(found[0].path, number)
        layers = {n: int(p.count_nonzero()) for n, p in model.named_parameters() if p.dim() > 1}
        assert sum(layers.values()) <= row["nonzero"]


def test_a_training_too_short_for_it_is_refused(tmp_path: Path) -> None:
    """Before anything is trained."""
    with pytest.raises(UsageError, match="updater 'rigl' changes no masks in a training of 9"):
        run(configure(**TINY, updater="rigl"), runs_dir=tmp_path)
    assert not any(tmp_path.iterdir())


def test_with_graphs_of_filters_it_is_refused(tmp_path: Path) -> None:
    """Filters go whole, with their biases."""
    with pytest.raises(UsageError, match="'set' needs a pruner of single weights"):
        run(configure(**TINY, updater="set", pruner="structured-l1"), runs_dir=tmp_path)

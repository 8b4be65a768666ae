"""The protocol in memory: no files, no screen."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import InMemoryStore

from dsd_bench import RunConfig
from dsd_bench.errors import Interrupted, RunError, UsageError
from dsd_bench.experiment.assemble import Sources, assemble
from dsd_bench.experiment.ending import End, best_round, ended
from dsd_bench.experiment.protocol import Run
from dsd_bench.masks import Masks
from dsd_bench.pruners import Pruner, PruneView
from dsd_bench.stopping import StopCriterion
from dsd_bench.stopping.builtin import PatienceParams
from dsd_bench.stopping.rules import Patience
from dsd_bench.store.checkpoint import ROW, Row
from dsd_bench.training import device

Make = Callable[..., RunConfig]


class Silent:
    """A watcher that asks to stop after some questions."""

    def __init__(self, patience: int = 10**9) -> None:
        self.left = patience
        self.rows: list[Row] = []

    def goes_on(self, round: int, midway: bool) -> None:
        pass

    def begun(self, resumed_from_round: int | None, rows: Sequence[Row]) -> None:
        self.resumed = resumed_from_round

    def stopping(self) -> bool:
        self.left -= 1
        return self.left < 0

    def progress(
        self, round: int, epoch: int, epochs: int, images_per_second: float, within: float
    ) -> None:
        assert 0 <= epoch <= epochs
        assert 0 <= within < 1

    def round(self, row: Row, timing: Mapping[str, Any]) -> None:
        self.rows.append(row)


def make_run(
    config: RunConfig, tmp_path: Path, memory: InMemoryStore | None = None, patience: int = 10**9
) -> Run:
    place = device.make_context("cpu", 1, False, config.protocol.precision)
    experiment, _ = assemble(config, place, Sources(tmp_path, tmp_path))
    return Run(experiment, memory or InMemoryStore(), Silent(patience))


def follow(config: RunConfig, tmp_path: Path) -> tuple[Run, End]:
    run = make_run(config, tmp_path)
    return run, run.follow()


def test_rows_have_the_contract_s_keys_in_order(tiny: Make, tmp_path: Path) -> None:
    run, end = follow(tiny(), tmp_path)
    assert [row["round"] for row in run.rows] == [0, 1, 2]
    assert all(tuple(row) == (*ROW, "correct") for row in run.rows)
    assert (end.stopped_by, end.resumed_from_round) == ("rounds", None)
    prunable = 64 * 8 + 8 * 10
    first = prunable - round(0.2 * prunable)
    assert [row["nonzero"] for row in run.rows] == [prunable, first, first - round(0.2 * first)]
    assert run.rows[1]["sparsity"] == 1 - first / prunable


def test_target_sparsity_prunes_whole_fractions(tiny: Make, tmp_path: Path) -> None:
    run, end = follow(tiny(rounds=None, target_sparsity=0.4), tmp_path)
    sparsities = [row["sparsity"] for row in run.rows]
    assert sparsities[-2] < 0.4 <= sparsities[-1]
    assert end.stopped_by == "target-sparsity"


@pytest.mark.parametrize(
    "options",
    [
        {"pruner": "gradient", "perturber": "rewind:step=2", "reg": ["dropout", "augment:cutout"]},
        # a model whose layers' names sort otherwise (10.weight before 3.weight), and ties
        {"pruner": "random:scope=layer", "model": "vgg-like:depth=2,width_exponent=1"},
        {"pruner": "structured-l1", "model": "vgg-like:depth=2,width_exponent=2"},
        {"redense_epochs": 2, "reg": ["dropout"]},
        {"schedule": "one-cycle", "redense_epochs": 1, "clip_norm": 0.5},
        {"schedule": "cosine:every=step", "optimizer": "adam"},
        {"dense_epochs": 0, "retrain_epochs": 3, "perturber": "rewind:step=0"},
    ],
)
def test_interrupted_anywhere_it_ends_the_same(
    tiny: Make, tmp_path: Path, options: dict[str, Any]
) -> None:
    config = tiny(**options)
    whole, end = follow(config, tmp_path)
    for patience in range(0, 15, 2):
        memory = InMemoryStore()
        with pytest.raises(Interrupted):
            make_run(config, tmp_path, memory, patience).follow()
        assert memory.checkpoint is not None
        shuffled = dict(sorted(memory.checkpoint.tensors.items()))  # as files give them back
        memory.checkpoint = dataclasses.replace(memory.checkpoint, tensors=shuffled)
        memory = copy.deepcopy(memory)
        torch.rand(3)
        again = make_run(config, tmp_path, memory)
        assert again.follow().best_round == end.best_round
        assert json.dumps(again.rows) == json.dumps(whole.rows)


def test_without_a_dense_training_row_0_is_the_network_as_it_was_made(
    tiny: Make, tmp_path: Path
) -> None:
    run, _ = follow(tiny(dense_epochs=0, perturber="rewind:step=0"), tmp_path)
    fresh = make_run(tiny(dense_epochs=0), tmp_path)
    fresh._initialise()
    kept = run.store.recall("dense")
    for name, tensor in fresh.model.state_dict().items():
        assert torch.equal(kept[name], tensor)
    assert run.rows[0]["train_loss"] != run.rows[1]["train_loss"]
    assert [row["nonzero"] for row in run.rows] == [592, 474, 379]
    assert not any("epochs" in row for row in run.rows)
    with pytest.raises(UsageError, match="the dense training has 0 steps"):
        follow(tiny(dense_epochs=0, perturber="rewind:step=1"), tmp_path)


def test_no_weight_comes_back_and_pruned_ones_are_zero(tiny: Make, tmp_path: Path) -> None:
    run = make_run(tiny(rounds=3, epochs=1), tmp_path)
    seen: list[Masks] = []
    inner = run._train_and_evaluate

    def spy(training: Any) -> None:
        seen.append(run.masks)
        inner(training)
        state = dict(run.model.named_parameters())
        assert not any(state[n][~m].any() for n, m in run.masks.weights.items())

    run._train_and_evaluate = spy  # type: ignore[method-assign]
    run.follow()
    assert all(later.nested_in(earlier) for earlier, later in pairwise(seen))


class Backwards(Pruner):
    def prune(self, view: PruneView) -> Masks:
        return Masks({name: torch.ones_like(mask) for name, mask in view.masks.weights.items()})


def test_a_pruner_that_brings_weights_back_is_stopped(tiny: Make, tmp_path: Path) -> None:
    run = make_run(tiny(), tmp_path)
    prune = run.experiment.pruner.prune
    answers = iter([prune, Backwards(run.experiment.pruner.params).prune])
    run.experiment.pruner.prune = lambda view: next(answers)(view)  # type: ignore[method-assign]
    with pytest.raises(RunError, match="brought pruned weights back"):
        run.follow()


def test_a_curve_ends_when_nothing_is_left(tiny: Make, tmp_path: Path) -> None:
    config = tiny(rounds=50, epochs=1, pruner="magnitude:fraction=0.9")
    run, end = follow(config, tmp_path)
    assert end.stopped_by == "nothing-left"
    assert run.rows[-1]["nonzero"] == 2  # the last weight of each of two layers


def test_rewind_goes_back_exactly(tiny: Make, tmp_path: Path) -> None:
    run = make_run(tiny(perturber="rewind:step=0", rounds=1), tmp_path)
    first = run.experiment.build(0)
    states: list[dict[str, torch.Tensor]] = []
    inner = run._perturb

    def spy(round: int) -> None:
        inner(round)
        states.append({k: v.clone() for k, v in run.model.state_dict().items()})

    run._perturb = spy  # type: ignore[method-assign]
    run.follow()
    initial = run._build("init").state_dict()
    for name, value in states[0].items():
        mask = run.masks.weights.get(name)
        assert torch.equal(value, initial[name] if mask is None else initial[name] * mask)
    assert not torch.equal(first.state_dict()["1.weight"], initial["1.weight"])


def test_a_rewind_step_beyond_the_dense_training(tiny: Make, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has 6 steps"):
        follow(tiny(perturber="rewind:step=7"), tmp_path)
    follow(tiny(perturber="rewind:step=6"), tmp_path)


def test_reinit_draws_anew_each_round(tiny: Make, tmp_path: Path) -> None:
    run = make_run(tiny(perturber="reinit"), tmp_path)
    run.follow()
    one, two = (run._build("round", r, "reinit").state_dict()["1.weight"] for r in (1, 2))
    assert not torch.equal(one, two)
    assert torch.equal(one, run._build("round", 1, "reinit").state_dict()["1.weight"])


def test_redense_training_brings_weights_back_to_be_measured_alone(
    tiny: Make, tmp_path: Path
) -> None:
    sparse, _ = follow(tiny(rounds=3), tmp_path)
    run, _ = follow(tiny(rounds=3, redense_epochs=1), tmp_path)
    for plain, redense in zip(sparse.rows, run.rows):
        # the next round prunes what the sparse network became, as without it
        assert redense["sparsity_per_layer"] == plain["sparsity_per_layer"]
    assert run.rows[0] == sparse.rows[0]
    assert run.rows[3]["train_loss"] != sparse.rows[3]["train_loss"]
    assert run.rows[3]["macs_effective"] == run.rows[3]["macs_dense"]
    assert all(torch.equal(a, b) for a, b in zip(run.model.parameters(), sparse.model.parameters()))
    assert isinstance(run.store, InMemoryStore)
    names = [name for name in run.store.kept if name.startswith("round-")]
    assert len(names) == 3
    for weights in map(run.store.recall, names):
        assert all(weights[layer].ne(0).all() for layer in run.masks.weights)


def row(round: int, accuracy: float, sparsity: float = 0.0) -> Row:
    return {"round": round, "val_accuracy": accuracy, "sparsity": sparsity, "entropy": 1.0}


def test_best_round_is_the_first_of_equals() -> None:
    rows = [row(0, 0.5), row(1, 0.7), row(2, 0.7), row(3, 0.6)]
    assert best_round(rows, "val_accuracy") == 1


class Never(StopCriterion):
    def stop(self, rounds: Sequence[Mapping[str, Any]], score: str) -> str | None:
        return None


def test_what_ends_a_run(tiny: Make) -> None:
    never = Never(PatienceParams())
    config = tiny(rounds=2)
    assert ended(config, never, []) is None
    assert ended(config, never, [row(0, 0.5), row(1, 0.5)]) is None
    assert ended(config, never, [row(r, 0.5) for r in range(3)]) == (
        "rounds",
        "all 2 rounds are done",
    )
    falling = [row(0, 0.5), row(1, 0.2)]
    stopped = ended(tiny(stop="patience"), Patience(PatienceParams()), falling)
    assert stopped is not None
    assert stopped[0] == "patience"


@pytest.mark.parametrize("share", [0.1, 0.3, 0.7, 0.9])
def test_a_target_sparsity_that_is_reached_exactly_ends_a_run(tiny: Make, share: float) -> None:
    config, never = tiny(rounds=None, target_sparsity=share), Never(PatienceParams())
    reached = 1 - round(100 * (1 - share)) / 100  # 1 - 0.9 is less than 0.1 in binary
    assert ended(config, never, [row(0, 0.5), row(1, 0.5, reached)]) is not None
    assert ended(config, never, [row(0, 0.5), row(1, 0.5, reached - 1e-6)]) is None


def test_streams_do_not_depend_on_the_number_of_rounds(tiny: Make, tmp_path: Path) -> None:
    short, _ = follow(tiny(rounds=1), tmp_path)
    long, _ = follow(tiny(rounds=2), tmp_path)
    assert long.rows[:2] == short.rows


def test_a_further_metric_changes_nothing(tiny: Make, tmp_path: Path) -> None:
    class Noisy:
        def measure(self, view: Any) -> dict[str, float]:
            view.outputs("train")
            return {"value": torch.rand(1).item()}

    plain, _ = follow(tiny(), tmp_path)
    run = make_run(tiny(), tmp_path)
    object.__setattr__(run.experiment, "further", {"noisy": Noisy()})
    run.follow()
    assert [{k: v for k, v in r.items() if k != "metrics"} for r in run.rows] == plain.rows
    assert set(run.rows[0]["metrics"]) == {"noisy"}

"""Edges of the protocol where a single changed line would go unseen."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from fakes import InMemoryStore
from test_protocol import Silent, make_run

from dsd_bench import RunConfig
from dsd_bench.components import Component
from dsd_bench.config.words import build_component
from dsd_bench.errors import Interrupted, RunError
from dsd_bench.experiment.ending import ended
from dsd_bench.masks import Masks
from dsd_bench.metrics import MeasureView, Metric
from dsd_bench.optimizers.sgd import SGD
from dsd_bench.params import Params
from dsd_bench.perturbers import Perturber, PerturbView
from dsd_bench.plugins import catalogue
from dsd_bench.pruners import Pruned, Pruner, PruneView
from dsd_bench.seeds import stream
from dsd_bench.stopping import StopCriterion
from dsd_bench.training.distributed import Team
from dsd_bench.training.loop import Training

Make = Callable[..., RunConfig]


def given(run: Any, **parts: Any) -> Any:
    """Give a run other components."""
    for name, part in parts.items():
        object.__setattr__(run.experiment, name, part)
    return run


def test_what_was_kept_before_an_interruption_is_kept_after_it(tiny: Make, tmp_path: Path) -> None:
    config = tiny(rounds=4, epochs=1, perturber="rewind:step=2")
    whole = make_run(config, tmp_path)
    whole.follow()
    for patience in (4, 7, 9):
        store = InMemoryStore()
        with pytest.raises(Interrupted):
            make_run(config, tmp_path, store, patience).follow()
        store = copy.deepcopy(store)
        make_run(config, tmp_path, store).follow()
        assert store.checkpoint is not None
        assert whole.store.checkpoint is not None  # type: ignore[attr-defined]
        assert store.checkpoint.kept == whole.store.checkpoint.kept  # type: ignore[attr-defined]
        assert store.kept.keys() == whole.store.kept.keys()  # type: ignore[attr-defined]
        for name in store.checkpoint.kept:
            for key, tensor in whole.store.kept[name].items():  # type: ignore[attr-defined]
                assert torch.equal(store.kept[name][key], tensor), (name, key)
    assert "snapshot-2" in whole.store.checkpoint.kept  # type: ignore[attr-defined]


@pytest.mark.parametrize(("sparsity", "over"), [(0.4, True), (0.5, True), (0.39, False)])
def test_a_sparsity_that_is_just_the_target_ends_the_run(
    tiny: Make, sparsity: float, over: bool
) -> None:
    config = tiny(rounds=None, target_sparsity=0.4)
    stop = build_component(catalogue(), "stop", config.stop)
    row = {"round": 1, "sparsity": sparsity, "val_accuracy": 0.5}
    assert (ended(config, stop, [row]) is not None) == over


@pytest.mark.parametrize(("round", "over"), [(1, False), (2, True), (3, True)])
def test_the_last_round_is_the_one_that_was_asked_for(tiny: Make, round: int, over: bool) -> None:
    config = tiny(rounds=2)
    stop = build_component(catalogue(), "stop", config.stop)
    row = {"round": round, "sparsity": 0.1, "val_accuracy": 0.5}
    assert (ended(config, stop, [row]) is not None) == over


class Wordless(StopCriterion):
    """Says that it stops, not why."""

    def stop(self, rounds: Any, score: str) -> Any:
        return True


def test_a_stop_criterion_without_words_is_refused(tiny: Make, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"^stop 'never' answers True; expected why to stop, in wor"):
        given(make_run(tiny(), tmp_path), stop=Wordless(Params())).follow()


class Idle(Pruner):
    """Prunes nothing."""

    def prune(self, view: PruneView) -> Masks:
        return Masks(dict(view.masks.weights))


class Forgetful(Pruner):
    """Loses a layer."""

    def prune(self, view: PruneView) -> Masks:
        names = list(view.masks.weights)[1:]
        return Masks({name: torch.zeros_like(view.masks.weights[name]) for name in names})


class Mute(Pruner):
    """Forgets to return its masks."""

    def prune(self, view: PruneView) -> Any:
        pass


@pytest.mark.parametrize(
    ("pruner", "words"),
    [
        (Idle, "pruned nothing in round 1"),
        (Forgetful, "lost a layer"),
        (Mute, "it returned a NoneType; prune gives Masks"),
    ],
)
def test_a_pruner_that_does_not_do_its_work_is_stopped(
    tiny: Make, tmp_path: Path, pruner: type[Pruner], words: str
) -> None:
    params = Component("idle", "somewhere:Idle", "").params()
    with pytest.raises(RunError, match=words):
        given(make_run(tiny(), tmp_path), pruner=pruner(params)).follow()


class Counting(Pruner):
    """Asks for batches and notes them."""

    def __init__(self, inner: Pruner, wanted: int, seen: list[Any]) -> None:
        super().__init__(inner.params)
        self.inner, self.wanted, self.seen = inner, wanted, seen

    def prune(self, view: PruneView) -> Masks | Pruned:
        self.seen.append([(len(i), len(y)) for i, y in view.batches(self.wanted)])
        self.seen.append(torch.cat([i.flatten(1).sum(1) for i, _ in view.batches(self.wanted)]))
        return self.inner.prune(view)


@pytest.mark.parametrize(("wanted", "sizes"), [(1, [20]), (2, [20, 20]), (9, [20, 20, 20])])
def test_a_pruner_gets_as_many_batches_as_it_asks_for(
    tiny: Make, tmp_path: Path, wanted: int, sizes: list[int]
) -> None:
    seen: list[Any] = []
    run = make_run(tiny(rounds=2, epochs=1), tmp_path)
    given(run, pruner=Counting(run.experiment.pruner, wanted, seen)).follow()
    data = run.setup.data
    everything = data.normalise(data.train.gather(torch.arange(60))).flatten(1).sum(1)
    for told in seen[::2]:
        assert told == [(size, size) for size in sizes]
    first, second = seen[1], seen[3]
    assert not torch.equal(first, second)  # each round draws its own
    if wanted == 9:  # never an image twice
        torch.testing.assert_close(first.sort().values, everything.sort().values)


def test_an_interrupt_after_the_last_round_is_too_late(tiny: Make, tmp_path: Path) -> None:
    config = tiny(rounds=1, epochs=1)
    questions = Silent()
    run = make_run(config, tmp_path)
    run.watcher = questions
    run.follow()
    asked = 10**9 - questions.left
    for patience in range(asked - 3, asked + 1):
        again = make_run(config, tmp_path, None, patience)
        if patience < asked - 1:
            with pytest.raises(Interrupted):
                again.follow()
        else:
            assert again.follow().stopped_by == "rounds"


def test_the_weights_come_back_at_the_last_learning_rate_of_their_round(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(rounds=1, epochs=4, redense_epochs=3, milestones=(0.5,), lr_drop=0.1)
    rates: list[float] = []
    real = SGD.set_rate

    def spied(optimizer: SGD, rate: float) -> None:
        rates.append(rate)
        real(optimizer, rate)

    monkeypatch.setattr(SGD, "set_rate", spied)
    make_run(config, tmp_path).follow()
    first, last = config.protocol.lr, pytest.approx(0.1 * config.protocol.lr)
    assert rates == [*[first, first, last, last] * 2, *[last] * 3]


def test_libraries_generators_are_seeded_for_each_training(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws: list[tuple[Any, ...]] = []
    real = Training.run

    def spied(training: Training, after: Any) -> None:
        draws.append((training.key, random.random(), numpy.random.rand(), float(torch.rand(()))))
        real(training, after)

    monkeypatch.setattr(Training, "run", spied)
    config = tiny(rounds=2, epochs=1)
    for noise in (1, 2):
        torch.manual_seed(noise)
        make_run(config, tmp_path).follow()
    assert draws[:3] == draws[3:]
    assert len({draw[1:] for draw in draws[:3]}) == 3
    for key, *found in draws[:3]:
        torch.manual_seed(seed := stream(config.seed, *key, "global"))
        assert found[2] == float(torch.rand(())), seed


class Nosy(Metric):
    """A further metric that draws and leaves traces."""

    def measure(self, view: MeasureView) -> Mapping[str, Any]:
        torch.rand(5)
        random.random()
        return {"value": float(torch.rand(())), "round": view.round}


def test_a_further_metric_is_in_every_row_under_its_name(tiny: Make, tmp_path: Path) -> None:
    run = make_run(tiny(), tmp_path)
    params = Component("nosy", "somewhere:Nosy", "").params()
    given(run, further={"nosy": Nosy(params)}).follow()
    assert [row["metrics"]["nosy"]["round"] for row in run.rows] == [0, 1, 2]


def test_the_plan_is_told_once_and_again_where_it_changed(tiny: Make, tmp_path: Path) -> None:
    run = make_run(tiny(), tmp_path)
    inner = run._train_and_evaluate

    def change(training: Any) -> None:
        if training.round == 1:
            run.setup.context.change("it did not fit", micro_batch=5)
        inner(training)

    run._train_and_evaluate = change  # type: ignore[method-assign]
    end = run.follow()
    assert [(plan["from_round"], plan["micro_batch"]) for plan in end.plans] == [(0, None), (1, 5)]
    assert run.store.lines == ["it did not fit"]  # type: ignore[attr-defined]


def test_a_snapshot_is_of_the_dense_training_s_step_alone(tiny: Make, tmp_path: Path) -> None:
    run = make_run(tiny(rounds=2, epochs=2, perturber="rewind:step=2"), tmp_path)
    dense: list[dict[str, torch.Tensor]] = []
    inner = run.snapshot

    def seen(training: Training) -> None:
        if training.round == 0 and training.steps_done == 2:
            dense.append({k: v.clone() for k, v in training.model.state_dict().items()})
        inner(training)

    run.snapshot = seen  # type: ignore[method-assign]
    run.follow()
    kept = run.store.kept  # type: ignore[attr-defined]
    assert [name for name in kept if name.startswith("snapshot")] == ["snapshot-2"]
    [state] = dense
    assert all(torch.equal(kept["snapshot-2"][name], value) for name, value in state.items())


def test_a_plan_that_changes_within_a_round_is_noted_before_and_after(
    tiny: Make, tmp_path: Path
) -> None:
    run = make_run(tiny(rounds=0), tmp_path)
    inner = run._train

    def change(training: Training) -> Any:
        run.setup.context.change("it did not fit", micro_batch=5)
        return inner(training)

    run._train = change  # type: ignore[method-assign]
    end = run.follow()
    assert [(plan["from_round"], plan["micro_batch"]) for plan in end.plans] == [(0, None), (0, 5)]


class Leader(Team):
    """The first of two processes; what it sends comes back as the other would get it."""

    def broadcast(self, value: Any) -> Any:
        return json.loads(json.dumps(value))

    def masks(self, mine: Mapping[str, torch.Tensor] | None) -> dict[str, torch.Tensor]:
        assert mine is not None
        return {name: mask.clone() for name, mask in mine.items()}

    def all_reduce(self, value: torch.Tensor) -> torch.Tensor:
        return value

    def wrap_ddp(self, model: torch.nn.Module) -> torch.nn.Module:
        return model


class Follower(Leader):
    """The second of two, who has no masks of its own to send."""

    sent: Mapping[str, torch.Tensor]

    def masks(self, mine: Mapping[str, torch.Tensor] | None) -> dict[str, torch.Tensor]:
        assert mine is None
        return dict(self.sent)


def test_one_of_several_processes_makes_the_masks_for_all(tiny: Make, tmp_path: Path) -> None:
    made = []
    for team in (Leader(0, 2), Follower(1, 2)):
        run = make_run(tiny(), tmp_path)
        run.team = team
        run._initialise()
        if not team.leads:
            object.__setattr__(team, "sent", made[0].tensors())
            given(run, pruner=None)  # it must not be asked
        run._prune(1)
        made.append(run.masks)
        for name, mask in run.masks.weights.items():
            weight = run.model.get_parameter(name)
            assert not weight[~mask].any()
    assert made[0].sparsity == pytest.approx(0.2, abs=0.01)
    assert all(torch.equal(m, made[1].weights[n]) for n, m in made[0].weights.items())


class Untidy(Pruner):
    """Leaves another default type behind."""

    def __init__(self, inner: Pruner) -> None:
        super().__init__(inner.params)
        self.inner = inner

    def prune(self, view: PruneView) -> Masks | Pruned:
        masks = self.inner.prune(view)
        torch.set_default_dtype(torch.float64)
        return masks


class Looking(Perturber):
    """Notes how is computed, and leaves another default type behind."""

    def __init__(self, inner: Perturber, seen: list[torch.dtype]) -> None:
        super().__init__(inner.params)
        self.inner, self.seen = inner, seen

    def perturb(self, view: PerturbView) -> None:
        self.seen.append(torch.get_default_dtype())
        self.inner.perturb(view)
        torch.set_default_dtype(torch.float64)


def test_what_a_component_changed_of_torch_is_undone_before_the_next(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tiny(rounds=1, epochs=1), tmp_path)
    made, seen = run.experiment, list[torch.dtype]()
    phase = run._phase

    def look(round: int) -> Training:
        seen.append(torch.get_default_dtype())
        return phase(round)

    monkeypatch.setattr(run, "_phase", look)
    given(run, pruner=Untidy(made.pruner), perturber=Looking(made.perturber, seen))
    try:
        run.follow()
    finally:
        torch.set_default_dtype(torch.float32)
    assert seen == [torch.float32] * 3  # round 0's training; the perturber; round 1's training

"""Schedules against torch's own, and what the engine makes of their phases."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import InMemoryStore
from test_protocol import follow, make_run
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR, OneCycleLR

from dsd_bench import RunConfig
from dsd_bench.config.run import ProtocolConfig
from dsd_bench.errors import Interrupted, RunError
from dsd_bench.masks import Masks
from dsd_bench.optimizers.sgd import SGD
from dsd_bench.params import Params
from dsd_bench.schedules import EndView, Phase, RateView, Schedule, phases_of
from dsd_bench.schedules.annealed import Cosine, OneCycle
from dsd_bench.schedules.builtin import CosineParams, OneCycleParams
from dsd_bench.schedules.step import Step

Make = Callable[..., RunConfig]


def protocol(**options: Any) -> ProtocolConfig:
    return ProtocolConfig(**{"rounds": 3, "dense_epochs": 10, "retrain_epochs": 4, **options})


def rates(
    schedule: Schedule, protocol: ProtocolConfig, round: int, phase: int = 0, steps: int = 3
) -> list[float]:
    """Return every rate that the engine asks for in a phase."""
    chosen = phases_of(schedule, round, protocol)[phase]
    within = range(steps if schedule.per_step else 1)
    return [
        schedule.rate(RateView(protocol, round, chosen, epoch, step, steps))
        for epoch in range(chosen.epochs)
        for step in within
    ]


def torchs(make: Callable[[torch.optim.Optimizer], LRScheduler], lr: float, n: int) -> list[float]:
    """Return the first ``n`` rates of a schedule of torch."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    schedule = make(optimizer)
    found = [float(schedule.get_last_lr()[0])]
    for _ in range(n - 1):
        optimizer.step()
        schedule.step()
        found.append(float(schedule.get_last_lr()[0]))
    return found


def test_step_is_torchs_multi_step() -> None:
    own = rates(Step(Params()), protocol(lr=1.0), 0)
    assert own == pytest.approx(torchs(lambda o: MultiStepLR(o, [5, 8], gamma=0.1), 1.0, 10))


@pytest.mark.parametrize("epochs", [1, 2, 7])
@pytest.mark.parametrize("final", [0.0, 0.25])
@pytest.mark.parametrize("every", ["epoch", "step"])
def test_cosine_is_torchs(epochs: int, final: float, every: str) -> None:
    params = CosineParams(final=final, every=every)
    own = rates(Cosine(params), protocol(retrain_epochs=epochs, lr=0.3, retrain_lr_scale=0.5), 1)
    steps = epochs * (3 if every == "step" else 1)
    assert len(own) == steps
    least = 0.15 * final
    assert own == pytest.approx(
        torchs(lambda o: CosineAnnealingLR(o, steps, eta_min=least), 0.15, steps)
    )


@pytest.mark.parametrize("epochs", [1, 2, 7])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("anneal", ["cos", "linear"])
def test_one_cycle_is_torchs(epochs: int, share: float, anneal: str) -> None:
    words = {"pct_start": share, "div_factor": 10.0, "final_div_factor": 50.0}
    params = OneCycleParams(**words, anneal=anneal)
    own = rates(OneCycle(params), protocol(dense_epochs=epochs, lr=0.3), 0)
    steps = 3 * epochs

    def make(optimizer: torch.optim.Optimizer) -> LRScheduler:
        kind: Any = anneal
        return OneCycleLR(
            optimizer, 0.3, steps, anneal_strategy=kind, cycle_momentum=False, **words
        )

    assert own == pytest.approx(torchs(make, 0.3, steps))


def test_one_cycle_that_rises_in_a_single_step_begins_at_the_top() -> None:
    """There torch divides by zero."""
    own = rates(OneCycle(OneCycleParams(pct_start=0.1)), protocol(lr=0.3), 0, steps=1)
    assert own[0] == 0.3
    assert own == sorted(own, reverse=True)


@pytest.mark.parametrize("schedule", [Cosine(CosineParams()), OneCycle(OneCycleParams())])
def test_annealed_schedules_go_on_at_a_tenth_in_redense_training(schedule: Schedule) -> None:
    own = rates(schedule, protocol(redense_epochs=2, lr=0.3, retrain_lr_scale=0.5), 1, phase=1)
    assert own == pytest.approx([0.015] * len(own))


def test_later_rounds_have_their_own_length_and_scale() -> None:
    own = rates(Step(Params()), protocol(lr=1.0, retrain_lr_scale=0.5), 3)
    assert own == pytest.approx([0.5, 0.5, 0.05, 0.005])


def test_redense_training_is_a_phase_of_later_rounds() -> None:
    short = protocol(redense_epochs=2, lr=1.0)
    assert phases_of(Step(Params()), 0, short) == (Phase("train", 10),)
    later = phases_of(Step(Params()), 1, short)
    assert later == (Phase("train", 4), Phase("redense", 2, "dense"))
    assert rates(Step(Params()), short, 1, phase=1) == pytest.approx([0.01, 0.01])


class Planned(Schedule):
    """The given phases in every later round; phases that are named in ``cut`` end after one."""

    given: Sequence[Phase] = ()
    cut: Sequence[str] = ()

    def phases(self, round: int, protocol: ProtocolConfig) -> Sequence[Phase]:
        return self.given if round else super().phases(round, protocol)

    def rate(self, view: RateView) -> float:
        return 0.05 / (1 + view.epoch + len(view.phase.name))

    def ends(self, view: EndView) -> bool:
        assert 0 < view.epoch < view.phase.epochs
        assert view.model.training
        return view.phase.name in self.cut


class Stepwise(Planned):
    per_step = True

    def rate(self, view: RateView) -> float:
        assert 0 <= view.step < view.steps_per_epoch
        return 0.05 / (1 + view.epoch * view.steps_per_epoch + view.step)


def with_schedule(
    make: Any, given: Sequence[Phase], cut: Sequence[str] = (), kind: type[Planned] = Planned
) -> Any:
    """Let a run follow a schedule of given phases."""
    schedule = kind(Params())
    schedule.given, schedule.cut = given, cut
    setup = make.experiment.setup
    object.__setattr__(setup, "schedule", schedule)
    return make


@pytest.mark.parametrize(
    ("phases", "wrong"),
    [
        ([], "no phases"),
        ([Phase("a", 1), Phase("a", 2)], "same name"),
        ([Phase("A b", 1)], "lower-case"),
        ([Phase("a", -1)], "epochs=-1"),
        ([Phase("a", 1.5)], "epochs=1.5"),  # type: ignore[arg-type]
        ([Phase("a", 1, "loose")], "masks='loose'"),  # type: ignore[arg-type]
        (["a"], "no phase"),
    ],
)
def test_phases_that_cannot_be_trained_are_refused(phases: Any, wrong: str) -> None:
    schedule = Planned(Params())
    schedule.given = phases
    with pytest.raises(RunError, match=wrong):
        phases_of(schedule, 1, protocol())


THREE = [Phase("thin", 2), Phase("whole", 2, "dense"), Phase("again", 1)]


def test_a_sparse_phase_after_a_dense_one_prunes_the_weights_again(
    tiny: Make, tmp_path: Path
) -> None:
    seen: list[tuple[str, int]] = []
    run = with_schedule(make_run(tiny(rounds=1), tmp_path), THREE)
    real = run._phase

    def spied(round: int, before: Sequence[int] = ()) -> Any:
        training = real(round, before)
        weights = dict(run.model.named_parameters())
        prunable = Masks.dense(run.model).weights
        seen.append((training.phase.name, sum(int(weights[n].count_nonzero()) for n in prunable)))
        return training

    run._phase = spied
    run.follow()
    last = run.rows[1]
    assert [name for name, _ in seen] == ["train", "thin", "whole", "again"]
    assert seen[3][1] == seen[1][1] == last["nonzero"]
    alive = sum(
        int((m != 0).sum()) for n, m in run.model.named_parameters() if n in run.masks.weights
    )
    assert alive == last["nonzero"]
    assert last["macs_effective"] < last["macs_dense"]


def test_phases_have_streams_of_their_own(tiny: Make, tmp_path: Path) -> None:
    run = with_schedule(make_run(tiny(rounds=1), tmp_path), THREE)
    run._initialise()
    first, second, third = run._phase(1), run._phase(1, [2]), run._phase(1, [2, 2])
    orders = [training._order(0).tolist() for training in (first, second, third)]
    assert len({tuple(order) for order in orders}) == 3
    assert first.key == ("round", 1)
    assert second.steps_done == 2 * second.steps_per_epoch


@pytest.mark.parametrize("kind", [Planned, Stepwise])
@pytest.mark.parametrize("cut", [(), ("whole",), ("thin", "whole")])
def test_interrupted_at_any_step_it_ends_the_same(
    tiny: Make, tmp_path: Path, cut: Sequence[str], kind: type[Planned]
) -> None:
    config = tiny(rounds=2, reg=["dropout"])
    whole = with_schedule(make_run(config, tmp_path), THREE, cut, kind)
    whole.follow()
    asked = 10**9 - whole.watcher.left  # type: ignore[attr-defined]
    assert asked > 2 * len(THREE)
    for patience in range(0, asked - 1, 2):
        memory = InMemoryStore()
        with pytest.raises(Interrupted):
            with_schedule(make_run(config, tmp_path, memory, patience), THREE, cut, kind).follow()
        memory = copy.deepcopy(memory)
        torch.rand(3)
        again = with_schedule(make_run(config, tmp_path, memory), THREE, cut, kind)
        again.follow()
        assert json.dumps(again.rows) == json.dumps(whole.rows)


class Patient(Planned):
    """Ends a dense phase after as many epochs as it was ever asked: it must remember."""

    def __init__(self, params: Params) -> None:
        super().__init__(params)
        self.asked = torch.zeros((), dtype=torch.int64)

    def ends(self, view: EndView) -> bool:
        self.asked += 1
        return bool(self.asked % 3 == 0)

    def state(self) -> dict[str, torch.Tensor]:
        return {"asked": self.asked}

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self.asked = tensors["asked"]


def test_what_a_schedule_remembers_is_in_the_checkpoint(tiny: Make, tmp_path: Path) -> None:
    config, phases = tiny(rounds=3, epochs=3), [Phase("thin", 3), Phase("whole", 4, "dense")]
    whole = with_schedule(make_run(config, tmp_path), phases, kind=Patient)
    whole.follow()
    took = [row.get("epochs") for row in whole.rows]
    assert len({str(epochs) for epochs in took}) > 2
    for patience in range(0, 10**9 - whole.watcher.left - 1, 5):  # type: ignore[attr-defined]
        memory = InMemoryStore()
        with pytest.raises(Interrupted):
            with_schedule(
                make_run(config, tmp_path, memory, patience), phases, kind=Patient
            ).follow()
        again = with_schedule(
            make_run(config, tmp_path, copy.deepcopy(memory)), phases, kind=Patient
        )
        again.follow()
        assert json.dumps(again.rows) == json.dumps(whole.rows)


def test_a_phase_that_ends_early_says_so_in_its_row(tiny: Make, tmp_path: Path) -> None:
    run = with_schedule(make_run(tiny(rounds=1), tmp_path), THREE, cut=["whole"])
    run.follow()
    assert "epochs" not in run.rows[0]
    assert run.rows[1]["epochs"] == [2, 1, 1]


def test_rates_per_step_are_asked_for_before_each(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []
    real = SGD.set_rate
    monkeypatch.setattr(SGD, "set_rate", lambda own, rate: (given.append(rate), real(own, rate)))
    run = with_schedule(make_run(tiny(rounds=0), tmp_path), THREE, kind=Stepwise)
    run.follow()
    assert given == [0.05 / (1 + step) for step in range(6)]


def test_a_dense_phase_of_the_first_release_is_taken_up(tiny: Make, tmp_path: Path) -> None:
    config = tiny(rounds=2, redense_epochs=2)
    whole, _ = follow(config, tmp_path)
    memory = InMemoryStore()
    with pytest.raises(Interrupted):
        make_run(config, tmp_path, memory, patience=3 * (2 + 2) + 2).follow()
    assert memory.checkpoint is not None
    cursor = dict(memory.checkpoint.cursor)
    assert cursor.pop("before") == [2]
    object.__setattr__(memory.checkpoint, "cursor", cursor)
    again = make_run(config, tmp_path, memory)
    again.follow()
    assert json.dumps(again.rows) == json.dumps(whole.rows)

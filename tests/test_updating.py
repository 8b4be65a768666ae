"""Masks that change within a training: against a plain loop, and against itself taken up again."""

from __future__ import annotations

import copy
import dataclasses
import gc
import json
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import InMemoryStore
from test_protocol import Silent
from test_training import experiment, half_masks

from dsd_bench import Component, Params, RunConfig, configure, param
from dsd_bench.boards.methods import method_of, track_of
from dsd_bench.boards.places import method_slug
from dsd_bench.config.layers import read_layer
from dsd_bench.config.naming import label
from dsd_bench.config.resolve import resolve
from dsd_bench.config.run import ProtocolConfig
from dsd_bench.errors import Interrupted, RunError, UsageError
from dsd_bench.experiment.assemble import Sources, check_updater
from dsd_bench.experiment.checks import check_runs
from dsd_bench.experiment.protocol import Run
from dsd_bench.experiment.provenance import components
from dsd_bench.experiment.settings import Settings
from dsd_bench.masks import Masks, grow_by_scores, prune_to
from dsd_bench.optimizers import sgd
from dsd_bench.plugins import Registration, catalogue
from dsd_bench.schedules import EndView, Phase, Schedule
from dsd_bench.seeds import torch_stream
from dsd_bench.training.cuda_graph import GraphedStep
from dsd_bench.training.loop import Training
from dsd_bench.training.updating import ActiveUpdater, Goal
from dsd_bench.updaters import Regrown, Updater, UpdateView

Make = Callable[..., RunConfig]
Tensors = dict[str, torch.Tensor]


class EveryParams(Params):
    every: int = param(2, help="steps between updates", ge=1)
    share: float = param(0.3, help="share of a layer's weights that are exchanged")


class Exchange(Updater):
    """Drops the smallest weights of each layer and brings random ones back."""

    params: EveryParams
    regrows = True

    def steps(self, total: int, per_epoch: int) -> Sequence[int]:
        return range(self.params.every, total + 1, self.params.every)

    def update(self, view: UpdateView) -> Masks | Regrown:
        weights = dict(view.model.named_parameters())
        sizes = {name: weights[name].detach().abs() for name in view.masks.weights}
        draws = {
            name: torch.rand(mask.shape, generator=view.generator)
            for name, mask in view.masks.weights.items()
        }
        away = {n: int(self.params.share * count) for n, count in view.masks.counts.items()}
        left = {name: count - away[name] for name, count in view.masks.counts.items()}
        return grow_by_scores(draws, prune_to(sizes, view.masks, left), away)


class Gradual(Updater):
    """Begins with all weights and prunes the smallest, as many at each step."""

    params: EveryParams
    begins = "dense"

    def steps(self, total: int, per_epoch: int) -> Sequence[int]:
        return range(self.params.every, total + 1, self.params.every)

    def update(self, view: UpdateView) -> Masks | Regrown:
        weights = dict(view.model.named_parameters())
        sizes = {name: weights[name].detach().abs() for name in view.masks.weights}
        done = (list(view.steps).index(view.step) + 1) / len(view.steps)
        count = round(view.began.nonzero + done * (view.target.nonzero - view.began.nonzero))
        return prune_to(sizes, view.masks, count)


class FromBefore(Gradual):
    begins = "before"


class Filled(Exchange):
    """Brings weights back at one half."""

    fills = True

    def update(self, view: UpdateView) -> Regrown:
        masks = super().update(view)
        assert isinstance(masks, Masks)
        halves = {n: torch.full(mask.shape, 0.5) for n, mask in masks.weights.items()}
        return Regrown(masks, halves)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    classes = {"exchange": Exchange, "gradual": Gradual, "from-before": FromBefore}
    for name, made in {**classes, "filled": Filled}.items():
        component = Component(name, f"test_updating:{made.__name__}", name, EveryParams)
        entry = Registration("updater", component, "dsd-bench-tests")
        monkeypatch.setitem(catalogue()._entries, ("updater", name), entry)


# -- identity


def test_without_an_updater_nothing_of_a_configuration_tells_of_it(tiny: Make) -> None:
    plain, none = tiny(), tiny(updater="none")
    assert plain == none
    assert "updater" not in plain.to_json()
    assert "updater" not in plain.identity()


def test_an_updater_and_its_parameters_change_both_ids(tiny: Make) -> None:
    ids = [tiny(updater=word).run_id for word in (None, "exchange", "exchange:every=3", "gradual")]
    curves = [tiny(updater=w).curve_id for w in (None, "exchange", "exchange:every=3", "gradual")]
    assert len(set(ids)) == len(set(curves)) == 4


def test_an_updater_survives_its_file(tiny: Make, tmp_path: Path) -> None:
    config = tiny(updater="exchange:every=3", reg=["kd"])
    assert RunConfig.from_json(config.to_json()) == config
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config.to_json()))
    assert resolve(read_layer(file)) == [config]
    teacher = config.regularizers[0].teacher
    assert teacher is not None
    assert teacher.config.updater == config.updater  # all is the student's but the distillation


def test_a_wrong_updater_gets_the_list() -> None:
    with pytest.raises(UsageError, match=r"--updater: there is no updater 'exchang'.*exchange"):
        configure(updater="exchang")


# -- what a training does


def start(config: RunConfig, tmp_path: Path, graph: bool = False) -> Training:
    made = experiment(config, tmp_path)
    model = made.build(7)
    masks, active = half_masks(model), made.setup.updater
    assert active is not None
    masks, goal = active.begin(Masks.dense(model), masks)
    masks.apply(model)
    if graph:
        made.setup.context.plan = dataclasses.replace(made.setup.context.plan, engine="graph")
    return Training(made.setup, model, masks, 1, goal=goal)


def reference(config: RunConfig, tmp_path: Path, masks: Tensors, kind: str) -> Tensors:
    """Train with torch alone: gradients by hand, exchange by sorting whole layers."""
    made = experiment(config, tmp_path)
    model, data, protocol = made.build(7), made.setup.data, config.protocol
    weights = {name: p for name, p in model.named_parameters() if name in masks}
    masks = {name: mask.clone() for name, mask in masks.items()}
    options: dict[str, Any] = {"lr": protocol.lr, "weight_decay": protocol.weight_decay}
    optimizer: torch.optim.Optimizer
    if kind == "sgd":
        optimizer = torch.optim.SGD(model.parameters(), momentum=0.9, **options)
    else:
        optimizer = torch.optim.Adam(model.parameters(), betas=(0.9, 0.999), **options)
    with torch.no_grad():
        for name, weight in weights.items():
            weight.mul_(masks[name])
    images = data.train.images.float() * data.scale + data.shift_by  # type: ignore[attr-defined]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 3], gamma=0.1)
    done = 0
    for epoch in range(4):
        draw = torch_stream("cpu", config.seed, "round", 1, "order", epoch)
        for index in torch.randperm(60, generator=draw).split(20):
            optimizer.zero_grad()
            logits = model(images[index])
            torch.nn.functional.cross_entropy(logits, data.train.labels[index]).backward()
            for name, weight in weights.items():
                assert weight.grad is not None
                weight.grad *= masks[name]
            optimizer.step()
            done += 1
            if done % 2 == 0:
                draw = torch_stream("cpu", config.seed, "round", 1, "update", done)
                for name, weight in weights.items():
                    old = masks[name]
                    score = torch.rand(weight.shape, generator=draw)
                    away = int(0.3 * int(old.sum()))
                    flat = old.flatten().clone()
                    here = [i for i, on in enumerate(flat.tolist()) if on]
                    here.sort(key=lambda i: abs(float(weight.detach().flatten()[i])))
                    flat[here[:away]] = False
                    gone = [i for i, on in enumerate(flat.tolist()) if not on]
                    gone.sort(key=lambda i: -float(score.flatten()[i]))
                    flat[gone[:away]] = True
                    masks[name] = flat.view_as(old)
                    stays = old & masks[name]
                    with torch.no_grad():
                        weight *= stays
                    for value in optimizer.state[weight].values():
                        if isinstance(value, torch.Tensor) and value.shape == weight.shape:
                            value *= stays
        schedule.step()
    return {**{n: p.detach() for n, p in model.named_parameters()}, **_named("mask", masks)}


def _named(prefix: str, tensors: Tensors) -> Tensors:
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize("small", [2**16, 0])
@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_it_equals_a_plain_loop(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, small: int
) -> None:
    """On one vector, as small networks are updated, and on lists of tensors."""
    monkeypatch.setattr(sgd, "SMALL", small)
    config = tiny(epochs=4, updater="exchange", optimizer=kind, lr=0.1 if kind == "sgd" else 0.01)
    training = start(config, tmp_path)
    first = dict(training.masks.weights)
    expected = reference(config, tmp_path, first, kind)
    training.run(lambda now: None)
    for name, parameter in training.model.named_parameters():
        torch.testing.assert_close(parameter.detach(), expected[name], rtol=1e-4, atol=1e-6)
    for name, mask in training.masks.weights.items():
        assert torch.equal(mask, expected[f"mask/{name}"])
        assert not torch.equal(mask, first[name])


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("updater", ["exchange:every=3", "gradual:every=2"])
@pytest.mark.parametrize("clip", [None, 0.1])
def test_pruned_weights_and_their_momentum_are_zero_after_every_step(
    tiny: Make, tmp_path: Path, optimizer: str, updater: str, clip: float | None
) -> None:
    config = tiny(epochs=4, optimizer=optimizer, updater=updater, lr=0.01, clip_norm=clip)
    training = start(config, tmp_path)
    places = {name: str(i) for i, (name, _) in enumerate(training.model.named_parameters())}
    before, seen = training.masks, set[str]()

    def check(now: Training) -> None:
        nonlocal before
        parameters, state = dict(now.model.named_parameters()), now.optimizer.state()
        for name, mask in now.masks.weights.items():
            back = mask & ~before.weights[name]
            assert not parameters[name][~mask].any()
            assert not parameters[name][back].any()
            for key, value in state.items():
                if key.split("/")[0] == places[name] and getattr(value, "shape", ()) == mask.shape:
                    assert isinstance(value, torch.Tensor)
                    assert not value[~mask].any()
                    assert not value[back].any()
                    assert value.any()
                    seen.add(name)
        before = now.masks

    training.run(check)
    assert seen == set(training.masks.weights)


def test_what_comes_back_may_be_given_a_value(tiny: Make, tmp_path: Path) -> None:
    training = start(tiny(epochs=2, updater="filled:every=6"), tmp_path)  # after the last step
    first = training.masks
    training.run(lambda now: None)
    for name, mask in training.masks.weights.items():
        weight = dict(training.model.named_parameters())[name].detach()
        back = mask & ~first.weights[name]
        assert back.any()
        assert bool((weight[back] == 0.5).all())
        assert not bool((weight[mask & ~back] == 0.5).any())
        assert not weight[~mask].any()


def test_a_recorded_step_reads_the_masks_as_they_are(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a CUDA graph does: the step's tensors are those that it was recorded with."""
    held: list[list[torch.Tensor]] = []

    def record(run: Callable[[], None], generators: Any) -> Callable[[], None]:
        held.append([*masks.optimizer._masks.masks])  # type: ignore[attr-defined]
        return run

    graph = lambda step, context, generators: GraphedStep(step, context, generators, record)  # noqa: E731
    monkeypatch.setattr("dsd_bench.training.loop.GraphedStep", graph)
    masks = start(tiny(epochs=4, updater="exchange"), tmp_path, graph=True)
    masks.run(lambda now: None)
    (recorded,) = held
    for kept, mask in zip(recorded, masks.masks.weights.values(), strict=True):
        assert torch.equal(kept.bool(), mask)


def test_a_training_that_is_over_holds_nothing(tiny: Make, tmp_path: Path) -> None:
    """A graph of its step has memory of its own on a GPU; a cycle would keep it until collected."""
    training = start(tiny(epochs=1, updater="exchange"), tmp_path)
    training.run(lambda now: None)
    held = weakref.ref(training.stepper)
    gc.collect()
    gc.disable()
    try:
        del training
        assert held() is None
    finally:
        gc.enable()


# -- what a run does


def make_run(
    config: RunConfig, tmp_path: Path, memory: InMemoryStore | None = None, patience: int = 10**9
) -> Run:
    made = experiment(config, tmp_path)
    return Run(made, memory or InMemoryStore(), Silent(patience))


def follow(config: RunConfig, tmp_path: Path) -> Run:
    run = make_run(config, tmp_path)
    run.follow()
    return run


def kept(run: Run) -> dict[str, Tensors]:
    assert isinstance(run.store, InMemoryStore)
    return run.store.kept


@pytest.mark.parametrize("updater", ["exchange:every=1", "gradual", "from-before"])
@pytest.mark.parametrize("perturber", ["none", "rewind"])
def test_counts_are_those_of_the_run_without(
    tiny: Make, tmp_path: Path, updater: str, perturber: str
) -> None:
    plain = follow(tiny(rounds=3, perturber=perturber), tmp_path)
    run = follow(tiny(rounds=3, perturber=perturber, updater=updater), tmp_path)
    assert [r["nonzero"] for r in run.rows] == [r["nonzero"] for r in plain.rows]
    assert run.rows[0] == plain.rows[0]
    assert run.rows[1]["train_loss"] != plain.rows[1]["train_loss"]


@pytest.mark.parametrize(
    ("updater", "first"), [("gradual", [True, True]), ("from-before", [True, False])]
)
def test_where_a_training_begins(
    tiny: Make, tmp_path: Path, updater: str, first: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all weights, or with those of the round before; at the end as the pruner said."""
    began: list[int] = []
    inner = Training.__init__

    def spy(self: Training, *args: Any, **words: Any) -> None:
        inner(self, *args, **words)
        if self.round:
            began.append(self.masks.nonzero)

    monkeypatch.setattr(Training, "__init__", spy)
    run = follow(tiny(updater=updater), tmp_path)
    whole = run.masks.prunable
    assert [count == whole for count in began] == first
    assert began[1] in (whole, run.rows[1]["nonzero"])


@pytest.mark.parametrize(
    "options",
    [
        {"updater": "exchange:every=1", "reg": ["dropout"]},
        {"updater": "exchange:every=1", "optimizer": "adam", "lr": 0.01},
        {"updater": "filled:every=1", "redense_epochs": 1},
        {"updater": "exchange:every=2", "clip_norm": 0.5},
        {"updater": "gradual:every=1", "perturber": "rewind"},
        {"updater": "from-before:every=1", "pruner": "gradient"},
    ],
)
def test_interrupted_after_any_step_it_ends_the_same(
    tiny: Make, tmp_path: Path, options: dict[str, Any]
) -> None:
    config = tiny(**options)
    whole = follow(config, tmp_path)
    for patience in range(30):
        memory = InMemoryStore()
        try:
            make_run(config, tmp_path, memory, patience).follow()
        except Interrupted:
            pass
        else:
            break
        assert memory.checkpoint is not None
        shuffled = dict(sorted(memory.checkpoint.tensors.items()))  # as files give them back
        memory.checkpoint = dataclasses.replace(memory.checkpoint, tensors=shuffled)
        memory = copy.deepcopy(memory)
        torch.rand(3)
        again = make_run(config, tmp_path, memory)
        again.follow()
        assert json.dumps(again.rows) == json.dumps(whole.rows)
        for name, tensors in kept(whole).items():
            for key, tensor in tensors.items():
                assert torch.equal(tensor, kept(again)[name][key]), (patience, name, key)
    assert patience > 15


# -- what is refused


class Says(Updater):
    """Gives one answer."""

    def __init__(self, answer: Any, steps: Sequence[int] = (1,)) -> None:
        super().__init__(Params())
        self.answer, self.when = answer, steps

    def steps(self, total: int, per_epoch: int) -> Sequence[int]:
        return self.when

    def update(self, view: UpdateView) -> Masks | Regrown:
        return self.answer(view) if callable(self.answer) else self.answer  # type: ignore[no-any-return]


def view(steps: Sequence[int] = (1,)) -> UpdateView:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 2))
    masks = Masks({"0.weight": torch.tensor([[True, True, False], [True, False, False]]),
                   "1.weight": torch.ones(2, 2, dtype=torch.bool)})  # fmt: skip
    target = Masks({"0.weight": masks.weights["0.weight"] & torch.tensor([True, False, False]),
                    "1.weight": masks.weights["1.weight"]})  # fmt: skip
    draw, device = torch.Generator(), torch.device("cpu")
    return UpdateView(
        model, masks, target, masks, 1, 1, steps, 5, device, draw, lambda count: iter(())
    )


def changed(now: UpdateView, **rows: Any) -> Masks:
    return Masks({**now.masks.weights, "0.weight": torch.tensor(rows["first"])})


ON, OFF = [True] * 3, [False] * 3
FEW = [[True, False, False], [True, False, False]]
BACK = [[False, False, True], [True, False, False]]
WRONG: list[tuple[Any, dict[str, Any], str]] = [
    (None, {}, "no Masks of the weights"),
    (lambda v: Masks({"0.weight": v.masks.weights["0.weight"]}), {}, "no Masks of the weights"),
    (lambda v: changed(v, first=[ON]), {}, "no Masks of the weights and shapes"),
    (lambda v: changed(v, first=BACK), {}, "brought pruned weights back.*'regrows = True'"),
    (lambda v: changed(v, first=[OFF, OFF]), {}, r"left no weight in '0\.weight'"),
    (lambda v: changed(v, first=[ON, ON]), {"regrows": True}, "left 10 weights: from 6 to 7 are"),
    (lambda v: changed(v, first=[OFF, [True, False, False]]), {}, "left 5 weights"),
    (lambda v: v.masks, {}, "ended with 7 weights, not with the 6 that are due"),
    (lambda v: Regrown(changed(v, first=FEW)), {}, "'fills = True'"),
    (
        lambda v: Regrown(changed(v, first=FEW), {"0.weight": torch.full((2, 3), torch.nan)}),
        {"fills": True},
        r"values for '0\.weight' that are not finite",
    ),
    (
        lambda v: Regrown(changed(v, first=FEW), {"0.weight": torch.ones(3, 2)}),
        {"fills": True},
        "not of the shape",
    ),
    (
        lambda v: Regrown(changed(v, first=FEW), {"0.bias": torch.ones(2)}),
        {"fills": True},
        r"values for '0\.bias'",
    ),
    (
        lambda v: prune_to({n: m * torch.inf for n, m in v.masks.weights.items()}, v.masks, 6),
        {},
        r"scores for '0\.weight' are not all finite",
    ),
]


@pytest.mark.parametrize(("answer", "flags", "words"), WRONG)
def test_what_an_updater_may_not_answer(answer: Any, flags: dict[str, bool], words: str) -> None:
    made = Says(answer)
    for name, value in flags.items():
        setattr(made, name, value)
    with pytest.raises(RunError, match=words):
        ActiveUpdater("mine", made).update(view())


def test_what_it_may_answer() -> None:
    """As many as before until the last step; there as many as the pruner left."""
    masks, values = ActiveUpdater("mine", Says(lambda v: v.masks)).update(view((1, 2)))
    assert masks.nonzero == 7
    assert values == {}
    some = Says(lambda v: changed(v, first=BACK))
    some.regrows = True
    assert ActiveUpdater("mine", some).update(view())[0].nonzero == 6


@pytest.mark.parametrize("steps", [(0,), (2, 1), (1, 1), (7,), (1.5,), (True,)])
def test_steps_that_are_none_of_the_training(steps: Any) -> None:
    with pytest.raises(UsageError, match="ascending whole numbers from 1 to 6"):
        ActiveUpdater("mine", Says(None, steps)).steps(6, 3)


def test_an_updater_that_never_acts() -> None:
    with pytest.raises(UsageError, match="changes no masks in a training of 6 steps"):
        ActiveUpdater("mine", Says(None, ())).steps(6, 3)


def test_the_run_names_the_updater_the_round_and_the_step(tiny: Make, tmp_path: Path) -> None:
    run = make_run(tiny(updater="exchange"), tmp_path)
    assert run.setup.updater is not None
    run.setup.updater.updater.update = lambda view: Masks(  # type: ignore[method-assign]
        {name: torch.zeros_like(mask) for name, mask in view.masks.weights.items()}
    )
    with pytest.raises(
        RunError,
        match=r"updater 'exchange': it left no weight in '1\.weight' "
        r"\(round 1, after step 2 of 6\)",
    ):
        run.follow()


def test_what_can_be_known_is_said_before(tiny: Make, tmp_path: Path) -> None:
    def check(**options: Any) -> None:
        settings = Settings(data_dir=tmp_path)
        check_runs([tiny(**options)], Sources(tmp_path, tmp_path), settings)

    check(updater="exchange")
    with pytest.raises(UsageError, match="changes no masks in a training of 6 steps"):
        check(updater="exchange:every=7")
    with pytest.raises(UsageError, match="'exchange' needs a pruner of single weights"):
        check(updater="exchange", pruner="structured-l1")
    with pytest.raises(
        UsageError,
        match=r"updater 'exchange' cannot change masks of model 'mlp:8': .*cannot be kept",
    ):
        check(updater="exchange:share=-0.5")
    with pytest.raises(UsageError, match="need one process"):
        check_updater(tiny(updater="exchange"), 60, 2)
    assert check_updater(tiny(), 60, 2) == ()


class Early(Schedule):
    def ends(self, view: EndView) -> bool:
        return False


class DenseFirst(Schedule):
    def phases(self, round: int, protocol: ProtocolConfig) -> Sequence[Phase]:
        return Phase("all", 1, "dense"), Phase("train", 1)


@pytest.mark.parametrize("name", ["Early", "DenseFirst"])
def test_schedules_that_an_updater_cannot_work_with(
    tiny: Make, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    component = Component("mine", f"test_updating:{name}", "mine")
    entry = Registration("schedule", component, "dsd-bench-tests")
    monkeypatch.setitem(catalogue()._entries, ("schedule", "mine"), entry)
    with pytest.raises(UsageError, match="--updater exchange: schedule 'mine' begins a round with"):
        check_updater(tiny(updater="exchange", schedule="mine"), 60, 1)


def test_it_belongs_to_the_method(tiny: Make) -> None:
    plain, other = tiny(), tiny(updater="exchange:every=3")
    assert track_of(plain) == track_of(other)
    assert "updater" not in method_of(plain).model_dump(mode="json")
    assert method_slug(method_of(other)).startswith("magnitude-exchange-")
    told = method_of(other).model_dump(mode="json")["updater"]
    assert told == {"name": "exchange", "version": 1, "params": {"every": 3, "share": 0.3}}
    assert label(other.to_json(), catalogue().find) == "magnitude + exchange:3"
    assert components(other) == {"updater": {"exchange": "dsd-bench-tests"}}


def test_where_to_end_survives_a_checkpoint() -> None:
    now = view()
    goal = Goal(now.target, now.masks)
    again = Goal.from_tensors(dict(sorted(goal.tensors().items())), now.model)
    assert again is not None
    assert again.began.nonzero == 7
    assert list(again.target.weights) == ["0.weight", "1.weight"]
    assert torch.equal(again.target.weights["0.weight"], now.target.weights["0.weight"])
    assert Goal.from_tensors({}, now.model) is None

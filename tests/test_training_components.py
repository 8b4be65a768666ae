"""Optimisers and schedules of plugins through the whole tool: words, ids, files, views."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from dsd_bench import Component, Params, RunConfig, hookimpl, param
from dsd_bench.analysis.fairness import dense_key
from dsd_bench.boards.check import find_rows
from dsd_bench.boards.methods import method_of, track_of, whole
from dsd_bench.boards.places import method_slug
from dsd_bench.config.layers import read_layer
from dsd_bench.config.naming import label, method_words
from dsd_bench.config.resolve import resolve
from dsd_bench.config.run import LATER, ProtocolConfig
from dsd_bench.config.training import check_schedule, planned_epochs
from dsd_bench.errors import UsageError
from dsd_bench.experiment import provenance
from dsd_bench.optimizers import Optimizer, OptimizerView
from dsd_bench.plugins import build, catalogue
from dsd_bench.schedules import Phase, RateView, Schedule

Make = Callable[..., RunConfig]
Command = Callable[..., tuple[int, str, str]]


class SignParams(Params):
    scale: float = param(1.0, help="of every step", gt=0)


class SignSgd(torch.optim.Optimizer):
    """Steps of one size, and a state that counts them."""

    def __init__(self, view: OptimizerView, scale: float) -> None:
        super().__init__(view.parameters, {"lr": view.rate})
        self.scale = scale

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    steps = self.state[p].setdefault("steps", torch.zeros(()))
                    steps += 1
                    size = group["lr"] * self.scale / steps.sqrt()
                    p.sub_(p.grad.sign() * size)


class Sign(Optimizer):
    def build(self, view: OptimizerView) -> torch.optim.Optimizer:
        assert isinstance(self.params, SignParams)
        return SignSgd(view, self.params.scale)


class Broken(Optimizer):
    def build(self, view: OptimizerView) -> torch.optim.Optimizer:
        raise ValueError("not today")


class Halving(Schedule):
    """Half the rate in each epoch; later rounds have a phase more."""

    def phases(self, round: int, protocol: ProtocolConfig) -> Sequence[Phase]:
        more = (Phase("more", 3),) if round else ()
        return (*super().phases(round, protocol), *more)

    def rate(self, view: RateView) -> float:
        return view.start * 0.5**view.epoch


class Negative(Halving):
    def rate(self, view: RateView) -> float:
        return -view.start if view.round else view.start


class Nothing(Halving):
    def phases(self, round: int, protocol: ProtocolConfig) -> Sequence[Phase]:
        return ()


@hookimpl
def register_optimizers() -> list[Component]:
    here = "test_training_components"
    return [
        Component("sign", f"{here}:Sign", "steps of one size", params=SignParams, version=3),
        Component("broken", f"{here}:Broken", "cannot be built"),
    ]


@hookimpl
def register_schedules() -> list[Component]:
    here = "test_training_components"
    return [
        Component("halving", f"{here}:Halving", "half the rate in each epoch"),
        Component("negative", f"{here}:Negative", "goes uphill"),
        Component("nothing", f"{here}:Nothing", "trains for nothing"),
    ]


@pytest.fixture(autouse=True)
def plugin() -> Iterator[None]:
    """Let this process find the components of this module."""
    known = catalogue()
    entries, failed = dict(known._entries), list(known.failed)
    other = ModuleType("other")
    other.__dict__.update(
        register_optimizers=register_optimizers, register_schedules=register_schedules
    )
    known.add(other, "dsd-bench-other")
    assert known.failed == failed
    yield
    known.manager.unregister(other)
    known._entries = entries


def test_what_was_always_there_is_named_by_the_protocol_alone(tiny: Make) -> None:
    for name in LATER["optimizer"]:
        for word in (name, {"name": name}):
            config = tiny(optimizer=word)
            assert (config.optimizer, config.protocol.optimizer) == (None, name)
            assert config.chosen("optimizer").name == name
    assert tiny(schedule="step") == tiny()
    assert not LATER.keys() & tiny().to_json().keys()
    assert not LATER.keys() & tiny().identity().keys()
    versions = [e.component.version for kind in LATER for e in build(False).entries(kind)
                if e.component.name in LATER[kind]]  # fmt: skip
    assert versions == [1] * sum(map(len, LATER.values()))  # ids have the name alone


def test_another_component_is_part_of_the_id(tiny: Make) -> None:
    base = tiny()
    for options in ({"optimizer": "sign"}, {"schedule": "halving"}):
        other = tiny(**options)
        assert base.run_id != other.run_id
        assert base.curve_id != other.curve_id
        assert RunConfig.from_json(json.loads(json.dumps(other.to_json()))) == other
    assert tiny(optimizer="sign").run_id != tiny(optimizer="sign:scale=2").run_id
    assert tiny(optimizer="sign:scale=1").run_id == tiny(optimizer="sign").run_id
    made = tiny(optimizer="sign").optimizer
    assert made is not None
    assert (made.name, made.version, made.params) == ("sign", 3, {"scale": 1.0})


def test_a_plugin_s_optimizer_leaves_the_recipe_s_aside(tiny: Make) -> None:
    assert tiny(optimizer="sign").protocol.optimizer == "sgd"


def test_a_config_json_gives_the_same_run(tiny: Make, tmp_path: Path) -> None:
    config = tiny(optimizer="sign:2", schedule="halving", reg="kd")
    (tmp_path / "config.json").write_text(json.dumps(config.to_json()))
    layer = read_layer(tmp_path / "config.json")
    assert resolve(layer)[0].run_id == config.run_id
    (back,) = resolve(layer, {"optimizer": "adam", "schedule": "step"})
    assert (back.optimizer, back.protocol.optimizer, back.schedule) == (None, "adam", None)


def test_a_teacher_trains_as_its_student_unless_told(tiny: Make) -> None:
    taught = tiny(optimizer="sign", schedule="halving", reg="kd").regularizers[0].teacher
    assert taught is not None
    assert taught.config.chosen("optimizer").name == "sign"
    assert taught.config.chosen("schedule").name == "halving"
    own = {"optimizer": "adam", "schedule": "step"}
    config = tiny(optimizer="sign", schedule="halving", reg="kd", teacher=own)
    taught = config.regularizers[0].teacher
    assert taught is not None
    assert (taught.config.optimizer, taught.config.schedule) == (None, None)
    teacher = method_of(config).regularizers[0].teacher
    assert teacher is not None
    assert teacher.differs == {"optimizer": "adam", "schedule": "step"}
    same = method_of(tiny(optimizer="sign", reg="kd")).regularizers[0].teacher
    assert same is not None
    assert same.differs == {}
    config = tiny(reg="kd", teacher={"schedule": "halving"})
    differing = method_of(config).regularizers[0].teacher
    assert differing is not None
    assert differing.differs == {"schedule": tiny(schedule="halving").to_json()["schedule"]}


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"optimizer": "sdg"}, "no optimizer 'sdg'; did you mean 'sgd'"),
        ({"optimizer": "sgd:momentum=0.5"}, "unknown key 'momentum'"),
        ({"optimizer": "sign:scale=0"}, "scale=0: Input should be greater than 0"),
        ({"optimizer": 7}, "neither 'name:key=value' nor a table"),
        ({"schedule": "stepp"}, "no schedule 'stepp'; did you mean 'step'"),
        ({"schedule": "halving:3"}, "takes no parameters"),
    ],
)
def test_what_is_wrong_is_said_with_its_option(
    tiny: Make, options: dict[str, Any], wrong: str
) -> None:
    with pytest.raises(UsageError, match=wrong) as caught:
        tiny(**options)
    assert str(caught.value).startswith(f"--{next(iter(options))}")


@pytest.mark.parametrize("word", ["negative", "nothing"])
def test_a_schedule_that_cannot_be_followed_is_refused_before_a_run(
    word: str, tiny: Make, command: Command, tmp_path: Path
) -> None:
    wrong = {"negative": "learning rate is -0.1 in round 1", "nothing": "no phases"}[word]
    with pytest.raises(UsageError, match=wrong):
        check_schedule(tiny(schedule=word, lr=0.1))
    options = ("--epochs", "2", "--seeds", "0", "--lr", "0.1", "--executor", "inline")
    code, _, err = command("run", "--schedule", word, *options)
    assert (code, wrong in err) == (2, True)
    assert not list(tmp_path.glob("runs/*/rounds.jsonl"))


def test_an_optimizer_that_cannot_be_built_is_named_before_a_run(command: Command) -> None:
    words = ("--epochs", "2", "--seeds", "0", "--executor", "inline")
    code, _, err = command("run", "--optimizer", "broken", *words)
    assert code == 2
    assert "cannot be trained with 'broken'" in err
    assert "not today" in err


WORDS = ("--optimizer", "sign:scale=0.5", "--schedule", "halving", "--lr", "0.01")


def test_a_run_trains_with_them(tiny_run: Callable[..., dict[str, Any]], plain: Any) -> None:
    (found,) = tiny_run(*WORDS)["runs"]
    path = Path(found["path"])
    rows = [json.loads(line) for line in (path / "rounds.jsonl").read_text().splitlines()]
    assert [row["nonzero"] for row in rows] == [row["nonzero"] for row in plain.rows]
    assert rows[0]["train_loss"] != plain.rows[0]["train_loss"]
    assert all("epochs" not in row for row in rows)  # they are as planned
    (line,) = (json.loads(text) for text in (path / "provenance.jsonl").read_text().splitlines())
    held = {"optimizer": {"sign": "dsd-bench-other"}, "schedule": {"halving": "dsd-bench-other"}}
    assert line["components"] == held
    assert tiny_run(*WORDS)["runs"][0]["reused"]


def test_views_name_them(tiny: Make, command: Command) -> None:
    config = tiny(optimizer="sign", schedule="halving", lr=0.01).to_json()
    words = method_words(config, catalogue().find)
    assert (words["optimizer"], words["schedule"]) == ("sign", "halving")
    assert label(config, catalogue().find).endswith("magnitude, sign, halving")
    assert planned_epochs(config, 0) == 2
    assert planned_epochs(config, 1) == 2 + 3
    code, out, _ = command("run", *WORDS, "--dry-run", "--seeds", "0")
    assert code == 0
    text = " ".join(out.split())
    assert "optimizer sign:0.5 schedule halving protocol" in text
    assert "batch 100, sign lr 0.01, momentum" in text
    code, out, _ = command("run", "--optimizer", "sign", "--schedule", "halving", "--help")
    assert "Optimizer sign: steps of one size" in out
    assert "scale=X" in out


def test_the_ledger_counts_the_phases(
    tiny_run: Callable[..., dict[str, Any]], command: Command
) -> None:
    (found,) = tiny_run("--schedule", "halving")["runs"]
    code, out, err = command("ledger", found["run_id"], "--json")
    assert code == 0, err
    (run,) = json.loads(out)["runs"]
    assert [one["images"] for one in run["trainings"]] == [60 * 2, 60 * 5, 60 * 5]


def test_they_stand_on_one_board_with_the_usual_ones(
    tiny_run: Callable[..., dict[str, Any]], command: Command
) -> None:
    usual, other = (tiny_run(*words)["runs"][0]["run_id"] for words in (WORDS[-2:], WORDS))
    for run_id in (usual, other):
        code, _, err = command("submit", run_id)
        assert code == 0, err
    found = find_rows(Path("leaderboards"))
    assert found.problems == []
    ((slug, rows),) = found.rows.items()
    assert command("leaderboard")[0] == 0
    (method,) = (row.method for row in rows if row.method.optimizer)
    assert method.optimizer is not None
    assert method.optimizer.params == {"scale": 0.5}
    assert "sign:scale=0.5 (version 3)" in (Path("leaderboards") / slug / "README.md").read_text()
    assert command("leaderboard", "--check")[0] == 0
    code, out, err = command("analyze", other, "--baseline", usual)
    assert code == 0, err
    assert "magnitude, sign" in out


def test_the_usual_ones_leave_no_trace_on_boards(tiny: Make) -> None:
    config = tiny()
    assert not {"optimizer", "schedule"} & method_of(config).model_dump(mode="json").keys()
    assert not {"optimizer", "schedule"} & whole(config).keys()
    assert track_of(config) == track_of(tiny(schedule="halving"))
    assert method_slug(method_of(config)) != method_slug(method_of(tiny(schedule="halving")))


def test_dense_networks_of_other_training_are_no_twins(tiny: Make) -> None:
    keys = {
        dense_key(tiny(**options).to_json())
        for options in ({}, {"schedule": "halving"}, {"optimizer": "sign"}, {"pruner": "random"})
    }
    assert len(keys) == 3


def test_their_code_belongs_to_the_run(tiny: Make) -> None:
    assert provenance.components(tiny()) == {}
    assert provenance.components(tiny(optimizer="sign")) == {
        "optimizer": {"sign": "dsd-bench-other"}
    }

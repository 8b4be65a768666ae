"""What components remember is in every checkpoint and comes back: runs taken up end the same."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import remembering
import torch
from fakes import InMemoryStore
from remembering import FakeQuant, Movement, Shrink
from test_protocol import make_run
from test_stepping import Tight, batches, stepper
from torch import Tensor

from dsd_bench import Params, RunConfig
from dsd_bench.cli.main import call
from dsd_bench.errors import Interrupted, RunError, UsageError
from dsd_bench.experiment.assemble import Sources
from dsd_bench.experiment.chain import check_chain
from dsd_bench.experiment.checks import check_runs
from dsd_bench.experiment.settings import Settings
from dsd_bench.masks import Masks
from dsd_bench.plugins import catalogue
from dsd_bench.pruners import PruneView
from dsd_bench.regularizers import Regularizer, TrainingView
from dsd_bench.stateful import Stateful, give_back, key, states
from dsd_bench.store.folder import RunFolder

Make = Callable[..., RunConfig]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def plugin() -> Iterator[None]:
    catalogue.cache_clear()
    catalogue().add(remembering, "dsd-bench-remembering")
    assert not catalogue().failed
    yield
    catalogue.cache_clear()


METHODS: dict[str, dict[str, Any]] = {
    "movement": {"reg": ["movement"], "pruner": "by-movement"},
    "quantisation": {"reg": ["dropout", "fake-quant"], "pruner": "by-range:scope=layer"},
    "all": {"reg": ["fake-quant", "movement"], "pruner": "by-range", "perturber": "shrink"},
    "redense": {"reg": ["fake-quant"], "pruner": "by-range", "redense_epochs": 1},
}


@pytest.mark.parametrize("method", METHODS)
def test_interrupted_anywhere_it_ends_the_same(tiny: Make, tmp_path: Path, method: str) -> None:
    config = tiny(**METHODS[method])
    whole = make_run(config, tmp_path)
    whole.follow()
    for patience in range(15):
        memory = InMemoryStore()
        with pytest.raises(Interrupted):
            make_run(config, tmp_path, memory, patience).follow()
        assert memory.checkpoint is not None
        shuffled = dict(sorted(memory.checkpoint.tensors.items()))  # as files give them back
        memory.checkpoint = dataclasses.replace(memory.checkpoint, tensors=shuffled)
        memory = copy.deepcopy(memory)
        again = make_run(config, tmp_path, memory)
        again.follow()
        assert json.dumps(again.rows) == json.dumps(whole.rows)
        state, expected = (run.store.checkpoint.tensors for run in (again, whole))  # type: ignore[attr-defined]
        assert state.keys() == expected.keys()
        assert all(torch.equal(state[name], expected[name]) for name in expected), patience


def test_a_checkpoint_names_kind_place_and_component(tiny: Make, tmp_path: Path) -> None:
    run = make_run(tiny(**METHODS["all"]), tmp_path)
    run.follow()
    tensors = run.store.checkpoint.tensors  # type: ignore[attr-defined]
    assert {name for name in tensors if name.startswith("components/")} == {
        "components/regularizer/0/fake-quant/1",
        "components/regularizer/0/fake-quant/3",
        "components/regularizer/1/movement/1.weight",
        "components/regularizer/1/movement/3.weight",
        "components/pruner/0/by-range/1.weight",
        "components/pruner/0/by-range/3.weight",
        "components/perturber/0/shrink/calls",
    }
    assert tensors["components/perturber/0/shrink/calls"] == 2


def test_a_run_without_memory_has_nothing_of_it_in_its_checkpoints(
    tiny: Make, tmp_path: Path
) -> None:
    run = make_run(tiny(reg=["dropout", "l1"]), tmp_path)
    run.follow()
    tensors = run.store.checkpoint.tensors  # type: ignore[attr-defined]
    assert not [name for name in tensors if name.startswith("components")]


def test_movement_adds_up_weight_times_gradient(tiny: Make, tmp_path: Path) -> None:
    """Against autograd on a step's whole batch; also where it is taken in parts."""
    for plan in ({}, {"micro_batch": 5}):
        model = Tight()
        movement = Movement(Params())
        movement.begin(TrainingView(model, 0, CPU, torch.Generator()))
        images, labels, index = batches(1)[0]
        twin = Tight()
        step = stepper(model, **plan)
        twin.load_state_dict(model.state_dict())
        torch.nn.functional.cross_entropy(twin(images), labels).backward()
        step.regularizers = [movement]
        step(images, labels, index)
        for name, weight in twin.named_parameters():
            if name in movement.moved:
                expected = -weight.detach() * weight.grad
                torch.testing.assert_close(movement.moved[name], expected, rtol=1e-4, atol=1e-7)
        assert len(movement.moved) == 2


def test_a_step_that_is_tried_again_remembers_what_was_learned_from_alone() -> None:
    found = []
    for model, plan in ((Tight(room=5), {}), (Tight(), {"micro_batch": 4})):
        quant = FakeQuant(Params())
        quant.begin(TrainingView(model, 0, CPU, torch.Generator()))
        step = stepper(model, **plan)
        step.regularizers = [quant]
        for batch in batches(2):
            step(*batch)
        found.append(quant.ranges)
    assert found[0] == found[1]
    assert len(found[0]) == 2


class Resets(Regularizer):
    """Begins every training from zero, counts steps, and tells what it was given when."""

    def __init__(self) -> None:
        super().__init__(Params())
        self.steps, self.seen = torch.zeros(()), list[str]()

    def begin(self, view: TrainingView) -> None:
        self.seen.append(f"begin at {float(self.steps)}")
        self.steps = torch.zeros(())

    def state(self) -> dict[str, Tensor]:
        return {"steps": self.steps}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        self.steps = tensors["steps"]
        self.seen.append(f"load {float(self.steps)}")

    def loss(self, loss: Tensor, step: Any) -> Tensor:
        self.steps += 1
        return loss


def with_reset(config: RunConfig, tmp_path: Path, memory: InMemoryStore, patience: int) -> Any:
    run = make_run(config, tmp_path, memory, patience)
    object.__setattr__(run.experiment.setup.regularizers[0], "regularizer", Resets())
    return run


def test_what_begin_sets_back_is_given_back_after_it(tiny: Make, tmp_path: Path) -> None:
    """A training of two epochs of three steps, stopped after the fourth step of round 1."""
    memory = InMemoryStore()
    with pytest.raises(Interrupted):
        with_reset(tiny(reg=["l1:0"]), tmp_path, memory, 9).follow()
    memory = copy.deepcopy(memory)
    run = with_reset(tiny(reg=["l1:0"]), tmp_path, memory, 10**9)
    resets = run.setup.regularizers[0].regularizer
    run.follow()
    assert resets.seen == ["load 4.0", "begin at 4.0", "load 4.0", "begin at 6.0"]
    assert resets.steps == 6


def test_tensors_are_given_back_as_copies_of_one_s_own() -> None:
    shrink = Shrink(Params())
    place = key("perturber", "shrink")
    tensors = {f"{place}/calls": torch.tensor(3), "components/perturber/0/shrinkage/calls": None}
    give_back({place: shrink}, tensors, CPU)  # type: ignore[arg-type]
    shrink.calls += 1
    assert (tensors[f"{place}/calls"], shrink.calls) == (torch.tensor(3), torch.tensor(4))


def test_of_nothing_nothing_is_loaded() -> None:
    give_back({key("pruner", "mine"): Stateful()}, {"model/1.weight": torch.ones(1)}, CPU)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ([1], "state() gave a list, not a dict"),
        ({"calls": 3}, "state() gave int as 'calls'"),
        ({3: torch.ones(1)}, "state() gave Tensor as 3"),
        ({"s": torch.eye(2).to_sparse()}, "must be dense tensors by name"),
    ],
)
def test_a_state_that_cannot_be_kept_is_named(state: Any, words: str) -> None:
    class Odd(Stateful):
        def state(self) -> Any:
            return state

    with pytest.raises(RunError) as error:
        states({key("pruner", "odd", 2): Odd()})
    assert words in str(error.value)
    assert str(error.value).startswith("pruner 'odd': ")


# -- before a run


def check(config: RunConfig, tmp_path: Path) -> None:
    check_runs([config], Sources(tmp_path, tmp_path), Settings())


def test_what_a_method_needs_of_another_component_is_tried_out(tiny: Make, tmp_path: Path) -> None:
    check(tiny(reg=["movement"], pruner="by-movement"), tmp_path)
    with pytest.raises(UsageError, match=r"by-movement' cannot prune.*movement/1\.weight"):
        check(tiny(pruner="by-movement"), tmp_path)


def test_a_state_that_does_not_come_back_is_refused(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(reg=["fake-quant"], pruner="by-range")
    monkeypatch.setattr(FakeQuant, "load", lambda self, tensors: None)
    with pytest.raises(UsageError, match=r"'fake-quant' loads another state.*load\(\): 1, 3"):
        check(config, tmp_path)
    monkeypatch.setattr(FakeQuant, "load", Stateful.load)
    with pytest.raises(UsageError, match="FakeQuant has a state, but no load"):
        check(config, tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(remembering.ByRange, "load", lambda self, tensors: None)
    with pytest.raises(UsageError, match=r"'by-range' loads another state"):
        check(config, tmp_path)
    monkeypatch.setattr(
        remembering.ByRange, "load", lambda self, t: self.mean.update({**t, "more": t["1.weight"]})
    )
    with pytest.raises(UsageError, match=r"'by-range' loads another state.*: more"):
        check(config, tmp_path)
    monkeypatch.setattr(
        remembering.ByRange, "load", lambda s, t: s.mean.update({k: v + 1 for k, v in t.items()})
    )
    with pytest.raises(UsageError, match=r"'by-range' loads another state"):
        check(config, tmp_path)


def test_tensors_that_are_put_into_the_network_are_refused(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(self: Any, view: TrainingView) -> None:
        view.model.register_buffer("range", torch.ones(1))

    monkeypatch.setattr(Movement, "begin", begin)
    with pytest.raises(UsageError, match=r"'movement' adds tensors to the network.*: range"):
        check(tiny(reg=["movement"]), tmp_path)


def test_names_that_two_regularizers_hand_over_are_refused(tiny: Make, tmp_path: Path) -> None:
    config = tiny(reg=["movement", "movement"], pruner="by-movement")
    with pytest.raises(UsageError, match=r"'movement' and 'movement' both hand 'movement/1\.w"):
        check(config, tmp_path)


@pytest.mark.parametrize("method", ["state", "gathered"])
def test_several_processes_cannot_share_a_memory(
    tiny: Make, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    config = tiny(reg=["l1", "fake-quant"])
    check_chain(config, 1)
    check_chain(tiny(reg=["l1"]), 2)
    monkeypatch.setattr(FakeQuant, method, getattr(Regularizer, method))
    with pytest.raises(UsageError, match=r"'fake-quant' remembers .* run it without torchrun"):
        check_chain(config, 2)


def test_a_pruner_without_regularizers_is_handed_nothing() -> None:
    model = torch.nn.Linear(2, 2)
    view = PruneView(model, Masks.dense(model), 1, CPU, torch.Generator(), lambda count: iter(()))
    assert view.gathered == {}


# -- killed


def live(words: list[str], saves: int) -> int:
    """Run the command in a process that kills itself after so many checkpoints; its status."""
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    left, save = iter(range(saves)), RunFolder.save

    def last(self: RunFolder, checkpoint: Any) -> None:
        save(self, checkpoint)
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    RunFolder.save = last  # type: ignore[method-assign]
    os._exit(call(words))


def test_killed_within_a_training_and_between_rounds_it_ends_with_the_same_bytes(
    command: Any, tmp_path: Path
) -> None:
    words = ["run", "--dataset", "digits:train_size=60,val_size=30", "--model", "mlp:hidden=8"]
    words += ["--batch-size", "20", "--epochs", "2", "--rounds", "2", "--seeds", "0"]
    words += ["--reg", "fake-quant", "--reg", "movement", "--pruner", "by-movement", "--json"]
    words += ["--perturber", "shrink", "--executor", "inline"]
    code, out, err = command(*words, "--runs-dir", "whole")
    assert code == 0, err
    run_id = json.loads(out)["runs"][0]["run_id"]
    cut = [*words, "--runs-dir", "cut", "--checkpoint-seconds", "0"]
    # a checkpoint after each of 5 steps, and one when the round is over
    lives = [live(cut, saves) for saves in (3, 2, 0, 4, 1, 1, 99)]
    assert lives == [-signal.SIGKILL] * 6 + [0]
    for name in ("rounds.jsonl", "correct.jsonl", "dense.safetensors", "best.safetensors"):
        whole = (tmp_path / "whole" / run_id / name).read_bytes()
        assert (tmp_path / "cut" / run_id / name).read_bytes() == whole, name

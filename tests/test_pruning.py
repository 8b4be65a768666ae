"""What a pruner may answer: masks, and new weights where it is declared."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import InMemoryStore
from test_protocol import make_run
from test_protocol_edges import Leader
from test_updating import EveryParams, Exchange, FromBefore
from torch import Tensor, distributed, nn

from dsd_bench import Component, RunConfig
from dsd_bench.errors import Interrupted, RunError, UsageError
from dsd_bench.experiment.assemble import Sources, check_updater
from dsd_bench.experiment.checks import check_runs
from dsd_bench.experiment.pruning import prune
from dsd_bench.experiment.settings import Settings
from dsd_bench.masks import Masks
from dsd_bench.plugins import Registration, catalogue
from dsd_bench.pruners import Pruned, PrunerParams, PruneView
from dsd_bench.pruners.unstructured import Magnitude

Make = Callable[..., RunConfig]


class Doubling(Magnitude):
    """Prunes by magnitude and doubles every parameter, also what goes, and the biases."""

    def prune(self, view: PruneView) -> Pruned:
        masks = super().prune(view)
        assert isinstance(masks, Masks)
        return Pruned(masks, {n: 2 * p.detach() for n, p in view.model.named_parameters()})


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, reconstructs in {"doubling": True, "silent": False}.items():
        place = "test_pruning:Doubling"
        made = Component(name, place, name, PrunerParams, reconstructs=reconstructs)
        entry = Registration("pruner", made, "dsd-bench-tests")
        monkeypatch.setitem(catalogue()._entries, ("pruner", name), entry)
    for updater in (Exchange, FromBefore):
        place = f"test_updating:{updater.__name__}"
        component = Component(updater.__name__.lower(), place, "", EveryParams)
        entry = Registration("updater", component, "dsd-bench-tests")
        monkeypatch.setitem(catalogue()._entries, ("updater", component.name), entry)


def perturbed(config: RunConfig, tmp_path: Path) -> list[dict[str, Tensor]]:
    """Return for each pruning the weights before it and those that the perturber found."""
    run, seen = make_run(config, tmp_path), []
    inner = run._perturb

    def spy(round: int) -> None:
        seen.append(copy.deepcopy(run.model.state_dict()))
        inner(round)

    run._perturb = spy  # type: ignore[method-assign]
    run.follow()
    return seen


def test_new_weights_are_there_before_the_perturber_and_zero_where_pruned(
    tiny: Make, tmp_path: Path
) -> None:
    plain = perturbed(tiny(rounds=1), tmp_path)[0]
    doubled = perturbed(tiny(rounds=1, pruner="doubling"), tmp_path)[0]
    assert not plain["1.weight"].all()
    assert plain.keys() == doubled.keys()
    for name, value in plain.items():
        assert torch.equal(doubled[name], 2 * value), name


def test_the_perturber_may_replace_them(tiny: Make, tmp_path: Path) -> None:
    rows = []
    for pruner in ("magnitude", "doubling"):
        run = make_run(tiny(pruner=pruner, perturber="reinit"), tmp_path)
        run.follow()
        rows.append(run.rows)
    assert rows[0] == rows[1]


@pytest.mark.parametrize("options", [{}, {"redense_epochs": 1}, {"perturber": "rewind:step=2"}])
def test_interrupted_anywhere_it_ends_the_same(
    tiny: Make, tmp_path: Path, options: dict[str, Any]
) -> None:
    config = tiny(pruner="doubling", **options)
    whole = make_run(config, tmp_path)
    whole.follow()
    for patience in range(0, 15, 2):
        memory = InMemoryStore()
        with pytest.raises(Interrupted):
            make_run(config, tmp_path, memory, patience).follow()
        again = make_run(config, tmp_path, copy.deepcopy(memory))
        again.follow()
        assert json.dumps(again.rows) == json.dumps(whole.rows), patience


def test_undeclared_new_weights_are_refused(tiny: Make, tmp_path: Path) -> None:
    config = tiny(pruner="silent")
    words = r"returned new weights with its masks; .* Component\(reconstructs=True\)"
    with pytest.raises(RunError, match=f"pruner 'silent': it {words}"):
        make_run(config, tmp_path).follow()
    with pytest.raises(UsageError, match=f"pruner 'silent' cannot prune model 'mlp:8': it {words}"):
        check_runs([config], Sources(tmp_path, tmp_path), Settings(data_dir=tmp_path))
    check_runs([tiny(pruner="doubling")], Sources(tmp_path, tmp_path), Settings(data_dir=tmp_path))


def test_what_comes_back_and_what_makes_up_for_it_do_not_go_together(tiny: Make) -> None:
    steps = check_updater(tiny(pruner="doubling", updater="exchange"), 60, 1)
    assert steps == check_updater(tiny(updater="frombefore"), 60, 1)
    with pytest.raises(UsageError, match=r"--updater frombefore: it begins .* pruner 'doubling'"):
        check_updater(tiny(pruner="doubling", updater="frombefore"), 60, 1)


def test_other_processes_follow_the_leader_s_weights(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[Tensor, int]] = []
    monkeypatch.setattr(distributed, "broadcast", lambda tensor, of: sent.append((tensor, of)))
    for pruner in ("magnitude", "doubling"):
        assert not sent
        run = make_run(tiny(pruner=pruner), tmp_path)
        run.team = Leader(0, 2)
        run._initialise()
        run._prune(1)
    assert [of for _, of in sent] == [0] * 4
    for (tensor, _), parameter in zip(sent, run.model.parameters(), strict=True):
        assert tensor.data_ptr() == parameter.data_ptr()  # what is received lands in place


def answered(weights: dict[str, Any], **changes: Any) -> Pruned:
    """Have a layer of two weights pruned by one that gives ``weights``."""
    layer = nn.Linear(2, 1)
    masks = Masks.dense(layer)
    view = PruneView(
        layer, masks, 1, torch.device("cpu"), torch.Generator(), lambda count: iter(())
    )
    made = Magnitude(PrunerParams(fraction=0.5))
    given = Pruned(changes.get("masks") or made.prune(view), weights)  # type: ignore[arg-type]
    made.prune = lambda view: given  # type: ignore[method-assign]
    return prune(made, Component("made", "a:B", "", reconstructs=True), view)


def test_weights_of_any_parameters_are_taken() -> None:
    given = {"weight": torch.ones(1, 2), "bias": torch.zeros(1)}
    found = answered(given)
    assert found.weights == given
    assert found.masks.nonzero == 1


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"wieght": torch.ones(1, 2)}, "for 'wieght', which is no parameter of the model"),
        ({"weight": [1, 2]}, "for 'weight' are a list, no tensor"),
        ({"weight": torch.ones(2)}, r"are torch.float32 \(2,\), expected torch.float32 \(1, 2\)"),
        ({"bias": torch.ones(1).double()}, r"'bias' are torch.float64 \(1,\), expected torch.fl"),
        ({"bias": torch.tensor([torch.inf])}, "for 'bias' are not all finite"),
        ({"weight": torch.tensor([[1.0, torch.nan]])}, "for 'weight' are not all finite"),
    ],
)
def test_what_new_weights_may_not_be(weights: dict[str, Any], words: str) -> None:
    with pytest.raises(RunError, match=words):
        answered(weights)


def test_masks_beside_new_weights_are_checked_as_ever() -> None:
    with pytest.raises(RunError, match="it pruned nothing in round 1"):
        answered({}, masks=Masks({"weight": torch.ones(1, 2).bool()}))


@pytest.mark.parametrize("word", [1, None, "yes"])
@pytest.mark.parametrize("name", ["reconstructs", "at_initialisation"])
def test_a_declaration_is_a_truth_value(name: str, word: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} must be True or False"):
        Component("x", "a:B", "", **{name: word})

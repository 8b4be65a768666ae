"""Pruning at initialisation: what the pruner is shown, where each round begins, who knows of it."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from fakes import InMemoryStore
from test_protocol import make_run
from torch import Tensor

from dsd_bench import Component, RunConfig
from dsd_bench.boards.methods import method_of
from dsd_bench.boards.schema import MethodConfig
from dsd_bench.config.layers import read_layer
from dsd_bench.config.resolve import resolve
from dsd_bench.errors import Interrupted
from dsd_bench.masks import Masks, prune_by_scores
from dsd_bench.plugins import Registration, catalogue
from dsd_bench.pruners import PruneView
from dsd_bench.pruners.builtin import GradientParams
from dsd_bench.pruners.gradient import Gradient
from dsd_bench.store.shapes import Config

Make = Callable[..., RunConfig]


class Snip(Gradient):
    """|w * dL/dw|; notes what it is shown."""

    seen: ClassVar[list[dict[str, Any]]] = []

    def scores(self, view: PruneView) -> dict[str, Tensor]:
        scores = super().scores(view)
        self.seen.append(
            {
                "scores": scores,
                "state": copy.deepcopy(view.model.state_dict()),
                "draw": torch.rand(3, generator=view.generator),
                "global": torch.rand(3),
                "masks": view.masks,
                "round": view.round,
            }
        )
        return scores


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    Snip.seen.clear()
    place = "test_at_initialisation:Snip"
    made = Component("snip", place, "at init", GradientParams, at_initialisation=True)
    entry = Registration("pruner", made, "dsd-bench-tests")
    monkeypatch.setitem(catalogue()._entries, ("pruner", "snip"), entry)


def begun(config: RunConfig, tmp_path: Path) -> tuple[Any, list[dict[str, Tensor]]]:
    """Return a finished run, and the state that each training began with."""
    run, states = make_run(config, tmp_path), []
    phase = run._phase

    def spy(*args: Any) -> Any:
        states.append(copy.deepcopy(run.model.state_dict()))
        return phase(*args)

    run._phase = spy  # type: ignore[method-assign]
    run.follow()
    return run, states


def test_scores_are_those_of_the_initial_network_in_every_round(tiny: Make, tmp_path: Path) -> None:
    run, states = begun(tiny(rounds=3, pruner="snip"), tmp_path)
    initial = run._build("init").state_dict()
    assert [shown["round"] for shown in Snip.seen] == [1, 2, 3]
    for shown in Snip.seen:
        assert all(torch.equal(shown["state"][name], initial[name]) for name in initial)
        for key in ("draw", "global"):
            assert torch.equal(shown[key], Snip.seen[0][key])
        for name, score in shown["scores"].items():
            assert torch.equal(score, Snip.seen[0]["scores"][name])
    assert not all(torch.equal(states[0][n], run.model.state_dict()[n]) for n in initial)


def test_each_round_begins_there_with_the_masks_of_one_pruning(tiny: Make, tmp_path: Path) -> None:
    run, states = begun(tiny(rounds=3, pruner="snip"), tmp_path)
    initial = run._build("init").state_dict()
    dense = Masks.dense(run._build("init"))
    scores = Snip.seen[0]["scores"]
    for state, row in zip(states[1:], run.rows[1:], strict=True):
        gone = 1 - row["nonzero"] / dense.nonzero
        at_once = prune_by_scores(scores, dense, gone, "global")
        assert at_once.nonzero == row["nonzero"]
        for name, value in initial.items():
            mask = at_once.weights.get(name)
            assert torch.equal(state[name], value if mask is None else value * mask), name


def test_row_0_is_the_dense_training_as_ever(tiny: Make, tmp_path: Path) -> None:
    (mine, _), (plain, _) = (begun(tiny(pruner=p), tmp_path) for p in ("snip", "magnitude"))
    assert mine.rows[0] == plain.rows[0]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pruner": "snip:batches=1,scope=layer", "reg": ["dropout"], "redense_epochs": 1},
        {"perturber": "rewind:step=3"},
        {"dense_epochs": 0, "retrain_epochs": 3},
    ],
)
def test_interrupted_anywhere_it_ends_the_same(
    tiny: Make, tmp_path: Path, options: dict[str, Any]
) -> None:
    config = tiny(**{"pruner": "snip", **options})
    whole = make_run(config, tmp_path)
    whole.follow()
    for patience in range(0, 12, 2):
        memory = InMemoryStore()
        with pytest.raises(Interrupted):
            make_run(config, tmp_path, memory, patience).follow()
        again = make_run(config, tmp_path, copy.deepcopy(memory))
        again.follow()
        assert json.dumps(again.rows) == json.dumps(whole.rows), patience
        state, expected = (run.store.checkpoint.tensors for run in (again, whole))  # type: ignore[attr-defined]
        assert all(torch.equal(state[name], expected[name]) for name in expected), patience


def test_a_curve_ends_when_nothing_is_left(tiny: Make, tmp_path: Path) -> None:
    run = make_run(tiny(rounds=50, epochs=1, pruner="snip:fraction=0.9"), tmp_path)
    assert run.follow().stopped_by == "nothing-left"
    assert run.rows[-1]["nonzero"] == 2


def test_the_perturber_may_put_other_weights_in(tiny: Make, tmp_path: Path) -> None:
    _, kept = begun(tiny(rounds=1, pruner="snip"), tmp_path)
    run, later = begun(tiny(rounds=1, pruner="snip", perturber="rewind:step=3"), tmp_path)
    snapshot = run.store.kept["snapshot-3"]  # type: ignore[attr-defined]
    for name, value in snapshot.items():
        mask = run.masks.weights.get(name)
        assert torch.equal(later[1][name], value if mask is None else value * mask)
    assert not torch.equal(kept[1]["1.weight"], later[1]["1.weight"])
    assert torch.equal(kept[1]["1.weight"] == 0, later[1]["1.weight"] == 0)


# -- who knows of it


def test_it_is_in_the_configuration_and_its_id_only_where_it_is_so(
    tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(pruner="snip")
    assert config.to_json()["pruner"]["at_initialisation"] is True
    assert config.identity()["pruner"]["at_initialisation"] is True
    assert Config.model_validate(config.to_json()).pruner.at_initialisation
    assert "at_initialisation" not in tiny().to_json()["pruner"]
    assert RunConfig.from_json(config.to_json()) == config
    entry = catalogue().get("pruner", "snip")
    plain = dataclasses.replace(entry.component, at_initialisation=False)
    other = Registration("pruner", plain, "dsd-bench-tests")
    monkeypatch.setitem(catalogue()._entries, ("pruner", "snip"), other)
    assert tiny(pruner="snip").run_id != config.run_id
    assert tiny(pruner="snip").curve_id != config.curve_id


def test_it_survives_its_file(tiny: Make, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    config = tiny(pruner="snip:batches=3")
    file.write_text(json.dumps(config.to_json()))
    assert resolve(read_layer(file)) == [config]


def test_a_board_s_method_tells_of_it(tiny: Make) -> None:
    method = method_of(tiny(pruner="snip"))
    assert method.pruner.at_initialisation
    again = MethodConfig.model_validate(method.model_dump(mode="json"))
    assert again == method
    assert "at_initialisation" not in method_of(tiny()).model_dump(mode="json")["pruner"]

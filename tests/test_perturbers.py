"""Perturbers: which state the next training starts from."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dsd_bench.errors import RunError
from dsd_bench.masks import Masks
from dsd_bench.perturbers import Perturber, PerturbView
from dsd_bench.perturbers.builtin import register_perturbers

COMPONENTS = {component.name: component for component in register_perturbers()}


class Net(nn.Module):
    """A linear layer, a batch norm, and a buffer that ``state_dict`` leaves out."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("hidden", torch.zeros(2), persistent=False)


def whole(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return copies of all parameters and buffers."""
    named = [*model.named_parameters(), *model.named_buffers()]
    return {name: value.detach().clone() for name, value in named}


def scrambled() -> Net:
    """Return a network in which every number is unlike any initial one."""
    model = Net()
    with torch.no_grad():
        for value in (*model.parameters(), *model.buffers()):
            value.copy_(torch.randint(100, 200, value.shape))
    return model


def make(name: str, **params: object) -> Perturber:
    component = COMPONENTS[name]
    return component.create(component.params(**params))


def view(model: nn.Module, **states: dict[str, torch.Tensor]) -> PerturbView:
    return PerturbView(
        model=model,
        masks=Masks.dense(model),
        round=1,
        snapshot=lambda step: states[f"step{step}"],
        fresh=lambda: states["fresh"],
    )


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def test_none_changes_nothing_and_needs_nothing():
    model = scrambled()
    before = whole(model)
    make("none").perturb(view(model))
    assert same(whole(model), before)
    assert make("none").snapshots() == make("reinit").snapshots() == ()


@pytest.mark.parametrize("step", [0, 3])
def test_rewind_loads_the_whole_state_of_its_step(step):
    states = {f"step{k}": whole(scrambled()) for k in (0, 3)}
    model = Net()
    rewind = make("rewind", step=step)
    assert rewind.snapshots() == (step,)
    rewind.perturb(view(model, **states))
    assert same(whole(model), states[f"step{step}"])


def test_rewind_goes_to_the_initialisation_by_default():
    assert make("rewind").snapshots() == (0,)


def test_a_negative_step_is_refused():
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        make("rewind", step=-1)


def test_reinit_loads_the_whole_fresh_state():
    model, fresh = scrambled(), whole(Net())
    make("reinit").perturb(view(model, fresh=fresh))
    assert same(whole(model), fresh)


def test_tensors_stay_in_place_and_the_snapshot_is_not_shared():
    model, fresh = scrambled(), whole(Net())
    places = {name: value.data_ptr() for name, value in model.named_parameters()}
    kept = fresh["layer.weight"].clone()
    make("reinit").perturb(view(model, fresh=fresh))
    with torch.no_grad():
        model.layer.weight += 1
    assert {name: value.data_ptr() for name, value in model.named_parameters()} == places
    assert torch.equal(fresh["layer.weight"], kept)


def test_a_state_dict_is_a_whole_state():
    model, state = scrambled(), Net().state_dict()
    hidden = model.hidden.clone()
    make("reinit").perturb(view(model, fresh=state))
    assert same(dict(model.state_dict()), dict(state))
    assert torch.equal(model.hidden, hidden)


def test_shared_weights_need_one_tensor():
    def tied() -> nn.ModuleDict:
        model = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2, bias=False)})
        model["b"].weight = model["a"].weight
        return model

    model, fresh = tied(), whole(tied())
    make("reinit").perturb(view(model, fresh=fresh))
    assert torch.equal(model["b"].weight, fresh["a.weight"])


@pytest.mark.parametrize("change", [{"norm.running_mean": None}, {"layer.bias": torch.ones(1)}])
def test_a_state_that_does_not_fit_is_refused_before_anything_changes(change):
    model = scrambled()
    before = whole(model)
    fresh = {k: v for k, v in (whole(Net()) | change).items() if v is not None}
    with pytest.raises(RunError, match=rf"does not fit Net, see: {next(iter(change))}"):
        make("reinit").perturb(view(model, fresh=fresh))
    assert same(whole(model), before)

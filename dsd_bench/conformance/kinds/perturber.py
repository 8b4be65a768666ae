"""Checks of perturbers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from dsd_bench.conformance.checks import Broken, blaming, check, demand
from dsd_bench.conformance.meta import without_values
from dsd_bench.conformance.networks import NETWORKS, network
from dsd_bench.conformance.runs import whole_runs
from dsd_bench.conformance.subjects import Subject
from dsd_bench.conformance.unchanged import BUFFERS, WEIGHTS, same, unchanged
from dsd_bench.errors import DsdError
from dsd_bench.masks import Masks
from dsd_bench.perturbers import Perturber, PerturbView
from dsd_bench.seeds import seeded_globals

State = dict[str, Tensor]


def _state(name: str, seed: int, like: nn.Module) -> State:
    """Return the state of a new network of the kind of ``like``, where that is."""
    there = next(like.parameters())
    return dict(network(name, seed).to(there.device, there.dtype).state_dict())


def _perturb(
    perturber: Perturber,
    model: nn.Module,
    name: str = "a plain network",
    seen: Callable[[State], State] = lambda state: state,
) -> None:
    """Perturb ``model``, a network with ``name``, as the core does in round 1."""
    named = perturber.snapshots()

    def snapshot(step: int) -> State:
        if step not in named:
            raise Broken(
                f"it asks for the state after step {step}, which snapshots() does not name"
            )
        return seen(_state(name, 100 + step, model))

    def fresh() -> State:
        return seen(_state(name, 99, model))

    view = PerturbView(model, Masks.dense(model), 1, snapshot, fresh)
    with seeded_globals(5):
        perturber.perturb(view)


@check("perturber")
def same_seed(subject: Subject) -> None:
    """Made anew, or asked again if it remembers nothing, it makes the same weights by one seed."""
    perturber = subject.make()
    found = []
    for each in (perturber, perturber, subject.make()):
        model = network()
        _perturb(each, model)
        found.append(dict(model.state_dict()))
    for name, tensor in found[0].items():
        again = perturber.state() or same(tensor, found[1][name])
        demand(again, f"asked again it makes other '{name}'")
        demand(same(tensor, found[2][name]), f"made anew it makes other '{name}'")


@check("perturber")
def changes_weights_only(subject: Subject) -> None:
    """Only weights and buffers change, in place and to finite values: no flag, hook or layer."""
    model = network()
    given: list[tuple[State, State]] = []

    def watched(state: State) -> State:
        given.append((state, {name: tensor.clone() for name, tensor in state.items()}))
        return state

    with unchanged(model, but=(WEIGHTS, BUFFERS)):
        _perturb(subject.make(), model, seen=watched)
    for name, weight in model.named_parameters():
        demand(bool(weight.isfinite().all()), f"it makes '{name}' not finite")
    for state, before in given:
        kept = all(same(state[name], before[name]) for name in before)
        demand(kept, "it changes a snapshot or a new initialisation in place")


@check("perturber")
def snapshots(subject: Subject) -> None:
    """It names the same steps whenever it is asked, whole numbers of 0 or more."""
    perturber = subject.make()
    named = perturber.snapshots()
    whole = isinstance(named, tuple) and all(type(step) is int and step >= 0 for step in named)
    demand(whole, f"snapshots() gives {named!r}, not a tuple of steps")
    _perturb(perturber, network())
    again = perturber.snapshots(), subject.make().snapshots()
    demand(again == (named, named), f"snapshots() gives {named!r}, later {again!r}")


@check("perturber")
def odd_networks(subject: Subject) -> None:
    """Shared weights, grouped convolutions, attention, frozen layers: perturbed, or refused."""
    for name in NETWORKS:
        model = network(name)
        with blaming(f"of a network with {name} it raises"):
            try:
                with unchanged(model, but=(WEIGHTS, BUFFERS)):
                    _perturb(subject.make(), model, name)
            except DsdError:
                demand(name != "a plain network", "it refuses a plain network of linear layers")


@check("perturber")
def any_dtype(subject: Subject) -> None:
    """Networks in double and in bfloat16 are perturbed too, and stay of their type."""
    for dtype in (torch.float64, torch.bfloat16):
        model = network().to(dtype)
        with blaming(f"of a network in {str(dtype).removeprefix('torch.')} it raises"):
            _perturb(subject.make(), model)
        demand(
            next(model.parameters()).dtype == dtype, f"it changes the weights' type from {dtype}"
        )


@check("perturber")
def any_device(subject: Subject) -> None:
    """It makes its tensors where the network lives, seen on the device `meta`."""
    with without_values():
        _perturb(subject.make(), network().to("meta"))


whole_runs("perturber", lambda subject: {"perturber": subject.word})

"""Checks of pruners."""

from __future__ import annotations

import copy

import torch
from torch import nn

from dsd_bench.conformance.checks import Skipped, blaming, check, demand
from dsd_bench.conformance.meta import without_values
from dsd_bench.conformance.networks import NETWORKS, SHAPE, batches, network
from dsd_bench.conformance.runs import whole_runs
from dsd_bench.conformance.subjects import Subject
from dsd_bench.conformance.training import gathered
from dsd_bench.conformance.unchanged import same, unchanged
from dsd_bench.errors import DsdError
from dsd_bench.experiment.pruning import check_weights, put_weights
from dsd_bench.masks import Masks, NothingLeft, prune_count
from dsd_bench.metrics.prunable import find_prunable
from dsd_bench.pruners import Pruned, Pruner, PrunerParams, PruneView
from dsd_bench.seeds import seeded_globals

ENOUGH = 400
"""Rounds after which any pruner has come to the end of a network of some hundred weights."""


def _view(subject: Subject, model: nn.Module, masks: Masks, round: int = 1) -> PruneView:
    weight = next(model.parameters())
    given, learned = batches(weight.device, weight.dtype), gathered(subject, model)
    draw = torch.Generator().manual_seed(round)
    return PruneView(model, masks, round, weight.device, draw, given, learned)


def _answer(
    subject: Subject, pruner: Pruner, model: nn.Module, masks: Masks, round: int = 1
) -> Pruned:
    """Return the next masks and weights, asked for as the core does."""
    view = _view(subject, model, masks, round)
    with seeded_globals(7 + round):
        found = pruner.prune(view)
    demand(
        isinstance(found, Masks | Pruned),
        f"prune gives a {type(found).__name__}, not Masks or Pruned",
    )
    return found if isinstance(found, Pruned) else Pruned(found, {})


def _go_on(subject: Subject, model: nn.Module, answer: Pruned) -> Masks:
    """Make the network what the pruner will be shown next; return the masks."""
    if not subject.entry.component.at_initialisation:
        put_weights(answer.weights, model)
        answer.masks.apply(model)
    return answer.masks


def _dense(name: str = "a plain network") -> tuple[nn.Module, Masks]:
    model = network(name)
    find_prunable(model, SHAPE)
    return model, Masks.dense(model)


def _checked(before: Masks, after: Masks, params: object) -> None:
    """Check that a pruning went as the core will demand."""
    demand(
        set(after.weights) == set(before.weights),
        "its masks are not of the weights that it was given: use the names of view.masks.weights",
    )
    demand(after.nested_in(before), "it brings pruned weights back")
    demand(after.nonzero < before.nonzero, "it prunes nothing, and does not raise NothingLeft")
    if not isinstance(params, PrunerParams):
        return
    everything = list(before.weights)
    for names in [everything] if params.scope == "global" else [[name] for name in everything]:
        left = [before.counts[name] for name in names]
        wanted = min(prune_count(params.fraction, sum(left)), sum(max(n - 1, 0) for n in left))
        gone = sum(left) - sum(after.counts[name] for name in names)
        demand(gone == wanted, f"{gone} of {sum(left)} weights go, fraction says {wanted}")


@check("pruner")
def same_seed(subject: Subject) -> None:
    """Made anew, or asked again if it remembers nothing, it prunes the same weights by one seed."""
    model, dense = _dense()
    pruner = subject.make()
    first = _answer(subject, pruner, model, dense)
    again = _answer(subject, pruner, model, dense)
    other = _answer(subject, subject.make(), model, dense)
    repeated = pruner.state() or _equal(first, again)
    demand(repeated, "asked again with the same seed it prunes other weights")
    demand(_equal(first, other), "made anew it prunes other weights under the same seed")


def _equal(one: Pruned, other: Pruned) -> bool:
    mine, theirs = ({**each.masks.tensors(), **each.weights} for each in (one, other))
    return mine.keys() == theirs.keys() and all(same(mine[name], theirs[name]) for name in mine)


@check("pruner")
def exact_counts(subject: Subject) -> None:
    """In every round exactly the fraction goes, at least one weight, and masks are nested."""
    for scope in ("global", "layer"):
        values = dict(subject.values)
        if isinstance(subject.params, PrunerParams):
            values["scope"] = scope
        pruner = subject.make(values)
        model, masks = _dense()
        for round in range(1, 6):
            try:
                after = _answer(subject, pruner, model, masks, round)
            except NothingLeft:
                demand(round > 1, "it raises NothingLeft in the first round of a plain network")
                break
            _checked(masks, after.masks, pruner.params)
            masks = _go_on(subject, model, after)


@check("pruner")
def new_weights(subject: Subject) -> None:
    """New weights come with its masks only where declared: finite, of the network's parameters."""
    declared, pruner = subject.entry.component.reconstructs, subject.make()
    model, masks = _dense()
    for round in (1, 2):
        answer = _answer(subject, pruner, model, masks, round)
        demand(
            declared or not answer.weights,
            "it gives new weights: register it with Component(reconstructs=True)",
        )
        check_weights(answer.weights, model)
        masks = _go_on(subject, model, answer)


@check("pruner")
def changes_nothing(subject: Subject) -> None:
    """The network is as it was: weights, buffers, gradients, flags, hooks; the masks too."""
    for training in (False, True):
        model, masks = _dense()
        model.train(training)
        list(model.children())[2].train(not training)
        next(model.parameters()).grad = torch.ones_like(next(model.parameters()))
        given = {name: mask.clone() for name, mask in masks.tensors().items()}
        with unchanged(model):
            _answer(subject, subject.make(), model, masks)
        demand(
            all(same(mask, given[name]) for name, mask in masks.tensors().items()),
            "it changes the masks that it was given, in place",
        )


@check("pruner")
def odd_networks(subject: Subject) -> None:
    """Shared weights, grouped convolutions, attention, zeros, frozen layers: pruned or refused."""
    refused = []
    for name in NETWORKS:
        model, masks = _dense(name)
        pruner = subject.make()
        for round in (1, 2):
            with blaming(f"of a network with {name} it raises"):
                try:
                    after = _answer(subject, pruner, model, masks, round)
                except DsdError:  # said so that its user understands it
                    refused.append(name)
                    break
            _checked(masks, after.masks, pruner.params)
            masks = _go_on(subject, model, after)
    demand("a plain network" not in refused, "it refuses a plain network of linear layers")


@check("pruner")
def to_the_end(subject: Subject) -> None:
    """Pruned on and on, no layer is emptied, and at the end it raises NothingLeft."""
    for name in ("a plain network", "a layer of one weight"):
        model, masks = _dense(name)
        pruner = subject.make()
        for round in range(1, ENOUGH):
            try:
                answer = _answer(subject, pruner, model, masks, round)
            except NothingLeft:
                break
            except DsdError as error:
                demand(round == 1 and name != "a plain network", f"it refuses {name}: {error}")
                break
            _checked(masks, answer.masks, None)
            empty = [layer for layer, count in answer.masks.counts.items() if not count]
            demand(not empty, f"in round {round} it empties the layer '{''.join(empty[:1])}'")
            masks = _go_on(subject, model, answer)
        else:
            demand(False, f"after {ENOUGH} rounds it has not come to an end")


@check("pruner")
def any_dtype(subject: Subject) -> None:
    """Networks in double and in bfloat16 are pruned too, by as many weights."""
    for dtype in (torch.float64, torch.bfloat16):
        model, masks = _dense()
        model.to(dtype)
        pruner = subject.make()
        with blaming(f"of a network in {str(dtype).removeprefix('torch.')} it raises"):
            answer = _answer(subject, pruner, model, masks)
            _checked(masks, answer.masks, pruner.params)
            check_weights(answer.weights, model)


@check("pruner")
def any_device(subject: Subject) -> None:
    """It makes its tensors where the network lives: its scores are had on the device `meta`."""
    pruner = subject.make()
    if type(pruner).prune is not Pruner.prune:
        raise Skipped("it overrides prune, which reads numbers; `meta` has none")
    model, masks = _dense()
    model, masks = copy.deepcopy(model).to("meta"), masks.to("meta")
    view = _view(subject, model, masks)
    with without_values(), seeded_globals(1):
        scores = pruner.scores(view)
    for name, mask in masks.weights.items():
        demand(name in scores, f"it gives no scores for '{name}'")
        demand(scores[name].shape == mask.shape, f"the scores for '{name}' have another shape")


whole_runs("pruner", lambda subject: {"pruner": subject.word})

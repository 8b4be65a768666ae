"""Checks of updaters."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from dsd_bench.conformance.checks import Broken, Skipped, blaming, check, demand
from dsd_bench.conformance.meta import without_values
from dsd_bench.conformance.networks import NETWORKS, SHAPE, batches, network
from dsd_bench.conformance.runs import whole_runs
from dsd_bench.conformance.subjects import Subject
from dsd_bench.conformance.unchanged import same, unchanged
from dsd_bench.errors import DsdError
from dsd_bench.masks import Masks, prune_by_scores
from dsd_bench.metrics.prunable import find_prunable
from dsd_bench.seeds import seeded_globals
from dsd_bench.training.updating import ActiveUpdater, Goal
from dsd_bench.updaters import Updater, UpdateView

TOTAL, PER_EPOCH = 24, 6
"""Steps of a training, and of an epoch."""


class _Training:
    """A training whose masks change, without its steps: weights are as they were drawn."""

    def __init__(self, model: nn.Module) -> None:
        self.model, dense = model, Masks.dense(model)
        weights = dict(model.named_parameters(remove_duplicate=False))
        sizes = {name: weights[name].detach().abs() for name in dense.weights}
        self.before = prune_by_scores(sizes, dense, 0.2, "global")
        self.pruned = prune_by_scores(sizes, self.before, 0.3, "global")
        self.pruned.apply(model)

    def run(self, updater: Updater) -> Iterator[tuple[UpdateView, Masks, Mapping[str, Tensor]]]:
        """Yield each view, the masks that the updater made of it, and the values it gave."""
        active = ActiveUpdater("it", updater)
        masks, goal = active.begin(self.before, self.pruned)
        steps = active.steps(TOTAL, PER_EPOCH)
        for step in steps:
            view = self.view(masks, goal, step, steps)
            with seeded_globals(step):
                masks, values = active.update(view)
            yield view, masks, values
            masks.apply(self.model)

    def view(self, masks: Masks, goal: Goal, step: int, steps: tuple[int, ...]) -> UpdateView:
        """Return what the updater sees after ``step``."""
        device = next(self.model.parameters()).device
        return UpdateView(
            model=self.model,
            masks=masks,
            target=goal.target,
            began=goal.began,
            round=1,
            step=step,
            steps=steps,
            total=TOTAL,
            device=device,
            generator=torch.Generator().manual_seed(step),
            batches=batches(device, next(self.model.parameters()).dtype),
        )


def _began(name: str = "a plain network", dtype: torch.dtype = torch.float32) -> _Training:
    model = network(name)
    find_prunable(model, SHAPE)
    return _Training(model.to(dtype))


@check("updater")
def steps(subject: Subject) -> None:
    """Of trainings of any length it names ascending steps, the same ones whenever it is asked."""
    for total, per_epoch in ((1, 1), (2, 1), (7, 7), (TOTAL, PER_EPOCH), (1000, 10)):
        try:
            found = ActiveUpdater("it", subject.make()).steps(total, per_epoch)
        except DsdError as error:
            demand(total < TOTAL, f"a training of {total} steps is refused: {error}")
            continue
        again = ActiveUpdater("it", subject.make()).steps(total, per_epoch)
        demand(found == again, f"of {total} steps it names {found[:5]}, made anew {again[:5]}")


@check("updater")
def same_seed(subject: Subject) -> None:
    """Made anew, it makes the same masks and values under the same seed."""
    found = [list(_began().run(subject.make())) for _ in range(2)]
    for (view, one, values), (_, other, others) in zip(*found, strict=True):
        alike = all(same(one.weights[name], other.weights[name]) for name in one.weights)
        demand(alike, f"after step {view.step} it makes other masks under the same seed")
        alike = values.keys() == others.keys() and all(same(values[n], others[n]) for n in values)
        demand(alike, f"after step {view.step} it gives other values under the same seed")


@check("updater")
def exact_counts(subject: Subject) -> None:
    """It keeps to what it declares, and a training ends with exactly as many weights as are due."""
    try:
        updates = list(_began().run(subject.make()))
    except DsdError as error:
        raise Broken(str(error)) from error
    view, last, _ = updates[-1]
    due = view.target.nonzero
    demand(last.nonzero == due, f"a training ends with {last.nonzero} weights, {due} are due")


@check("updater")
def declares_rightly(subject: Subject) -> None:
    """What it says of regrowing is so: weights come back in some update, if they may."""
    updater = subject.make()
    demand(type(updater.regrows) is bool, f"regrows is {updater.regrows!r}, not True or False")
    if not updater.regrows:
        raise Skipped("it brings no weights back")
    came = any(not masks.nested_in(view.masks) for view, masks, _ in _began().run(updater))
    demand(came, "it says regrows = True, but in no update of a training a weight comes back")


@check("updater")
def changes_nothing(subject: Subject) -> None:
    """The network and the masks that it is given are as they were: the core changes both."""
    training = _began()
    training.model.train()
    updater = subject.make()
    active = ActiveUpdater("it", updater)
    masks, goal = active.begin(training.before, training.pruned)
    named = active.steps(TOTAL, PER_EPOCH)
    view = training.view(masks, goal, named[0], named)
    given = [*masks.weights.values(), *goal.target.weights.values(), *goal.began.weights.values()]
    before = [mask.clone() for mask in given]
    with unchanged(training.model), seeded_globals(1):
        updater.update(view)
    demand(all(map(same, before, given)), "it changes the masks that it was given, in place")


@check("updater")
def odd_networks(subject: Subject) -> None:
    """Shared weights, grouped convolutions, attention, frozen layers: updated, or refused."""
    for name in NETWORKS:
        with blaming(f"of a network with {name} it raises"):
            try:
                list(_began(name).run(subject.make()))
            except DsdError as error:
                demand(name != "a plain network", f"it is refused: {error}")


@check("updater")
def any_dtype(subject: Subject) -> None:
    """Networks in double and in bfloat16 are updated too."""
    for dtype in (torch.float64, torch.bfloat16):
        with blaming(f"of a network in {str(dtype).removeprefix('torch.')} it raises"):
            list(_began(dtype=dtype).run(subject.make()))


@check("updater")
def any_device(subject: Subject) -> None:
    """It makes its tensors where the network lives, seen on the device `meta`."""
    training = _began()
    active = ActiveUpdater("it", subject.make())
    masks, goal = active.begin(training.before, training.pruned)
    named = active.steps(TOTAL, PER_EPOCH)
    training.model = copy.deepcopy(training.model).to("meta")
    moved = Goal(goal.target.to("meta"), goal.began.to("meta"))
    view = training.view(masks.to("meta"), moved, named[0], named)
    with without_values(), seeded_globals(1):
        active.updater.update(view)


whole_runs("updater", lambda subject: {"updater": subject.word})

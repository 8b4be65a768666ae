"""Masks that change within a training: what an updater may do, and that the rest follows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dsd_bench.errors import RunError, UsageError
from dsd_bench.masks import Masks
from dsd_bench.stateful import part
from dsd_bench.training.step import Stepper
from dsd_bench.updaters import Regrown, Updater, UpdateView

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class ActiveUpdater:
    """The updater of a run: the built component, and its name."""

    name: str
    updater: Updater

    def begin(self, before: Masks, pruned: Masks) -> tuple[Masks, Goal]:
        """Return the masks that a training begins with, and where it is to end.

        Args:
            before: the masks before this round's pruning.
            pruned: those after it.

        Raises:
            UsageError: if the pruner took whole structures, of which no weights come or go alone.
        """
        if pruned.tied:
            raise UsageError(
                f"updater '{self.name}' needs a pruner of single weights such as magnitude: this "
                "one takes whole filters with their biases"
            )
        every = {name: torch.ones_like(mask) for name, mask in before.weights.items()}
        masks = {"pruned": pruned, "before": before, "dense": Masks(every)}[self.updater.begins]
        return masks, Goal(pruned, masks)

    def steps(self, total: int, per_epoch: int) -> tuple[int, ...]:
        """Return the steps after which masks change.

        Raises:
            UsageError: if they are no ascending steps of the training, or there are none.
        """
        steps = tuple(self.updater.steps(total, per_epoch))
        if not steps:
            raise UsageError(
                f"updater '{self.name}' changes no masks in a training of {total} steps "
                f"({per_epoch} an epoch); let it act more often, or train longer"
            )
        whole = all(type(step) is int and 1 <= step <= total for step in steps)
        if not whole or list(steps) != sorted(set(steps)):
            raise UsageError(
                f"updater '{self.name}' names steps {list(steps[:5])}: they must be ascending "
                f"whole numbers from 1 to {total}, the steps of a training"
            )
        return steps

    def update(self, view: UpdateView) -> tuple[Masks, Mapping[str, Tensor]]:
        """Ask for new masks; return them checked, and the values of what comes back.

        Raises:
            RunError: saying what of the answer is wrong.
        """
        answer = self.updater.update(view)
        masks = answer.masks if isinstance(answer, Regrown) else answer
        shapes = {name: mask.shape for name, mask in view.masks.all()}
        given = masks.all() if isinstance(masks, Masks) else ()
        if {name: mask.shape for name, mask in given} != shapes:
            raise RunError("it returned no Masks of the weights and shapes that it was given")
        masks = masks.to(view.device).ordered(view.model)
        if wrong := self._wrong(masks, view):
            raise RunError(wrong)
        return masks, self._values(answer, view) if isinstance(answer, Regrown) else {}

    def _wrong(self, masks: Masks, view: UpdateView) -> str:
        """Say what is wrong with new masks; empty if nothing is."""
        now, least = view.masks, view.target.nonzero
        if not self.updater.regrows and not masks.nested_in(now):
            return "it brought pruned weights back; an updater that does so says 'regrows = True'"
        if empty := [name for name, count in masks.counts.items() if not count]:
            return f"it left no weight in '{empty[0]}'"
        if not least <= masks.nonzero <= now.nonzero:
            return f"it left {masks.nonzero} weights: from {least} to {now.nonzero} are allowed"
        if view.step == view.steps[-1] and masks.nonzero != least:
            return f"it ended with {masks.nonzero} weights, not with the {least} that are due"
        return ""

    def _values(self, answer: Regrown, view: UpdateView) -> Mapping[str, Tensor]:
        if not self.updater.fills:
            text = "it gave values for what comes back; an updater that does so says 'fills = True'"
            raise RunError(text)
        for name, value in answer.weights.items():
            mask = view.masks.weights.get(name)
            if mask is None or value.shape != mask.shape or not bool(value.isfinite().all()):
                text = "that are not finite, or not of the shape of a weight that can be pruned"
                raise RunError(f"it gave values for '{name}' {text}")
        return answer.weights


@dataclass(frozen=True)
class Goal:
    """Where a training whose masks change is to end.

    Attributes:
        target: what the pruner left.
        began: the masks that the training began with.
    """

    target: Masks
    began: Masks

    def tensors(self) -> Tensors:
        """Return it for a checkpoint."""
        both = {"target": self.target, "began": self.began}
        return {f"{n}/{k}": v for n, masks in both.items() for k, v in masks.tensors().items()}

    @classmethod
    def from_tensors(cls, tensors: Tensors, model: nn.Module) -> Goal | None:
        """Undo :meth:`tensors`; None if there are none."""
        if not tensors:
            return None
        cut = {name: part(tensors, name) for name in ("target", "began")}
        return cls(**{name: Masks.from_tensors(cut[name]).ordered(model) for name in cut})


@torch.no_grad()
def remask(stepper: Stepper, before: Masks, after: Masks, values: Mapping[str, Tensor]) -> None:
    """Let the masks of a training change: gradients, weights and the optimiser's state follow.

    What goes is zero at once. What comes back is zero, or what ``values`` say, and has no momentum.

    Args:
        stepper: the step of the training; made for changing masks.
        before: its masks so far.
        after: its masks from now on.
        values: for weights that come back, by name.
    """
    stay = Masks({name: mask & before.weights[name] for name, mask in after.weights.items()})
    stay.apply(stepper.model)
    weights = dict(stepper.model.named_parameters())
    stepper.optimizer.forget({weights[name]: mask for name, mask in stay.weights.items()})
    for name, value in values.items():
        back, weight = after.weights[name] & ~before.weights[name], weights[name]
        weight.copy_(torch.where(back, value.to(weight), weight))
    stepper.remask(after)

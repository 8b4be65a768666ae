"""One step of a training: what happens between a batch and the updated weights.

It reads nothing but tensors and draws from nothing but generators, so that it can be captured
once and replayed (:mod:`dsd_bench.training.cuda_graph`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dsd_bench.errors import RunError, message
from dsd_bench.masks import Masks
from dsd_bench.optimizers import Ascending, Stepping
from dsd_bench.optimizers.wrapping import Masked
from dsd_bench.regularizers import Regularizer, Step, overrides
from dsd_bench.training.device import ComputeContext
from dsd_bench.training.distributed import BATCH_NORMS

_engine = getattr(torch.autograd.Variable, "_execution_engine", None)


def _run_backward(loss: Tensor, weight: Tensor) -> None:
    """Do what ``loss.backward(weight)`` ends in; its checks on the way cost small networks 10 %.

    The engine's name is torch's own business, so there is the plain call for when it changes.
    """
    if _engine is None:
        loss.backward(weight)  # type: ignore[no-untyped-call]
    else:
        _engine.run_backward((loss,), (weight,), False, False, (), True, True)


ALLOCATOR_WORDS = (
    *("not enough memory", "can't allocate memory"),  # torch's own for a CPU
    *("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED"),
)
"""What allocators say whose errors are plain RuntimeErrors: torch's for a CPU, on Windows and
elsewhere, and those of CUDA and its libraries, of which torch's for a GPU is none: where others
fill it, contexts and handles are what does not fit."""


class Stepper:
    """Forward, loss, backward, masks, update.

    Where a batch does not fit into memory, its gradient is summed over parts of it, unless the
    network has batch norms, which would see other batches then.

    Args:
        context: where and how precisely to compute; its plan says how large the parts are.
        model: the network, in train mode.
        masks: what is pruned.
        optimizer: over the model's parameters.
        regularizers: the chain, in order.
        generators: what the step draws from; put back before a step is tried again.
        clip_norm: the largest norm of all gradients together, without those of pruned weights;
            larger ones are scaled down to it. None: no limit.
        changing: whether masks will change (:meth:`remask`).

    Attributes:
        losses: the sum of all losses so far; it tells, once an epoch, whether one was not finite.
    """

    def __init__(
        self,
        context: ComputeContext,
        model: nn.Module,
        masks: Masks,
        optimizer: Stepping,
        regularizers: Sequence[Regularizer] = (),
        generators: Sequence[torch.Generator] = (),
        clip_norm: float | None = None,
        changing: bool = False,
    ) -> None:
        self.context, self.model, self.optimizer = context, model, optimizer
        self.regularizers, self.generators = list(regularizers), list(generators)
        replacing = (r.criterion for r in self.regularizers if overrides(r, "criterion"))
        self.criterion = next(replacing, cross_entropy)
        self.losses = torch.zeros((), device=context.device)
        self._forward = context.team.wrap_ddp(model)
        self._one = torch.ones((), device=context.device)
        self._fits = 0
        self._clip, self._masked = clip_norm, Masked({})
        self._climber = optimizer if isinstance(optimizer, Ascending) else None
        self._again = False
        self._norms = [
            module
            for module in (model.modules() if self._climber else ())
            if isinstance(module, BATCH_NORMS) and module.track_running_stats
        ]
        parameters = dict(model.named_parameters())
        pruned = {name: mask for name, mask in masks.all() if changing or not bool(mask.all())}
        # of the gradients' dtype and layout: a product of two kinds is several times slower
        self._held = {
            (p := parameters[name]): torch.empty_like(p, requires_grad=False).copy_(mask)
            for name, mask in pruned.items()
        }
        self._hold()

    def __call__(
        self,
        images: Tensor,
        labels: Tensor,
        index: Tensor,
        targets: Tensor | None = None,
        whole: int | None = None,
    ) -> None:
        """Carry out one step.

        Args:
            images: ``(B, C, H, W)``, augmented and normalised.
            labels: ``(B,)`` int64.
            index: ``(B,)`` int64, the samples' positions in the train part.
            targets: ``(B, classes)``, distributions that count instead of labels.
            whole: size of the batch of which this process has a share (default: B).

        Raises:
            RunError: if the batch does not fit into memory and cannot be taken in parts.
        """
        self.context.settle()
        try:
            self._whole_gradients(images, labels, index, targets, whole)
            if self._climber is not None:
                self._climb(self._climber)
                self._second_gradients(images, labels, index, targets, whole)
        except BaseException:
            self._forget_gradients()  # a half-done sum must not get into another step
            raise
        if self._clip is not None or self._climber is not None:
            self._masked.apply()
        if self._clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self._clip)
        self.optimizer.step()

    def remask(self, masks: Masks) -> None:
        """Hold other masks from the next step on; only if ``changing``.

        They are changed in place, where a recorded step reads them.
        """
        parameters = dict(self.model.named_parameters())
        for name, mask in masks.all():
            self._held[parameters[name]].copy_(mask)
        self._hold()

    def _hold(self) -> None:
        """Keep gradients of pruned weights zero: by the optimiser, unless they matter before it."""
        if self._clip is None and self._climber is None:
            self.optimizer.hold(self._held)
        else:
            self._masked = Masked(self._held)

    def _climb(self, climber: Ascending) -> None:
        """End the first of two passes: move the weights by the gradients, and drop those."""
        self._masked.apply()
        climber.ascend()
        for parameter in self.model.parameters():
            parameter.grad = None

    def _second_gradients(
        self,
        images: Tensor,
        labels: Tensor,
        index: Tensor,
        targets: Tensor | None,
        whole: int | None,
    ) -> None:
        """Do what :meth:`_whole_gradients` does; batch norms do not remember the batch again."""
        try:
            self._again = True
            for module in self._norms:
                module.track_running_stats = False
            self._whole_gradients(images, labels, index, targets, whole)
        finally:
            self._again = False
            for module in self._norms:
                module.track_running_stats = True

    def _whole_gradients(
        self,
        images: Tensor,
        labels: Tensor,
        index: Tensor,
        targets: Tensor | None,
        whole: int | None,
    ) -> None:
        """Add the gradient of the batch's mean loss, of which this process may have a share."""
        if whole is not None:
            share = len(labels) * self.context.team.size / whole  # gradients are averaged
            self._backward(images, labels, index, targets, self._one * share)
        elif len(labels) <= self._fits:
            self._gradients(images, labels, index, targets)
        else:
            self._first_gradients(images, labels, index, targets)

    def _gradients(
        self, images: Tensor, labels: Tensor, index: Tensor, targets: Tensor | None
    ) -> None:
        """Add the gradient of the batch's mean loss to the parameters', in parts if need be."""
        part = self.context.plan.micro_batch
        if part is None or part >= len(labels):
            self._backward(images, labels, index, targets, self._one)
            return
        for some, given, places, mixed in _in_parts(part, images, labels, index, targets):
            weight = self._one * (len(given) / len(labels))
            self._backward(some, given, places, mixed, weight)

    def _backward(
        self,
        images: Tensor,
        labels: Tensor,
        index: Tensor,
        targets: Tensor | None,
        weight: Tensor,
    ) -> None:
        with self.context.autocast():
            logits = self._forward(images)
        if not self.regularizers:
            loss = functional.cross_entropy(logits.float(), labels)
        else:
            seen = Step(images, labels, index, logits, targets, self._again)
            loss = one_number(self.criterion(seen), self.criterion)
            for regularizer in self.regularizers:
                loss = one_number(regularizer.loss(loss, seen), regularizer.loss)
            self.context.settle()
        _run_backward(loss, weight)
        self.losses += loss.detach()

    # -- a batch that may not fit ----------------------------------------------------------------

    def _first_gradients(
        self, images: Tensor, labels: Tensor, index: Tensor, targets: Tensor | None
    ) -> None:
        """Do what :meth:`_gradients` does, in smaller and smaller parts until they fit."""
        states = [generator.get_state() for generator in self.generators]
        losses, whole = self.losses.clone(), len(labels)
        remembered = [(r, _copies(r.state())) for r in self.regularizers]
        part = min(self.context.plan.micro_batch or whole, whole)
        while True:
            try:
                self._gradients(images, labels, index, targets)
                break
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error) or part == 1:
                    raise
            self._forget_gradients()
            part = (part + 1) // 2
            if why := self._needs_whole():
                raise RunError(self._advice(why, part, images, labels, index, targets))
            for generator, state in zip(self.generators, states):
                generator.set_state(state)
            self.losses.copy_(losses)
            for regularizer, tensors in remembered:
                if tensors:
                    regularizer.load(_copies(tensors))
            why = f"a batch of {whole} did not fit into memory: {part} images at a time"
            self.context.change(why, micro_batch=part)
        self._fits = whole

    def _needs_whole(self) -> str | None:
        """Return what does not allow to take a batch in parts."""
        if batch_dependent(self.model):
            return "the model's batch norms do"
        whole = (type(r).__name__ for r in self.regularizers if r.needs_whole_batch)
        return next((f"the regularizer {name} does" for name in whole), None)

    def _advice(self, why: str, size: int, images: Tensor, *rest: Tensor | None) -> str:
        """Say which batch size fits: the largest of ``size``, half of it, and so on."""
        while size > 1:  # a batch norm needs two
            try:
                some, labels, index, targets = next(_in_parts(size, images, *rest))
                self._backward(some, labels, index, targets, self._one)
                break
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
            finally:
                self._forget_gradients()
            size //= 2
        advice = f"--batch-size {size} fits" if size > 1 else "not even two images fit"
        return (
            f"out of memory: a batch of {len(images)} images does not fit, and {why} not allow to "
            f"take it in parts; {advice}"
        )

    def _forget_gradients(self) -> None:
        for parameter in self.model.parameters():
            parameter.grad = None
        if self.context.device.type == "cuda" and not torch.cuda.is_current_stream_capturing():
            torch.cuda.empty_cache()


def one_number(loss: object, of: Callable[..., Any]) -> Tensor:
    """Return a loss as it is.

    Args:
        loss: what was answered.
        of: the method that did.

    Raises:
        RunError: naming it, if that is no scalar.
    """
    if isinstance(loss, Tensor) and not loss.dim():
        return loss
    shape = f" {tuple(loss.shape)}" if isinstance(loss, Tensor) else ""
    raise RunError(
        f"{getattr(of, '__qualname__', of)} gave a {type(loss).__name__}{shape} as the loss; "
        "expected one number, the mean over the images, as a tensor of shape ()"
    )


def cross_entropy(step: Step) -> Tensor:
    """Return the mean cross-entropy, in nats, of a step's targets, else of its labels."""
    targets = step.labels if step.targets is None else step.targets
    return functional.cross_entropy(step.logits.float(), targets)


def _in_parts(size: int, *batch: Tensor | None) -> Iterator[Any]:
    """Yield a batch's tensors ``size`` images at a time."""
    return zip(*(repeat(None) if t is None else torch.split(t, size) for t in batch))


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in tensors.items()}


def out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that memory was not enough."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    said = message(error)
    return known or any(words in said for words in ALLOCATOR_WORDS)


def batch_dependent(model: nn.Module) -> bool:
    """Whether an image's output depends on the others of its batch: batch norm in train mode."""
    return any(isinstance(module, BATCH_NORMS) and module.training for module in model.modules())

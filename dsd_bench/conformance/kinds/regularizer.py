"""Checks of regularizers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dsd_bench.conformance.checks import Skipped, blaming, check, demand
from dsd_bench.conformance.meta import without_values
from dsd_bench.conformance.networks import BATCH, NETWORKS, SHAPE, network
from dsd_bench.conformance.runs import whole_runs
from dsd_bench.conformance.subjects import Subject
from dsd_bench.conformance.training import batch, loss_of, normalised, trained, training_view
from dsd_bench.conformance.unchanged import BUFFERS, same, unchanged
from dsd_bench.errors import DsdError
from dsd_bench.regularizers import Step, overrides
from dsd_bench.seeds import seeded_globals

CPU = torch.device("cpu")


def _gradients(model: nn.Module, loss: Tensor) -> Mapping[str, Tensor | None]:
    weights = dict(model.named_parameters())
    found = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    return dict(zip(weights, found, strict=True))


@check("regularizer")
def same_seed(subject: Subject) -> None:
    """Asked again, or made anew, it does the same under the same seed: images, loss, gradients."""
    first = subject.make()
    found = []
    for each in (first, subject.make()):
        model = network()
        seen = trained(subject, each, model)
        found.append((seen, _gradients(model, seen.loss)))
    (one, gradients), (other, others) = found
    demand(same(one.images, other.images), "it changes images otherwise under the same seed")
    demand(same(one.mixed, other.mixed), "it mixes otherwise under the same seed")
    demand(same(one.loss, other.loss), f"the loss is {one.loss.item()}, then {other.loss.item()}")
    for name, gradient in gradients.items():
        demand(same(gradient, others[name]), f"the gradient of '{name}' differs")


@check("regularizer")
def gradients(subject: Subject) -> None:
    """The loss is one finite number, and its gradient reaches every weight."""
    model = network()
    loss = trained(subject, subject.make(), model).loss
    demand(loss.shape == (), f"the loss has the shape {tuple(loss.shape)}; expected one number")
    demand(bool(loss.isfinite()), f"the loss of an untrained network is {loss.item()}")
    demand(loss.requires_grad, "the loss has no gradient: it was detached, or made anew")
    for name, gradient in _gradients(model, loss).items():
        if gradient is None:
            demand(False, f"no gradient reaches '{name}'")
        else:
            demand(bool(gradient.isfinite().all()), f"the gradient of '{name}' is not finite")


@check("regularizer")
def leaves_no_trace(subject: Subject) -> None:
    """After its end the network is as it was before: weights, flags, layers, hooks."""
    for training in (True, False):
        model = network()
        model.train(training)
        regularizer = subject.make()
        with unchanged(model):
            regularizer.begin(training_view(subject, model))
            regularizer.end()
        with unchanged(model.eval(), but=(BUFFERS,)):
            trained(subject, regularizer, model)
    regularizer.end()  # also called where a training failed before its beginning


@check("regularizer")
def no_waiting(subject: Subject) -> None:
    """A step makes its tensors where the network lives, and does not wait for the device."""
    with without_values(may_read=False):
        trained(subject, subject.make(), network().to("meta"))


@check("regularizer")
def images(subject: Subject) -> None:
    """Images that it changes stay uint8 and of their shape; what it mixes are distributions."""
    regularizer = subject.make()
    if not (overrides(regularizer, "batch") or overrides(regularizer, "mix")):
        raise Skipped("it changes no images")
    seen = trained(subject, regularizer, network())
    told = f"{seen.images.dtype} {tuple(seen.images.shape)}"
    right = seen.images.dtype == torch.uint8 and seen.images.shape == (BATCH, *SHAPE)
    demand(right, f"batch gives {told}; expected uint8 of the same shape")
    demand(seen.mixed.shape == (BATCH, *SHAPE), "mix gives images of another shape")


@check("regularizer")
def low_precision(subject: Subject) -> None:
    """With logits in bfloat16 the loss is still computed in float32."""
    regularizer, model = subject.make(), network().train()
    with seeded_globals(4):
        regularizer.begin(training_view(subject, model))
        try:
            images, labels, index = batch(CPU)
            inputs = normalised(images, model)
            step = Step(inputs, labels, index, model(inputs).bfloat16())
            loss = loss_of(regularizer, step)
        finally:
            regularizer.end()
    demand(loss.dtype == torch.float32, f"the loss is {loss.dtype}: use step.logits.float()")
    demand(bool(loss.isfinite()), f"the loss is {loss.item()}")


@check("regularizer")
def by_parts(subject: Subject) -> None:
    """Of a batch in two parts the mean loss is that of the whole, unless it says otherwise."""
    if subject.make().needs_whole_batch:
        raise Skipped("it needs whole batches, and says so")
    model = network()
    images, labels, index = batch(CPU)
    inputs = normalised(images, model)

    def loss(part: slice) -> float:
        regularizer = subject.make()
        with seeded_globals(4), torch.no_grad():
            regularizer.begin(training_view(subject, model))
            try:
                given = inputs[part], labels[part], index[part], model(inputs[part])
                return float(loss_of(regularizer, Step(*given)))
            finally:
                regularizer.end()

    half = BATCH // 2
    whole, parts = loss(slice(None)), (loss(slice(half)) + loss(slice(half, None))) / 2
    demand(
        abs(whole - parts) <= 1e-4 * max(1.0, abs(whole)),
        f"the loss of a batch is {whole:.6g}, the mean of its halves' {parts:.6g}: what it adds is "
        "no mean over images; say needs_whole_batch = True",
    )


@check("regularizer")
def odd_networks(subject: Subject) -> None:
    """Shared weights, grouped convolutions, attention, frozen layers: trained, or refused."""
    for name in NETWORKS:
        model = network(name)
        with blaming(f"of a network with {name} it raises"):
            try:
                loss = trained(subject, subject.make(), model).loss
            except DsdError:
                demand(name != "a plain network", "it refuses a plain network of linear layers")
                continue
            demand(bool(loss.isfinite()), f"the loss is {loss.item()}")


whole_runs("regularizer", lambda subject: {"reg": [subject.word]})

"""Checks of model factories."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dsd_bench.conformance.checks import Broken, Skipped, blaming, check, demand
from dsd_bench.conformance.meta import without_values
from dsd_bench.conformance.runs import whole_runs
from dsd_bench.conformance.subjects import Subject
from dsd_bench.conformance.unchanged import same, unchanged
from dsd_bench.errors import UsageError
from dsd_bench.experiment.probe import probe_model
from dsd_bench.masks import prunable_parameters
from dsd_bench.metrics.prunable import find_prunable
from dsd_bench.models.building import Shape, construct
from dsd_bench.seeds import seeded_globals
from dsd_bench.training.device import make_context

SHAPES: tuple[Shape, ...] = ((1, 8, 8), (3, 32, 32), (3, 64, 64), (3, 224, 224))
CLASSES = 5


def _shape(subject: Subject) -> Shape:
    """Return the first of :data:`SHAPES` that the model takes."""
    if "shape" not in subject.memory:
        subject.memory["shape"] = _first(subject)
    found: Shape = subject.memory["shape"]
    return found


def _first(subject: Subject) -> Shape:
    refusals = []
    for shape in SHAPES:
        try:
            model = _built(subject, shape)
            with torch.no_grad():
                model.eval()(torch.zeros(1, *shape))
        except UsageError as error:
            refusals.append(str(error))
        except RuntimeError as error:
            refusals.append(f"{shape}: {str(error).splitlines()[0]}")
        else:
            return shape
    raise Broken(f"it takes no images of 8 to 224 pixels: {refusals[-1]}")


def _built(subject: Subject, shape: Shape | None = None, seed: int = 0) -> nn.Module:
    """Return a new network, made as the core has it made."""
    given = _shape(subject) if shape is None else shape
    with seeded_globals(seed):
        return construct(subject.make(), "it", given, CLASSES)


def _images(subject: Subject, count: int = 4) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randn(count, *_shape(subject), generator=draw)


def _state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@check("model")
def same_seed(subject: Subject) -> None:
    """Under the same seed it is the same network, made anew too."""
    first, again = _state(_built(subject)), _state(_built(subject))
    demand(list(first) == list(again), "it has other parameters, or in another order")
    for name, tensor in first.items():
        demand(same(tensor, again[name]), f"'{name}' differs under the same seed")


@check("model")
def logits(subject: Subject) -> None:
    """It gives finite float32 logits `(N, classes)` in both modes, and learns from them."""
    context = make_context("cpu", 1, False, "fp32")
    with seeded_globals(1):
        try:
            probe_model(_built(subject), "it", _shape(subject), CLASSES, context)
        except UsageError as error:
            raise Broken(str(error)) from error


@check("model")
def prunable(subject: Subject) -> None:
    """It has weights that can be pruned."""
    model = _built(subject)
    try:
        find_prunable(model, _shape(subject))
    except UsageError as error:
        raise Broken(str(error)) from error
    demand(prunable_parameters(model), "it has no weight that can be pruned")


@check("model")
def evaluates_alike(subject: Subject) -> None:
    """In eval mode an image's logits depend on it alone, and nothing of the network changes."""
    model, images = _built(subject).eval(), _images(subject)
    with torch.no_grad(), unchanged(model):
        together, again = model(images), model(images)
        alone = torch.cat([model(image[None]) for image in images])
    demand(same(together, again), "in eval mode the same images give other logits")
    close = torch.allclose(together, alone, rtol=1e-3, atol=1e-4)
    demand(close, "in eval mode the logits of an image depend on the others of its batch")


@check("model")
def whole_state(subject: Subject) -> None:
    """Its state_dict is all there is: loaded into another one, it gives the same logits."""
    model, images = _built(subject), _images(subject)
    model.train()
    with seeded_globals(2):
        model(images)  # running statistics move
    other = _built(subject, seed=1)
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        alike = same(model.eval()(images), other.eval()(images))
    demand(alike, "with the same state_dict another network gives other logits")


@check("model")
def any_dtype(subject: Subject) -> None:
    """It computes in double, and under autocast in bfloat16."""
    model, images = _built(subject).eval(), _images(subject)
    with torch.no_grad(), blaming("under autocast in bfloat16 it raises"):
        low: Any = None
        with torch.autocast("cpu", torch.bfloat16):
            low = model(images)
        demand(bool(low.isfinite().all()), "in bfloat16 its logits are not finite")
    with torch.no_grad(), blaming("in double it raises"):
        high = model.double()(images.double())
    demand(high.dtype == torch.float64, f"in double it gives {high.dtype}")


@check("model")
def any_device(subject: Subject) -> None:
    """It makes its tensors where it lives, seen on the device `meta`."""
    model, images = _built(subject).eval().to("meta"), _images(subject).to("meta")
    with torch.no_grad(), without_values():
        model(images)


def _of_a_run(subject: Subject) -> dict[str, Any]:
    if _shape(subject) != SHAPES[0]:
        raise Skipped(f"it takes no images of {SHAPES[0]}, which the embedded data have")
    return {"model": subject.word}


whole_runs("model", _of_a_run)

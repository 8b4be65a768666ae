"""Making a masked network smaller without changing what it computes."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass

import numpy
import torch
from torch import Tensor, nn

from dsd_bench.errors import RunError
from dsd_bench.export.analysis import Analysis
from dsd_bench.export.assuming import Assumed, assume
from dsd_bench.export.channels import Info, padding
from dsd_bench.export.folding import fold_batch_norms, merge_linear
from dsd_bench.export.graph import Graph, Network, Node
from dsd_bench.export.joining import join_constants
from dsd_bench.export.needs import Needs
from dsd_bench.export.operators import CONVOLUTIONS
from dsd_bench.export.rewriting import Rewriter
from dsd_bench.export.tracing import Untraceable, trace
from dsd_bench.masks import Masks, prunable_parameters

EXACT = 1e-10
"""Largest difference of logits in double precision, of the largest logit: rounding only."""


@dataclass(frozen=True)
class Left:
    """Something that is not shrunk though a part of it is dead, or that cannot be followed.

    Attributes:
        where: a layer's name, or ``the whole network``.
        why: in words.
    """

    where: str
    why: str


@dataclass(frozen=True)
class Shrunk:
    """A network that is really smaller.

    Attributes:
        model: in eval mode, ``(N, C, H, W) -> (N, classes)``: a :class:`Network`, or the masked
            network itself if it cannot be traced.
        masked: the masked network, in eval mode: what ``model`` has to equal.
        graph: of ``model``; None if it cannot be traced.
        left: what could not be followed, or has to stay for another reason.
        parameters_dense: values of all parameters before.
        parameters_shrunk: and of those that are left.
        prunable: weights that can be pruned.
        nonzero: those of them that are not masked; without masks, that are not zero.
        difference: largest difference of logits on the example in double precision, of the largest
            logit; None if nothing was rewritten.
        assumed: what was assumed of ReLUs; empty unless asked for.
    """

    model: nn.Module
    masked: nn.Module
    graph: Graph | None
    left: tuple[Left, ...]
    parameters_dense: int
    parameters_shrunk: int
    prunable: int
    nonzero: int
    difference: float | None
    assumed: tuple[Assumed, ...] = ()


def masked_copy(model: nn.Module, masks: Masks | None) -> nn.Module:
    """Return a copy of a network on the CPU, in eval mode, whose pruned weights are zero.

    Raises:
        RunError: if a mask is of a parameter that the network does not have.
    """
    made = copy.deepcopy(model).cpu().eval()
    if masks is not None:
        parameters = dict(made.named_parameters(remove_duplicate=False))
        with torch.no_grad():
            for name, mask in masks.to("cpu").all():
                if name not in parameters:
                    raise RunError(f"a mask is of '{name}', which the network does not have")
                parameters[name].masked_fill_(~mask, 0.0)  # a product may be -0.0
    return made.requires_grad_(False)


def shrink(
    model: nn.Module,
    example: Tensor,
    *,
    masks: Masks | None = None,
    fold_bn: bool = False,
    assume_data: Iterable[Tensor] | None = None,
) -> Shrunk:
    """Remove what is dead in a network: units, channels and layers that nothing reaches or needs.

    What a dead channel still adds (its bias, through ReLUs and batch norms) goes into the bias of
    the next layer, where that layer does not pad; else the channel stays. The result is checked
    against the masked network in double precision before its values are rounded back.

    Args:
        model: any network of one image batch; it is copied and stays as it is.
        example: ``(N, C, H, W)``, normalised images, or noise.
        masks: of its weights; None if pruned weights are zeros already.
        fold_bn: whether batch norms that follow a convolution or linear layer become a part of it.
        assume_data: batches of normalised images over which ReLUs are watched: what they always
            turn on or off is taken to be so for all images. **Not exact** for others: the check
            is then against the network with these ReLUs replaced.

    Returns:
        the smaller network on the CPU, in eval mode; see :class:`Shrunk`. A network that cannot be
        traced comes back whole, and ``left`` says so.

    Raises:
        RunError: if the smaller network does not compute the same: a bug, never a rounding.
    """
    masked = masked_copy(model, masks)
    prunable = prunable_parameters(masked)
    weights = sum(weight.numel() for weight in prunable.values())
    alive = sum(int(weight.count_nonzero()) for weight in prunable.values())
    nonzero = masks.nonzero if masks is not None else alive
    dense = sum(parameter.numel() for parameter in masked.parameters())
    example = example.cpu()
    try:
        graph = trace(masked, example)
    except Untraceable as error:
        left = Left("the whole network", f"cannot be traced: {error}")
        return Shrunk(masked, masked, None, (left,), dense, dense, weights, nonzero, None)
    itemsize = next(masked.parameters()).element_size()
    exact: nn.Module = copy.deepcopy(masked).double()
    graph = graph.to(torch.float64)
    assumed: tuple[Assumed, ...] = ()
    if assume_data is not None:
        graph, assumed = assume(graph, assume_data)
        exact = Network(graph)
    small, left_over = shrink_graph(graph, itemsize, fold_bn, merge=assume_data is not None)
    difference = _difference(exact, small, example)
    made = small.to(next(masked.parameters()).dtype)
    return Shrunk(
        Network(made), masked, made, left_over, dense, made.size, weights, nonzero, difference,
        assumed,
    )  # fmt: skip


def shrink_graph(
    graph: Graph, itemsize: int, fold_bn: bool = False, merge: bool = False
) -> tuple[Graph, tuple[Left, ...]]:
    """Return a graph in double precision without what is dead in it, and what had to stay.

    Args:
        graph: in double precision.
        itemsize: bytes of a value as it will be stored.
        fold_bn: see :func:`shrink`.
        merge: whether linear layers in a row become one.
    """
    with torch.no_grad():
        needs = Needs(Analysis(join_constants(Analysis(graph))))
        made = Rewriter(needs, itemsize).graph
        if fold_bn:
            made = fold_batch_norms(made)
        if merge:
            made = merge_linear(made)
    return made, tuple(_left(needs))


def _difference(exact: nn.Module, graph: Graph, example: Tensor) -> float:
    """Return how far the logits are apart in double precision, or refuse the smaller network."""
    with torch.no_grad():
        images = example.double()
        wanted, found = exact(images), Network(graph)(images)
    scale = float(wanted.abs().max())
    apart = float((wanted - found).abs().max())
    relative = apart / scale if scale else apart
    if not relative <= EXACT:
        raise RunError(
            f"the smaller network differs by {relative:.3g} of the largest logit in double "
            f"precision, {EXACT:g} is allowed: a bug of dsd-bench's export; please report it"
        )
    return relative


def _left(needs: Needs) -> Iterable[Left]:
    """Yield what stays though it is dead or cannot be followed."""
    analysis = needs.analysis
    seen = set()
    for node in analysis.graph.nodes:
        info = analysis.info.get(node.name)
        if info is None:
            continue
        if info.mixed and any(name in analysis.info for name in node.refs()):
            name = node.op.split(".")[0]
            found = Left(_where(node), f"{name} mixes its channels in a way that is not followed")
        elif info.rule in ("layer", "grouped", "depthwise"):
            reason = _layer_left(needs, node, info)
            if not reason:
                continue
            found = Left(_where(node), reason)
        else:
            continue
        if found not in seen:
            seen.add(found)
            yield found


def _layer_left(needs: Needs, node: Node, info: Info) -> str:
    """Say which dead channels a layer keeps, and why."""
    kept = needs.index(node.name)
    reasons = []
    dead = int((~needs.needed[node.name][kept] | ~numpy.isnan(info.const[kept])).sum())
    if dead and not needs.constant(node.name):
        why = "groups of equal size" if info.rule == "grouped" else "other layers share or pad them"
        reasons.append(f"{dead} of {len(kept)} channels are dead and stay: {why}")
    source = needs.analysis.info[node.args["input"].node]
    if node.op in CONVOLUTIONS and padding(node):
        taken = needs.index(node.args["input"].node)
        const = source.const[taken]
        stuck = int((~numpy.isnan(const) & (const != 0)).sum())
        if stuck and len(kept):
            reasons.append(
                f"{stuck} of {len(taken)} input channels that it keeps are constant but not zero: "
                "with padding they cannot become a bias"
            )
    return "; ".join(reasons)


def _where(node: Node) -> str:
    return node.origin or node.op

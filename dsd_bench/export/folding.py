"""Batch norms that become a part of the layer before them, and linear layers that become one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from dsd_bench.export.channels import affine
from dsd_bench.export.graph import Graph, Held, Node, Ref, without_dead
from dsd_bench.export.operators import CONVOLUTIONS

LAYERS = (*CONVOLUTIONS, "linear.default")


def fold_batch_norms(graph: Graph) -> Graph:
    """Return a graph in which batch norms right behind a layer are a part of it.

    A batch norm stays whose layer's output is read elsewhere too, or that comes before its layer
    (as behind a ReLU): there, padding would see other numbers.

    Args:
        graph: in double precision.
    """
    for node in graph.nodes:
        if node.op != "batch_norm":
            continue
        layer = _only_source(graph, node)
        if layer is None or layer.op not in LAYERS:
            continue
        scale, shift = (torch.from_numpy(values) for values in affine(graph, node))
        weight = graph.tensors[layer.args["weight"].tensor]
        bias = _bias(graph, layer)
        new = (
            weight * scale.reshape(-1, *[1] * (weight.dim() - 1)),
            shift if bias is None else bias * scale + shift,
        )
        graph = _merged(graph, layer, node, layer.args["input"], *new)
    return graph


def merge_linear(graph: Graph) -> Graph:
    """Return a graph in which a linear layer right behind another is one with it.

    Only where that saves parameters: a narrow layer in between may be worth its place.

    Args:
        graph: in double precision.
    """
    for node in graph.nodes:
        second = graph.names.get(node.name)
        if second is None or second.op != "linear.default":
            continue
        first = _only_source(graph, second)
        if first is None or first.op != "linear.default":
            continue
        one, two = (graph.tensors[n.args["weight"].tensor] for n in (first, second))
        if two.shape[0] * one.shape[1] >= one.numel() + two.numel():
            continue
        biases = _bias(graph, first), _bias(graph, second)
        bias = two @ biases[0] if biases[0] is not None else torch.zeros(len(two)).double()
        if biases[1] is not None:
            bias = bias + biases[1]
        graph = _merged(graph, first, second, first.args["input"], two @ one, bias)
    return graph


def _only_source(graph: Graph, node: Node) -> Node | None:
    """Return the node that a node reads, if nothing else reads it."""
    value = node.args["input"]
    if not isinstance(value, Ref) or value.node not in graph.names:
        return None
    if len(graph.users()[value.node]) != 1 or value.node == graph.output:
        return None
    return graph.names[value.node]


def _bias(graph: Graph, layer: Node) -> Tensor | None:
    own = layer.args["bias"]
    return graph.tensors[own.tensor] if isinstance(own, Held) else None


def _merged(
    graph: Graph, first: Node, second: Node, source: Any, weight: Tensor, bias: Tensor
) -> Graph:
    """Return the graph with one layer, of ``first``'s kind and in ``second``'s place, for two."""
    base = first.args["weight"].tensor.removesuffix("weight")
    names = f"{base}merged.{second.name}.weight", f"{base}merged.{second.name}.bias"
    args = {
        **first.args, "input": source, "weight": Held(names[0]), "bias": Held(names[1]),
    }  # fmt: skip
    made = replace(first, name=second.name, args=args, shape=second.shape)
    nodes = tuple(made if node is second else node for node in graph.nodes if node is not first)
    tensors = {**graph.tensors, names[0]: weight.contiguous(), names[1]: bias}
    return without_dead(
        replace(graph, nodes=nodes, tensors=tensors, parameters=graph.parameters | set(names))
    )

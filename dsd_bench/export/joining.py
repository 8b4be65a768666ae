"""Constant channels in front of a layer that pads: all of them can become one."""

from __future__ import annotations

from dataclasses import replace

import numpy
import torch

from dsd_bench.export.analysis import Analysis
from dsd_bench.export.channels import padding
from dsd_bench.export.graph import Graph, Held, Node
from dsd_bench.export.operators import CONVOLUTIONS


def join_constants(analysis: Analysis) -> Graph:
    """Return the graph with convolutions that read one constant channel instead of several.

    A channel that is constant but not zero cannot become a part of the bias of a convolution with
    padding: at the edges it is missing. But a convolution is linear in its channels, so all of them
    are one such channel with other weights: the largest stays and takes over those of the others.

    Args:
        analysis: of a graph in double precision.
    """
    graph = analysis.graph
    tensors, nodes = dict(graph.tensors), []
    new: set[str] = set()
    for node in graph.nodes:
        made = _joined(analysis, node)
        if made is None:
            nodes.append(node)
            continue
        old = node.args["weight"].tensor
        name = old if _alone(graph, node, old) else f"{old}.{node.name}"
        tensors[name] = made
        new.add(name)
        nodes.append(replace(node, args={**node.args, "weight": Held(name)}))
    return replace(graph, nodes=tuple(nodes), tensors=tensors, parameters=graph.parameters | new)


def _joined(analysis: Analysis, node: Node) -> torch.Tensor | None:
    """Return the new weight of a convolution, None if it stays as it is."""
    info = analysis.info.get(node.name)
    if info is None or node.op not in CONVOLUTIONS or info.rule != "layer" or not padding(node):
        return None
    const = analysis.info[node.args["input"].node].const
    fixed = numpy.flatnonzero(numpy.nan_to_num(const, nan=0.0))
    if len(fixed) < 2:
        return None
    stays = fixed[numpy.abs(const[fixed]).argmax()]
    weight = analysis.held(node.args["weight"]).clone()
    shares = torch.from_numpy(const[fixed] / const[stays])
    columns = weight[:, torch.from_numpy(fixed)]
    total = (columns * shares.reshape(1, -1, *[1] * (weight.dim() - 2))).sum(1)
    weight[:, torch.from_numpy(fixed)] = 0.0
    weight[:, int(stays)] = total
    return weight


def _alone(graph: Graph, node: Node, tensor: str) -> bool:
    return all(tensor not in other.holds() for other in graph.nodes if other is not node)

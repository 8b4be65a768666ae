"""Channels of a graph's tensors: which are the same one, and what is known of them.

Every tensor has one axis of channels: where convolutions, linear layers and batch norms look for
them. A channel is known by an *atom*; tensors that an operation ties together (the terms of a sum,
both sides of a depthwise convolution) share their atoms, so that they can only lose them together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from dsd_bench.export.graph import Graph, Held, Node

Ints = NDArray[numpy.int64]
Floats = NDArray[numpy.float64]
Flags = NDArray[numpy.bool_]

SPLITS = ("split.Tensor", "split_with_sizes.default", "chunk.default")


class Atoms:
    """Channels that may turn out to be one: a union-find over whole numbers."""

    def __init__(self) -> None:
        self._parent: Ints = numpy.empty(0, numpy.int64)
        self._pinned: list[Ints] = []

    def fresh(self, count: int, pinned: bool = False) -> Ints:
        """Return new atoms; pinned ones are never removed."""
        made = numpy.arange(len(self._parent), len(self._parent) + count)
        self._parent = numpy.concatenate([self._parent, made])
        if pinned:
            self.pin(made)
        return made

    def pin(self, atoms: Ints) -> None:
        """Never remove these."""
        self._pinned.append(atoms)

    def tie(self, one: Ints, other: Ints) -> None:
        """Make atoms one, place by place."""
        for pair in zip(self.roots(one), self.roots(other)):
            low, high = sorted(map(self._root, pair))
            self._parent[high] = low

    def _root(self, atom: int) -> int:
        while self._parent[atom] != atom:
            atom = int(self._parent[atom])
        return atom

    def roots(self, atoms: Ints) -> Ints:
        """Return what stands for each of ``atoms``."""
        while not numpy.array_equal(self._parent, self._parent[self._parent]):
            self._parent = self._parent[self._parent]
        return self._parent[atoms]

    def pinned(self) -> Flags:
        """Return a flag for each root: whether it is never removed."""
        flags = numpy.zeros(len(self._parent), bool)
        for atoms in self._pinned:
            flags[self.roots(atoms)] = True
        return flags


@dataclass(frozen=True)
class Info:
    """What is known of a tensor.

    Attributes:
        shape: ``-1`` for what depends on the batch.
        axis: of its channels.
        atoms: int64 ``(channels,)``.
        const: float64 ``(channels,)``, NaN for those that are not constant.
        batch: whether its first dimension is the batch of the network's input.
        rule: how the node treats channels, for later passes.
    """

    shape: tuple[int, ...]
    axis: int
    atoms: Ints
    const: Floats
    batch: bool
    rule: str

    @property
    def channels(self) -> int:
        """Number of channels."""
        return len(self.atoms)

    @property
    def mixed(self) -> bool:
        """Whether channels are mixed in ways that are not followed."""
        return self.rule == "opaque"


def unknown(count: int) -> Floats:
    """Return the constants of channels that are not constant."""
    return numpy.full(count, numpy.nan)


def piece(split: Node, index: int, channels: int) -> slice:
    """Return which channels the result ``index`` of a splitting node has."""
    if split.op == "split_with_sizes.default":
        sizes = list(split.args["split_sizes"])
        return slice(sum(sizes[:index]), sum(sizes[: index + 1]))
    step = split.args["split_size"] if split.op == "split.Tensor" else 0
    step = step or -(-channels // split.args["chunks"])
    return slice(index * step, min(channels, (index + 1) * step))


def padding(node: Node) -> bool:
    """Whether a convolution or pool sees anything beyond the edge of its input."""
    pads = node.args.get("padding", 0)
    return any(pads) if isinstance(pads, list) else bool(pads) and pads != "valid"


def affine(graph: Graph, node: Node) -> tuple[Floats, Floats]:
    """Return scale and shift of each channel of a batch norm."""

    def values(key: str, default: float, like: Tensor) -> Tensor:
        value = node.args[key]
        held = graph.tensors[value.tensor] if isinstance(value, Held) else None
        return torch.full_like(like, default) if held is None else held

    mean = graph.tensors[node.args["mean"].tensor]
    scale = values("weight", 1.0, mean) / torch.sqrt(
        graph.tensors[node.args["var"].tensor] + node.args["eps"]
    )
    shift = values("bias", 0.0, mean) - mean * scale
    return scale.numpy(), shift.numpy()

"""A network as a list of operations: what is analysed, shrunk, run and written to files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from dsd_bench.export.operators import OPERATORS

INPUT = "images"
"""Name of the network's input."""


@dataclass(frozen=True)
class Ref:
    """The result of a node, by the node's name; :data:`INPUT` is the input."""

    node: str


@dataclass(frozen=True)
class Held:
    """A tensor that the graph holds, by its name."""

    tensor: str


@dataclass(frozen=True)
class Node:
    """One operation.

    Attributes:
        name: of its result.
        op: a key of :data:`dsd_bench.export.operators.OPERATORS`, or the name of another operator.
        args: by the names of the operator's schema: a :class:`Ref`, a :class:`Held`, a number, a
            text, a ``torch.dtype``, None, or a list of these.
        shape: of the result, ``-1`` for the batch; None if the result is no tensor.
        origin: the module that it comes from, ``""`` if that is not known.
        call: what carries it out, where ``op`` is none of the known operators.
    """

    name: str
    op: str
    args: Mapping[str, Any]
    shape: tuple[int, ...] | None
    origin: str = ""
    call: Callable[..., Any] | None = None

    def refs(self) -> Iterator[str]:
        """Yield the names of the nodes whose results it takes."""
        for value in self.args.values():
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, Ref):
                    yield item.node

    def holds(self) -> Iterator[str]:
        """Yield the names of the held tensors that it takes."""
        for value in self.args.values():
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, Held):
                    yield item.tensor


@dataclass(frozen=True)
class Graph:
    """Operations in an order in which they can be carried out.

    Attributes:
        nodes: the operations.
        output: name of the node whose result is the output, ``(N, classes)``.
        tensors: what the nodes hold, by name.
        parameters: names of those tensors that count as parameters, not as statistics or indices.
        shape: of one input, ``(C, H, W)``.
    """

    nodes: tuple[Node, ...]
    output: str
    tensors: Mapping[str, Tensor]
    parameters: frozenset[str]
    shape: tuple[int, ...]
    names: Mapping[str, Node] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", {node.name: node for node in self.nodes})

    @property
    def size(self) -> int:
        """Number of values of all parameters."""
        return sum(self.tensors[name].numel() for name in self.parameters)

    def users(self) -> dict[str, list[Node]]:
        """Return the nodes that take each node's result, by its name."""
        found: dict[str, list[Node]] = {node.name: [] for node in self.nodes}
        found[INPUT] = []
        for node in self.nodes:
            for name in dict.fromkeys(node.refs()):
                found[name].append(node)
        return found

    def to(self, dtype: torch.dtype) -> Graph:
        """Return the graph with floating tensors, and types that operators name, as ``dtype``."""
        tensors = {
            name: t.to(dtype) if t.is_floating_point() else t for name, t in self.tensors.items()
        }

        def other(value: Any) -> Any:
            if isinstance(value, torch.dtype) and value.is_floating_point:
                return dtype
            return value

        nodes = tuple(
            replace(n, args={key: other(value) for key, value in n.args.items()})
            for n in self.nodes
        )
        return replace(self, nodes=nodes, tensors=tensors)


def without_dead(graph: Graph) -> Graph:
    """Return the graph without the nodes and tensors that the output does not depend on."""
    wanted, kept = {graph.output}, []
    for node in reversed(graph.nodes):
        if node.name in wanted:
            wanted.update(node.refs())
            kept.append(node)
    kept.reverse()
    held = {name for node in kept for name in node.holds()}
    tensors = {name: t for name, t in graph.tensors.items() if name in held}
    return replace(graph, nodes=tuple(kept), tensors=tensors, parameters=graph.parameters & held)


class Network(nn.Module):
    """A graph that can be run: ``(N, C, H, W) -> (N, classes)``, in eval mode always.

    Its parameters take no gradients unless told to. It runs the operators as they stand, without
    generating code; ``graph`` says what they are.

    Args:
        graph: its tensors are not copied.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self._places = {}
        for place, (name, tensor) in enumerate(graph.tensors.items()):
            own = f"t{place}"
            if name in graph.parameters:
                setattr(self, own, nn.Parameter(tensor, requires_grad=False))
            else:
                self.register_buffer(own, tensor)
            self._places[name] = own
        self._graph = graph
        self._steps = _steps(graph, self._places)
        self.eval()

    @property
    def graph(self) -> Graph:
        """The graph, with the tensors as they are now."""
        tensors = {name: getattr(self, own).detach() for name, own in self._places.items()}
        return replace(self._graph, tensors=tensors)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``(N, classes)`` of ``images`` ``(N, C, H, W)``."""
        values: dict[str, Any] = {INPUT: images}
        for name, call, positional, named, over in self._steps:
            found = [self._filled(value, values) for value in positional]
            values[name] = call(*found, **{k: self._filled(v, values) for k, v in named.items()})
            for gone in over:
                del values[gone]
        out: Tensor = values[self._graph.output]
        return out

    def _filled(self, value: Any, values: Mapping[str, Any]) -> Any:
        if isinstance(value, Ref):
            return values[value.node]
        if isinstance(value, Held):
            return getattr(self, value.tensor)
        if isinstance(value, list):
            return [self._filled(item, values) for item in value]
        return value


def _steps(graph: Graph, places: Mapping[str, str]) -> list[tuple[Any, ...]]:
    """Return name, function, arguments, keywords and what is needed no more, for each node."""
    last = {name: place for place, node in enumerate(graph.nodes) for name in node.refs()}
    steps: list[tuple[Any, ...]] = []
    for place, node in enumerate(graph.nodes):
        args = {key: _placed(value, places) for key, value in node.args.items()}
        over = tuple(n for n in dict.fromkeys(node.refs()) if last[n] == place)
        operator = OPERATORS.get(node.op)
        if operator is None:
            assert node.call is not None
            steps.append((node.name, node.call, [], args, over))
            continue
        given = [p for p in operator.parameters if p.name in args]
        positional = [args[p.name] for p in given if not p.keyword]
        named = {p.name: args[p.name] for p in given if p.keyword}
        steps.append((node.name, operator.call, positional, named, over))
    return steps


def _placed(value: Any, places: Mapping[str, str]) -> Any:
    if isinstance(value, Held):
        return Held(places[value.tensor])
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_placed(item, places) for item in value]
    return value

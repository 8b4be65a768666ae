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
        self._places: dict[str, str] = {}
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
        for own in self._places.values():
            values[own] = getattr(self, own)
        for step in self._steps:
            args = list(step.args)
            for place, source in step.fills:
                args[place] = values[source]
            for place, template in step.nested:
                args[place] = [values[t.node] if isinstance(t, Ref) else t for t in template]
            values[step.name] = step.call(*args, **step.named)
            for gone in step.over:
                del values[gone]
        out: Tensor = values[self._graph.output]
        return out


@dataclass(frozen=True)
class _Step:
    """A node ready to be carried out.

    Attributes:
        name: of the result.
        call: what is called.
        args, named: its arguments; those in ``fills`` and ``nested`` are still to come.
        fills: places of ``args``, and the names of the values that belong there.
        nested: places of ``args``, and lists in which a :class:`Ref` stands for a value.
        over: names of values that are needed no more afterwards.
    """

    name: str
    call: Callable[..., Any]
    args: tuple[Any, ...]
    named: Mapping[str, Any]
    fills: tuple[tuple[int, str], ...]
    nested: tuple[tuple[int, list[Any]], ...]
    over: tuple[str, ...]


def _steps(graph: Graph, places: Mapping[str, str]) -> list[_Step]:
    """Return what is done for each node; a held tensor is a value by its own name."""
    last = {name: place for place, node in enumerate(graph.nodes) for name in node.refs()}
    steps = []
    for place, node in enumerate(graph.nodes):
        given = {key: _placed(value, places) for key, value in node.args.items()}
        operator = OPERATORS.get(node.op)
        keywords: set[str] = set()
        if operator is not None:
            call = operator.call
            keywords = {p.name for p in operator.parameters if p.keyword}
        else:
            assert node.call is not None
            call = node.call
            keywords = {a.name for a in node.call._schema.arguments if a.kwarg_only}  # type: ignore[attr-defined]
        args = [value for key, value in given.items() if key not in keywords]
        lists = [(n, v) for n, v in enumerate(args) if isinstance(v, list)]
        steps.append(
            _Step(
                name=node.name,
                call=call,
                args=tuple(args),
                named={key: given[key] for key in given if key in keywords},
                fills=tuple((n, v.node) for n, v in enumerate(args) if isinstance(v, Ref)),
                nested=tuple((n, v) for n, v in lists if any(isinstance(i, Ref) for i in v)),
                over=tuple(n for n in dict.fromkeys(node.refs()) if last[n] == place),
            )
        )
    return steps


def _placed(value: Any, places: Mapping[str, str]) -> Any:
    """Return an argument with held tensors as values by their own names."""
    if isinstance(value, Held):
        return Ref(places[value.tensor])
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_placed(item, places) for item in value]
    return value

"""A graph as JSON, and JSON of strangers as a graph: nothing in it is looked up freely.

``{"format": "dsd-bench-export", "version": 1, "input": [C, H, W], "output": NODE,
"nodes": [[NAME, OP, {ARGUMENT: VALUE}], ...], "parameters": [TENSOR, ...]}``. A value is a number,
a text, a truth value, null, a list, ``{"node": NAME}`` (a result, or ``images``), ``{"tensor":
NAME}`` or ``{"dtype": NAME}``. Operators are those of
:data:`dsd_bench.export.operators.OPERATORS`, arguments those of PyTorch's schemas.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from dsd_bench.errors import plain
from dsd_bench.export.graph import INPUT, Graph, Held, Node, Ref
from dsd_bench.export.operators import OPERATORS, Operator

FORMAT, VERSION = "dsd-bench-export", 1
MOST_NODES = 20_000
MOST_VALUES = 2**28
"""Most values of one result for one image: 1 GiB in single precision."""
MOST_WHOLE = 2**40
MOST_PIECES = 4096
"""Most tensors that one operator may return."""
_NAME = re.compile(r"v[0-9]{1,6}\Z")
_DTYPES = {
    name: getattr(torch, name)
    for name in ("float64", "float32", "float16", "bfloat16", "int64", "int32", "uint8", "bool")
}
_LISTING = ("unbind.int", "chunk.default", "split.Tensor", "split_with_sizes.default")


def to_json(graph: Graph) -> dict[str, Any]:
    """Return a graph without its tensors as JSON.

    Raises:
        ValueError: if it has an operator that is none of those of a file; the message names all.
    """
    strange = sorted({node.op for node in graph.nodes if node.op not in OPERATORS})
    if strange:
        raise ValueError(f"operators that such a file may not hold: {', '.join(strange)}")
    return {
        "format": FORMAT,
        "version": VERSION,
        "input": list(graph.shape),
        "output": graph.output,
        "nodes": [
            [node.name, node.op, {k: _encoded(value) for k, value in node.args.items()}]
            for node in graph.nodes
        ],
        "parameters": sorted(graph.parameters),
    }


def _encoded(value: Any) -> Any:
    if isinstance(value, Ref):
        return {"node": value.node}
    if isinstance(value, Held):
        return {"tensor": value.tensor}
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    if isinstance(value, list):
        return [_encoded(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"an argument that is {value}")
    return value


def from_json(state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Graph:
    """Return the graph that :func:`to_json` wrote, checked in every part.

    Args:
        state: may come from anybody.
        tensors: those that it may name; all have to be named.

    Raises:
        ValueError: saying what is wrong.
    """
    if state.get("format") != FORMAT or state.get("version") != VERSION:
        raise ValueError(f"it is no exported network of format {VERSION} (no '{FORMAT}' in it)")
    shape, listed, named = state.get("input"), state.get("nodes"), state.get("parameters")
    if not (isinstance(shape, list) and len(shape) == 3 and all(map(_size, shape))):
        raise ValueError("its input is no list [C, H, W]")
    if math.prod(shape) > MOST_VALUES:
        raise ValueError("its input is too large")
    if not isinstance(listed, list) or not 0 < len(listed) <= MOST_NODES:
        raise ValueError(f"it has no list of 1 to {MOST_NODES:,} nodes")
    known: dict[str, str] = {INPUT: "Tensor"}
    nodes = []
    for item in listed:
        node = _node(item, known, tensors)
        known[node.name] = _result(node.op)
        nodes.append(node)
    output = state.get("output")
    if not isinstance(output, str) or known.get(output) != "Tensor" or output == INPUT:
        raise ValueError("its output is none of its nodes")
    if not isinstance(named, list) or not all(isinstance(n, str) and n in tensors for n in named):
        raise ValueError("its parameters are not among its tensors")
    held = {name for node in nodes for name in node.holds()}
    if held != set(tensors):
        odd = plain(min(held ^ set(tensors)))
        raise ValueError(f"its tensor '{odd:.80}' is used by no node")
    if not all(tensors[name].is_floating_point() for name in named):
        raise ValueError("a parameter of it holds no floating numbers")
    graph = Graph(tuple(nodes), output, tensors, frozenset(named), tuple(shape))
    return _with_shapes(graph)


def _size(value: Any) -> bool:
    return type(value) is int and 0 < value <= MOST_VALUES


def _result(op: str) -> str:
    if op in _LISTING:
        return "Tensor[]"
    return "int" if op == "size" or op.startswith("int_") else "Tensor"


def _node(item: Any, known: Mapping[str, str], tensors: Mapping[str, Tensor]) -> Node:
    if not (isinstance(item, list) and len(item) == 3 and isinstance(item[2], dict)):
        raise ValueError("a node of it is no list [name, operator, arguments]")
    name, op, given = item
    if not isinstance(name, str) or not _NAME.match(name) or name in known:
        raise ValueError(
            f"the node name '{plain(name)!s:.40}' is not v0, v1, ..., or is there twice"
        )
    operator = OPERATORS.get(op) if isinstance(op, str) else None
    if operator is None:
        raise ValueError(f"the operator '{plain(op)!s:.80}' is not one that such a file may name")
    decode = _Decoder(known, tensors)
    args = _arguments(operator, given, decode, f"{name} ({op})")
    return Node(name, op, args, None)


def _arguments(
    operator: Operator, given: Mapping[str, Any], decode: _Decoder, where: str
) -> dict[str, Any]:
    allowed = {parameter.name: parameter for parameter in operator.parameters}
    if odd := sorted(set(given) - set(allowed)):
        raise ValueError(f"{where}: no argument '{plain(odd[0]):.40}'")
    args = {}
    for name, parameter in allowed.items():
        if name not in given:
            # positional arguments are given up to the last that is there: none may be left out
            raise ValueError(f"{where}: argument '{name}' is missing")
        try:
            args[name] = decode.value(given[name], parameter.kind)
        except ValueError as error:
            raise ValueError(f"{where}: argument '{name}': {error}") from None
    return args


class _Decoder:
    """Turns JSON values into arguments of a schema's types."""

    def __init__(self, known: Mapping[str, str], tensors: Mapping[str, Tensor]) -> None:
        self.known, self.tensors = known, tensors

    def value(self, value: Any, kind: str) -> Any:
        """Return an argument of a type as PyTorch writes it: ``List[int]``, ``Optional[Tensor]``.

        Raises:
            ValueError: if it is none.
        """
        if kind.startswith("Optional["):
            return None if value is None else self.value(value, kind[9:-1])
        if kind.startswith("List["):
            if not isinstance(value, list) or len(value) > MOST_PIECES:
                raise ValueError("is no list")
            return [self.value(item, kind[5:-1]) for item in value]
        if isinstance(value, dict):
            return self._reference(value, kind)
        reader = _READERS.get(kind)
        if reader is None or not reader(value):
            raise ValueError(f"is no {kind}")
        return value

    def _reference(self, value: Mapping[str, Any], kind: str) -> Any:
        if len(value) != 1:
            raise ValueError("is no reference")
        ((what, name),) = value.items()
        if not isinstance(name, str):
            raise ValueError("is no reference")
        wanted = {"number": "int", "SymInt": "int"}.get(kind, kind)
        if what == "dtype" and kind in ("ScalarType", "int") and name in _DTYPES:
            return _DTYPES[name]
        if what == "node" and self.known.get(name) == wanted:
            return Ref(name)
        if what == "tensor" and kind == "Tensor" and name in self.tensors:
            return Held(name)
        raise ValueError(f"names no {kind} that is there before it")


def _whole(value: Any) -> bool:
    return type(value) is int and abs(value) < 2**63


_READERS: dict[str, Callable[[Any], bool]] = {
    "int": _whole,
    "SymInt": _whole,
    "ScalarType": lambda value: False,
    "float": lambda value: type(value) is float or _whole(value),
    "number": lambda value: type(value) in (float, bool) or _whole(value),
    "bool": lambda value: type(value) is bool,
    "str": lambda value: value in ("none", "tanh", "valid", "same", "constant", "reflect"),
}


def _with_shapes(graph: Graph) -> Graph:
    """Carry the graph out without values, for one image, and note the shapes of all results.

    Raises:
        ValueError: if that is not possible, or a result is larger than :data:`MOST_VALUES`.
    """
    values: dict[str, Any] = {
        INPUT: torch.empty(1, *graph.shape, device="meta", dtype=_float(graph))
    }
    held = {name: tensor.to("meta") for name, tensor in graph.tensors.items()}
    nodes = []
    for node in graph.nodes:
        args = {key: _filled(value, values, held) for key, value in node.args.items()}
        if node.op in _LISTING and max(args["self"].shape, default=0) > MOST_PIECES:
            raise ValueError(f"{node.name} ({node.op}): makes more than {MOST_PIECES:,} tensors")
        operator = OPERATORS[node.op]
        positional = [args[p.name] for p in operator.parameters if not p.keyword]
        named = {p.name: args[p.name] for p in operator.parameters if p.keyword}
        try:
            with torch.no_grad():
                found = operator.call(*positional, **named)
        except Exception as error:  # whatever PyTorch raises for arguments that do not fit
            first = str(error).strip().splitlines() or [type(error).__name__]
            raise ValueError(f"{node.name} ({node.op}): {first[0]:.200}") from None
        _bounded(node, found)
        values[node.name] = found
        shape = (-1, *found.shape[1:]) if isinstance(found, Tensor) else None
        nodes.append(Node(node.name, node.op, node.args, shape))
    output = values[graph.output]
    if output.dim() != 2 or output.shape[0] != 1:
        raise ValueError("its output is not of the shape (N, classes)")
    return Graph(tuple(nodes), graph.output, graph.tensors, graph.parameters, graph.shape)


def _float(graph: Graph) -> torch.dtype:
    kinds = [graph.tensors[name].dtype for name in sorted(graph.parameters)]
    return kinds[0] if kinds else torch.float32


def _bounded(node: Node, found: Any) -> None:
    for item in found if isinstance(found, list | tuple) else [found]:
        large = item.numel() > MOST_VALUES if isinstance(item, Tensor) else abs(item) > MOST_WHOLE
        if large:
            raise ValueError(f"{node.name} ({node.op}): its result is too large")


def _filled(value: Any, values: Mapping[str, Any], held: Mapping[str, Tensor]) -> Any:
    if isinstance(value, Ref):
        return values[value.node]
    if isinstance(value, Held):
        return held[value.tensor]
    if isinstance(value, list):
        return [_filled(item, values, held) for item in value]
    return value

"""From any PyTorch module to a graph of operations, by ``torch.export``."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from dsd_bench.export.graph import INPUT, Graph, Held, Node, Ref, without_dead
from dsd_bench.export.operators import OPERATORS
from dsd_bench.models.building import in_one_line

_INTEGERS: dict[Callable[..., Any], str] = {
    operator.mul: "int_mul",
    operator.add: "int_add",
    operator.sub: "int_sub",
    operator.floordiv: "int_floordiv",
}
_NORMS = ("_native_batch_norm_legit_no_training.default", "batch_norm.default")


class Untraceable(Exception):
    """A network that cannot be turned into a graph; the message says why."""


def trace(model: nn.Module, images: Tensor) -> Graph:
    """Return ``model`` as a graph for any batch.

    Args:
        model: in eval mode; its tensors are shared, not copied.
        images: ``(N, C, H, W)``, any values.

    Raises:
        Untraceable: if PyTorch cannot export it, or it takes or returns more than one tensor.
    """
    example = torch.cat([images, images])[:2] if len(images) < 2 else images[:2]
    dynamic = torch.export.Dim.DYNAMIC
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.export.export(model, (example,), dynamic_shapes=({0: dynamic},))
            program = program.run_decompositions({})
    except Exception as error:  # whatever the model's code, or the exporter, raises
        raise Untraceable(in_one_line(error)) from error
    return _Reader(program, model, tuple(example.shape[1:])).graph()


class _Reader:
    def __init__(self, program: Any, model: nn.Module, shape: tuple[int, ...]) -> None:
        self.program, self.model, self.shape = program, model, shape
        self.values: dict[str, Ref | Held] = {}
        self.tensors: dict[str, Tensor] = {}
        self.parameters: set[str] = set()
        self.nodes: list[Node] = []

    def graph(self) -> Graph:
        self._inputs()
        output = None
        for node in self.program.graph.nodes:
            if node.op == "call_function":
                self._call(node)
            elif node.op == "output":
                outputs = [item for item in node.args[0] if isinstance(item, fx.Node)]
                if len(outputs) != 1 or outputs[0].name not in self.values:
                    raise Untraceable("it returns more than one tensor, or changes a buffer")
                output = self.values[outputs[0].name]
        if not isinstance(output, Ref):
            raise Untraceable("its output is no computed tensor")
        found = Graph(
            tuple(self.nodes), output.node, self.tensors, frozenset(self.parameters), self.shape
        )
        shape = found.names[output.node].shape if output.node != INPUT else None
        if shape is None or len(shape) != 2:
            raise Untraceable("its output is no tensor of the shape (N, classes)")
        return without_dead(found)

    def _inputs(self) -> None:
        """Note what the placeholders stand for: the images, or a held tensor."""
        state: dict[str, Tensor] = dict(self.model.named_parameters(remove_duplicate=False))
        state |= dict(self.model.named_buffers(remove_duplicate=False))
        first: dict[int, str] = {}
        for spec in self.program.graph_signature.input_specs:
            kind, own, name = spec.kind.name, getattr(spec.arg, "name", ""), spec.target
            if kind == "USER_INPUT":
                self.values[own] = Ref(INPUT)
                continue
            tensor = state[name] if name in state else self.program.constants.get(name)
            if not isinstance(tensor, Tensor):
                raise Untraceable(f"it holds '{name}', which is no tensor")
            name = first.setdefault(id(tensor), name)
            self.tensors[name] = tensor.detach()
            if isinstance(tensor, nn.Parameter):
                self.parameters.add(name)
            self.values[own] = Held(name)

    def _call(self, node: fx.Node) -> None:
        target: Any = node.target
        name = f"v{len(self.nodes)}"
        shape = _shape(node.meta.get("val"))
        origin = _origin(node)
        if target is operator.getitem:
            source: Any = node.args[0]
            if str(source.target).removeprefix("aten.") in _NORMS:
                self.values[node.name] = self.values[source.name]
                return
            args = {"self": self._value(source), "index": node.args[1]}
            made = Node(name, "item", args, shape, origin)
        elif target in _INTEGERS:
            made = Node(
                name, _INTEGERS[target], dict(zip("ab", map(self._value, node.args))), None, origin
            )
        elif isinstance(target, torch._ops.OpOverload):
            made = self._operator(name, node, target, shape, origin)
        else:
            raise Untraceable(f"it calls {target}, which is no operator")
        if _same(made):
            self.values[node.name] = made.args["self"]
            return
        self.nodes.append(made)
        self.values[node.name] = Ref(name)

    def _operator(self, name: str, node: fx.Node, target: Any, shape: Any, origin: str) -> Node:
        if target._schema.is_mutable:
            raise Untraceable(f"it changes a tensor in place ({target})")
        args: dict[str, Any] = {}
        for place, argument in enumerate(target._schema.arguments):
            if place < len(node.args):
                value: Any = node.args[place]
            elif argument.name in node.kwargs:
                value = node.kwargs[argument.name]
            else:
                value = argument.default_value
            args[argument.name] = self._value(value)
        op = str(target).removeprefix("aten.")
        if op == "view.default":  # what it is made of may lie elsewhere in memory later
            op, args = "reshape.default", {"self": args["self"], "shape": args["size"]}
        if op == "sym_size.int":
            return Node(name, "size", args, None, origin)
        if op in _NORMS:
            value = node.meta["val"]
            shape = _shape(value[0] if isinstance(value, tuple | list) else value)
            kept = {
                "input": args["input"], "weight": args["weight"], "bias": args["bias"],
                "mean": args["running_mean"], "var": args["running_var"], "eps": args["eps"],
            }  # fmt: skip
            if args.get("training") or kept["mean"] is None:
                raise Untraceable("a batch norm without running statistics")
            return Node(name, "batch_norm", kept, shape, origin)
        if op == "dropout.default":
            return Node(name, "alias.default", {"self": args["input"]}, shape, origin)
        return Node(name, op, args, shape, origin, None if op in OPERATORS else target)

    def _value(self, value: Any) -> Any:
        if isinstance(value, fx.Node):
            return self.values[value.name]
        if isinstance(value, list | tuple):
            return [self._value(item) for item in value]
        if isinstance(value, torch.memory_format | torch.layout | torch.device):
            return None
        return value


def _same(node: Node) -> bool:
    """Whether a node hands on what it takes."""
    return node.op in ("alias.default", "clone.default", "contiguous.default")


def _shape(value: Any) -> tuple[int, ...] | None:
    """Return a tensor's shape, -1 for the batch."""
    if not isinstance(value, Tensor):
        return None
    return tuple(size if isinstance(size, int) else -1 for size in value.shape)


def _origin(node: fx.Node) -> str:
    """Return the name of the module that a node comes from."""
    stack = node.meta.get("nn_module_stack") or {}
    names = [str(name) for name, _ in stack.values() if name]
    return names[-1] if names else ""

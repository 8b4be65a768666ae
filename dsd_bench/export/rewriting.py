"""The graph that is left: every tensor cut down to the channels that it keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy
import torch
from torch import Tensor

from dsd_bench.export.channels import Flags, Info, Ints
from dsd_bench.export.graph import INPUT, Graph, Held, Node, Ref, without_dead
from dsd_bench.export.needs import Needs, sliced
from dsd_bench.export.operators import CONVOLUTIONS

INDEX_BYTES = 8


class Rewriter:
    """Writes a graph anew, with what :class:`Needs` keeps.

    Attributes:
        graph: the result; in double precision, as what was analysed.
    """

    def __init__(self, needs: Needs, itemsize: int) -> None:
        self.needs, self.analysis = needs, needs.analysis
        self.itemsize = itemsize
        self.old = self.analysis.graph
        self.nodes: list[Node] = []
        self.tensors: dict[str, Tensor] = {}
        self.parameters: set[str] = set()
        self.constants: dict[str, Tensor] = {}
        self.names: dict[str, str] = {INPUT: INPUT}
        self._written: dict[str, str] = {}
        for node in self.old.nodes:
            self._node(node)
        output = self._value(Ref(self.old.output)).node
        self.graph = without_dead(
            Graph(
                tuple(self.nodes), output, self.tensors, frozenset(self.parameters), self.old.shape
            )
        )

    # what nodes take

    def _value(self, value: Any) -> Any:
        """Return an argument as the new graph has it."""
        if isinstance(value, list):
            return [self._value(item) for item in value]
        if isinstance(value, Held):
            return self._hold(value.tensor, self.old.tensors[value.tensor])
        if not isinstance(value, Ref):
            return value
        if value.node in self.constants:
            self._expand(value.node)
        return Ref(self.names[value.node])

    def _hold(self, name: str, tensor: Tensor, parameter: bool | None = None) -> Held:
        """Hold a tensor under ``name``, or that and a number if it is taken by another."""
        taken, number = name, 1
        while taken in self.tensors and not _equal(self.tensors[taken], tensor):
            number += 1
            taken = f"{name}.{number}"
        self.tensors[taken] = tensor
        if name in self.old.parameters if parameter is None else parameter:
            self.parameters.add(taken)
        return Held(taken)

    def _add(self, node: Node, op: str, args: dict[str, Any], shape: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(Node(name, op, args, shape, node.origin, node.call))
        return name

    def _expand(self, name: str) -> None:
        """Write a constant tensor for those who need all of it."""
        info, vector = self.analysis.info[name], self.constants.pop(name)
        node = self.old.names[name]
        shape = self._shape(info, len(vector))
        size = self._add(node, "size", {"self": Ref(INPUT), "dim": 0}, None)
        held = self._hold(f"{name}.constant", self._broadcast(info, vector), parameter=True)
        sizes = [Ref(size), *shape[1:]]
        args = {"self": held, "size": sizes, "implicit": False}
        self.names[name] = self._add(replace(node, call=None), "expand.default", args, shape)

    def _broadcast(self, info: Info, vector: Tensor) -> Tensor:
        sizes = [1] * len(info.shape)
        sizes[info.axis] = len(vector)
        return vector.reshape(sizes)

    def _shape(self, info: Info, channels: int) -> tuple[int, ...]:
        shape = list(info.shape)
        shape[info.axis] = channels
        return tuple(shape)

    # nodes

    def _node(self, node: Node) -> None:
        info = self.analysis.info.get(node.name)
        if info is None:
            self._other(node)
            return
        kept = self.needs.index(node.name)
        if len(kept) == 0 or (not any(True for _ in node.refs()) and info.rule != "opaque"):
            return
        shape = self._shape(info, len(kept))
        if self.needs.constant(node.name):
            vector = torch.from_numpy(numpy.nan_to_num(info.const[kept], nan=0.0))
            self.constants[node.name] = vector
            return
        if not self._there(node):
            return
        rule = _RULES.get(info.rule)
        if rule is None:
            self.names[node.name] = self._add(node, node.op, self._args(node), shape)
        else:
            self.names[node.name] = rule(self, node, info, kept)

    def _other(self, node: Node) -> None:
        """Write a node whose result is a whole number or a list of tensors."""
        if node.op == "size" or node.op.startswith("int_"):
            self.names[node.name] = self._add(node, node.op, self._sized(node), None)
        elif all(name in self.names or name in self.constants for name in node.refs()):
            self.names[node.name] = self._add(node, node.op, self._args(node), None)

    def _joined(self, node: Node, info: Info, kept: Ints) -> str:
        parts = [v for v in node.args["tensors"] if len(self.needs.index(v.node))]
        args = {"tensors": [self._value(value) for value in parts], "dim": node.args["dim"]}
        return self._add(node, node.op, args, self._shape(info, len(kept)))

    def _view(self, node: Node, info: Info, kept: Ints) -> str:
        source, shape = node.args.get("self", node.args.get("input")), self._shape(info, len(kept))
        args = {"self": self._value(source), "shape": list(shape)}
        return self._add(node, "reshape.default", args, shape)

    def _norm(self, node: Node, info: Info, kept: Ints) -> str:
        args = {"input": self._value(node.args["input"]), "eps": node.args["eps"]}
        for key in ("weight", "bias", "mean", "var"):
            args[key] = self._cut(node.args[key], 0, kept)
        args = {key: args[key] for key in node.args}
        return self._add(node, node.op, args, self._shape(info, len(kept)))

    def _there(self, node: Node) -> bool:
        """Whether what a node takes was written; what nothing needs may not be."""
        info = self.analysis.info[node.name]
        names = list(node.refs())
        if info.rule == "slice":
            names = [sliced(self.analysis, node)[0].node]
        if info.rule == "joined":
            names = [name for name in names if len(self.needs.index(name))]
        return all(name in self.names or name in self.constants for name in names)

    def _args(self, node: Node) -> dict[str, Any]:
        return {key: self._value(value) for key, value in node.args.items()}

    def _sized(self, node: Node) -> dict[str, Any]:
        """Return the arguments of a whole number: sizes of the batch are the input's."""
        args = dict(node.args)
        if node.op == "size":
            info = self.analysis.of(args["self"])
            if info is not None and info.batch and args["dim"] == 0:
                args["self"] = Ref(INPUT)
        return {key: self._value(value) for key, value in args.items()}

    def _cut(self, value: Any, dim: int, kept: Ints, name: str = "") -> Any:
        if not isinstance(value, Held):
            return value
        tensor = self.old.tensors[value.tensor]
        if len(kept) < tensor.shape[dim]:
            tensor = tensor.index_select(dim, torch.from_numpy(kept))
        return self._hold(name or value.tensor, tensor)

    def _slice(self, node: Node, info: Info, kept: Ints) -> str:
        value, taken = sliced(self.analysis, node)
        index = self.needs.index(value.node)
        start, end = int((index < taken.start).sum()), int((index < taken.stop).sum())
        shape = self._shape(info, len(kept))
        args = {"self": self._value(value), "dim": info.axis, "start": start, "end": end, "step": 1}
        return self._add(node, "slice.Tensor", args, shape)

    def _binary(self, node: Node, info: Info, kept: Ints) -> str:
        args, shape = dict(node.args), self._shape(info, len(kept))
        for key, opposite in (("self", "other"), ("other", "self")):
            vector = self._side(node.args[key], info)
            if vector is not None and self._neutral(node, key, vector, opposite, info):
                found: Ref = self._value(node.args[opposite])
                return found.node
            if vector is not None:
                args[key] = self._hold(
                    f"{node.name}.{key}", self._broadcast(info, vector), parameter=True
                )
                continue
            value = args[key]
            if isinstance(value, Held):
                tensor = self.old.tensors[value.tensor]
                place = info.axis - (len(info.shape) - tensor.dim())
                if place >= 0 and tensor.dim() and tensor.shape[place] > 1:
                    args[key] = self._cut(value, place, kept)
                else:
                    args[key] = self._value(value)
            else:
                args[key] = self._value(value)
        return self._add(node, node.op, args, shape)

    def _side(self, value: Any, info: Info) -> Tensor | None:
        """Return what a constant operand is, None if it is none."""
        if not isinstance(value, Ref) or value.node not in self.constants:
            return None
        return self.constants[value.node]

    def _neutral(self, node: Node, key: str, vector: Tensor, opposite: str, info: Info) -> bool:
        """Whether a constant operand changes nothing."""
        other = self.analysis.of(node.args[opposite])
        if other is None or other.shape != info.shape or node.args[opposite].node in self.constants:
            return False
        if node.op == "add.Tensor" or (node.op == "sub.Tensor" and key == "other"):
            neutral = not vector.any() and (key == "other" or node.args.get("alpha", 1) == 1)
        else:
            neutral = node.op == "mul.Tensor" and bool((vector == 1).all())
        return neutral

    def _layer(self, node: Node, info: Info, kept: Ints) -> str:
        args = self._args_but(node, "input", "weight", "bias")
        source = node.args["input"]
        taken = self.needs.index(source.node)
        weight = self.analysis.held(node.args["weight"])
        reads = self._read(node, kept, taken, weight)
        bias = self._folded(node, kept, taken if reads is None else taken[reads])
        if reads is None:
            args["input"] = self._value(source)
        else:
            args["input"], taken = self._selected(node, reads), taken[reads]
        if info.rule != "layer":
            cut, args["groups"] = self._grouped(node, info, kept, taken, weight)
        else:
            whole = self.analysis.info[source.node]
            if node.op == "linear.default" and whole.axis != len(whole.shape) - 1:
                taken = numpy.arange(weight.shape[1])
            cut = weight[torch.from_numpy(kept)][:, torch.from_numpy(taken)]
        args["weight"] = self._hold(node.args["weight"].tensor, cut.contiguous())
        args["bias"] = None
        own = node.args["bias"]
        if bias is not None:
            base = node.args["weight"].tensor.removesuffix("weight")
            name = own.tensor if isinstance(own, Held) else f"{base}bias"
            args["bias"] = self._hold(name, bias, parameter=True)
        order = {key: args[key] for key in node.args}
        return self._add(node, node.op, order, self._shape(info, len(kept)))

    def _args_but(self, node: Node, *names: str) -> dict[str, Any]:
        return {key: self._value(v) for key, v in node.args.items() if key not in names}

    def _read(self, node: Node, kept: Ints, taken: Ints, weight: Tensor) -> Flags | None:
        """Return which of the inputs that are there a linear layer reads; None: it reads all.

        A part of them is taken out only where that saves more bytes than the indices take.
        """
        source = node.args["input"]
        if node.op != "linear.default" or source.node in self.constants:
            return None
        if len(self.analysis.info[source.node].shape) != 2:
            return None
        rows = numpy.zeros(len(weight), bool)
        rows[kept] = True
        reads = self.needs.reads(node, rows)[taken] & ~self.needs.foldable(node)[taken]
        some = int(reads.sum())
        saves = (len(taken) - some) * len(kept) * self.itemsize > some * INDEX_BYTES
        return reads if saves and some else None

    def _selected(self, node: Node, reads: Flags) -> Ref:
        """Take a part of a linear layer's input out."""
        index = torch.from_numpy(numpy.flatnonzero(reads))
        base = node.args["weight"].tensor.removesuffix("weight")
        held = self._hold(f"{base}inputs", index, parameter=False)
        args = {"self": self._value(node.args["input"]), "dim": 1, "index": held}
        return Ref(self._add(node, "index_select.default", args, (-1, len(index))))

    def _folded(self, node: Node, kept: Ints, taken: Ints) -> Tensor | None:
        """Return the bias of a layer with what constant channels that are gone add to it."""
        own, weight = node.args["bias"], self.analysis.held(node.args["weight"])
        bias = self.analysis.held(own) if isinstance(own, Held) else None
        const = numpy.nan_to_num(self.analysis.info[node.args["input"].node].const, nan=0.0)
        gone = self.needs.foldable(node)
        gone[taken] = False
        const = numpy.where(gone, const, 0.0)
        if const.any():
            groups = node.args["groups"] if node.op in CONVOLUTIONS else 1
            sums = weight.reshape(len(weight), weight.shape[1], -1).sum(2)
            parts = torch.from_numpy(const).reshape(groups, -1)
            added = torch.cat([s @ part for s, part in zip(sums.chunk(groups), parts)])
            bias = added if bias is None else bias + added
        return None if bias is None else bias[torch.from_numpy(kept)].contiguous()

    def _grouped(
        self, node: Node, info: Info, kept: Ints, taken: Ints, weight: Tensor
    ) -> tuple[Tensor, int]:
        """Return the weight of a grouped convolution, and how many groups it has left."""
        groups, rows, width = node.args["groups"], len(weight), weight.shape[1]
        if info.rule == "depthwise":
            return weight[torch.from_numpy(kept)], len(kept)
        own = kept // (rows // groups)
        blocks = []
        for group in numpy.unique(own):
            columns = taken[taken // width == group] % width
            block = weight[torch.from_numpy(kept[own == group])]
            blocks.append(block[:, torch.from_numpy(columns)])
        return torch.cat(blocks), len(blocks)


_RULES: dict[str, Callable[[Rewriter, Node, Info, Ints], str]] = {
    **dict.fromkeys(("layer", "grouped", "depthwise"), Rewriter._layer),
    "norm": Rewriter._norm,
    "binary": Rewriter._binary,
    "joined": Rewriter._joined,
    "slice": Rewriter._slice,
    "view": Rewriter._view,
}
"""How the nodes of each rule are cut down; others take what they take."""


def _equal(one: Tensor, other: Tensor) -> bool:
    return one is other or (one.shape == other.shape and torch.equal(one, other))

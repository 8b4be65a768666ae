"""Which channels are the same and which are constant: the forward pass over a graph.

A channel is constant if it holds one number, whatever the image and wherever in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy
import torch
from torch import Tensor

from dsd_bench.export.channels import (
    SPLITS,
    Atoms,
    Floats,
    Info,
    affine,
    padding,
    piece,
    unknown,
)
from dsd_bench.export.graph import INPUT, Graph, Held, Node, Ref
from dsd_bench.export.operators import BINARY, CONVOLUTIONS, OPERATORS, POOLS, UNARY

VIEWS = ("view.default", "reshape.default", "flatten.using_ints", "unsqueeze.default",
         "squeeze.dim", "squeeze.dims")  # fmt: skip
REDUCTIONS = ("mean.dim", "sum.dim_IntList", "amax.default")


class Analysis:
    """The forward pass over a graph in double precision.

    Attributes:
        graph: what was looked at.
        info: of each tensor, by its node's name.
        atoms: of all.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph, self.atoms = graph, Atoms()
        self.info: dict[str, Info] = {}
        channels = graph.shape[0]
        self.info[INPUT] = Info(
            (-1, *graph.shape), 1, self.atoms.fresh(channels, True), unknown(channels), True, "in"
        )
        for node in graph.nodes:
            if node.shape is not None:
                rule = _RULES.get(node.op)
                self.info[node.name] = (rule and rule(self, node)) or self._opaque(node)
            elif node.op not in SPLITS and node.op not in OPERATORS:
                self._pin_inputs(node)

    def of(self, value: Any) -> Info | None:
        """Return what is known of an argument, None if it is no tensor that was computed."""
        return self.info.get(value.node) if isinstance(value, Ref) else None

    def held(self, value: Any) -> Tensor:
        """Return the tensor that an argument names."""
        return self.graph.tensors[value.tensor]

    def _opaque(self, node: Node) -> Info:
        """Treat a node as one that mixes all channels that it takes."""
        assert node.shape is not None
        self._pin_inputs(node)
        first = next((self.info[name] for name in node.refs() if name in self.info), None)
        size = len(node.shape)
        axis = size - 1 if size != 4 else 1
        if first is not None and len(first.shape) == size:
            axis = first.axis
        count = node.shape[axis] if size else 1
        if count < 0:
            count = 1
        atoms = self.atoms.fresh(count, True)
        return Info(node.shape, axis, atoms, unknown(count), False, "opaque")

    def _pin_inputs(self, node: Node) -> None:
        for name in node.refs():
            if name in self.info:
                self.atoms.pin(self.info[name].atoms)

    # layers

    def _convolution(self, node: Node) -> Info | None:
        source, weight = self.of(node.args["input"]), node.args["weight"]
        if source is None or source.axis != 1 or not isinstance(weight, Held):
            return None
        assert node.shape is not None
        values, groups = self.held(weight), node.args["groups"]
        rows, padded = len(values), padding(node)
        flat = values.reshape(rows, values.shape[1], -1).numpy()
        bias = self._bias(node, rows)
        usable = ~numpy.isnan(source.const) & ((source.const == 0) | (not padded))
        const = unknown(rows)
        each, made = source.channels // groups, rows // groups
        reads = (flat != 0).any(2)
        for group in range(groups):
            own, taken = (
                slice(group * made, (group + 1) * made),
                slice(group * each, (group + 1) * each),
            )
            fixed = ~(reads[own] & ~usable[taken]).any(1)
            sums = flat[own].sum(2) @ numpy.where(usable[taken], source.const[taken], 0.0)
            const[own] = numpy.where(fixed, bias[own] + sums, numpy.nan)
        rule = "grouped" if groups > 1 else "layer"
        if groups == source.channels == rows and groups > 1:
            return Info(node.shape, 1, source.atoms, const, source.batch, "depthwise")
        return Info(node.shape, 1, self.atoms.fresh(rows), const, source.batch, rule)

    def _linear(self, node: Node) -> Info | None:
        source, weight = self.of(node.args["input"]), node.args["weight"]
        if source is None or not isinstance(weight, Held):
            return None
        assert node.shape is not None
        values, last = self.held(weight).numpy(), len(node.shape) - 1
        rows = len(values)
        const = unknown(rows)
        if source.axis == last:
            fixed = ~((values != 0) & numpy.isnan(source.const)).any(1)
            sums = values @ numpy.nan_to_num(source.const, nan=0.0)
            const = numpy.where(fixed, self._bias(node, rows) + sums, numpy.nan)
        else:
            self.atoms.pin(source.atoms)
        return Info(node.shape, last, self.atoms.fresh(rows), const, source.batch, "layer")

    def _bias(self, node: Node, rows: int) -> Floats:
        bias = node.args["bias"]
        return self.held(bias).numpy() if isinstance(bias, Held) else numpy.zeros(rows)

    def _batch_norm(self, node: Node) -> Info | None:
        source = self.of(node.args["input"])
        if source is None or source.axis != 1:
            return None
        scale, shift = affine(self.graph, node)
        const = numpy.where(scale == 0, shift, scale * source.const + shift)
        return Info(source.shape, 1, source.atoms, const, source.batch, "norm")

    # element by element

    def _unary(self, node: Node) -> Info | None:
        source = self.of(node.args["self"])
        if source is None or any(isinstance(v, Ref) for k, v in node.args.items() if k != "self"):
            return None
        const = self._apply(node, {"self": source.const})
        const[numpy.isnan(source.const)] = numpy.nan
        return self._like(source, const, "same")

    def _apply(self, node: Node, constants: Mapping[str, Floats]) -> Floats:
        """Carry out an operator on constants."""
        operator = OPERATORS[node.op]
        args = dict(node.args) | {k: torch.from_numpy(v) for k, v in constants.items()}
        positional = [args[p.name] for p in operator.parameters if not p.keyword]
        named = {p.name: args[p.name] for p in operator.parameters if p.keyword}
        with torch.no_grad():
            found: Floats = operator.call(*positional, **named).double().numpy().copy()
        found[~numpy.isfinite(found)] = numpy.nan
        return found

    def _like(self, source: Info, const: Floats, rule: str) -> Info:
        return Info(source.shape, source.axis, source.atoms, const, source.batch, rule)

    def _binary(self, node: Node) -> Info | None:
        sides = {key: node.args[key] for key in ("self", "other")}
        known = {key: found for key, value in sides.items() if (found := self.of(value))}
        if node.shape is None or not known:
            return None
        if any(isinstance(v, Ref) and k not in known for k, v in sides.items()):
            return None
        whole = max(known.values(), key=lambda info: (len(info.shape), info.channels))
        axis, size = whole.axis, len(whole.shape)
        if len(node.shape) != size or node.shape[axis] != whole.channels:
            return None
        constants = {}
        for key, value in sides.items():
            info = known.get(key)
            if info is None:
                constants[key] = self.vector(value, size, axis, whole.channels)
            elif len(info.shape) != size or info.axis != axis:
                return None
            elif info.channels == whole.channels:
                constants[key] = info.const
            elif info.channels == 1:
                self.atoms.pin(info.atoms)
                constants[key] = numpy.full(whole.channels, info.const[0])
            else:
                return None
        equal = [info for info in known.values() if info.channels == whole.channels]
        for info in equal[1:]:
            self.atoms.tie(equal[0].atoms, info.atoms)
        const = self._apply(node, constants)
        either = [numpy.isnan(values) for values in constants.values()]
        const[either[0] | either[1]] = numpy.nan
        if node.op == "mul.Tensor":
            const[(constants["self"] == 0) | (constants["other"] == 0)] = 0.0
        shape = node.shape
        batch = any(info.batch and info.shape[0] == shape[0] for info in known.values())
        return Info(shape, axis, equal[0].atoms, const, batch, "binary")

    def vector(self, value: Any, size: int, axis: int, channels: int) -> Floats:
        """Return the constants of an operand that is a number or a held tensor."""
        if not isinstance(value, Held):
            return numpy.full(channels, float(value))
        tensor = self.held(value)
        place = axis - (size - tensor.dim())
        others = tensor.numel() // (tensor.shape[place] if place >= 0 and tensor.dim() else 1)
        if others != 1:
            return unknown(channels)
        return numpy.broadcast_to(tensor.reshape(-1).double().numpy(), (channels,)).copy()

    # positions

    def _pool(self, node: Node) -> Info | None:
        source = self.of(node.args.get("self", node.args.get("input")))
        if source is None or source.axis != 1 or node.shape is None:
            return None
        const = source.const.copy()
        if node.op.startswith("avg") and padding(node):
            const[const != 0] = numpy.nan
        return Info(node.shape, 1, source.atoms, const, source.batch, "same")

    def _reduced(self, node: Node) -> Info | None:
        source = self.of(node.args["self"])
        dims = node.args.get("dim")
        if source is None or node.shape is None or not dims:
            return None
        size = len(source.shape)
        places = {dim % size for dim in dims}
        if source.axis in places or 0 in places:
            return None
        axis = source.axis
        if not node.args["keepdim"]:
            axis -= sum(place < axis for place in places)
        const = source.const.copy()
        if node.op.startswith("sum"):
            const[const != 0] = numpy.nan
        return Info(node.shape, axis, source.atoms, const, source.batch, "same")

    def _view(self, node: Node) -> Info | None:
        source = self.of(node.args.get("self", node.args.get("input")))
        if source is None or node.shape is None:
            return None
        before, after, axis = source.shape, node.shape, source.axis
        if before.count(-1) > 1 or after.count(-1) > 1 or before[0] != -1 or after[0] != -1:
            return None
        batch = math.prod(before[1:]) == math.prod(after[1:])
        count = source.channels
        if axis == len(before) - 1 and after[-1] == count and axis > 1:
            return Info(
                after, len(after) - 1, source.atoms, source.const, source.batch & batch, "view"
            )
        if not batch or axis >= len(after) or before[:axis] != after[:axis] or after[axis] % count:
            return None
        times, inner = after[axis] // count, 1
        for size in before[axis + 1 :]:
            if inner == times:
                break
            inner *= size
        if inner != times:
            return None
        return Info(
            after,
            axis,
            source.atoms.repeat(times),
            source.const.repeat(times),
            source.batch,
            "view",
        )

    def _permuted(self, node: Node) -> Info | None:
        source = self.of(node.args["self"])
        if source is None or node.shape is None:
            return None
        size = len(source.shape)
        if node.op == "permute.default":
            order = [dim % size for dim in node.args["dims"]]
        else:
            order = list(range(size))
            one, other = node.args["dim0"] % size, node.args["dim1"] % size
            order[one], order[other] = other, one
        batch = source.batch and order[0] == 0
        axis = order.index(source.axis)
        return Info(node.shape, axis, source.atoms, source.const, batch, "same")

    def _joined(self, node: Node) -> Info | None:
        sources = [self.of(value) for value in node.args["tensors"]]
        known = [source for source in sources if source is not None]
        if node.shape is None or len(known) < len(sources):
            return None
        size = len(node.shape)
        axis = node.args["dim"] % size
        if any(source.axis != axis or len(source.shape) != size for source in known):
            return None
        atoms = numpy.concatenate([source.atoms for source in known])
        const = numpy.concatenate([source.const for source in known])
        return Info(node.shape, axis, atoms, const, all(s.batch for s in known), "joined")

    def _padded(self, node: Node) -> Info | None:
        source = self._plain(node)
        if source is None or node.shape is None:
            return None
        size, axis, pads = len(source.shape), source.axis, node.args["pad"]
        if len(pads) // 2 >= size - axis or node.args.get("mode", "constant") != "constant":
            return None
        const = numpy.where(source.const == (node.args["value"] or 0), source.const, numpy.nan)
        return Info(node.shape, axis, source.atoms, const, source.batch, "same")

    def _picked(self, node: Node) -> Info | None:
        """Follow one position along another axis than that of the channels."""
        source = self._plain(node)
        if source is None or node.shape is None:
            return None
        dim, axis = node.args["dim"] % len(source.shape), source.axis
        if dim in (0, axis):
            return None
        axis -= dim < axis
        return Info(node.shape, axis, source.atoms, source.const, source.batch, "same")

    def _sliced(self, node: Node) -> Info | None:
        source = self._plain(node)
        if source is None or node.shape is None:
            return None
        dim, axis = node.args["dim"] % len(source.shape), source.axis
        if dim == 0 or (dim == axis and node.args["step"] != 1):
            return None
        if dim != axis:
            return Info(node.shape, axis, source.atoms, source.const, source.batch, "same")
        taken = slice(node.args["start"], node.args["end"])
        atoms, const = source.atoms[taken], source.const[taken]
        return Info(node.shape, axis, atoms, const, source.batch, "slice")

    def _plain(self, node: Node) -> Info | None:
        """Return what is known of the only computed argument of a node."""
        if any(isinstance(value, Ref) for key, value in node.args.items() if key != "self"):
            return None
        return self.of(node.args["self"])

    def _piece(self, node: Node) -> Info | None:
        """Follow one result of a tensor that was split along its channels."""
        ref = node.args["self"]
        split = self.graph.names[ref.node]
        source = self.of(split.args.get("self")) if split.op in SPLITS else None
        if source is None or split.args["dim"] % len(source.shape) != source.axis:
            self._pin_inputs(split)
            return None
        taken = piece(split, node.args["index"], source.channels)
        assert node.shape is not None
        return Info(
            node.shape, source.axis, source.atoms[taken], source.const[taken], source.batch, "slice"
        )


_RULES: dict[str, Callable[[Analysis, Node], Info | None]] = {
    **dict.fromkeys(CONVOLUTIONS, Analysis._convolution),
    **dict.fromkeys(UNARY, Analysis._unary),
    **dict.fromkeys(BINARY, Analysis._binary),
    **dict.fromkeys(POOLS, Analysis._pool),
    **dict.fromkeys(REDUCTIONS, Analysis._reduced),
    **dict.fromkeys(VIEWS, Analysis._view),
    **dict.fromkeys(("permute.default", "transpose.int"), Analysis._permuted),
    **dict.fromkeys(("constant_pad_nd.default", "pad.default"), Analysis._padded),
    "linear.default": Analysis._linear,
    "batch_norm": Analysis._batch_norm,
    "cat.default": Analysis._joined,
    "slice.Tensor": Analysis._sliced,
    "select.int": Analysis._picked,
    "item": Analysis._piece,
}
"""What follows each operator; others mix all channels that they take."""

"""Which channels the output needs, and which of them are kept: the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy

from dsd_bench.export.analysis import Analysis
from dsd_bench.export.channels import SPLITS, Flags, Info, Ints, affine, padding, piece
from dsd_bench.export.graph import Node, Ref
from dsd_bench.export.operators import CONVOLUTIONS


class Needs:
    """What of an analysed graph is needed and kept.

    A channel is needed if a number that the output depends on is made with it, unless it is
    constant there and can be folded into what reads it. All tensors that share an atom keep it if
    one of them needs it, and grouped convolutions keep as many channels in all their groups.

    Attributes:
        needed: by the nodes' names, bool ``(channels,)``.
        kept: bool, by the atoms' roots.
    """

    def __init__(self, analysis: Analysis) -> None:
        self.analysis = analysis
        graph = analysis.graph
        self.needed: dict[str, Flags] = {
            name: numpy.zeros(info.channels, bool) for name, info in analysis.info.items()
        }
        self.needed[graph.output][:] = True
        self._used: set[str] = set()
        for node in reversed(graph.nodes):
            self._pass_on(node)
        self.kept = analysis.atoms.pinned()
        for name, need in self.needed.items():
            self.kept[analysis.atoms.roots(analysis.info[name].atoms[need])] = True
        while self._evened():
            pass

    def index(self, name: str) -> Ints:
        """Return which channels of a tensor are kept, ascending."""
        roots = self.analysis.atoms.roots(self.analysis.info[name].atoms)
        return numpy.flatnonzero(self.kept[roots])

    def constant(self, name: str) -> bool:
        """Whether all that a tensor keeps is constant, or not needed of it."""
        info = self.analysis.info[name]
        kept = self.index(name)
        fixed = ~numpy.isnan(info.const[kept]) | ~self.needed[name][kept]
        return bool(info.batch and info.rule not in ("in", "opaque") and fixed.all())

    def _all(self, name: str) -> None:
        if name in self.needed:
            self.needed[name][:] = True
        self._used.add(name)

    def _pass_on(self, node: Node) -> None:
        """Mark what a node needs for what is needed of it."""
        info = self.analysis.info.get(node.name)
        if info is None:  # a list of tensors, or a whole number
            if node.name in self._used and node.op != "size":
                for name in node.refs():
                    self._all(name)
            return
        need = self.needed[node.name]
        if not need.any():
            return
        rule = _RULES.get(info.rule)
        if rule is not None:
            rule(self, node, need)
        else:
            for name in node.refs():
                self._all(name)
        self._used.update(node.refs())

    def _same(self, node: Node, need: Flags) -> None:
        self._add(node.args.get("self", node.args.get("input")), need)

    def _norm(self, node: Node, need: Flags) -> None:
        scale, _ = affine(self.analysis.graph, node)
        self._add(node.args["input"], need & (scale != 0))

    def _joined(self, node: Node, need: Flags) -> None:
        start = 0
        for value in node.args["tensors"]:
            count = self.analysis.info[value.node].channels
            self._add(value, need[start : start + count])
            start += count

    def _view(self, node: Node, need: Flags) -> None:
        value = node.args.get("self", node.args.get("input"))
        count = self.analysis.info[value.node].channels
        self._add(value, need.reshape(count, -1).any(1))

    def _add(self, value: Any, need: Flags | numpy.bool) -> None:
        if isinstance(value, Ref):
            self.needed[value.node] |= need

    def _slice(self, node: Node, need: Flags) -> None:
        value, taken = sliced(self.analysis, node)
        self.needed[value.node][taken] |= need

    def _binary(self, node: Node, need: Flags) -> None:
        info = self.analysis.info[node.name]
        for key, opposite in (("self", "other"), ("other", "self")):
            value = node.args[key]
            source = self.analysis.of(value)
            if source is None:
                continue
            wanted = need
            if node.op == "mul.Tensor":
                wanted = need & ~self._zero(node.args[opposite], info)
            self._add(value, wanted if source.channels == info.channels else wanted.any())

    def _zero(self, value: Any, info: Info) -> Flags:
        """Return which channels an operand multiplies by zero."""
        source = self.analysis.of(value)
        if source is not None:
            return numpy.broadcast_to(source.const == 0, (info.channels,))
        size = len(info.shape)
        return numpy.equal(self.analysis.vector(value, size, info.axis, info.channels), 0)

    def _layer(self, node: Node, need: Flags) -> None:
        value = node.args["input"]
        source = self.analysis.info[value.node]
        self._add(value, self.reads(node, need) & ~self.foldable(node))
        if node.op == "linear.default" and source.axis != len(source.shape) - 1:
            self._all(value.node)

    def reads(self, node: Node, need: Flags) -> Flags:
        """Return which channels a layer takes for those that are needed of it."""
        weight = self.analysis.held(node.args["weight"])
        source = self.analysis.info[node.args["input"].node]
        used = (weight.reshape(len(weight), weight.shape[1], -1) != 0).any(2).numpy()
        used = used & need[:, None]
        groups = node.args["groups"] if node.op in CONVOLUTIONS else 1
        if node.op not in CONVOLUTIONS and source.axis != len(source.shape) - 1:
            return numpy.ones(source.channels, bool)
        found: Flags = used.reshape(groups, -1, used.shape[1]).any(1).reshape(-1)
        return found

    def foldable(self, node: Node) -> Flags:
        """Return which channels of a layer's input can become a part of its bias."""
        source = self.analysis.info[node.args["input"].node]
        const = source.const
        if node.op in CONVOLUTIONS and padding(node):
            return numpy.equal(const, 0)
        if node.op not in CONVOLUTIONS and source.axis != len(source.shape) - 1:
            return numpy.zeros(source.channels, bool)
        return ~numpy.isnan(const)

    def _evened(self) -> bool:
        """Keep more where grouped or unfoldable layers ask for it; return whether any was."""
        changed = False
        for node in self.analysis.graph.nodes:
            info = self.analysis.info.get(node.name)
            if info is None or info.rule not in ("layer", "grouped", "depthwise"):
                continue
            source = self.analysis.info[node.args["input"].node]
            rows, taken = self._kept(info), self._kept(source)
            if not rows.any():
                continue
            if not taken.any():
                if not info.batch:
                    self.kept[self.analysis.atoms.roots(source.atoms[:1])] = changed = True
                continue
            if info.rule == "grouped":
                groups = node.args["groups"]
                sides: list[tuple[Flags, Info]] = [
                    (rows.reshape(groups, -1), info), (taken.reshape(groups, -1), source)
                ]  # fmt: skip
                live = numpy.asarray(sides[0][0].any(1) | sides[1][0].any(1))
                for flags, of in sides:
                    changed |= self._fill(flags, live, of)
        return changed

    def _kept(self, info: Info) -> Flags:
        return self.kept[self.analysis.atoms.roots(info.atoms)]

    def _fill(self, flags: Flags, live: Flags, info: Info) -> bool:
        """Keep as many channels in all groups that are live; the first of those that were not."""
        most, width = max(1, int(flags.sum(1).max())), flags.shape[1]
        changed = False
        for group in numpy.flatnonzero(live & (flags.sum(1) < most)):
            missing = numpy.flatnonzero(~flags[group])[: most - int(flags[group].sum())]
            atoms = info.atoms[group * width + missing]
            self.kept[self.analysis.atoms.roots(atoms)] = changed = True
        return changed


def sliced(analysis: Analysis, node: Node) -> tuple[Ref, slice]:
    """Return which tensor a slicing node takes its channels from, and which."""
    if node.op == "item":
        split = analysis.graph.names[node.args["self"].node]
        assert split.op in SPLITS
        value = split.args["self"]
        return value, piece(split, node.args["index"], analysis.info[value.node].channels)
    value = node.args["self"]
    count = analysis.info[value.node].channels
    return value, slice(*slice(node.args["start"], node.args["end"]).indices(count)[:2])


_RULES: dict[str, Callable[[Needs, Node, Flags], None]] = {
    **dict.fromkeys(("layer", "grouped", "depthwise"), Needs._layer),
    "norm": Needs._norm,
    "binary": Needs._binary,
    "joined": Needs._joined,
    "slice": Needs._slice,
    "view": Needs._view,
    "same": Needs._same,
}
"""How each rule of the forward pass hands on what is needed; others need all that they take."""

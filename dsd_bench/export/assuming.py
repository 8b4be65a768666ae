"""ReLUs that are always on or always off over images: measured, so not exact for others.

Where no image turns a unit on, it is dead; where every image turns all that is left of a layer on,
its ReLU changes nothing and the layer is linear (the layers of zero entropy of the authors' later
work, TMLR 2026). Two linear layers in a row become one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from dsd_bench.export.analysis import Analysis
from dsd_bench.export.graph import INPUT, Graph, Held, Network, Node, Ref

RELUS = ("relu.default", "relu6.default")
_EDITED = ("conv1d.default", "conv2d.default", "conv3d.default", "linear.default", "batch_norm")


@dataclass(frozen=True)
class Assumed:
    """What was assumed of one ReLU.

    Attributes:
        where: the module it belongs to.
        off: channels that no image turns on.
        linear: whether all others are always on, so that it was taken out.
        channels: how many it has.
    """

    where: str
    off: int
    linear: bool
    channels: int


def assume(graph: Graph, batches: Iterable[Tensor]) -> tuple[Graph, tuple[Assumed, ...]]:
    """Return a graph that treats its ReLUs as they behave over ``batches``, and what was assumed.

    Units that are always off get weights and bias of zero, where a layer or a batch norm makes them
    for nothing else than the ReLU; a ReLU whose other units are all always on goes.

    Args:
        graph: in double precision.
        batches: normalised images, ``(N, C, H, W)`` each; at least one.
    """
    analysis = Analysis(graph)
    lows, highs = extremes(graph, analysis, batches)
    users = graph.users()
    tensors, assumed = dict(graph.tensors), []
    nodes = {node.name: node for node in graph.nodes}
    gone: dict[str, Any] = {}
    for node in graph.nodes:
        if node.name not in highs:
            continue
        low, high = lows[node.name], highs[node.name]
        ceiling = 6.0 if node.op.startswith("relu6") else float("inf")
        source: Ref = node.args["self"]
        maker = nodes.get(source.node)
        off = torch.zeros(len(low), dtype=torch.bool)
        own = maker is not None and maker.op in _EDITED and len(users[source.node]) == 1
        if own and maker is not None and not _shared(graph, maker):
            off = high <= 0
            _silence(maker, tensors, off)
        linear = bool(((low >= 0) & (high <= ceiling) | off).all())
        if linear:
            gone[node.name] = source
        if off.any() or linear:
            assumed.append(Assumed(node.origin or node.op, int(off.sum()), linear, len(low)))
    kept = tuple(
        replace(node, args={k: _skipped(value, gone) for k, value in node.args.items()})
        for node in graph.nodes
        if node.name not in gone
    )
    output = _skipped(Ref(graph.output), gone).node
    return replace(graph, nodes=kept, output=output, tensors=tensors), tuple(assumed)


def extremes(
    graph: Graph, analysis: Analysis, batches: Iterable[Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the least and the greatest input of each ReLU's channels, by the node's name."""
    watched = {
        n.name: n.args["self"].node
        for n in graph.nodes
        if n.op in RELUS and n.name in analysis.info and isinstance(n.args["self"], Ref)
    }
    single = graph.to(torch.float32)
    network = _Watching(single, set(watched.values()))
    lows: dict[str, Tensor] = {}
    highs: dict[str, Tensor] = {}
    with torch.no_grad():
        for images in batches:
            network(images.float().cpu())
            for name, source in watched.items():
                values = network.seen[source]
                axis = analysis.info[name].axis
                others = [dim for dim in range(values.dim()) if dim != axis]
                low, high = values.amin(others), values.amax(others)
                lows[name] = torch.minimum(lows[name], low) if name in lows else low
                highs[name] = torch.maximum(highs[name], high) if name in highs else high
    return lows, highs


class _Watching(Network):
    """A network that keeps what some of its nodes computed last."""

    def __init__(self, graph: Graph, names: set[str]) -> None:
        super().__init__(graph)
        self.seen: dict[str, Tensor] = {}
        self._steps = [
            replace(step, call=self._noting(step.name, step.call)) if step.name in names else step
            for step in self._steps
        ]
        self._names = names

    def _noting(self, name: str, call: Any) -> Any:
        def noted(*args: Any, **named: Any) -> Any:
            found = self.seen[name] = call(*args, **named)
            return found

        return noted

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        if INPUT in self._names:
            self.seen[INPUT] = images
        return super().forward(images)


def _shared(graph: Graph, maker: Node) -> bool:
    """Whether another node reads the tensors of a layer too."""
    own = set(maker.holds())
    return any(own & set(node.holds()) for node in graph.nodes if node is not maker)


def _silence(maker: Node, tensors: dict[str, Tensor], off: Tensor) -> None:
    """Set what makes some channels to zero."""
    for key in ("weight", "bias"):
        value = maker.args[key]
        if isinstance(value, Held):
            tensor = tensors[value.tensor].clone()
            tensor[off] = 0.0
            tensors[value.tensor] = tensor


def _skipped(value: Any, gone: dict[str, Any]) -> Any:
    if isinstance(value, list):
        return [_skipped(item, gone) for item in value]
    while isinstance(value, Ref) and value.node in gone:
        value = gone[value.node]
    return value

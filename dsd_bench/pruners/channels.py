"""Which layers can lose an output channel without changing anything else.

The model's forward is traced (:mod:`torch.fx`) and each Conv or Linear layer's output is followed
through operations that keep channels apart and map zero to zero. If every path ends in other
Conv or Linear layers, a channel that is zeroed is silent and could be cut out. A path that
meets a sum, a concatenation, a product, a grouped convolution, the model's output or anything
unknown ties the channel to something else, and the layer stays whole.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_QUERIES = {"size", "dim", "shape", "ndim", "dtype", "device"}
_FLATTENS = {nn.Flatten, torch.flatten, "flatten"}
_RESHAPES = {torch.reshape, "reshape", "view"}
_MEANS = {torch.mean, "mean"}
_ELEMENTWISE = {
    *(nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d),
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU),
    *(nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish, nn.Tanh, nn.Softsign),
    *(torch.relu, torch.tanh, functional.dropout, functional.dropout2d, functional.relu),
    *(functional.relu6, functional.leaky_relu, functional.elu, functional.selu),
    *(functional.gelu, functional.silu, functional.mish, functional.hardswish),
    *("relu", "relu_", "tanh", "contiguous"),
}
_POOLINGS = {
    *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
    *(nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d),
    *(functional.max_pool1d, functional.max_pool2d, functional.max_pool3d),
    *(functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d),
    *(functional.adaptive_avg_pool1d, functional.adaptive_avg_pool2d),
    *(functional.adaptive_avg_pool3d, functional.adaptive_max_pool2d),
}


class _Form(Enum):
    """How the channels lie in a tensor."""

    MAPS = "(N, C, ...), of a convolution"
    FLAT = "(N, C * positions), maps that were flattened"
    FEATURES = "(..., C), of a linear layer"


@dataclass(frozen=True)
class Removable:
    """A layer whose output channels can be removed one by one.

    Attributes:
        layer: the Conv or Linear module's name.
        norms: names of the affine batch norms that its channels pass through, in order. One
            that comes after flattening has several entries, side by side, for each channel.
    """

    layer: str
    norms: tuple[str, ...]


class _Tied(Exception):
    """The channel reaches something that it shares with other channels."""


def removable_layers(model: nn.Module) -> list[Removable]:
    """Return the layers of ``model`` that can lose output channels, in the model's order.

    A layer that is called more than once, shares a parameter or is grouped stays whole.

    Raises:
        Exception: whatever tracing raises for a forward that depends on the data.
    """
    network = _Network(model)
    found = []
    for node in network.layers():
        try:
            found.append(Removable(str(node.target), _follow(node, network)))
        except _Tied:
            continue
    return found


class _Network:
    """A traced model, and what each node of its graph does to channels."""

    def __init__(self, model: nn.Module) -> None:
        graph = fx.Tracer().trace(model)
        self.modules = dict(model.named_modules())
        self.calls = {node.target: node for node in graph.nodes if node.op == "call_module"}
        self.own = _used_once(model, graph)

    def layers(self) -> list[fx.Node]:
        """Return the calls of ungrouped Conv and Linear layers that are used once."""
        names = [name for name in self.modules if name in self.calls and name in self.own]
        return [self.calls[name] for name in names if _is_layer(self.modules[name])]

    def kind(self, node: fx.Node) -> Any:
        """Return what tells a node's operation: a module's exact type, a function, a method."""
        if node.op == "call_module":
            return type(self.modules[str(node.target)])
        if node.op == "call_function" and node.target is getattr:
            return node.args[1]
        return node.target if node.op.startswith("call_") else None

    def consumes(self, node: fx.Node, form: _Form) -> bool:
        """Whether ``node`` is a layer with weights of its own for every channel."""
        module = self.modules.get(str(node.target)) if node.op == "call_module" else None
        if module is None or node.target not in self.own or not _is_layer(module):
            return False
        return (form is _Form.MAPS) == isinstance(module, _CONVOLUTIONS)


def _used_once(model: nn.Module, graph: fx.Graph) -> set[str]:
    """Return the names of modules called exactly once, whose parameters are theirs alone."""
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    fetched = {node.target for node in graph.nodes if node.op == "get_attr"}
    owners = Counter(
        id(parameter) for part in model.modules() for parameter in part.parameters(recurse=False)
    )
    return {
        name
        for name, module in model.named_modules()
        if calls[name] == 1
        and all(owners[id(parameter)] == 1 for parameter in module.parameters(recurse=False))
        and not any(f"{name}.{own}" in fetched for own, _ in module.named_parameters())
    }


def _is_layer(module: Any) -> bool:
    """Whether ``module`` is a Linear or an ungrouped convolution, and no subclass of them."""
    return type(module) is nn.Linear or (type(module) in _CONVOLUTIONS and module.groups == 1)


def _follow(start: fx.Node, network: _Network) -> tuple[str, ...]:
    """Follow a layer's output to all its consumers and return the batch norms on the way."""
    layer: Any = network.modules[str(start.target)]
    norms: list[str] = []
    consumed = False
    pending = [(start, _Form.FEATURES if isinstance(layer, nn.Linear) else _Form.MAPS)]
    while pending:
        node, form = pending.pop(0)
        for user in node.users:
            kind = network.kind(user)
            if kind in _QUERIES:
                continue
            if network.consumes(user, form):
                consumed = True
                continue
            if kind in _NORMS:
                norms.append(_checked_norm(user, network, layer.weight.shape[0], form))
            pending.append((user, _form_after(user, network, layer.weight, form)))
    if not consumed:
        raise _Tied
    return tuple(norms)


def _checked_norm(node: fx.Node, network: _Network, channels: int, form: _Form) -> str:
    """Return the name of a batch norm whose affine can silence each channel by itself."""
    name = str(node.target)
    norm: Any = network.modules[name]
    entries = norm.num_features % channels if form is _Form.FLAT else norm.num_features - channels
    if name not in network.own or norm.weight is None or norm.bias is None or entries != 0:
        raise _Tied
    return name


def _form_after(node: fx.Node, network: _Network, weight: torch.Tensor, form: _Form) -> _Form:
    """Return how the channels lie after ``node``, if it keeps them apart and zero at zero."""
    kind = network.kind(node)
    maps = form is _Form.MAPS
    if kind in _ELEMENTWISE or kind in _NORMS or (maps and kind in _POOLINGS):
        return form
    if kind in _FLATTENS:
        module = network.modules[str(node.target)] if kind is nn.Flatten else None
        flattens = _flattens(node, module)
    elif kind in _RESHAPES:
        flattens = _reshapes_flat(node, weight.shape[0])
    else:
        flattens = maps and kind in _MEANS and _averages_positions(node, weight.dim())
    if not flattens:
        raise _Tied
    return _Form.FLAT if maps else form


def _flattens(node: fx.Node, module: Any) -> bool:
    """Whether a flatten leaves ``(N, everything)``."""
    if module is not None:
        return (module.start_dim, module.end_dim) == (1, -1)
    start = _argument(node, 1, "start_dim", 0)
    end = _argument(node, 2, "end_dim", -1)
    return (start, end) == (1, -1)


def _reshapes_flat(node: fx.Node, channels: int) -> bool:
    """Whether a view or reshape leaves ``(N, everything)``; the width is -1 or a known number."""
    first = node.args[1] if len(node.args) == 2 else None
    shape = first if isinstance(first, tuple | list) else node.args[1:]
    if len(shape) != 2:
        return False
    width = shape[1]
    return isinstance(width, int) and (width == -1 or width % channels == 0)


def _averages_positions(node: fx.Node, dims: int) -> bool:
    """Whether a mean goes over all positions and drops their dimensions."""
    over = _argument(node, 1, "dim", None)
    over = over if isinstance(over, tuple | list) else (over,)
    if _argument(node, 2, "keepdim", False) or not all(isinstance(dim, int) for dim in over):
        return False
    return {dim % dims for dim in over} == set(range(2, dims))


def _argument(node: fx.Node, position: int, name: str, default: Any) -> Any:
    """Return an argument of a call, given by position or by name."""
    given = node.args[position] if len(node.args) > position else default
    return node.kwargs.get(name, given)

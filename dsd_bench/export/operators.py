"""The operators that an exported network may consist of: a list, by name, and nothing else.

They are core ATen operators and a few that core ATen would take apart (``linear``, ``conv2d``,
``batch_norm``, pooling, attention): the names and arguments are those of PyTorch's own schemas. A
file can name these and no other function.
"""

from __future__ import annotations

import operator as python
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_aten = torch.ops.aten


@dataclass(frozen=True)
class Parameter:
    """An argument of an operator.

    Attributes:
        name: its name in the schema.
        kind: its type in the schema: ``Tensor``, ``SymInt[]``, ``float?``, ...
        keyword: whether it is given by keyword only.
        required: whether it has no default.
    """

    name: str
    kind: str
    keyword: bool = False
    required: bool = True


@dataclass(frozen=True)
class Operator:
    """A known operator: what carries it out and what that takes."""

    call: Callable[..., Any]
    parameters: tuple[Parameter, ...]


def _of(overload: Any) -> Operator:
    schema = overload._schema
    return Operator(
        overload,
        tuple(
            Parameter(a.name, str(a.real_type), a.kwarg_only, not a.has_default_value())
            for a in schema.arguments
        ),
    )


def _batch_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, var: Tensor, eps: float
) -> Tensor:
    return torch.nn.functional.batch_norm(input, mean, var, weight, bias, False, 0.0, eps)


def _own(call: Callable[..., Any], **kinds: str) -> Operator:
    return Operator(call, tuple(Parameter(name, kind) for name, kind in kinds.items()))


_OVERLOADS = (
    *("conv1d.default", "conv2d.default", "conv3d.default", "linear.default", "relu.default"),
    *("gelu.default", "silu.default", "hardswish.default", "hardsigmoid.default"),
    *("sigmoid.default", "tanh.default", "leaky_relu.default", "hardtanh.default", "elu.default"),
    *("clamp.default", "softplus.default", "mish.default", "exp.default", "neg.default"),
    *("sqrt.default", "rsqrt.default", "abs.default", "log.default", "prelu.default"),
    *("add.Tensor", "sub.Tensor", "mul.Tensor", "div.Tensor", "add.Scalar", "mul.Scalar"),
    *("sub.Scalar", "div.Scalar", "pow.Tensor_Scalar", "rsub.Scalar", "maximum.default"),
    *("minimum.default", "max_pool1d.default", "max_pool2d.default", "avg_pool1d.default"),
    *("avg_pool2d.default", "adaptive_avg_pool1d.default", "adaptive_avg_pool2d.default"),
    *("mean.dim", "sum.dim_IntList", "amax.default", "var.correction", "view.default"),
    *("reshape.default", "flatten.using_ints", "permute.default", "transpose.int"),
    *("unsqueeze.default", "squeeze.dim", "squeeze.dims", "expand.default", "clone.default"),
    *("contiguous.default", "alias.default", "cat.default", "stack.default", "slice.Tensor"),
    *("select.int", "index_select.default", "unbind.int", "roll.default"),
    *("constant_pad_nd.default", "pad.default", "layer_norm.default", "group_norm.default"),
    *("softmax.int", "_softmax.default", "matmul.default", "bmm.default", "mm.default"),
    *("addmm.default", "scaled_dot_product_attention.default", "linalg_vector_norm.default"),
    *("upsample_nearest2d.vec", "upsample_bilinear2d.vec", "pixel_shuffle.default"),
    *("clamp_min.default", "clamp_max.default", "threshold.default", "relu6.default"),
    *("chunk.default", "split.Tensor", "split_with_sizes.default"),
)


def _table() -> dict[str, Operator]:
    table = {}
    for name in _OVERLOADS:
        packet, overload = name.split(".")
        found = getattr(getattr(_aten, packet, None), overload, None)
        if found is not None:
            table[name] = _of(found)
    return table


OPERATORS: dict[str, Operator] = {
    **_table(),
    "batch_norm": _own(
        _batch_norm, input="Tensor", weight="Optional[Tensor]", bias="Optional[Tensor]",
        mean="Tensor", var="Tensor", eps="float",
    ),
    "size": _own(lambda self, dim: self.shape[dim], self="Tensor", dim="int"),
    "item": _own(python.getitem, self="Tensor[]", index="int"),
    "int_mul": _own(python.mul, a="int", b="int"),
    "int_add": _own(python.add, a="int", b="int"),
    "int_sub": _own(python.sub, a="int", b="int"),
    "int_floordiv": _own(python.floordiv, a="int", b="int"),
}  # fmt: skip
"""The operators by name; of ATen's overloads, those of the installed PyTorch that are listed."""

CONVOLUTIONS = ("conv1d.default", "conv2d.default", "conv3d.default")
UNARY = frozenset(
    f"{name}.default"
    for name in (
        *("relu", "gelu", "silu", "hardswish", "hardsigmoid", "sigmoid", "tanh", "leaky_relu"),
        *("hardtanh", "elu", "clamp", "softplus", "mish", "neg", "abs", "clone", "contiguous"),
        *("alias", "clamp_min", "clamp_max", "threshold", "relu6", "exp"),
    )
) | {"add.Scalar", "mul.Scalar", "sub.Scalar", "div.Scalar", "rsub.Scalar", "pow.Tensor_Scalar"}
"""Operators that treat each element by itself, whose other arguments are numbers."""
BINARY = ("add.Tensor", "sub.Tensor", "mul.Tensor", "div.Tensor", "maximum.default",
          "minimum.default")  # fmt: skip
"""Operators that take two tensors element by element."""
POOLS = ("max_pool1d.default", "max_pool2d.default", "avg_pool1d.default", "avg_pool2d.default",
         "adaptive_avg_pool1d.default", "adaptive_avg_pool2d.default",
         "upsample_nearest2d.vec", "upsample_bilinear2d.vec")  # fmt: skip
"""Operators that mix positions within a channel."""

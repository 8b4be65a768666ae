"""The fully connected network of the embedded experiment."""

from __future__ import annotations

from itertools import pairwise
from math import prod

from torch import nn

from dsd_bench.models import ModelFactory
from dsd_bench.models.builtin import MLPParams


def mlp(sizes: list[int]) -> nn.Sequential:
    """Return Flatten - (Linear - ReLU) per hidden layer - Linear, ``(N, ...) -> (N, classes)``.

    Weights are He-uniform (He et al. 2015), biases zero; there is no normalisation.

    Args:
        sizes: neurons of every layer: inputs, hidden layers, classes.
    """
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise(sizes):
        layers += [_linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)
    return layer


class MLPFactory(ModelFactory):
    """Builds :func:`mlp` for any image."""

    params: MLPParams

    def build(
        self, shape: tuple[int, int, int], classes: int, *, download: bool = False
    ) -> nn.Sequential:
        """Return a freshly initialised network; see :meth:`ModelFactory.build`."""
        return mlp([prod(shape), *self.params.sizes, classes])

"""The cost of one image in training, as a value; needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

Whole = Annotated[int, Field(ge=0, lt=2**63)]
"""A count; its bounds hold where it is read from a file."""


@dataclass(frozen=True)
class StepMacs:
    """Multiply-accumulates of one image's forward and backward pass, every weight counted.

    Backward are the products that make the gradients of the weights and of the layers' inputs;
    the first layer's input needs none, so backward is less than twice forward.

    Attributes:
        forward, backward: of the whole network.
        layers: the part of them, ``(forward, backward)``, that uses or makes the gradient of
            each prunable parameter, by its name.
    """

    forward: Whole
    backward: Whole
    layers: Mapping[str, tuple[Whole, Whole]]

    @property
    def total(self) -> int:
        """Forward and backward."""
        return self.forward + self.backward

    def effective(self, sparsity: Mapping[str, float]) -> tuple[int, int]:
        """Return forward and backward without what pruned weights take part in.

        Left out are the products with a pruned weight, in both directions, and those that make
        its gradient, which is masked away: each prunable layer's count times its density.

        Args:
            sparsity: of each prunable parameter, 0..1 (``sparsity_per_layer`` of a row).
        """
        spared = [
            sum(found[way] * sparsity[n] for n, found in self.layers.items()) for way in (0, 1)
        ]
        return round(self.forward - spared[0]), round(self.backward - spared[1])

"""The metric ``layer-entropy``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dsd_bench.metrics import MeasureView, Metric
from dsd_bench_entropy.states import layer_entropies


class LayerEntropy(Metric):
    """Mean entropy in bits of the units behind each prunable layer (NEPENTHE, Section 3).

    A unit is on where the input of its activation is above 0, off where it is below. The built-in
    ``entropy_per_layer`` has one value for each activation and counts an input of 0 as off; here
    each weight has its own, and activations that are no on/off rectifiers (GELU, SiLU) count too.
    A layer of 0 bits is linear: it can be merged with the next one.
    """

    def measure(self, view: MeasureView) -> Mapping[str, Any]:
        """Return ``entropy_by_layer``, by parameter name (None behind the last activation), the
        number of ``layers`` with an activation and that of ``linear_layers`` among them.
        """
        images = view.images("train")
        found = layer_entropies(view.model, images if images is not None else ())
        known = [value for value in found.values() if value is not None]
        return {
            "entropy_by_layer": found,
            "layers": len(known),
            "linear_layers": sum(value == 0 for value in known),
        }

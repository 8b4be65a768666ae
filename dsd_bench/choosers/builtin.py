"""The built-in choosers and their parameters."""

from __future__ import annotations

from dsd_bench.components import Component
from dsd_bench.hookspecs import hookimpl
from dsd_bench.params import Params, param


class MaxDropParams(Params):
    """Parameters of ``max-drop``."""

    drop: float = param(
        0.01,
        help="how far below the best round's accuracy the chosen one's may be",
        ge=0,
        le=1,
        main=True,
        unit="accuracy, 0..1",
    )


@hookimpl
def register_choosers() -> list[Component]:
    """Return the built-in choosers."""
    return [
        Component(
            "best",
            "dsd_bench.choosers.rules:Best",
            "the round that is best on the selecting part, the first of equals",
        ),
        Component(
            "one-se",
            "dsd_bench.choosers.rules:OneSe",
            "the sparsest round within one standard error of the best",
            citation="Breiman, Friedman, Olshen and Stone, Classification and Regression Trees, "
            "1984, section 3.4.3; Hastie, Tibshirani and Friedman, The Elements of Statistical "
            "Learning, 2009, section 7.10",
        ),
        Component(
            "max-drop",
            "dsd_bench.choosers.rules:MaxDrop",
            "the sparsest round whose accuracy is at most this much below the best",
            MaxDropParams,
        ),
    ]

"""Stop criteria: pure functions of the rounds so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dsd_bench.params import Params

MARGIN = 1e-9
"""How far two numbers must be apart to differ: far more than rounding makes of decimals, far less
than one image or one weight."""


def below(value: float, limit: float) -> bool:
    """Whether ``value`` is less than ``limit`` by more than rounding explains.

    Accuracies and sparsities are counts divided by counts, and 0.545 - 0.05 is 0.495 on paper but
    not in binary. So whoever compares a difference with a limit asks this; ties are not below.
    """
    return value < limit - MARGIN


class StopCriterion:
    """Base of all stop criteria."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def stop(self, rounds: Sequence[Mapping[str, Any]], score: str) -> str | None:
        """Return why to stop after the last of ``rounds``, or None to go on.

        It must be a pure function: asked again with the same rounds it answers the same,
        so a resumed run and ``replay`` stop where the first run would.

        Args:
            rounds: the rows of ``rounds.jsonl`` so far, at least one, round 0 first. Each also
                has ``correct``: ``{"val": text or None, "test": text}``, base64 of
                ``numpy.packbits`` of which images are right, zeros after the last image; rounds
                that the first release measured lack it.
            score: the column to judge by: ``val_accuracy``, or ``test_accuracy`` under
                ``--selection test``; accuracies are in 0..1.
        """
        raise NotImplementedError

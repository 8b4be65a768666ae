"""What every tracker implements: one run, as it is shown there."""

from __future__ import annotations

from typing import Literal, Protocol

from dsd_bench_trackers.view import Values, View

Ended = Literal["finished", "failed", "left"]
"""How a run ended here; ``left``: it was stopped or killed and can be resumed."""


class Session(Protocol):
    """One run at one tracker, from its beginning or resumption to its end.

    Attributes:
        known: the rounds that the tracker has; a round is logged once, however often a run is
            killed and resumed.
    """

    known: set[int]

    def log(self, round: int, values: Values) -> None:
        """Show the numbers of a round, which is the step."""

    def end(self, view: View, how: Ended) -> None:
        """Show the result, and let go of the run."""

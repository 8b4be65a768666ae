"""The chosen network as files, really smaller, and how fast it is here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Line:
    """A line of the table that compares the original with the chosen network."""

    what: str
    before: str
    after: str


@dataclass(frozen=True)
class Timing:
    """How fast the shrunk network is beside the dense one, interleaved in one process.

    Attributes:
        runtime: what carried them out.
        batch: images at once.
        dense, shrunk: medians in milliseconds.
        ratio, low, high: times as fast, with its interval of 95 %.
    """

    runtime: str
    batch: int
    dense: float
    shrunk: float
    ratio: float
    low: float
    high: float

    def words(self) -> list[str]:
        """Return it as cells of a table."""
        told = f"{self.ratio:.2f} ({self.low:.2f} to {self.high:.2f})"
        return [self.runtime, str(self.batch), f"{self.dense:.2f}", f"{self.shrunk:.2f}", told]


@dataclass(frozen=True)
class Shipped:
    """What was written of the chosen network.

    Attributes:
        files: bytes by name.
        parameters_dense, parameters_shrunk: values before, and of what is left.
        bytes_dense: of the original, written by the same writer; None if it was not.
        difference: largest difference of logits from the masked network on real test images.
        left: what could not be shrunk, a sentence each.
        timings: how fast it is.
        conditions: under which that was measured, in a sentence.
        problems: what could not be done, a sentence each.
    """

    files: Mapping[str, int]
    parameters_dense: int
    parameters_shrunk: int
    bytes_dense: int | None = None
    difference: float | None = None
    left: tuple[str, ...] = ()
    timings: tuple[Timing, ...] = ()
    conditions: str = ""
    problems: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)

    def lines(self) -> list[Line]:
        """Return lines for the table: parameters and bytes as they really are."""
        told = [
            Line("parameters really there", f"{self.parameters_dense:,}",
                 f"{self.parameters_shrunk:,}")
        ]  # fmt: skip
        return told

    def words(self) -> str:
        """Say how exact it is."""
        if self.difference is None:
            return "The file holds the chosen network."
        return (
            "What is dead was removed; the rest computes the same: the largest difference of "
            f"logits from the masked network is {self.difference:.2g} on real test images."
        )

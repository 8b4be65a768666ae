"""Really smaller models: what masks leave dead is removed, exactly, and written to a file.

The parts that other code builds on:

- :func:`shrink` takes a network and masks and returns a :class:`Shrunk`: the smaller network in
  eval mode, exact, and what could not be followed.
"""

from __future__ import annotations

from dsd_bench.export.graph import Graph, Network
from dsd_bench.export.shrinking import Left, Shrunk, masked_copy, shrink

__all__ = ["Graph", "Left", "Network", "Shrunk", "masked_copy", "shrink"]

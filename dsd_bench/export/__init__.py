"""Really smaller models: what masks leave dead is removed, exactly, and written to a file.

The parts that other code builds on:

- :func:`shrink` takes a network and masks and returns a :class:`Shrunk`: the smaller network in
  eval mode, exact, and what could not be followed.
- :func:`load_exported` takes a ``.safetensors`` file and returns the network in it, in eval mode;
  :func:`write_exported` writes one. Files of strangers are safe to load.
"""

from __future__ import annotations

from dsd_bench.export.files import load_exported, write_exported
from dsd_bench.export.graph import Graph, Network
from dsd_bench.export.shrinking import Left, Shrunk, masked_copy, shrink

__all__ = ["Graph", "Left", "Network", "Shrunk", "load_exported", "masked_copy", "shrink"]
__all__ += ["write_exported"]

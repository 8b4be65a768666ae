"""Really smaller models: what masks leave dead is removed, exactly, and written to a file.

The parts that other code builds on:

- :func:`shrink` takes a network and masks and returns a :class:`Shrunk`: the smaller network in
  eval mode, exact, and what could not be followed.
- :func:`open_round` reads a round of a run as an :class:`Opened`: network, masks, test images.
- :func:`export_run` does everything for a run: shrink, check on test images, write the file and a
  model card, return an :class:`Exported` with all counts; :func:`export_opened` from an open round.
- :func:`load_exported` takes a ``.safetensors`` file and returns the network in it, in eval mode;
  :func:`write_exported` writes one. Files of strangers are safe to load.
- :func:`check` compares two networks on images, with the tolerance that double precision gives.
"""

from __future__ import annotations

from dsd_bench.export.card import size_table, wilson
from dsd_bench.export.checking import Check, check
from dsd_bench.export.files import load_exported, read_exported, stored_bytes, write_exported
from dsd_bench.export.graph import Graph, Network
from dsd_bench.export.opening import Opened, open_round
from dsd_bench.export.running import Exported, export_opened, export_run
from dsd_bench.export.shrinking import Left, Shrunk, masked_copy, shrink
from dsd_bench.export.tracing import Untraceable, trace

__all__ = ["Check", "Exported", "Graph", "Left", "Network", "Opened", "Shrunk", "Untraceable"]
__all__ += ["check", "export_opened", "export_run", "load_exported", "masked_copy", "open_round"]
__all__ += ["read_exported", "shrink", "size_table", "stored_bytes", "trace", "wilson"]
__all__ += ["write_exported"]

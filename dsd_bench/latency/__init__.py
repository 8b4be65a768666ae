"""How long networks take: dense, masked and really smaller ones, timed side by side.

- :func:`of_run` and :func:`of_files` return the networks, :func:`measure` times them;
- :class:`Latency` is what comes out, :func:`read_latency` reads it from a file.

Its numbers are a machine's, so they are on no board.
"""

from __future__ import annotations

from dsd_bench.latency.backends import BACKENDS
from dsd_bench.latency.measuring import BLOCKS, measure
from dsd_bench.latency.ratios import Ratio, median_interval, ratio
from dsd_bench.latency.records import Latency, read_latency
from dsd_bench.latency.variants import AGAIN, DENSE, Subject, of_files, of_run

__all__ = ["AGAIN", "BACKENDS", "BLOCKS", "DENSE", "Latency", "Ratio", "Subject", "measure"]
__all__ += ["median_interval", "of_files", "of_run", "ratio", "read_latency"]

"""Reporters: views over run folders. They read, never write into them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from dsd_bench.params import Params

if TYPE_CHECKING:
    from dsd_bench.store import StoredRun


class Reporter:
    """Base of all reporters."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def report(self, runs: Sequence[StoredRun], stream: TextIO) -> None:
        """Write a view of ``runs`` to ``stream``.

        Each run offers ``run_id``, ``path``, ``config`` (``config.json``), ``rows`` (the
        rounds so far) and ``result`` (``result.json``, or None while unfinished).
        """
        raise NotImplementedError

"""Waits for a server."""

from __future__ import annotations

import time

from dsd_bench import hookimpl

dsd_bench_api = "1"


@hookimpl
def run_started(run_id, config, path):
    time.sleep(0.05)

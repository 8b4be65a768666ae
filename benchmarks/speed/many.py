"""Several runs side by side against one after another, in processes as the executor has them."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, wait
from itertools import groupby
from typing import Any

from benchmarks.speed.cases import cases
from benchmarks.speed.engine import Engine
from dsd_bench.executors.local import core_shares, slots
from dsd_bench.training import device


def train(name: str, where: str, epochs: int, quick: bool) -> str:
    """Train the case ``name`` in this process and return a digest of the result."""
    case = next(c for c in cases(device.resolve(where).type, quick) if c.name == name)
    engine = Engine(case, case.context(where, 1, "fp32"))
    engine.epochs(epochs)
    return engine.digest()


def side_by_side(
    name: str, where: str, counts: Sequence[int], epochs: int, repeats: int, quick: bool
) -> list[tuple[int, float, bool]]:
    """Return, for each number of runs, its throughput to one run's, and whether bytes agree.

    On a CPU as many are at once as the executor would have; on a GPU all of them.
    """
    on_cpu = device.resolve(where).type == "cpu"
    found = []
    for workers, group in groupby(counts, lambda n: slots(n, 1) if on_cpu else n):
        context = multiprocessing.get_context("spawn")
        start = (_arrive, (context.Value("i", 0), context.Barrier(workers), on_cpu))
        with ProcessPoolExecutor(workers, context, *start) as pool:
            wait([pool.submit(_warm, name, where, quick) for _ in range(workers)])
            for count in group:
                found.append((count, *_compare(pool, count, repeats, (name, where, epochs, quick))))
    return found


_barrier: Any = None
"""Where the processes of a pool meet when they are warm."""


def _arrive(places: Any, barrier: Any, on_cpu: bool) -> None:
    """Take the next place's cores, as the executor's workers do."""
    global _barrier  # noqa: PLW0603 what a process of a pool is given can only be kept so
    _barrier = barrier
    with places.get_lock():
        place, places.value = places.value, places.value + 1
    if on_cpu and (shares := core_shares(barrier.parties, 1)):
        os.sched_setaffinity(0, shares[place])


def _warm(name: str, where: str, quick: bool) -> None:
    """Import what is needed, train once, and wait for the others: each takes one of these."""
    train(name, where, 1, quick)
    _barrier.wait(timeout=600)


def _compare(
    pool: Executor, count: int, repeats: int, job: tuple[str, str, int, bool]
) -> tuple[float, bool]:
    ratios, digests = [], set()
    for _ in range(repeats):
        start = time.perf_counter()
        digests.add(pool.submit(train, *job).result())
        between = time.perf_counter()
        runs = [pool.submit(train, *job) for _ in range(count)]
        digests |= {run.result() for run in runs}
        together = time.perf_counter() - between
        ratios.append(count * (between - start) / together)
    return statistics.median(ratios), len(digests) == 1

"""Timing every network with every backend and batch size, and saying how sure it is."""

from __future__ import annotations

import copy
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dsd_bench.environment import available_cores
from dsd_bench.latency.backends import Ready, Skipped, ready
from dsd_bench.latency.energy import Meter, counter_of
from dsd_bench.latency.ratios import LEAST_BLOCKS, ratio
from dsd_bench.latency.records import Latency, Machine, Setting, Timing
from dsd_bench.latency.timing import Call, Clock, cpu_clock, cuda_clock, interleave
from dsd_bench.latency.variants import AGAIN, Subject

BLOCKS = 40
"""How often everything is timed, unless time runs out."""
Tell = Callable[[str], None]


def measure(
    subject: Subject,
    backends: Sequence[str],
    batches: Sequence[int],
    *,
    threads: int = 1,
    device: str = "cpu",
    blocks: int = BLOCKS,
    budget: float | None = None,
    tell: Tell = lambda text: None,
) -> Latency:
    """Time the networks of ``subject`` side by side.

    In each setting (a backend and a batch size) every network is warmed up and then timed once a
    block, in an order drawn anew, with a copy of the reference among them.

    Args:
        subject: the networks.
        backends: names of :data:`dsd_bench.latency.backends.BACKENDS`.
        batches: images at once.
        threads: of the processor.
        device: ``cpu``, ``cuda`` or ``cuda:1``.
        blocks: how often everything is timed at most.
        budget: seconds for all settings together; at least six blocks of each are done.
        tell: hears what happens.

    Returns:
        what was measured; settings that could not be are in it with the reason.
    """
    with _computing(device):
        return _measure(subject, backends, batches, threads, device, blocks, budget, tell)


def _measure(
    subject: Subject, backends: Sequence[str], batches: Sequence[int], threads: int, device: str,
    blocks: int, budget: float | None, tell: Tell,
) -> Latency:  # fmt: skip
    torch.set_num_threads(threads)
    clock: Clock = cuda_clock if device.startswith("cuda") else cpu_clock
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    todo = [(backend, batch) for backend in backends for batch in batches]
    share = None if budget is None else budget / len(todo)
    settings = []
    for backend, batch in todo:
        tell(f"{backend}, batch {batch}")
        try:
            settings.append(
                _setting(subject, backend, batch, threads, device, blocks, share, clock, tell)
            )
        except KeyboardInterrupt:
            tell("interrupted: what was measured so far is told")
            break
    return Latency(
        title=subject.title,
        notes=list(subject.notes),
        machine=Machine(
            device=device,
            chip=_chip(device),
            cores=available_cores(),
            threads=threads,
            torch=torch.__version__,
            load_before=round(load, 2),
        ),
        settings=settings,
    )


@contextmanager
def _computing(device: str) -> Iterator[None]:
    """Make a GPU the one whose events are the clock, and let it convolve in fp32, not in tf32."""
    if not device.startswith("cuda"):
        yield
        return
    flags = torch.backends.cudnn
    before, flags.allow_tf32 = flags.allow_tf32, False
    try:
        with torch.cuda.device(device):
            yield
    finally:
        flags.allow_tf32 = before


def _setting(
    subject: Subject, backend: str, batch: int, threads: int, device: str, blocks: int,
    seconds: float | None, clock: Clock, tell: Tell,
) -> Setting:  # fmt: skip
    reference = next(iter(subject.models))
    models = {name: _own(model, device) for name, model in subject.models.items()}
    models[AGAIN] = _own(subject.models[reference], device)
    found: dict[str, Ready] = {}
    skipped: dict[str, str] = {}
    try:
        images = _batch(subject.images, batch).to(device)
        for name, model in models.items():
            try:
                found[name] = ready(backend, model, images, threads, clock)
            except Skipped as error:
                skipped[name] = str(error)
    except (MemoryError, RuntimeError) as error:
        said = f"batch {batch} does not fit into memory: {str(error)[:120]}"
        return Setting(backend=backend, batch=batch, blocks=0, timings=[], skipped={"all": said})
    if reference not in found or (skipped and len(found) < 3):
        why = skipped.get(reference) or "; ".join(skipped.values())
        tell(f"{backend}: skipped: {why}")
        return Setting(backend=backend, batch=batch, blocks=0, timings=[], skipped={"all": why})
    return _timed(found, skipped, reference, backend, batch, device, blocks, seconds, clock)


def _timed(
    found: dict[str, Ready], skipped: dict[str, str], reference: str, backend: str, batch: int,
    device: str, blocks: int, seconds: float | None, clock: Clock,
) -> Setting:  # fmt: skip
    meter = Meter(counter_of(device))
    end = None if seconds is None else time.monotonic() + seconds
    calls: dict[str, Call] = {name: one.call for name, one in found.items()}
    times = interleave(
        calls, blocks, clock, before=meter.before, after=meter.after,
        going=lambda done: done < LEAST_BLOCKS or end is None or time.monotonic() < end,
    )  # fmt: skip
    count = len(times[reference])
    if count < LEAST_BLOCKS:
        why = f"{count} blocks were timed, {LEAST_BLOCKS} are needed"
        return Setting(backend=backend, batch=batch, blocks=count, timings=[], skipped={"all": why})
    logits = found[reference].logits.cpu()
    timings = [
        Timing.of(
            name,
            statistics.median(times[name]),
            ratio(times[reference], times[name]),
            one.layout,
            meter.per_call(name),
            float((one.logits.cpu() - logits).abs().max()),
        )
        for name, one in found.items()
    ]
    return Setting(
        backend=backend, batch=batch, blocks=count, timings=timings, skipped=skipped,
        energy=meter.source,
    )  # fmt: skip


def _own(model: nn.Module | Path, device: str) -> nn.Module | Path:
    """Return a copy of a network: each lies where it wants to, in the layout that it likes."""
    return model if isinstance(model, Path) else copy.deepcopy(model).to(device).eval()


def _batch(images: Tensor, size: int) -> Tensor:
    """Return ``size`` of the images, again and again if there are fewer."""
    return images.repeat(-(-size // len(images)), 1, 1, 1)[:size].contiguous()


def _chip(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    told: Any = torch.backends.cpu.get_cpu_capability()
    return str(told)

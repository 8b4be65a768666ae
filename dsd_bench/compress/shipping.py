"""The chosen network as a file, really smaller, and how fast it is here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dsd_bench.costs import macs_word
from dsd_bench.errors import RunError, UsageError
from dsd_bench.export import Exported, export_run
from dsd_bench.latency import DENSE, Latency, measure, of_run, read_latency
from dsd_bench.latency.shown import conditions
from dsd_bench.reports.words import size_word
from dsd_bench.store.files import write_atomic
from dsd_bench.store.runs import StoredRun

MODEL = "model.safetensors"
"""In the output folder: the chosen network without what is dead in it."""
LATENCY = "latency.json"
"""In the output folder: what ``dsd-bench latency`` measures of it."""
BATCHES, SECONDS = (1, 32), 20.0
"""Images at once, and how long is measured at most."""
ONNX = "model.onnx"
"""The same for other runtimes, with ``--onnx``."""


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
        macs_dense, macs_shrunk: multiply-accumulates of an image, before and as they really are.
        bytes_dense, bytes_shrunk: of their tensors in a file, by one writer.
        difference, tolerance: largest difference of logits from the masked network, and what is
            allowed, on real test images; ``images`` of them.
        left: what could not be shrunk, a sentence each.
        timings: how fast it is.
        conditions: under which that was measured, in a sentence.
        warnings: why times must not be quoted, a sentence each.
        problems: what could not be done, a sentence each.
    """

    files: Mapping[str, int]
    parameters_dense: int
    parameters_shrunk: int
    macs_dense: int = 0
    macs_shrunk: int = 0
    bytes_dense: int | None = None
    bytes_shrunk: int | None = None
    difference: float | None = None
    tolerance: float | None = None
    images: int = 0
    left: tuple[str, ...] = ()
    timings: tuple[Timing, ...] = ()
    conditions: str = ""
    warnings: tuple[str, ...] = ()
    problems: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)

    def lines(self) -> list[Line]:
        """Return lines for the table: parameters, bytes and milliseconds as they really are."""
        whole, left = self.parameters_dense, self.parameters_shrunk
        if not whole:
            return []
        told = [Line("parameters really there", f"{whole:,}", f"{left:,} ({_times(whole, left)})")]
        words = f"{macs_word(self.macs_shrunk)} ({_times(self.macs_dense, self.macs_shrunk)})"
        told.append(Line("multiply-accumulates really made", macs_word(self.macs_dense), words))
        if self.bytes_dense and self.bytes_shrunk:
            words = (
                f"{size_word(self.bytes_shrunk)} ({_times(self.bytes_dense, self.bytes_shrunk)})"
            )
            told.append(Line("bytes in a file", size_word(self.bytes_dense), words))
        for one in self.timings:
            what = f"milliseconds, {one.runtime}, batch {one.batch}"
            sure = f"{one.ratio:.2f}, {one.low:.2f} to {one.high:.2f}, times as fast"
            after = f"{one.shrunk:.2f} ({sure})"
            told.append(Line(what, f"{one.dense:.2f}", after))
        return told

    def words(self) -> str:
        """Say what the file is, and how exact."""
        if self.difference is None:
            return "The network could not be written; the run's own weights hold it."
        return (
            "Zeros alone make nothing smaller or faster; what is dead was removed, and the rest "
            "computes the same: the largest difference of logits from the masked network is "
            f"{self.difference:.2g} on {self.images:,} test images ({self.tolerance:.2g} allowed)."
        )


def _times(before: int, after: int) -> str:
    if before == after:
        return "as before"
    return f"{before / after:.2f} x fewer" if after else "nothing left"


def timed(curve: StoredRun, data_dir: Path, output: Path) -> tuple[tuple[Timing, ...], Latency]:
    """Return how fast the chosen network is beside the dense one, and all that was measured.

    It is measured once: what was measured is kept beside the file, so that the same command gives
    the same page. Without a file of this run's it is measured.

    Args:
        curve: the finished run.
        data_dir: where the data set lies.
        output: the folder.
    """
    path = output / LATENCY
    try:
        found = read_latency(path)
    except UsageError:  # none yet, or damaged: it is measured anew
        found = None
    if found is None or curve.run_id not in found.title:
        subject = of_run(str(curve.path), "best", curve.path.parent, data_dir)
        found = measure(subject, ("eager",), BATCHES, budget=SECONDS)
        text = json.dumps(found.model_dump(mode="json"), indent=1, allow_nan=False) + "\n"
        write_atomic(path, text.encode())
    timings = []
    for one in found.settings:
        times = {timing.name: timing for timing in one.timings}
        if "shrunk" not in times:
            continue
        dense, shrunk = times[DENSE], times["shrunk"]
        timings.append(
            Timing(
                runtime=f"PyTorch {one.backend}",
                batch=one.batch,
                dense=1000 * dense.median,
                shrunk=1000 * shrunk.median,
                ratio=shrunk.faster,
                low=shrunk.low,
                high=shrunk.high,
            )
        )
    return tuple(timings), found


def ship(
    curve: StoredRun, data_dir: Path, output: Path, onnx: bool = False, latency: bool = True
) -> Shipped:
    """Write the network that a run returns without what is dead in it.

    What cannot be written is told among the problems: all else that was found still counts.

    Args:
        curve: the finished run.
        data_dir: where the data set lies.
        output: the folder.
        onnx: whether to write an ONNX file too.
        latency: whether to measure how fast it is.
    """
    problems: list[str] = []
    told: Exported | None = None
    files: dict[str, int] = {}
    for name in (MODEL, *([ONNX] if onnx else [])):
        try:
            made = export_run(
                curve.path, output / name, runs_dir=curve.path.parent, data_dir=data_dir
            )
        except RunError as error:
            problems.append(f"{name} was not written: {error}")
            continue
        told = told or made
        files |= {path.name: path.stat().st_size for path in (made.path, made.card)}
    if told is None:
        return Shipped(files, 0, 0, problems=tuple(problems))
    timings, found = timed(curve, data_dir, output) if latency else ((), None)
    return Shipped(
        timings=timings,
        conditions="" if found is None else conditions(found),
        warnings=() if found is None else tuple(found.warnings()),
        files=dict(sorted(files.items())),
        parameters_dense=told.parameters_dense,
        parameters_shrunk=told.parameters_shrunk,
        macs_dense=told.macs_dense,
        macs_shrunk=told.macs_shrunk,
        bytes_dense=told.stored_bytes["dense"],
        bytes_shrunk=told.stored_bytes["shrunk"],
        difference=told.check.max_abs_logit_difference,
        tolerance=told.check.tolerance,
        images=told.check.images,
        left=tuple(f"{one.where}: {one.why}" for one in told.left),
        problems=tuple(problems),
    )

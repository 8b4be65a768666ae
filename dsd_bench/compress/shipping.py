"""The chosen network as a file, really smaller, and how fast it is here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from dsd_bench import api
from dsd_bench.data.files import ImageFiles
from dsd_bench.data.images import read_images
from dsd_bench.data.prepare import Prepared
from dsd_bench.export import Shrunk, shrink, write_exported
from dsd_bench.export.files import stored_bytes
from dsd_bench.export.tracing import Untraceable, trace
from dsd_bench.reports.words import size_word
from dsd_bench.store.runs import StoredRun

MODEL = "model.safetensors"
"""In the output folder: the chosen network without what is dead in it."""
CHECKED = 64
"""Test images over which the file's network is compared with the masked one."""


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
        bytes_dense, bytes_shrunk: of their tensors in a file, by one writer.
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
    bytes_shrunk: int | None = None
    difference: float | None = None
    left: tuple[str, ...] = ()
    timings: tuple[Timing, ...] = ()
    conditions: str = ""
    problems: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)

    def lines(self) -> list[Line]:
        """Return lines for the table: parameters, bytes and milliseconds as they really are."""
        whole, left = self.parameters_dense, self.parameters_shrunk
        told = [Line("parameters really there", f"{whole:,}", f"{left:,} ({_times(whole, left)})")]
        if self.bytes_dense and self.bytes_shrunk:
            words = f"{size_word(self.bytes_shrunk)} ({_times(self.bytes_dense, self.bytes_shrunk)})"
            told.append(Line("bytes in a file", size_word(self.bytes_dense), words))
        for one in self.timings:
            what = f"milliseconds, {one.runtime}, batch {one.batch}"
            after = f"{one.shrunk:.2f} ({one.ratio:.2f} x as fast)"
            told.append(Line(what, f"{one.dense:.2f}", after))
        return told

    def words(self) -> str:
        """Say what the file is, and how exact."""
        if self.difference is None:
            return "The network could not be made smaller: its file is that of the run."
        return (
            "Zeros alone make nothing smaller or faster; what is dead was removed, and the rest "
            "computes the same: the largest difference of logits from the masked network is "
            f"{self.difference:.2g} on real test images."
        )


def _times(before: int, after: int) -> str:
    return f"{before / after:.2f} x smaller" if after else "nothing left"


def ship(curve: StoredRun, at: int, data: Prepared, data_dir: Path, output: Path) -> Shipped:
    """Write the network of a round without what is dead in it.

    Args:
        curve: the finished run.
        at: the chosen round, whose weights the run returns.
        data: the run's.
        data_dir: where the data set lies.
        output: the folder.
    """
    images = test_images(data)
    model = api.load_model(curve.path, data_dir=data_dir)
    try:
        whole = trace(model, images)
    except Untraceable as error:
        problem = f"the network cannot be traced ({error}): it stays as large as it was"
        size = sum(parameter.numel() for parameter in model.parameters())
        return Shipped({}, size, size, problems=(problem,))
    made = shrink(model, images)
    assert made.graph is not None
    about = {"run_id": curve.run_id, "round": at, "mean": list(data.mean), "std": list(data.std)}
    output.mkdir(parents=True, exist_ok=True)
    write_exported(output / MODEL, made.graph, about)
    return Shipped(
        files={MODEL: (output / MODEL).stat().st_size},
        parameters_dense=made.parameters_dense,
        parameters_shrunk=made.parameters_shrunk,
        bytes_dense=stored_bytes(whole),
        bytes_shrunk=stored_bytes(made.graph),
        difference=_apart(made, images),
        left=tuple(f"{one.where}: {one.why}" for one in made.left),
    )


def test_images(data: Prepared, most: int = CHECKED) -> Tensor:
    """Return the first test images as the network takes them, float32 ``(N, C, H, W)``."""
    images = data.test.images[:most]
    pixels = read_images(images) if isinstance(images, ImageFiles) else images
    whole = torch.from_numpy(numpy.ascontiguousarray(pixels)).float() / 255
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (data.mean, data.std))
    return (whole - mean) / std


def _apart(made: Shrunk, images: Tensor) -> float:
    with torch.no_grad():
        return float((made.masked(images) - made.model(images)).abs().max())

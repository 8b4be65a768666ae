"""Everything before the first training: data looked at, time and memory told, lengths planned."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dsd_bench.compress import counts, fitting, memory, starting
from dsd_bench.compress.counts import Classes
from dsd_bench.compress.fitting import Lengths, Paces
from dsd_bench.compress.starting import Asked, Layer, Start
from dsd_bench.config.resolve import resolve
from dsd_bench.config.run import RunConfig, digest
from dsd_bench.costs.counting import Sizes
from dsd_bench.costs.timing import pace
from dsd_bench.data.prepare import Prepared
from dsd_bench.errors import DsdError
from dsd_bench.executors import Settings
from dsd_bench.experiment.assemble import Sources, build_model, class_names, load_data
from dsd_bench.store.files import output_folder, write_json
from dsd_bench.store.reading import read_json
from dsd_bench.training import device

PLAN = "plan.json"
"""In the output folder: what was planned for what was asked, so that repeating it is the same."""


@dataclass(frozen=True)
class Ready:
    """What is known before anything is trained.

    Attributes:
        asked: by the user.
        begin: where the original begins.
        shared: options of both runs.
        data: split as both runs split it.
        classes: and their images.
        lengths: of the trainings.
        seconds: that all will take here at most, about.
        bytes: of memory that a training takes, about.
        original: the first run.
        layer: its options.
        notes: what a user should know.
    """

    asked: Asked
    begin: Start
    shared: Layer
    data: Prepared
    classes: Classes
    lengths: Lengths
    seconds: float
    bytes: int
    original: RunConfig
    layer: Layer
    notes: tuple[str, ...]


def prepare(asked: Asked, places: Mapping[str, Path], settings: Settings, output: Path) -> Ready:
    """Look at the data, time a few steps, and plan.

    Args:
        asked: by the user.
        places: ``data_dir`` and ``runs_dir``.
        settings: where and how runs are carried out.
        output: the folder in which a plan is remembered.

    Raises:
        UsageError: for what cannot be run, or not within the budget; DataError for the data.
    """
    begin = starting.start(asked)
    draft = _resolved(places, {**starting.common(asked, begin, starting.SMALL)}, begin.bare)
    sources = Sources(places["runs_dir"], places["data_dir"], settings.download)
    data = load_data(draft, sources)
    classes = counts.count(data, class_names(draft, places["data_dir"]))
    notes = [*begin.notes, *counts.notes(classes)]
    shared = starting.common(asked, begin, len(data.train))
    _, channels, height, width = data.train.images.shape
    measured = sum(len(part) for part in (data.train, data.val, data.test) if part)
    sizes = Sizes((channels, height, width), data.classes, len(data.train), measured)
    paces, size = _calibrated(asked, begin, shared, places, settings, sizes)
    lengths = _lengths(asked, begin, draft, paces, output)
    layer = starting.original_layer(asked, begin, shared, lengths.dense_epochs)
    original = resolve({**places, **layer})[0]
    left = memory.available() if settings.device in ("auto", "cpu") else None
    if left is not None and size > left:
        notes.append(
            f"a training takes about {size / 1e9:.1f} GB of memory, {left / 1e9:.1f} GB are left: "
            "think of a smaller --batch-size or --size"
        )
    seconds = paces.seconds(lengths)
    told = asked, begin, shared, data, classes, lengths, seconds, size
    return Ready(*told, original, layer, tuple(notes))


def _resolved(places: Mapping[str, Path], layer: Layer, model: str) -> RunConfig:
    return resolve({**places, **layer, "model": model, "rounds": 0, "dense_epochs": 1})[0]


def _calibrated(
    asked: Asked,
    begin: Start,
    shared: Layer,
    places: Mapping[str, Path],
    settings: Settings,
    sizes: Sizes,
) -> tuple[Paces, int]:
    """Time steps with and without a teacher; return also the memory that is needed."""
    first = _resolved(places, shared, begin.bare)
    tied: Layer = {"reg": ["kd:teacher=dense"]} if asked.distil else {}
    shortest = {"rounds": 1, "retrain_epochs": 1}
    second = resolve({**places, **starting.curve_layer(asked, begin, shared, shortest, tied)})[0]
    context = device.make_context(
        *(settings.device, settings.threads, settings.deterministic, first.protocol.precision),
        settings.layout,
    )
    batch = first.protocol.batch_size
    alone = pace(first, sizes, context)
    taught = pace(second, sizes, context) if asked.distil else alone
    paces = Paces(sizes, batch, alone, taught)
    cpu = device.make_context("cpu", 1, False, "fp32")
    model = build_model(first.model, 0, sizes.shape, sizes.classes, cpu)
    images = sizes.measured * sizes.shape[0] * sizes.shape[1] * sizes.shape[2]
    return paces, memory.needed(model, sizes, batch, images, asked.distil)


def _lengths(asked: Asked, begin: Start, draft: RunConfig, paces: Paces, output: Path) -> Lengths:
    """Return the lengths; those of a budget are remembered, since no two timings are equal."""
    if asked.budget is None:
        return fitting.usual(asked, begin.kind)
    told = json.loads(json.dumps(asdict(asked)))
    key = digest({"asked": told, "fingerprint": draft.fingerprint, "begin": begin.kind})
    if (known := _known(output / PLAN, key)) is not None:
        return known
    lengths = fitting.fit(asked, begin.kind, paces)
    value: dict[str, Any] = {"key": key, "budget": asked.budget, **lengths.to_json()}
    output_folder(output)
    write_json(output / PLAN, value)
    return lengths


def _known(file: Path, key: str) -> Lengths | None:
    try:
        told = read_json(file)
    except DsdError:
        return None
    return fitting.remembered(told) if told.get("key") == key else None


def curve(ready: Ready, places: Mapping[str, Path]) -> tuple[RunConfig, Layer]:
    """Return the run that prunes, and its options; the original must be finished."""
    folder = places["runs_dir"] / ready.original.run_id
    tied: Layer = {"weights": str(folder / "dense.safetensors")}
    if ready.asked.distil:
        tied["reg"] = [f"kd:teacher={ready.original.run_id}"]
    lengths = {
        "rounds": ready.lengths.rounds,
        "retrain_epochs": ready.lengths.retrain_epochs,
    }
    layer = starting.curve_layer(ready.asked, ready.begin, ready.shared, lengths, tied)
    return resolve({**places, **layer})[0], layer

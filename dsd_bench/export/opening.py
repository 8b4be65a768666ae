"""A round of a run as a network with its masks, and the images to check it with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dsd_bench.config.run import RunConfig
from dsd_bench.config.words import parse_component
from dsd_bench.data.on_device import DeviceData
from dsd_bench.data.parts import Part
from dsd_bench.errors import DamagedFile, UsageError
from dsd_bench.experiment.assemble import (
    Sources,
    build_model,
    class_names,
    load_data,
    load_kept_weights,
)
from dsd_bench.masks import Masks
from dsd_bench.plugins.origins import remembering
from dsd_bench.store.correct import read_bits
from dsd_bench.store.reading import read_json
from dsd_bench.store.runs import StoredRun, find_run, load_run
from dsd_bench.store.weights import BEST, name_of, read_weights
from dsd_bench.training import device

Round = int | Literal["best", "one-se"]
CHECKED = 256
"""Test images that an export is checked on."""


@dataclass(frozen=True, eq=False)
class Opened:
    """A round of a run.

    Attributes:
        run: its folder.
        config: its configuration.
        round: the number of the round.
        how: how that was chosen: ``best``, ``one-se`` or ``by number``.
        row: its line of ``rounds.jsonl``.
        model: the network with the round's weights, on the CPU and in eval mode.
        masks: of its weights; None if its pruned weights are back (a re-dense training).
        data: the run's data, on the CPU.
        classes: names of an image folder's classes, in the order of the logits; else none.
    """

    run: StoredRun
    config: RunConfig
    round: int
    how: str
    row: dict[str, Any]
    model: nn.Module
    masks: Masks | None
    data: DeviceData
    classes: tuple[str, ...] = ()

    @cached_property
    def images(self) -> Tensor:
        """Normalised test images, float ``(N, C, H, W)``: at most CHECKED, from end to end."""
        return self.take(CHECKED)

    def take(self, count: int) -> Tensor:
        """Return ``count`` normalised test images, evenly from all; all if there are fewer."""
        part = self.data.test
        places = torch.linspace(0, len(part) - 1, min(count, len(part))).round().long()
        return self._normalised(part, part.gather(places))

    def train_batches(self, size: int = 256) -> Iterator[Tensor]:
        """Yield the normalised images of the train part, un-augmented."""
        part = self.data.train
        return (self._normalised(part, images) for images in part.chunks(size))

    def _normalised(self, part: Part, images: Tensor) -> Tensor:
        return self.data.normalise(images).contiguous()


def open_round(
    run: str | Path,
    round: Round = "best",
    *,
    runs_dir: str | Path = "runs",
    data_dir: str | Path = "data",
    download: bool = False,
) -> Opened:
    """Read a round of a run: its weights, masks, data and what was measured.

    Args:
        run: an id, a unique prefix of one, or a path.
        round: ``best`` (the round that the run returns), ``one-se`` (the sparsest within one
            standard error of the best) or a number.
        runs_dir: where run folders lie.
        data_dir: where data sets lie.
        download: whether data may be downloaded.

    Raises:
        UsageError: if there is no such run or round, its weights were not kept, or data are
            missing.
        DamagedFile: if its weights are damaged or missing.
    """
    path = find_run(str(run), Path(runs_dir))
    stored = load_run(path)
    config = RunConfig.from_json(read_json(path / "config.json"), str(path / "config.json"))
    number = chosen_round(stored, round)
    best = stored.result is not None and number == stored.result.get("best_round")
    name = name_of(BEST if best else number, path)
    tensors = read_weights(path, name, config.run_id)
    prepared = load_data(config, Sources(path.parent, Path(data_dir), download))
    _, channels, height, width = prepared.train.images.shape
    context = device.make_context("cpu", 1, False, "fp32")
    with remembering(path):
        model = build_model(
            config.model.unfetched(),
            0,
            (channels, height, width),
            prepared.classes,
            context,
            download,
        )
    load_kept_weights(model, tensors, str(path))
    return Opened(
        run=stored,
        config=config,
        round=number,
        how="by number" if isinstance(round, int) else round,
        row=dict(stored.rows[number]),
        model=model.eval(),
        masks=_masks(model, tensors, path),
        data=DeviceData.from_prepared(prepared, torch.device("cpu"), torch.contiguous_format),
        classes=class_names(config, Path(data_dir)),
    )


def chosen_round(run: StoredRun, round: Round) -> int:
    """Return the number of the round that is meant.

    Raises:
        UsageError: if there is none, or the run has to be finished for it.
    """
    rows = run.rows
    if isinstance(round, int):
        if not 0 <= round < len(rows):
            raise UsageError(f"{run.path}: no round {round}; it has rounds 0 to {len(rows) - 1}")
        return round
    if run.result is None:
        raise UsageError(
            f"{run.path}: the run is not finished, so it has no {round} round yet; give --round N "
            "with a round whose weights are kept, or finish it"
        )
    if round == "best":
        return int(run.result["best_round"])
    entry, params = parse_component("chooser", round, "--round")
    bits = read_bits(run.path)
    told = [{**row, "correct": bits.get(row["round"])} for row in rows]
    return int(entry.component.create(params).choose(told, run.score))


def _masks(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> Masks | None:
    """Return the masks among kept tensors; None if pruned weights are not zero."""
    own = {n.removeprefix("masks/"): t for n, t in tensors.items() if n.startswith("masks/")}
    try:
        masks = Masks.from_tensors(own).ordered(model)
    except DamagedFile as error:
        raise DamagedFile(f"{path}: {error}") from None
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for name, mask in masks.weights.items():
        if bool(parameters[name].detach()[~mask].any()):
            return None
    return masks

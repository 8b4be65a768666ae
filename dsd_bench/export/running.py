"""Exporting a round of a run: shrink, check, write, check what was written, say what it is."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dsd_bench.errors import RunError
from dsd_bench.export.assuming import Assumed
from dsd_bench.export.card import card_path, write_card
from dsd_bench.export.checking import Check, check
from dsd_bench.export.files import stored_bytes
from dsd_bench.export.opening import Opened, Round, open_round
from dsd_bench.export.shrinking import Left, Shrunk, shrink
from dsd_bench.export.tracing import Untraceable, trace
from dsd_bench.export.writers import Logits, check_target, write
from dsd_bench.metrics.macs import count_macs, effective_macs
from dsd_bench.training import device

Bytes = dict[str, int | None]


@dataclass(frozen=True)
class Exported:
    """What was exported, and what it costs beside the dense and the masked network.

    Attributes:
        run_id, round, how: see :class:`dsd_bench.export.opening.Opened`.
        path: the file; its format is in its name.
        card: the model card beside it.
        bytes: of the file.
        sparse: whether it holds the masked network as bits and values, not the shrunk one.
        prunable, nonzero: weights that can be pruned, and that are left.
        parameters_dense, parameters_shrunk: values of all parameters, before and after.
        macs_dense, macs_masked, macs_shrunk: multiply-accumulates of one image: all, those with
            weights that are left, and all of the shrunk network.
        stored_bytes: of ``dense``, ``masked`` (as large), ``sparse`` (bits and values) and
            ``shrunk``, by one writer and without architecture; None where there is no graph.
        check: the file's logits against the masked network's, on real test images.
        exact_difference: the shrunk network's in double precision, of the largest logit.
        left: what could not be shrunk, or followed.
        assumed: what was assumed of ReLUs (``--assume-data``).
    """

    run_id: str
    round: int
    how: str
    path: Path
    card: Path
    bytes: int
    sparse: bool
    prunable: int
    nonzero: int
    parameters_dense: int
    parameters_shrunk: int
    macs_dense: int
    macs_masked: int
    macs_shrunk: int
    stored_bytes: Bytes
    check: Check
    exact_difference: float | None
    left: tuple[Left, ...]
    assumed: tuple[Assumed, ...]

    def to_json(self) -> dict[str, Any]:
        """Return what ``export --json`` prints."""
        found = asdict(self)
        checked = found.pop("check")
        return {
            **found,
            "path": str(self.path),
            "card": str(self.card),
            "files": [str(self.path), str(self.card)],
            "max_abs_logit_difference": checked.pop("max_abs_logit_difference"),
            "tolerance": checked.pop("tolerance"),
            "checked": checked,
            "fewer_weights": self.prunable / self.nonzero if self.nonzero else None,
            "smaller": self.parameters_dense / self.parameters_shrunk,
        }


def export_run(
    run: str | Path,
    path: str | Path,
    round: Round = "best",
    *,
    runs_dir: str | Path = "runs",
    data_dir: str | Path = "data",
    download: bool = False,
    sparse: bool = False,
    fold_bn: bool = False,
    assume_data: bool = False,
    licence: str = "",
) -> Exported:
    """Export a round of a run to a file, with a model card beside it.

    Args:
        run: an id, a unique prefix of one, or a path.
        path: ends in ``.safetensors``, ``.pt2`` or ``.onnx``.
        round: ``best``, ``one-se`` or a number; see :func:`open_round`.
        runs_dir: where run folders lie.
        data_dir: where data sets lie: the check is on real test images.
        download: whether data may be downloaded.
        sparse: write the masked network as bits and values instead of the shrunk one.
        fold_bn: see :func:`shrink`.
        assume_data: likewise; the train part is watched.
        licence: of the weights, for the card.

    Returns:
        what was written and how it compares.

    Raises:
        UsageError: for what can be known before: no such run, round, format, or data.
        RunError: if the file's logits are not those of the masked network (the file is removed),
            or it cannot be written.
    """
    target = Path(path)
    check_target(target, sparse)
    opened = open_round(run, round, runs_dir=runs_dir, data_dir=data_dir, download=download)
    return export_opened(
        opened, target, sparse=sparse, fold_bn=fold_bn, assume_data=assume_data, licence=licence
    )


def export_opened(
    opened: Opened,
    path: Path,
    *,
    sparse: bool = False,
    fold_bn: bool = False,
    assume_data: bool = False,
    licence: str = "",
) -> Exported:
    """Do what :func:`export_run` does with a round that is open already."""
    check_target(path, sparse)
    images = opened.images
    shrunk = shrink(
        opened.model,
        images[:8],
        masks=opened.masks,
        fold_bn=fold_bn,
        assume_data=opened.train_batches() if assume_data else None,
    )
    exact = sparse or not assume_data
    if exact and not sparse:
        _refuse(path, check(shrunk.masked, shrunk.model, images))  # before a file is replaced
    logits = _write(opened, shrunk, path, sparse)
    found = check(shrunk.masked, logits, images)
    if exact:
        try:
            _refuse(path, found)
        except RunError:
            with suppress(OSError):
                path.unlink()
            raise
    told = _told(opened, shrunk, path, sparse, found)
    write_card(told, opened, licence)
    return told


def _refuse(path: Path, found: Check) -> None:
    """Raise :class:`RunError` if logits differ by more than rounding."""
    if not found.passed:
        raise RunError(
            f"{path}: its logits differ from the masked network's by "
            f"{found.max_abs_logit_difference:.3g} on {found.images} test images, "
            f"{found.tolerance:.3g} is allowed: not exported"
        )


def _write(opened: Opened, shrunk: Shrunk, path: Path, sparse: bool) -> Logits:
    about = {
        "run_id": opened.run.run_id,
        "round": opened.round,
        "versions": device.versions(),
        "mean": _numbers(-opened.data.shift_by * 1 / (opened.data.scale * 255)),
        "std": _numbers(1 / (opened.data.scale * 255)),
    }
    if not sparse:
        return write(path, shrunk.model, shrunk.graph, opened.images, about)
    try:
        graph = trace(shrunk.masked, opened.images)
    except Untraceable as error:
        raise RunError(f"{path}: the network cannot be traced: {error}") from None
    return write(path, shrunk.masked, graph, opened.images, about, masks_of(opened, shrunk))


def _numbers(values: Tensor) -> list[float]:
    return [float(value) for value in values.reshape(-1)]


def masks_of(opened: Opened, shrunk: Shrunk) -> Mapping[str, Tensor]:
    """Return the masks by which the masked network is stored: of all weights that are pruned."""
    return dict(opened.masks.all()) if opened.masks is not None else {}


def _told(opened: Opened, shrunk: Shrunk, path: Path, sparse: bool, found: Check) -> Exported:
    image = torch.zeros(1, *opened.data.shape)
    total, layers = count_macs(shrunk.masked, image)
    densities = opened.masks.densities() if opened.masks is not None else {}
    sparsity = {name: 1 - densities.get(name, 1.0) for name in layers}
    small, _ = count_macs(shrunk.model, image)
    return Exported(
        run_id=opened.run.run_id,
        round=opened.round,
        how=opened.how,
        path=path,
        card=card_path(path),
        bytes=path.stat().st_size,
        sparse=sparse,
        prunable=shrunk.prunable,
        nonzero=shrunk.nonzero,
        parameters_dense=shrunk.parameters_dense,
        parameters_shrunk=shrunk.parameters_shrunk,
        macs_dense=total,
        macs_masked=effective_macs(total, layers, sparsity),
        macs_shrunk=small,
        stored_bytes=sizes(shrunk, opened.images, masks_of(opened, shrunk)),
        check=found,
        exact_difference=shrunk.difference,
        left=shrunk.left,
        assumed=shrunk.assumed,
    )


def sizes(shrunk: Shrunk, example: Tensor, masks: Mapping[str, Tensor]) -> Bytes:
    """Return the bytes of the dense, masked, sparse and shrunk networks by one writer."""
    if shrunk.graph is None:
        return dict.fromkeys(("dense", "masked", "sparse", "shrunk"))
    whole = trace(shrunk.masked, example)
    dense = stored_bytes(whole)
    return {
        "dense": dense,
        "masked": dense,
        "sparse": stored_bytes(whole, masks),
        "shrunk": stored_bytes(shrunk.graph),
    }

"""What is timed side by side: a run's dense, masked and shrunk network, and exported files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from dsd_bench.api import load_model
from dsd_bench.errors import DsdError, UsageError
from dsd_bench.export import check, load_exported, masked_copy, open_round, shrink
from dsd_bench.export.opening import Round

Model = nn.Module | Path
"""A network in eval mode on the CPU, or an .onnx file."""
Shape = tuple[int, ...]
"""Of one image: ``(C, H, W)``."""
DENSE, AGAIN = "dense", "dense again"
"""The reference, and its copy: how far two equal networks come out apart."""


@dataclass(frozen=True, eq=False)
class Subject:
    """Networks that take the same images.

    Attributes:
        title: what they are of.
        models: by name, in eval mode on the CPU, or .onnx files; the first is the reference.
        images: normalised, float ``(N, C, H, W)``, a few.
        notes: sentences on what was compared and what is missing.
    """

    title: str
    models: dict[str, Model]
    images: Tensor
    notes: tuple[str, ...] = ()


def of_run(
    run: str, round: Round, runs_dir: Path, data_dir: Path, files: Sequence[Path] = ()
) -> Subject:
    """Return a run's dense, masked and shrunk network, and files beside them.

    Raises:
        UsageError: if there is no such run or round, its weights were not kept, a file takes other
            images, or the shrunk network does not compute what the masked one does.
    """
    opened = open_round(run, round, runs_dir=runs_dir, data_dir=data_dir)
    images = opened.take(64)
    masked = masked_copy(opened.model, opened.masks)
    made = shrink(opened.model, images[:2], masks=opened.masks)
    checked = check(masked, made.model, images)
    if not checked.passed:
        raise UsageError(
            f"run {opened.run.run_id}: the shrunk network's logits are "
            f"{checked.max_abs_logit_difference:.3g} off the masked one's: nothing is timed"
        )
    notes = [
        f"masked and shrunk agree: logits differ by at most {checked.max_abs_logit_difference:.2g} "
        f"on {checked.images} test images"
    ]
    try:
        dense = load_model(opened.run.path, "dense", data_dir=data_dir)
    except DsdError:
        dense = masked_copy(opened.model, None)
        notes.append("the dense round's weights were not kept: another round's stand for them")
    notes += [f"left whole: {left.where}: {left.why}" for left in made.left[:3]]
    models: dict[str, Model] = {
        DENSE: dense.eval().requires_grad_(False),
        "masked": masked,
        "shrunk": made.model.eval().requires_grad_(False),
    }
    models |= _files(files, tuple(images.shape[1:]))[0]
    title = f"run {opened.run.run_id}, round {opened.round} ({opened.how})"
    return Subject(title, models, images, tuple(notes))


def of_files(files: Sequence[Path]) -> Subject:
    """Return exported networks, the first the reference, and random images.

    Raises:
        UsageError: for other files than ``.safetensors`` and ``.onnx``, or other images.
    """
    models, shape = _files(files, None)
    images = torch.randn(64, *shape, generator=torch.Generator().manual_seed(0))
    notes = ("the images are random: the times of these networks do not depend on them",)
    return Subject(", ".join(models), models, images, notes)


def _files(files: Sequence[Path], shape: Shape | None) -> tuple[dict[str, Model], Shape]:
    """Return the networks in files by name, and what images all take: ``shape`` if it is given."""
    found: dict[str, Model] = {}
    for file in files:
        model, own = _opened(file)
        shape = own if shape is None else shape
        if own != shape:
            raise UsageError(f"{file}: takes images {_word(own)}, the others {_word(shape)}")
        found[file.name if file.name not in found else str(file)] = model
    return found, shape or ()


def _word(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _opened(file: Path) -> tuple[Model, Shape]:
    """Return the network in a file, and the shape of one image that it takes.

    Raises:
        UsageError: if it is of a kind that is not loaded, missing or damaged.
    """
    if file.suffix == ".pt2":
        raise UsageError(
            f"{file}: a .pt2 may hold pickles and is never loaded; export .safetensors"
        )
    if not file.is_file():
        raise UsageError(f"{file}: no such file")
    if file.suffix == ".safetensors":
        model = load_exported(file)
        return model, tuple(model.graph.shape)
    if file.suffix != ".onnx":
        raise UsageError(f"{file}: is neither .safetensors nor .onnx, nor a run")
    return file, _onnx_shape(file)


def _onnx_shape(file: Path) -> Shape:
    try:
        import onnxruntime
    except ImportError:
        raise UsageError(f"{file}: needs onnxruntime: pip install 'dsd-bench[onnx]'") from None
    try:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(
            str(file), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # the library's own kinds
        raise UsageError(f"{file}: ONNX Runtime cannot read it: {str(error)[:200]}") from None
    shape = tuple(session.get_inputs()[0].shape[1:])
    if len(shape) != 3 or not all(isinstance(side, int) for side in shape):
        raise UsageError(f"{file}: takes {shape}, not images (C, H, W) of a fixed size")
    return shape

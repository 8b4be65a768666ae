"""Writing an exported network: ``.safetensors``, ``.pt2`` or ``.onnx``, each tried afterwards."""

from __future__ import annotations

import importlib.util
import io
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dsd_bench.errors import RunError, UsageError
from dsd_bench.export.files import read_exported, write_exported
from dsd_bench.export.graph import Graph, Network
from dsd_bench.models.building import in_one_line
from dsd_bench.store.files import output_folder, write_atomic

SUFFIXES = (".safetensors", ".pt2", ".onnx")
Logits = Callable[[Tensor], Tensor]


def check_target(path: Path, sparse: bool = False) -> None:
    """Raise :class:`UsageError` if a file of this name cannot be written here."""
    if path.suffix not in SUFFIXES:
        raise UsageError(f"-o '{path}': the name must end in {', '.join(SUFFIXES)}")
    if sparse and path.suffix != ".safetensors":
        raise UsageError(
            f"-o '{path}': --sparse is for .safetensors; what reads {path.suffix} holds zeros in "
            "full"
        )
    if path.is_dir():
        raise UsageError(f"-o '{path}': is a folder; give the name of a file")
    missing = [
        name
        for name in ("onnx", "onnxruntime", "onnxscript")
        if path.suffix == ".onnx" and importlib.util.find_spec(name) is None
    ]
    if missing:
        raise UsageError(
            f"-o '{path}': needs {', '.join(missing)}: pip install 'dsd-bench[onnx]', or choose "
            ".safetensors"
        )
    output_folder(path.parent)


def write(
    path: Path,
    model: nn.Module,
    graph: Graph | None,
    example: Tensor,
    about: Mapping[str, Any],
    masks: Mapping[str, Tensor] | None = None,
) -> Logits:
    """Write a network to ``path`` and return what the file computes: images to logits.

    Args:
        path: its suffix says the format; see :func:`check_target`.
        model: what is written, on the CPU and in eval mode.
        graph: of it; None if it cannot be traced.
        example: normalised images ``(N, C, H, W)``.
        about: what a .safetensors file tells of itself.
        masks: for ``--sparse``; see :func:`dsd_bench.export.files.write_exported`.

    Raises:
        RunError: if it cannot be written in this format.
    """
    if path.suffix == ".safetensors":
        if graph is None:
            raise RunError(
                f"{path}: the network cannot be traced, and such a file holds its operations; "
                "use dsd_bench.load_model, which rebuilds it from its code"
            )
        write_exported(path, graph, about, masks)
        return Network(read_exported(path)[0])
    return {".pt2": _write_pt2, ".onnx": _write_onnx}[path.suffix](path, model, example)


def _two(example: Tensor) -> Tensor:
    return example[:2] if len(example) > 1 else torch.cat([example, example])


def _dynamic() -> Any:
    return ({0: torch.export.Dim.DYNAMIC},)


def _write_pt2(path: Path, model: nn.Module, example: Tensor) -> Logits:
    """Write what ``torch.export`` makes of a network."""
    buffer = io.BytesIO()
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(model, (_two(example),), dynamic_shapes=_dynamic())
            torch.export.save(program, buffer)
    except Exception as error:  # whatever the exporter raises
        raise RunError(f"{path}: torch.export cannot write it: {in_one_line(error)}") from error
    write_atomic(path, buffer.getvalue())
    logits: Logits = program.module()
    return logits


def _write_onnx(path: Path, model: nn.Module, example: Tensor) -> Logits:
    """Write ONNX, and return ONNX Runtime's answers from the file."""
    import onnxruntime

    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                model, (_two(example),), dynamo=True, dynamic_shapes=_dynamic(), verbose=False,
                input_names=["images"], output_names=["logits"],
            )  # fmt: skip
        assert program is not None
        data = program.model_proto.SerializeToString()
    except Exception as error:  # whatever the exporter raises
        raise RunError(f"{path}: cannot be written as ONNX: {in_one_line(error)}") from error
    write_atomic(path, data)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def logits(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])

    return logits

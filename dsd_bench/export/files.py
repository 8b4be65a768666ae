"""Exported networks in files of safetensors: the tensors, and the architecture as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from dsd_bench.errors import DamagedFile, RunError, UsageError, plain
from dsd_bench.export.architecture import from_json, to_json
from dsd_bench.export.graph import Graph, Network
from dsd_bench.store.kept import pack, unpack
from dsd_bench.store.tensors import read_tensors, write_tensors

SUFFIX = ".safetensors"
MASK = "masks/weights/"


def write_exported(
    path: Path,
    graph: Graph,
    about: Mapping[str, Any] | None = None,
    masks: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a graph to ``path``, atomically.

    Args:
        path: ends in ``.safetensors``.
        graph: its tensors are written as they are.
        about: what else the file tells of itself, JSON; nobody needs it to load the network.
        masks: bool, by tensor names: these tensors are written as bits and the values that are
            left; None writes all tensors in full.

    Raises:
        RunError: if it cannot be written, or the network holds an operator that such a file may
            not hold.
    """
    try:
        state = {**to_json(graph), "about": dict(about or {})}
    except ValueError as error:
        raise RunError(
            f"{path}: {error}; the network can be written as .pt2 or .onnx, which hold any operator"
        ) from None
    tensors = dict(graph.tensors)
    if masks is not None:
        tensors |= {MASK + name: mask for name, mask in masks.items() if name in tensors}
        tensors, packed = pack(tensors)
        state |= packed
    write_tensors(path, tensors, state)


def read_exported(path: Path) -> tuple[Graph, dict[str, Any]]:
    """Return the graph in a file, and what the file tells of itself.

    The file may come from anybody: nothing in it is run but known operators, whose arguments are
    checked, and whose results for one image are no larger than 1 GiB.

    Raises:
        DamagedFile: if it is missing, damaged, or no exported network.
        UsageError: if its name says that it is of another kind.
    """
    if path.suffix != SUFFIX:
        raise UsageError(
            f"{path}: only {SUFFIX} files are loaded; a .pt2 may hold pickles, an .onnx is for "
            "ONNX Runtime"
        )
    tensors, state = read_tensors(path)
    try:
        if "packed" in state:
            tensors = unpack(tensors, state)
            tensors = {n: t for n, t in tensors.items() if not n.startswith(MASK)}
        graph = from_json(state, tensors)
    except (TypeError, ValueError) as error:
        raise DamagedFile(f"{path}: {plain(error)}") from None
    about = state.get("about")
    return graph, about if isinstance(about, dict) else {}


def load_exported(path: str | Path) -> Network:
    """Return the network in a file that ``dsd-bench export`` wrote, on the CPU and in eval mode.

    Files of strangers are safe to load: see :func:`read_exported`.

    Args:
        path: a ``.safetensors`` file, shrunk or ``--sparse``.

    Raises:
        DamagedFile: if it is missing, damaged, or no exported network.
        UsageError: if its name ends otherwise.

    Example:
        >>> import dsd_bench
        >>> dsd_bench.load_exported("small.safetensors")(images)  # doctest: +SKIP
    """
    graph, _ = read_exported(Path(path))
    return Network(graph)


def stored_bytes(graph: Graph, masks: Mapping[str, Tensor] | None = None) -> int:
    """Return how many bytes a graph's tensors take in a file of safetensors, without architecture.

    One writer for all, so that the sizes of dense, masked and shrunk networks can be compared.

    Args:
        graph: any.
        masks: see :func:`write_exported`.
    """
    tensors = dict(graph.tensors)
    if masks is not None:
        tensors |= {MASK + name: mask for name, mask in masks.items() if name in tensors}
        tensors, _ = pack(tensors)
    return len(save({name: tensor.contiguous().clone() for name, tensor in tensors.items()}))

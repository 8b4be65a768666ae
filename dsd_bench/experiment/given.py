"""Beginning from given weights: a safetensors file into a new network, everything checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from dsd_bench.config.run import WeightsConfig
from dsd_bench.errors import DamagedFile, UsageError, plain
from dsd_bench.store.given import contents
from dsd_bench.store.heads import ENTRY
from dsd_bench.store.kept import MASKS, unpack
from dsd_bench.store.tensors import read_tensors

Tensors = dict[str, Tensor]
REPLACE = "--weights-head replace"


def begin_from(weights: WeightsConfig, model: nn.Module, where: str, classes: int) -> list[str]:
    """Put given weights into a new network, in place.

    Parameters and buffers must have the network's names and shapes, and finite values; types are
    converted. With ``head="replace"`` the output layer keeps its initialisation: whichever
    layers of ``classes`` outputs the file has nothing fitting for, else the last such layer.

    Args:
        weights: where they lie, and what they must be.
        model: the network, on any device.
        where: the model, for messages.
        classes: number of classes.

    Returns:
        what the run's log should say, a line each.

    Raises:
        UsageError: if the file is not the one that was planned with, or does not fit.
    """
    path = Path(weights.file)
    name = f"--weights {plain(weights.file)}"
    tensors, masked = _read(path, weights.sha256, name)
    wanted, aliases = _wanted(model)
    tensors = {aliases.get(key, key): tensor for key, tensor in tensors.items()}
    heads = _heads(model, classes, tensors, wanted) if weights.head == "replace" else []
    if weights.head == "replace" and not heads:
        raise UsageError(f"{name}: {where} has no linear layer of {classes} outputs to replace")
    kept = {key: t for key, t in wanted.items() if not _within(key, heads)}
    given = {key: t for key, t in tensors.items() if not _within(key, heads)}
    if wrong := _differences(given, kept):
        hint = _hint(tensors, wanted, model, classes) if weights.head == "keep" else ""
        raise UsageError(f"{name}: does not fit {where}: {wrong}{hint}")
    for key, tensor in given.items():
        if not bool(torch.isfinite(tensor).all()):
            raise UsageError(f"{name}: '{plain(key)}' has values that are not finite")
    with torch.no_grad():
        for key, tensor in given.items():
            kept[key].copy_(tensor)
    notes = [f"begun from the weights in {plain(weights.file)} (contents {weights.sha256[:16]})"]
    notes += [f"the output layer {', '.join(heads)} is as initialised"] if heads else []
    notes += ["its masks were left aside: what it had pruned begins at zero"] if masked else []
    return notes


def _read(path: Path, sha256: str, name: str) -> tuple[Tensors, bool]:
    """Return the tensors of the file that was planned with, and whether it had pruned any."""
    try:
        found = contents(path)
    except UsageError as error:
        raise UsageError(f"--weights: {error}") from None
    if found != sha256:
        raise UsageError(
            f"{name}: is not the file that this run was planned with (contents {found[:16]}, "
            f"expected {sha256[:16]})"
        )
    try:
        with safe_open(path, framework="pt") as file:
            if ENTRY not in (file.metadata() or {}):
                return {key: file.get_tensor(key) for key in file.keys()}, False  # noqa: SIM118
        held = unpack(*read_tensors(path))  # what a run kept
    except (SafetensorError, OSError, TypeError, ValueError, DamagedFile) as error:
        raise UsageError(f"{name}: cannot be read: {plain(str(error))}") from None
    masks = {key for key in held if key.startswith(MASKS)}
    state = {key: tensor for key, tensor in held.items() if key not in masks}
    return state, any(not bool(held[key].all()) for key in masks)


def _wanted(model: nn.Module) -> tuple[Tensors, dict[str, str]]:
    """Return what a file must hold, shared tensors once, and the other names of those."""
    found: Tensors = {}
    aliases: dict[str, str] = {}
    first: dict[int, str] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if not isinstance(tensor, Tensor):  # what a module says beyond tensors
            continue
        if (known := first.setdefault(id(tensor), name)) == name:
            found[name] = tensor.detach()
        else:
            aliases[name] = known
    return found, aliases


def _differences(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """Say what is missing, too much, or of another shape; empty if all fits."""
    # files of old versions of torch lack the count, which only matters without a momentum
    missing = [k for k in wanted if k not in given and not k.endswith("num_batches_tracked")]
    extra = [key for key in given if key not in wanted]
    other = [
        f"{key} is {_size(given[key])}, not {_size(wanted[key])}"
        for key in wanted
        if key in given and given[key].shape != wanted[key].shape
    ]
    told = {"it lacks": missing, "the model has no": extra, "of another shape:": other}
    return "; ".join(f"{what} {_some(names)}" for what, names in told.items() if names)


def _heads(
    model: nn.Module, classes: int, given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> list[str]:
    """Return the output layers that the file has nothing fitting for, else the last one."""
    layers = _outputs(model, classes)
    unfit = [
        name
        for name in layers
        if any(
            key not in given or given[key].shape != wanted[key].shape
            for key in wanted
            if _within(key, [name])
        )
    ]
    return unfit or layers[-1:]


def _outputs(model: nn.Module, classes: int) -> list[str]:
    """Return the linear layers and convolutions with one output for each class, in order."""
    return [
        name
        for name, module in model.named_modules()
        if (isinstance(module, nn.Linear) and module.out_features == classes)
        or (isinstance(module, nn.Conv2d) and module.out_channels == classes)
    ]


def _hint(
    given: Mapping[str, Tensor], wanted: Mapping[str, Tensor], model: nn.Module, classes: int
) -> str:
    """Propose to replace the head where nothing else is wrong."""
    heads = _heads(model, classes, given, wanted)
    left = {key: t for key, t in given.items() if not _within(key, heads)}
    rest = {key: t for key, t in wanted.items() if not _within(key, heads)}
    if not heads or _differences(left, rest):
        return ""
    return f"; {REPLACE} draws {', '.join(heads)} anew for {classes} classes and takes the rest"


def _within(key: str, layers: Iterable[str]) -> bool:
    return any(key.startswith(f"{layer}.") for layer in layers)


def _size(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(plain(name) for name in names[:3]) + more

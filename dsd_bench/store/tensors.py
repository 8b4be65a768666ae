"""Tensors with a JSON state in one safetensors file, checked by a checksum when read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dsd_bench.errors import DamagedFile
from dsd_bench.store.files import Confirm, anybody, write_atomic
from dsd_bench.store.heads import ENTRY
from dsd_bench.store.reading import parse_object, regular


def write_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    state: Mapping[str, Any],
    confirm: Confirm = anybody,
) -> None:
    """Write ``tensors`` and ``state`` to ``path``, atomically; see :func:`.files.write_atomic`."""
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # safetensors refuses tensors that share memory, which tied weights do
    held = {name: tensor.clone() for name, tensor in held.items()}
    text = json.dumps(state, allow_nan=False)  # keys keep their order, as rows need
    # one entry, because safetensors writes several in no fixed order
    write_atomic(path, save(held, {ENTRY: checksum(held, text) + text}), confirm=confirm)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`write_tensors` wrote.

    Raises:
        DamagedFile: if the file is missing, cut short or changed.
    """
    try:
        if not regular(path) and path.exists():  # a pipe would be waited for
            raise DamagedFile(f"{path}: is no regular file")
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise DamagedFile(f"{path}: no such file") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise DamagedFile(f"{path}: damaged: {error}") from None
    entry = metadata.get(ENTRY, "")
    if not entry:
        raise DamagedFile(f"{path}: damaged, or not written by dsd-bench: it has no checksum")
    found, text = entry[:64], entry[64:]
    if found != checksum(tensors, text):
        raise DamagedFile(f"{path}: damaged: its checksum does not fit its contents")
    try:
        return tensors, parse_object(text)
    except ValueError as error:
        raise DamagedFile(f"{path}: damaged: its state: {error}") from None


def checksum(tensors: Mapping[str, Tensor], text: str) -> str:
    """Return the SHA-256 of ``text`` and every tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\x1f{name}\x1f{tensor.dtype}\x1f{tuple(tensor.shape)}\x1f".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()

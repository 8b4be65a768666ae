"""A safetensors file that a run begins from: what it holds, known without torch."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, BinaryIO

from dsd_bench.errors import UsageError, plain
from dsd_bench.store.reading import parse_object, regular

MOST_HEADER = 100_000_000
"""Bytes of the longest header that safetensors itself reads."""
TORCH = (b"PK\x03\x04", b"\x80\x02\x8a\n")
"""How files of ``torch.save`` begin: archives, and pickles of old."""
_CHUNK = 2**20


def contents(path: Path) -> str:
    """Return the SHA-256 of a file's tensors: names, types, shapes and bytes, in order of names.

    What else the file says (its metadata, the order of its tensors) does not count.

    Raises:
        UsageError: if there is no such file, or it is no whole safetensors file.
    """
    if not path.exists():
        raise UsageError(f"{path}: no such file")
    if not regular(path):
        raise UsageError(f"{path}: is no regular file")
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            start, entries = _header(file)
            whole = os.fstat(file.fileno()).st_size - start
            for name, entry in sorted(entries.items()):
                first, last = _offsets(name, entry, whole)
                text = f"\x1f{name}\x1f{entry.get('dtype')}\x1f{entry.get('shape')}\x1f"
                digest.update(text.encode())
                file.seek(start + first)
                _update(digest, file, last - first)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{path}: is no whole safetensors file: {plain(str(error))}") from None
    return digest.hexdigest()


def _header(file: BinaryIO) -> tuple[int, dict[str, Any]]:
    """Return where the tensors begin, and what the header says of each."""
    begin = file.read(8)
    if begin.startswith(TORCH):
        raise ValueError(
            "it begins as torch.save's files do, whose pickles are not loaded here; if you trust "
            "it, write its tensors anew: safetensors.torch.save_file(torch.load(FILE, "
            "weights_only=True), 'net.safetensors')"
        )
    size = int.from_bytes(begin, "little")
    if not 2 <= size <= MOST_HEADER:
        raise ValueError(f"its header would have {size:,} bytes")
    text = file.read(size)
    if len(text) < size:
        raise ValueError("it ends within its header")
    entries = parse_object(text.decode())
    entries.pop("__metadata__", None)
    if not entries:
        raise ValueError("it holds no tensors")
    return 8 + size, entries


def _offsets(name: str, entry: Any, whole: int) -> tuple[int, int]:
    """Return where a tensor's bytes begin and end, from the first tensor on."""
    places = entry.get("data_offsets") if isinstance(entry, dict) else None
    if not isinstance(places, list) or [type(place) for place in places] != [int, int]:
        raise ValueError(f"'{name}' has no place in it")
    first, last = places
    if not 0 <= first <= last <= whole:
        raise ValueError(f"it ends within '{name}'")
    return first, last


def _update(digest: Any, file: BinaryIO, left: int) -> None:
    while left:
        part = file.read(min(left, _CHUNK))
        if not part:
            raise ValueError("it ends within a tensor")
        digest.update(part)
        left -= len(part)

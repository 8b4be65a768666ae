"""What a file of tensors says of itself, read without its tensors and without torch."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from dsd_bench.store.reading import OPENED, parse_object

ENTRY = "dsd-bench"
"""Name of the metadata entry: the checksum's 64 hexadecimal digits, then the state as JSON."""
MOST_HEAD = 64 * 2**20
"""Longest head that is read, in bytes."""


def read_head(path: Path) -> dict[str, Any] | None:
    """Return the state that :func:`dsd_bench.store.tensors.write_tensors` put beside the tensors.

    Its checksum is not looked at, which is over the tensors too: this is for people. None if the
    file is missing or no such file.
    """
    try:
        handle = os.open(path, OPENED)
        with open(handle, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 0 < length <= MOST_HEAD:
                return None
            head = json.loads(file.read(length))
        return parse_object(head["__metadata__"][ENTRY][64:])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None

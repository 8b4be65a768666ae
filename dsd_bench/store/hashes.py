"""SHA-256 of a finished run's files: ``result.json`` holds them, and readers compare.

``{"config.json": hex, "rounds.jsonl": hex, "correct.jsonl": hex, "metrics/NAME.jsonl": hex,
"dense.safetensors": hex, "best.safetensors": hex, "weights/NAME.safetensors": hex}``. Runs that the
first release finished have none. The texts are compared whenever a run is read, weights where they
are read.
"""

from __future__ import annotations

import errno
import hashlib
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dsd_bench.errors import RunError, UsageError
from dsd_bench.store.reading import read_bytes

KEY = "sha256"
TEXTS = re.compile(r"(config\.json|rounds\.jsonl|correct\.jsonl|metrics/[a-z0-9][\w.+-]*\.jsonl)\Z")
"""The names of what is compared whenever a run is read."""
WEIGHTS = re.compile(r"(dense|best|weights/(round|best|snapshot)-\d+)\.safetensors\Z")
"""The names of what is compared when it is read itself."""


def sha256(path: Path) -> str:
    """Return a file's SHA-256 as 64 hexadecimal digits.

    Raises:
        OSError: if it is no regular file, or cannot be read.
    """
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(data: bytes) -> str:
    """Return the SHA-256 of ``data`` as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def of_run(path: Path) -> dict[str, str]:
    """Return the hashes of everything that is kept in the run folder ``path``, by name."""
    found = [path / name for name in ("config.json", "rounds.jsonl", "correct.jsonl")]
    found += sorted(path.glob("metrics/*.jsonl"))
    found += [path / "dense.safetensors", path / "best.safetensors"]
    found += sorted(path.glob("weights/*.safetensors"))
    names = {file.relative_to(path).as_posix(): file for file in found if file.is_file()}
    try:
        return {
            name: sha256(file)
            for name, file in names.items()
            if TEXTS.match(name) or WEIGHTS.match(name)
        }
    except OSError as error:
        raise RunError(f"{error.filename}: cannot be read again: {error.strerror}") from None


def recorded(result: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the hashes that ``result.json`` holds; empty if it has none."""
    found = (result or {}).get(KEY)
    if not isinstance(found, dict):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, str)}


def changed_texts(path: Path, result: Mapping[str, Any] | None) -> list[str]:
    """Return the names of the texts of a finished run that are not as they were then."""
    changed = []
    for name, expected in recorded(result).items():
        if not TEXTS.match(name):
            continue
        try:
            same = digest(read_bytes(path / name)) == expected
        except (OSError, UsageError):  # no file, no regular one, or endless
            same = False
        if not same:
            changed.append(name)
    return changed


def check_texts(path: Path, result: Mapping[str, Any] | None) -> None:
    """Refuse to read a finished run whose texts have changed.

    Raises:
        UsageError: naming the files, and what to do.
    """
    if changed := changed_texts(path, result):
        words = ("--config", str(path / "config.json"), "--runs-dir", str(path.parent))
        repair = f"its checkpoint repairs it: {shlex.join(['dsd-bench', 'run', *words])}"
        if "config.json" in changed:
            repair = "the command that began the run, `run` or `sweep`, given again repairs it"
        raise UsageError(
            f"{path / changed[0]}: is not what the run wrote (its SHA-256 is not the one in "
            f"result.json){_others(changed)}; {repair}"
        )


def _others(changed: list[str]) -> str:
    return f"; likewise {', '.join(changed[1:])}" if changed[1:] else ""

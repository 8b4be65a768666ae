"""Whether a distribution's code is a release as it was built, or a tree that people work on."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from functools import cache
from importlib import metadata, util
from pathlib import Path
from typing import Literal

State = Literal["release", "dirty"]


@cache
def state(distribution: str, roots: tuple[str, ...]) -> State | None:
    """Return whether a distribution's code is what its builder packed, once a process.

    Args:
        distribution: its name.
        roots: the top-level modules that implement its components.

    Returns:
        ``release``: installed from an archive, an index or a commit, and each of its modules is as
        the record of its installation says. ``dirty``: anything else, such as an editable
        installation, another tree that comes first on the path, or modules that were changed or
        added since. None: nothing says so (no metadata, or a record without hashes).
    """
    try:
        found = metadata.distribution(distribution)
        origin = json.loads(found.read_text("direct_url.json") or "{}")
        listed = [(_path(found, entry), entry.hash) for entry in found.files or ()]
    except Exception:  # whatever a damaged installation makes of it
        return None
    if not isinstance(origin, dict) or "dir_info" in origin:
        return "dirty"
    recorded = {path: hash_ for path, hash_ in listed if hash_ and path.endswith(".py")}
    if not recorded:
        return None
    used = {path for root in roots for path in _modules(root)}
    if not used <= recorded.keys():
        return "dirty"
    as_built = all(_holds(path, hash_.mode, hash_.value) for path, hash_ in recorded.items())
    return "release" if as_built else "dirty"


def _path(found: metadata.Distribution, entry: metadata.PackagePath) -> str:
    place: str = os.fspath(found.locate_file(entry))  # type: ignore[call-overload]
    return os.path.realpath(place)


def _modules(root: str) -> list[str]:
    """Return the files of a module, or all of a package; none of a namespace, which is shared."""
    try:
        spec = util.find_spec(root)
    except Exception:
        return []
    if spec is None or not (spec.has_location and spec.origin):
        return []
    folders = spec.submodule_search_locations
    if folders is None:
        return [os.path.realpath(spec.origin)]
    return [os.path.realpath(path) for folder in folders for path in Path(folder).rglob("*.py")]


def _holds(path: str, mode: str, value: str) -> bool:
    """Whether a file has a hash as installers record it: URL-safe base64 without padding."""
    try:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, mode).digest()
    except (OSError, ValueError):
        return False
    return base64.urlsafe_b64encode(found).rstrip(b"=").decode() == value.rstrip("=")

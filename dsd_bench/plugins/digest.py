"""Digests of plugins' files: another code under the same version is noticed."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import stat
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path, PurePosixPath


@cache
def version(distribution: str) -> str:
    """Return a distribution's version, ``unknown`` if its metadata are missing."""
    try:
        return str(metadata.version(distribution))
    except metadata.PackageNotFoundError:
        return "unknown"


@cache
def digest(distribution: str, roots: tuple[str, ...]) -> str | None:
    """Return a SHA-256 over the code of an installed distribution, once a process.

    Names and contents of its files count, wherever they lie: the same code has the same digest
    however it was installed. Compiled files, metadata and scripts don't count. Links are not
    followed; where one points to counts.

    Args:
        distribution: its name.
        roots: the top-level modules that implement its components. Those that the distribution
            does not list among its files (an editable installation) are read from where Python
            finds them.

    Returns:
        None if there are no such files.
    """
    files = dict(_listed(distribution))
    found = {os.path.realpath(path) for path in files.values()}
    for root in roots:
        if root != "dsd_bench" and not _of_another(root, distribution):
            files |= _imported(root, found)
    if not files:
        return None
    whole = hashlib.sha256()
    for name in sorted(files):
        whole.update(os.fsencode(f"{name}\0{_content(files[name])}\n"))
    return whole.hexdigest()


@cache
def own_digest() -> str:
    """Return a SHA-256 over dsd-bench's own modules, once a process."""
    whole = hashlib.sha256()
    for name, path in sorted(_below(str(Path(__file__).parents[1]))):
        if name.endswith(".py"):
            whole.update(os.fsencode(f"{name}\0{_content(path)}\n"))
    return whole.hexdigest()


@cache
def required(distribution: str, but: tuple[str, ...]) -> dict[str, str]:
    """Return the versions of the installed distributions that one needs, and of what those need.

    Args:
        distribution: its name.
        but: lower-case names of those that are left out with what only they need.
    """
    found: dict[str, str] = {}
    names = [distribution]
    while names:
        for line in _requirements(names.pop()):
            needed = re.match(r"[\w.-]*", line.strip())
            name = _normal(needed.group()) if needed else ""
            if name and name not in (*but, *found) and (number := version(name)) != "unknown":
                found[name] = number
                names.append(name)
    return found


def _requirements(distribution: str) -> list[str]:
    try:
        return metadata.requires(distribution) or []
    except Exception:  # whatever a damaged installation makes of it
        return []


def _listed(distribution: str) -> Iterator[tuple[str, Path]]:
    """Yield the name and place of each file that a distribution lists as its own code."""
    try:
        found = metadata.distribution(distribution)
        listed = list(found.files or ())
    except Exception:  # whatever a damaged installation makes of it
        return
    for entry in listed:
        name = PurePosixPath(entry.as_posix())
        if _counts(name):
            yield str(name), Path(os.fspath(found.locate_file(entry)))  # type: ignore[call-overload]


def _counts(name: PurePosixPath) -> bool:
    """Whether a listed file is code or data of the distribution, and not outside of its place."""
    first = name.parts[0] if name.parts else ""
    aside = first.endswith((".dist-info", ".egg-info", ".pth")) or first.startswith("__editable__")
    outside = name.is_absolute() or ".." in name.parts or "\0" in str(name)
    return bool(first) and not (aside or outside or _compiled(name))


def _compiled(name: PurePosixPath) -> bool:
    return "__pycache__" in name.parts or name.suffix in (".pyc", ".pyo")


def _of_another(root: str, distribution: str) -> bool:
    """Whether a module is that of another distribution, such as torch, which has its version."""
    try:
        name = metadata.distribution(root).metadata["Name"]
    except Exception:
        return False
    return _normal(name or root) != _normal(distribution)


def _normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def _imported(root: str, found: set[str]) -> dict[str, Path]:
    """Return the files of a top-level module, none if ``found`` has them already."""
    try:
        spec = importlib.util.find_spec(root)
    except Exception:
        return {}
    if spec is None:
        return {}
    folders = [os.path.realpath(folder) for folder in spec.submodule_search_locations or ()]
    origin = os.path.realpath(spec.origin) if spec.has_location and spec.origin else None
    listed = any(path.startswith(f"{folder}{os.sep}") for folder in folders for path in found)
    if origin in found or (origin is None and listed):
        return {}
    files = {f"{root}/{name}": path for folder in folders for name, path in _below(folder)}
    return files or ({Path(origin).name: Path(origin)} if origin else {})


def _below(folder: str) -> Iterator[tuple[str, Path]]:
    """Yield every file below ``folder``, and links to folders; hidden and compiled ones aside."""
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        for name in (*names, *links):
            path = Path(place, name)
            relative = PurePosixPath(path.relative_to(folder).as_posix())
            if not name.startswith(".") and not _compiled(relative):
                yield str(relative), path


def _content(path: Path) -> str:
    """Return a digest of what a file holds; of a link, where it points to."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        if path.is_symlink():
            return f"link {os.readlink(path)}"
        with open(os.open(path, flags), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return "no file"
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"unreadable ({error.errno})"

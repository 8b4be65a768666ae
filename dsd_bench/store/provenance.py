"""``provenance.jsonl``: which code was behind a run's rounds; needs no torch.

Each line holds from which round on, the versions that every run depends on, and version and digest
of each third-party distribution whose components the run uses::

    {"round": 0, "versions": {"dsd-bench": "0.1.0", "python": "3.11.9", "torch": "2.6.0",
     "numpy": "2.1.3"}, "plugins": {"dsd-bench-mine": {"version": "1.0", "sha256": "..."}}}

``core`` has version and digest of dsd-bench's own modules. It and each plugin have a ``state``
where that is known: ``release``, as it was built, or ``dirty``. Where there are plugins,
``components`` says which of them holds what: ``{"pruner": {"mine": "dsd-bench-mine"}}``. Records of
older releases lack these three.

There is a line whenever that changed, so most runs have one. It is no part of any id.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dsd_bench.errors import UsageError
from dsd_bench.store.files import write_rows
from dsd_bench.store.locks import LOCK, confirm
from dsd_bench.store.reading import read_json, read_rows

PROVENANCE = "provenance.jsonl"
CORE = ("dsd-bench", "python", "torch", "numpy")
"""What every run depends on."""
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")

Code = dict[str, Any]
"""``{"versions": {name: version}, "plugins": {name: {"version": ..., "sha256": ...}}}``; the digest
is None where it is not known."""
Line = dict[str, Any]
"""A :data:`Code` and the ``round`` it began in."""


def read_provenance(path: Path) -> list[Line]:
    """Return what is recorded of the code behind the run in the folder ``path``.

    Returns:
        the lines in order, empty for a run of a release that recorded nothing.

    Raises:
        UsageError: if the file is damaged.
    """
    file = path / PROVENANCE
    lines = read_rows(file)
    for number, line in enumerate(lines, start=1):
        if not _valid(line):
            raise UsageError(f"{file}:{number}: not a line about the code behind a run")
    rounds = [int(line["round"]) for line in lines]
    if rounds != sorted(rounds):
        raise UsageError(f"{file}: its rounds are not in order")
    return lines


def write_provenance(path: Path, lines: Sequence[Line]) -> None:
    """Record ``lines`` in the run folder ``path``, unless they are there already."""
    try:
        if lines and read_provenance(path) == list(lines):
            return
    except UsageError:
        pass
    write_rows(path / PROVENANCE, lines, confirm=lambda: confirm(path / LOCK))


def recorded(path: Path) -> list[Line]:
    """Return :func:`read_provenance`, or the versions in the ``result.json`` of an older release.

    Raises:
        UsageError: if the file is damaged.
    """
    lines = read_provenance(path)
    if lines or not (path / "result.json").exists():
        return lines
    versions = read_json(path / "result.json").get("versions")
    if not isinstance(versions, dict):
        return []
    known = {name: version for name, version in versions.items() if isinstance(version, str)}
    core = {name: known.pop(name) for name in CORE if name in known}
    known.pop("cuda", None)
    plugins = {name: {"version": version, "sha256": None} for name, version in known.items()}
    return [{"round": 0, "versions": core, "plugins": plugins}]


def behind(lines: Sequence[Line], round: int, midway: bool) -> list[Line]:
    """Return the lines about what is done when ``round`` is next; ``midway``: begun already."""
    return [line for line in lines if line["round"] < round + midway]


def same_code(line: Line, code: Code) -> bool:
    """Whether a line records ``code``; what a line of an older release does not say may be so."""
    keys = ["versions", *(key for key in ("components", "core") if key in line)]
    if any(line.get(key) != code.get(key) for key in keys):
        return False
    before, now = line["plugins"], code["plugins"]
    return before.keys() == now.keys() and all(
        before[name] == {key: now[name].get(key) for key in before[name]} for name in before
    )


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say how two tables of plugins, or of versions, differ; empty if they don't.

    Digests are compared where both are known.
    """
    told = []
    for name in sorted(before.keys() | now.keys()):
        old, new = _words(before.get(name)), _words(now.get(name))
        if _same(before.get(name), now.get(name)):
            continue
        told.append(f"{name} {old}, now {new}")
    return "; ".join(told)


def _same(old: Any, new: Any) -> bool:
    if isinstance(old, dict) and isinstance(new, dict):
        unknown = None in (old["sha256"], new["sha256"])
        return old["version"] == new["version"] and (unknown or old["sha256"] == new["sha256"])
    return bool(old == new)


def _words(code: Any) -> str:
    if code is None:
        return "not used"
    if isinstance(code, str):
        return code
    digest = f" (sha256 {code['sha256'][:12]})" if code["sha256"] else ""
    return f"{code['version']}{digest}"


def _valid(line: Line) -> bool:
    """Whether a line is what this module writes."""
    versions, plugins = line.get("versions"), line.get("plugins")
    if type(line.get("round")) is not int or not 0 <= line["round"] < 2**31:
        return False
    if not isinstance(versions, dict) or not isinstance(plugins, dict):
        return False
    if not _valid_components(line.get("components", {}), plugins):
        return False
    return all(isinstance(version, str) for version in versions.values()) and all(
        _valid_code(code)
        for code in [*plugins.values(), *([line["core"]] if "core" in line else [])]
    )


def _valid_code(code: Any) -> bool:
    return (
        isinstance(code, dict)
        and code.keys() - {"state"} == {"version", "sha256"}
        and isinstance(code["version"], str)
        and (code["sha256"] is None or _is_sha256(code["sha256"]))
        and code.get("state", "release") in ("release", "dirty")
    )


def _valid_components(table: Any, plugins: Mapping[str, Any]) -> bool:
    """Whether kinds, names of components and recorded distributions are what they should be."""
    return isinstance(table, dict) and all(
        isinstance(names, dict)
        and all(isinstance(held, str) and held in plugins for held in names.values())
        for names in table.values()
    )


def _is_sha256(value: Any) -> bool:
    return isinstance(value, str) and _SHA256.match(value) is not None

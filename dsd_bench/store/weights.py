"""A run's kept weights on disk: where they are, whose they are, and whether they still are those.

A file says of which run it is (``run_id`` in its state), and ``result.json`` its SHA-256. Files of
the first release say no run, and its results hold no hashes: those are taken as they are.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from dsd_bench.errors import DamagedFile, UsageError, plain
from dsd_bench.store.checkpoint import DENSE, round_of, weights_name
from dsd_bench.store.files import Confirm, anybody, own_folder
from dsd_bench.store.hashes import recorded, sha256
from dsd_bench.store.held import KEPT, SUFFIX, kept_rounds
from dsd_bench.store.kept import pack, unpack
from dsd_bench.store.reading import read_json
from dsd_bench.store.runs import finished
from dsd_bench.store.tensors import read_tensors, write_tensors

__all__ = ["BEST", "KEPT", "kept_rounds", "name_of", "place", "places", "read_weights"]
__all__ += ["finished_hashes", "write_weights"]

BEST = "best"


def write_weights(
    path: Path,
    run_id: str,
    name: str,
    tensors: Mapping[str, Tensor],
    whole: bool = False,
    confirm: Confirm = anybody,
) -> None:
    """Write a set of weights to ``path``: those of a round packed, unless ``whole``.

    ``confirm``: see :func:`dsd_bench.store.files.publish`.
    """
    state: dict[str, Any] = {"name": name, "run_id": run_id}
    if not whole and round_of(name):
        tensors, packed = pack(tensors)
        state |= packed
    write_tensors(path, tensors, state, confirm)


def place(path: Path, name: str) -> Path:
    """Return where a run folder keeps ``name``; its folder is made if it is missing.

    Raises:
        RunError: if that folder is a link, or cannot be made.
    """
    if name in (DENSE, BEST):
        return path / f"{name}{SUFFIX}"
    own_folder(path / KEPT)
    return path / KEPT / f"{name}{SUFFIX}"


def places(path: Path, name: str) -> list[Path]:
    """Return where ``name`` may be found: the first release wrote ``weights/best-NNN``."""
    if name in (DENSE, BEST):
        return [path / f"{name}{SUFFIX}"]
    names = [name, name.replace("round-", "best-", 1)]
    return [path / KEPT / f"{each}{SUFFIX}" for each in names] + [path / f"{BEST}{SUFFIX}"]


def read_weights(
    path: Path, name: str, run_id: str, hashes: Mapping[str, str] | None = None
) -> dict[str, Tensor]:
    """Return what a run folder keeps as ``name``: ``dense``, ``best``, ``round-NNN``, ...

    Args:
        path: the run folder.
        name: of the weights; a round's may also be those in ``best.safetensors``.
        run_id: the run that they must be of.
        hashes: of the run's files; by default those in its ``result.json``.

    Raises:
        DamagedFile: if they are missing, damaged, of another run, or not as they were.
    """
    known = finished_hashes(path) if hashes is None else hashes
    try:
        return _read(path, name, run_id, known)
    except DamagedFile as error:
        if not finished(path):
            raise
        words = ("--config", str(path / "config.json"), "--runs-dir", str(path.parent), "--force")
        again = shlex.join(["dsd-bench", "run", *words])
        raise DamagedFile(f"{error}; put the file back, or begin the run anew: {again}") from None


def _read(path: Path, name: str, run_id: str, hashes: Mapping[str, str]) -> dict[str, Tensor]:
    found = [file for file in places(path, name) if file.exists()]
    for file in found or places(path, name)[:1]:
        tensors, state = read_tensors(file)
        if file.stem == BEST and name != BEST and state.get("name") not in _names(name):
            continue
        _check(file, path, state, run_id, hashes)
        try:
            return unpack(tensors, state)
        except (TypeError, ValueError) as error:
            raise DamagedFile(f"{file}: damaged: {error}") from None
    raise DamagedFile(f"{places(path, name)[0]}: no such file")


def _names(name: str) -> Sequence[str]:
    return name, name.replace("round-", "best-", 1)


def _check(
    file: Path, path: Path, state: Mapping[str, Any], run_id: str, hashes: Mapping[str, str]
) -> None:
    """Refuse weights of another run, and a file that is not the one that was hashed."""
    owner = state.get("run_id", run_id)
    if owner != run_id:
        raise DamagedFile(f"{file}: holds the weights of run {plain(owner)}, not of {run_id}")
    expected = hashes.get(file.relative_to(path).as_posix())
    if expected is not None and sha256(file) != expected:
        raise DamagedFile(
            f"{file}: is not the file that the run ended with (its SHA-256 is not the one in "
            "result.json)"
        )


def finished_hashes(path: Path) -> dict[str, str]:
    """Return the hashes in a run's ``result.json``; empty if it has none."""
    try:
        return recorded(read_json(path / "result.json"))
    except UsageError:
        return {}


def name_of(weights: str | int, path: Path) -> str:
    """Return the name of ``best``, ``dense`` or the weights of a round.

    Raises:
        UsageError: if it is none of these, or the run folder ``path`` does not hold that round's.
    """
    if weights in (BEST, DENSE):
        return str(weights)
    if type(weights) is not int:
        raise UsageError(f"weights: {weights!r} is none of best, dense and the number of a round")
    if weights not in (held := kept_rounds(path)):
        rounds = ", ".join(map(str, held)) or "none"
        raise UsageError(
            f"{path}: round {weights}: its weights are not there, those of {rounds} are"
        )
    return weights_name(weights)

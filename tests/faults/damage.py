"""Files that were damaged while nobody was looking: cut short, one bit flipped, emptied."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dsd_bench.errors import DamagedFile, UsageError
from dsd_bench.store.runs import finished, load_run
from dsd_bench.store.weights import read_weights

from .kinds import Case, begun
from .sweeps import Broken

WAYS = ("truncated", "bit-flipped", "emptied")


def checkpoint(case: Case) -> None:
    """Checkpoints, the newest, the one before, or both, of begun and of finished runs."""
    names = case.draw.choice(
        (["checkpoint.safetensors"], ["checkpoint.previous.safetensors"], None)
    )
    both = ["checkpoint.safetensors", "checkpoint.previous.safetensors"]
    for path in _damage(case, names or both):
        if names and all((path / name).exists() for name in both):
            case.sweep.resumable.add(path.name)


def rows(case: Case) -> None:
    """``rounds.jsonl`` of begun and of finished runs."""
    _damage(case, ["rounds.jsonl"])


def correct(case: Case) -> None:
    """``correct.jsonl`` of begun and of finished runs."""
    _damage(case, ["correct.jsonl"])


def config(case: Case) -> None:
    """``config.json`` of begun and of finished runs."""
    _damage(case, ["config.json"])


def result(case: Case) -> None:
    """``result.json`` of finished runs: carried on, refused, or not noticed, which is counted."""
    case.sweep.finish(case.expected)
    refused = []
    for path in _some(case, ["result.json"]):
        case.sweep.spoiled.add(path.name)
        _spoil(case, path / "result.json")
        if not finished(path):  # as if it had been killed right before it ended
            continue
        if _read_whole(path):
            case.sweep.unnoticed.add(path.name)
        else:
            refused.append(path.name)
    _follow_advice(case, refused)


def _read_whole(path: Path) -> bool:
    """Whether a finished run and all its weights can be read."""
    try:
        load_run(path)
        for file in (path / "best.safetensors", *path.glob("weights/*.safetensors")):
            read_weights(path, file.stem, path.name)
        read_weights(path, "dense", path.name)
    except (UsageError, DamagedFile):
        return False
    return True


def weights(case: Case) -> None:
    """Weights of begun and of finished runs, those of teachers too."""
    _begin(case)
    for path in _some(case, ["dense.safetensors"]):
        there = ["dense.safetensors", "best.safetensors", "weights/round-*", "weights/snapshot-*"]
        files = sorted(file for name in there for file in path.glob(name))
        file = case.draw.choice(files)
        _spoil(case, file)
        if finished(path):
            case.sweep.spoiled.add(path.name)
            _refused(path, file)
    _follow_advice(case, sorted(case.sweep.spoiled))


def _begin(case: Case) -> None:
    """Let the sweep come half way, or to its end."""
    begun(case) if case.index % 2 else case.sweep.finish(case.expected)


def _damage(case: Case, names: list[str]) -> list[Path]:
    """Damage files of some runs; return the runs' folders."""
    _begin(case)
    chosen = _some(case, names)
    for path in chosen:
        for name in names:
            if (path / name).exists():
                _spoil(case, path / name)
                if finished(path) and not name.startswith("checkpoint"):
                    _unread(path / name)
    return chosen


def _unread(file: Path) -> None:
    """Who reads a damaged text of a finished run is told the file, and what to do."""
    try:
        load_run(file.parent)
    except UsageError as error:
        way = "dsd-bench run" in str(error) or "command" in str(error)
        if str(file) not in str(error) or not way:
            raise Broken(f"does not name file and way out: {error}") from None
    else:
        raise Broken(f"{file}: it was read without a word")


def _some(case: Case, names: list[str]) -> list[Path]:
    """Draw some of the runs that have one of the files."""
    there = [path for path in case.sweep.paths() if any((path / name).exists() for name in names)]
    return case.draw.sample(there, min(case.goal, len(there)))


def _spoil(case: Case, file: Path) -> None:
    """Damage a file in one of the ways."""
    state = "finished" if finished(file.parent) or finished(file.parent.parent) else "begun"
    data, way = file.read_bytes(), case.draw.choice(WAYS)
    case.sweep.damaged = True
    if way == "emptied" or not data:
        file.write_bytes(b"")
    elif way == "truncated":
        file.write_bytes(data[: case.draw.randrange(1, max(2, len(data)))])
    else:
        place = case.draw.randrange(len(data))
        flipped = bytes([data[place] ^ (1 << case.draw.randrange(8))])
        file.write_bytes(data[:place] + flipped + data[place + 1 :])
    case.strike(f"{file.relative_to(case.sweep.runs)} of a {state} run: {way}")


def _refused(path: Path, file: Path) -> None:
    """Who reads damaged weights of a finished run is told the file, and what to do."""
    try:
        read_weights(path, file.stem, path.name)
    except DamagedFile as error:
        if str(file) not in str(error) or "--force" not in str(error):
            raise Broken(f"does not name file and way out: {error}") from None
    else:
        raise Broken(f"{file}: damaged weights were read without a word")


def _follow_advice(case: Case, damaged: list[str]) -> None:
    """Begin damaged finished runs anew, as the message says; first those that others need."""
    left = list(damaged)
    while left:
        refused = {run_id: said for run_id in left if (said := _anew(case, run_id))}
        if len(refused) == len(left):
            raise Broken(f"the advice leads nowhere: {refused}")
        left = list(refused)


def _anew(case: Case, run_id: str) -> str:
    """Begin a run anew; return what was said if its teacher has to be first."""
    path = case.sweep.runs / run_id
    words = ("--config", str(path / "config.json"), "--force", "--runs-dir", str(path.parent))
    child = case.sweep.start("run", *words, "--executor", "inline")
    code, said = child.wait(), child.said()
    if code and "--force" not in said:
        raise Broken(f"beginning {run_id} anew ended with {code}: {said[-600:]}")
    return said[-600:] if code else ""


KINDS: dict[str, Callable[[Case], None]] = {
    "damaged checkpoint": checkpoint,
    "damaged rows": rows,
    "damaged correct.jsonl": correct,
    "damaged config": config,
    "damaged weights": weights,
    "damaged result": result,
}

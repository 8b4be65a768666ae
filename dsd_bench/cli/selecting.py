"""Which finished runs the words of a command mean: runs, folders of runs, methods by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from dsd_bench.cli.reading import load_finished
from dsd_bench.config.naming import label
from dsd_bench.errors import UsageError, plain, suggest
from dsd_bench.plugins import catalogue
from dsd_bench.store.listing import look
from dsd_bench.store.runs import StoredRun, find_run, stored_ids


def select(words: Sequence[str], runs_dir: Path) -> list[StoredRun]:
    """Return the finished runs that ``words`` mean, each once, in the order of the words.

    A word is an id, a unique prefix of one or a path of a run; a folder of runs, which means all
    of them; or the name of a method, as ``dsd-bench runs`` prints it, which means all its seeds
    in ``runs_dir``; with ``*`` for several methods. Others than finished runs are left out with
    a note, unless nothing is finished.

    Raises:
        UsageError: for a word that means nothing; the message lists the methods there are.
    """
    known: dict[str, list[Path]] = {}
    paths = dict.fromkeys(path for word in words for path in _paths(word, runs_dir, known))
    return load_finished([str(path) for path in paths], runs_dir)


def _paths(word: str, runs_dir: Path, known: dict[str, list[Path]]) -> Iterator[Path]:
    """Yield what one word means; ``known`` is filled with the folder's methods once needed."""
    try:
        yield find_run(word, runs_dir)
        return
    except UsageError:
        if any(run_id.startswith(word) for run_id in stored_ids(runs_dir)):
            raise  # it fits several
    folder = Path(word)
    if folder.is_dir() and (ids := stored_ids(folder)):
        yield from (folder / run_id for run_id in ids)
        return
    known |= {} if known else _methods(runs_dir)
    names = [word] if word in known else sorted(name for name in known if fnmatchcase(name, word))
    if not names:
        raise UsageError(
            f"no run, folder of runs or method '{word}' in {runs_dir}{suggest(word, known)}"
        )
    yield from (path for name in names for path in known[name])


def _methods(runs_dir: Path) -> dict[str, list[Path]]:
    """Return the finished runs of a folder by the names of their methods, seeds ascending."""
    found: dict[str, list[tuple[int, Path]]] = {}
    for run_id in stored_ids(runs_dir):
        one = look(runs_dir / run_id)
        if one.run and one.state == "done":
            name = plain(label(one.run.config, catalogue().find))
            found.setdefault(name, []).append((one.run.seed, one.path))
    return {name: [path for _, path in sorted(members)] for name, members in found.items()}

"""What CI says of a pull request that adds rows: read with git alone, judged by the base's code.

``python .github/check_rows.py BASE HEAD``, in a clone that has both commits, run from the base's
checkout. Of the head nothing is checked out, executed or installed: its files are read as blobs,
those of ``leaderboards/`` are laid over the base's in a scratch folder, and the base's validator
looks at that. Prints what is wrong and ends with 1; 0 if the pull request is as it should be.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dsd_bench.boards.check import check
from dsd_bench.boards.files import read_row
from dsd_bench.boards.schema import CheckedRow
from dsd_bench.errors import UsageError, plain

BOARD = re.compile(
    r"leaderboards/(README\.md|[a-z0-9][a-z0-9.-]{0,99}/(README\.md|pareto\.svg|rules\.md))\Z"
)
ROW = re.compile(r"leaderboards/[a-z0-9][a-z0-9.-]{0,99}/rows/[a-z0-9][a-z0-9.+-]{0,99}\.json\Z")
FILE = "100644"
"""The mode of a plain file: no link, no submodule, nothing to execute."""
MOST_FILES, MOST_BYTES = 200, 8 * 2**20
SECONDS = 300.0
"""Longest that one call of git may take."""


@dataclass(frozen=True)
class Change:
    """What a pull request does to one path.

    Attributes:
        status: git's letter: ``A`` added, ``M`` modified, ``D`` deleted, ``T`` another type.
        mode: of the file in the head.
        blob: its contents' id.
        path: where it lies.
    """

    status: str
    mode: str
    blob: str
    path: str


def git(*words: str) -> bytes:
    """Return what a command of git says."""
    done = subprocess.run(["git", *words], capture_output=True, check=True, timeout=SECONDS)
    return done.stdout


def commit(word: str) -> str:
    """Return the id of a commit.

    Raises:
        ValueError: for anything but the hexadecimal id of one, such as an option of git.
    """
    if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", word):
        raise ValueError(f"{plain(word)!r} is no id of a commit")
    return word


def met(base: str, head: str) -> str:
    """Return the one commit from which a head left the base.

    Where there are several, what a merge of both gives is more than what differs from any of them:
    a head could bring back what the base has left behind, and it would not show.

    Raises:
        ValueError: if there is none, or several.
    """
    words = ["git", "merge-base", "--all", base, head]
    found = subprocess.run(words, capture_output=True, check=False, timeout=SECONDS).stdout.split()
    if len(found) != 1:
        raise ValueError(
            f"its history meets that of the base in {len(found)} commits, not in one; "
            "begin a branch at the base and commit the rows there"
        )
    return found[0].decode()


def changes(base: str, head: str) -> Iterator[Change]:
    """Yield what differs between two commits."""
    raw = git("diff-tree", "-r", "--raw", "-z", "--no-renames", "--ignore-submodules=none",
              "--abbrev=64", base, head)  # fmt: skip
    fields = raw.split(b"\0")
    for meta, path in zip(fields[::2], fields[1::2]):
        _, mode, _, blob, status = meta.decode().lstrip(":").split(" ")
        yield Change(status[:1], mode, blob, path.decode("utf-8", "backslashreplace"))


def refusals(found: list[Change]) -> Iterator[str]:
    """Yield what a pull request that adds rows may not do."""
    if not found:
        yield "it changes nothing"
    if len(found) > MOST_FILES:
        yield f"it changes {len(found)} files; {MOST_FILES} at most"
    for one in found[:MOST_FILES]:
        path = plain(one.path)
        if not (BOARD.match(one.path) or ROW.match(one.path)):
            yield f"{path}: only rows (leaderboards/TRACK/rows/*.json) and boards may change"
        elif one.status == "D":
            yield f"{path}: is deleted"
        elif one.mode != FILE:
            yield f"{path}: has the mode {one.mode}; a plain file has {FILE}"
        elif one.status != "A" and ROW.match(one.path):
            yield f"{path}: is there already; rows of others are not changed this way"
        elif int(git("cat-file", "-s", one.blob)) > MOST_BYTES:
            yield f"{path}: is larger than {MOST_BYTES:,} bytes"


def lay_out(base: str, found: list[Change], folder: Path) -> None:
    """Write the base's ``leaderboards/`` and, over it, what the head changes."""
    listed = git("ls-tree", "-r", "-z", base, "--", "leaderboards/").split(b"\0")
    blobs: dict[str, str] = {}
    for entry in filter(None, listed):
        meta, _, path = entry.partition(b"\t")
        blobs[path.decode()] = meta.decode().split(" ")[2]
    blobs |= {one.path: one.blob for one in found}
    for path, blob in blobs.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(git("cat-file", "blob", blob))


def judge(base: str, head: str) -> list[str]:
    """Return what is wrong with a pull request; [] if it is as it should be."""
    try:
        found = list(changes(met(commit(base), commit(head)), head))
    except ValueError as error:
        return [str(error)]
    if refused := list(refusals(found)):
        return refused
    with tempfile.TemporaryDirectory() as name:
        lay_out(base, found, Path(name))
        wrong = [*check(Path(name) / "leaderboards"), *without_evidence(found, Path(name))]
        return [text.replace(f"{name}/", "") for text in wrong]


def without_evidence(found: list[Change], folder: Path) -> Iterator[str]:
    """Yield which new rows are of the first release's schema, of which nothing can be checked."""
    for path in (folder / one.path for one in found if ROW.match(one.path)):
        with suppress(UsageError):  # what check says of it is enough
            if not isinstance(read_row(path), CheckedRow):
                yield f"{path}: is of schema 1, which holds nothing that could be checked"


def main(words: list[str]) -> int:
    """Print a verdict."""
    base, head = words
    wrong = judge(base, head)
    for text in wrong:
        print(f"error: {plain(text, lines=True)}")
    if not wrong:
        print("the rows agree with themselves, and the boards with the rows")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

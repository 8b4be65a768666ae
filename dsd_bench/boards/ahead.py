"""Rows checked ahead, by other processes from the last row file on, while this one begins in front.

They tell nothing but the SHA-256 of texts that they found valid, and those need not be checked
again. Whatever they have not said, the caller checks itself: it never waits for them, so a process
that dies, is killed or cannot be started costs time and nothing else, and what is said of a bad row
is said here. They end with the caller, however it ends.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from dsd_bench.boards.files import check_text, read_plain, row_files
from dsd_bench.boards.known import Known
from dsd_bench.boards.schema import CheckedRow
from dsd_bench.environment import available_cores
from dsd_bench.errors import UsageError

MET = 10
"""Unknown rows after which more are expected."""
LEFT = 160
"""Rows that must be left for that to be worth it."""
MOST = 7
"""Most processes beside this one."""


class Ahead:
    """A context in which other processes check the rows of a folder, once that is worth it.

    Args:
        folder: of the boards.
        known: where valid texts are noted.
    """

    def __init__(self, folder: Path, known: Known) -> None:
        self._folder, self._known, self._asked = folder, known, False
        self.processes: list[subprocess.Popen[bytes]] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Ahead:
        return self

    def go_on(self, left: int) -> None:
        """Start the processes if rows met so far were unknown and ``left`` more are to come."""
        if self._asked or self._known.missed < MET or left < LEFT or not sys.executable:
            return
        self._asked = True
        count = min(available_cores() - 1, MOST)
        with suppress(OSError):  # no memory, no handles, no interpreter: it goes without them
            for first in range(count):
                self._start(first, count)

    def _start(self, first: int, step: int) -> None:
        words = [str(self._folder), str(first), str(step)]
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
        )
        self.processes.append(process)
        thread = threading.Thread(target=self._listen, args=(process.stdout,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _listen(self, told: IO[bytes]) -> None:
        for line in told:
            self._known.learn(line.decode("ascii", "replace").strip())

    def __exit__(self, *raised: object) -> None:
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()
        for thread in self._threads:
            thread.join()
        for process in self.processes:
            if process.stdout:
                process.stdout.close()


def main(words: Sequence[str]) -> None:
    """Check every ``words[2]``-th row file of the folder ``words[0]``, the last ones first.

    It writes a line for each: a SHA-256, or nothing. So it ends soon after nobody listens any more.
    """
    folder, first, step = Path(words[0]), int(words[1]), int(words[2])
    known = Known()
    for path in list(row_files(folder))[::-1][first::step]:
        found = ""
        with suppress(UsageError):
            text = read_plain(path)
            if text not in known and isinstance(check_text(text, path), CheckedRow):
                found = known.add(text)
        sys.stdout.write(f"{found}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    with suppress(BrokenPipeError, KeyboardInterrupt):
        main(sys.argv[1:])

"""The side of the run: starts the process that speaks with trackers, and waits for nothing.

That process is another one because trackers' libraries draw from Python's global generator, start
threads, change handlers of signals and may hang, none of which a run may notice. It is told which
run's folder to look at, and reads the rest itself, so nothing is lost where a message is left out
because nobody takes it.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

from dsd_bench.errors import RunError
from dsd_bench_trackers.words import parse

WAIT = 10.0
"""Seconds that a process waits at its own end for what is still to be sent."""


@cache
def sender(asked: str) -> Sender:
    """Return this process's sender to the trackers that ``asked`` names."""
    return Sender(asked)


class Sender:
    """Tells the process that speaks with trackers which run to look at.

    Args:
        asked: the words of :func:`dsd_bench_trackers.words.parse`.
    """

    def __init__(self, asked: str) -> None:
        self._asked, self._paths = asked, dict[str, str]()
        self._process: subprocess.Popen[bytes] | None = None
        self._heard, self._over = b"", False

    def tell(self, event: str, run_id: str, path: Path | None = None) -> None:
        """Tell of an event of a run; ``path`` is its folder, given when it starts.

        Raises:
            UsageError: once, if what was asked for does not exist.
            RunError: what trackers complain of, each once.
        """
        if self._over:
            return
        if path is not None:
            self._paths[run_id] = str(path)
        if run_id not in self._paths:  # it failed before it began
            return
        place = self._paths[run_id]
        if event in ("finished", "failed"):
            del self._paths[run_id]
        if self._process is None:
            self._over = True  # unless what follows goes well
            self._process = self._start()
            self._over = False
        self._write(json.dumps([event, place]) + "\n")
        if complaints := self._complaints():
            raise RunError("; ".join(complaints))

    def close(self) -> None:
        """Let the process send what is left, for :data:`WAIT` seconds at most."""
        if self._process is None or self._process.stdin is None:
            return
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(WAIT)
        for text in self._complaints():
            print(f"trackers: {text}", file=sys.stderr)

    def _start(self) -> subprocess.Popen[bytes]:
        parse(self._asked)
        path = os.pathsep.join(filter(None, sys.path))
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "dsd_bench_trackers", "--serve", self._asked],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is not meant for it
            bufsize=0,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        for stream in (process.stdin, process.stdout):
            os.set_blocking(stream.fileno(), False)
        atexit.register(self.close)
        return process

    def _write(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            os.write(self._process.stdin.fileno(), line.encode())
        except BlockingIOError:
            pass  # it hangs; when it goes on, or at the end, it looks at all runs itself
        except OSError as error:
            self._over = True
            raise RunError(f"the process that speaks with trackers has ended ({error})") from None

    def _complaints(self) -> list[str]:
        assert self._process is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):
            while data := os.read(self._process.stdout.fileno(), 2**16):
                self._heard += data
        *whole, self._heard = self._heard.split(b"\n")
        return [line.decode("utf-8", "replace") for line in whole]

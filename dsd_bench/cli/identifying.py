"""Showing that files are hashed, where that takes long enough to wonder."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator

from rich.console import Console
from rich.live import Live
from rich.text import Text

from dsd_bench.data.digests import watched
from dsd_bench.reports.words import duration, open_console

EVERY = 10.0
"""Seconds between two lines where there is no terminal."""


@contextlib.contextmanager
def identifying() -> Iterator[None]:
    """Tell on standard error, inside the block, how far the hashing of files has come."""
    view = _View(open_console(sys.stderr))
    try:
        with watched(view.tell):
            yield
    finally:
        view.close()


class _View:
    """A line that is rewritten on a terminal and vanishes at the end; elsewhere some lines."""

    def __init__(self, console: Console) -> None:
        self._console = console
        moves = console.is_terminal and not console.is_dumb_terminal
        self._live = Live(console=console, auto_refresh=False, transient=True) if moves else None
        self._began: float | None = None
        self._last = -EVERY

    def tell(self, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` bytes are hashed."""
        now = time.monotonic()
        if self._began is None:
            self._began = now
            if self._live is not None:
                self._live.start()
        line = Text(_words(done, total, now - self._began), style="dim")
        if self._live is not None:
            self._live.update(line, refresh=True)
        elif now - self._last >= EVERY or done >= total:
            self._last = now
            self._console.print(line, soft_wrap=True)

    def close(self) -> None:
        """Leave nothing that moves on the screen."""
        if self._live is not None and self._began is not None:
            self._live.stop()


def _words(done: int, total: int, gone: float) -> str:
    size = f"{done / 2**20:,.0f} of {total / 2**20:,.0f} MiB"
    left = f", about {duration(gone * (total - done) / done)} left" if gone > 1 and done else ""
    return f"hashing the images, once, to know them again: {size}{left}"

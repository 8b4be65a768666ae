"""A view in place that survives a resize of the terminal's window."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import (
    Console,
    ConsoleDimensions,
    ConsoleOptions,
    ConsoleRenderable,
    RenderableType,
    RenderResult,
)
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType, Segment


class ResizedLive(Live):
    """A :class:`rich.live.Live` that takes away its last frame also after a resize.

    A narrower window breaks the lines of the last frame into more rows than were drawn, a lower one
    moves its top out of sight, and a higher one brings that back. Rows that are left would stay as
    rubbish above the next frame.
    """

    def get_renderable(self) -> RenderableType:
        """Return the frame; drawing it notes how long its lines are."""
        return _Measured(super().get_renderable(), self)

    def noted(self, lengths: list[int]) -> None:
        """Take note of the lengths of the lines that are drawn now, in cells."""
        self._size, self._lengths = self.console.size, lengths[: self.console.height]

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Return what is drawn: first away with the last frame, then the next."""
        extra = self._extra_rows()
        found = super().process_renderables(renderables)
        if extra and self.console.is_interactive:
            up = ((ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2))
            found.insert(1, Control(*up * extra))
        return found

    _size: ConsoleDimensions | None = None
    _lengths: Sequence[int] = ()
    _hidden = 0
    """Rows of earlier frames above the window."""

    def _extra_rows(self) -> int:
        """Return how many rows more than were drawn the last frame takes in the window."""
        if self._size is None or self.console.size == self._size:
            return 0
        width, height = self.console.size
        rows = sum(max(1, -(-length // width)) for length in self._lengths)
        back = min(self._hidden, max(0, height - self._size.height))
        self._hidden += max(0, rows - height) - back
        return max(0, min(rows, height) - len(self._lengths)) + back


class _Measured:
    """A frame that tells how long its lines are."""

    def __init__(self, frame: RenderableType, live: ResizedLive) -> None:
        self._frame, self._live = frame, live

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.render_lines(self._frame, options, pad=False)
        self._live.noted([Segment.get_line_length(line) for line in lines])
        for line in lines:
            yield from line
            yield Segment.line()

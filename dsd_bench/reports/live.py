"""Views of runs under way: full on a terminal, plain lines elsewhere, or none.

All have one interface: a context manager with ``handle(event)`` for the events of
:class:`dsd_bench.executors.Executor`. Handling only takes notes; drawing is done a few times a
second by a thread of its own.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import IO, Any, Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.segment import Segment, Segments
from rich.text import Text

from dsd_bench.analysis import mean_curve
from dsd_bench.config.training import planned_epochs
from dsd_bench.errors import plain
from dsd_bench.executors import Event, Job
from dsd_bench.reports.plot import Plot, Series
from dsd_bench.reports.progress import Progress, RunState, planned_rounds
from dsd_bench.reports.resizing import ResizedLive
from dsd_bench.reports.words import duration, glyphs, percent, plural

_MOST_CURVES = 6
_PLOT_ROWS = 9
_FRAMES_PER_SECOND = 4
EVERY = 15.0
"""Seconds between two lines of one training in a plain log."""
_STATUS = {"waiting": "dim", "running": "", "done": "green", "failed": "bold red"}
_ORDER = ("running", "failed", "waiting", "done")
_LEAST_ROWS = 5
"""Lines of the table that a curve must leave: head, two runs, how many more there are, end."""


class View(Protocol):
    """What the command line needs of a view."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End; nothing moving stays on the screen."""

    def handle(self, event: Event) -> None:
        """Take note of an event."""


class PlainView:
    """Writes one line when a run starts, finishes a round, ends or fails.

    Within long trainings it writes one every ``EVERY`` seconds, with the time left.

    Args:
        stream: where to; ASCII is enough for it.
        jobs: the runs.
        configs: their ``config.json`` by run id.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        stream: IO[str],
        jobs: Sequence[Job],
        configs: Mapping[str, Mapping[str, Any]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream, self._clock = stream, clock
        self._progress = Progress(jobs, configs, clock)
        self._told: dict[str, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def handle(self, event: Event) -> None:
        """Write the event's line, if it has one."""
        run = self._progress.handle(event)
        text = _line(event, run)
        if run:
            now = self._clock()
            since = now - self._told.setdefault(run.job.run_id, now)
            if not text and event["event"] == "progress" and since >= EVERY:
                text = _progress_line(run, self._progress)
            if text:
                self._told[run.job.run_id] = now
        if text:
            tag = f"[{run.name}] " if run else ""
            self._stream.write(plain(f"{tag}{text}") + "\n")
            self._stream.flush()


def _line(event: Event, run: RunState | None) -> str:
    """Say in words what happened; empty for what is not worth a line."""
    match event["event"]:
        case "started":
            resumed = event.get("resumed_from_round")
            return "started" if resumed is None else f"resumed in round {resumed}"
        case "round" if run:
            return _round_line(run, event["row"])
        case "finished":
            return _end_line(event.get("result") or {})
        case "failed":
            return "failed"
        case "note":
            return f"note: {event['text']}"
    return ""


def _round_line(run: RunState, row: Mapping[str, Any]) -> str:
    planned = planned_rounds(run.config)
    name, accuracy = _accuracy(row)
    parts = [
        f"round {row['round']}" + (f"/{planned}" if planned is not None else ""),
        f"sparsity {percent(row['sparsity'])} %",
        f"{name} {percent(accuracy)} %",
    ]
    if row.get("entropy") is not None:
        parts.append(f"entropy {row['entropy']:.2f}")
    if run.images_per_second:
        parts.append(f"({run.images_per_second:,.0f} images/s)")
    return " ".join(parts)


def _progress_line(run: RunState, progress: Progress) -> str:
    """Say how far a training is, and how long all runs will take."""
    planned = planned_rounds(run.config)
    text = f"round {run.round}" + (f"/{planned}" if planned is not None else "")
    text += f" epoch {run.epoch + run.within:.{0 if run.epoch > 9 else 1}f}/{run.epochs}"
    if run.images_per_second:
        text += f" ({run.images_per_second:,.0f} images/s)"
    if progress.seconds_left is not None:
        whose = f" for all {len(progress.runs)} runs" if len(progress.runs) > 1 else ""
        text += f", about {duration(progress.seconds_left)} left{whose}"
    return text


def _end_line(result: Mapping[str, Any]) -> str:
    best, reason = result.get("best_round"), result.get("reason")
    text = "done" if best is None else f"done: best round {best}"
    return f"{text} ({reason})" if reason else text


def _accuracy(row: Mapping[str, Any]) -> tuple[str, float | None]:
    """Return the accuracy to show, by name: of the test part where there is one."""
    if row.get("test_accuracy") is not None:
        return "test", row["test_accuracy"]
    return "val", row.get("val_accuracy")


class LiveView:
    """Shows every run's progress, the mean curve so far and the time left, in place.

    It vanishes at the end; notes stay, printed above it.

    Args:
        console: a terminal.
        jobs: the runs, in the order in which they are shown.
        configs: their ``config.json`` by run id.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        console: Console,
        jobs: Sequence[Job],
        configs: Mapping[str, Mapping[str, Any]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._progress = Progress(jobs, configs, clock)
        self._lock = threading.Lock()
        self._plot: tuple[tuple[int, int, int], list[Segments]] = ((-1, 0, 0), [])
        self._clock, self._begun = clock, clock()
        self._live = ResizedLive(
            console=console,
            get_renderable=self.render,
            refresh_per_second=_FRAMES_PER_SECOND,
            transient=True,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def handle(self, event: Event) -> None:
        """Take note of an event; notes are printed at once."""
        with self._lock:
            run = self._progress.handle(event)
        if event["event"] == "note":
            tag = f"{run.name}: " if run else ""
            self._console.print(Text(tag + _line(event, run), style="dim"))

    def render(self) -> RenderableType:
        """Return the view as it is now; it leaves the last row of the window free."""
        with self._lock:
            plot = self._curve()
            room = self._console.height - 3 - (len(plot) + 1 if plot else 0)
            parts: list[RenderableType] = [*plot, Text()] if plot else []
            return Group(*parts, *self._table(max(2, room)), self._footer())

    def _curve(self) -> list[Segments]:
        """Return the curves so far; drawn again only when a round or the window changed."""
        key = (self._progress.changes, self._console.width, self._console.height)
        if self._plot[0] != key:
            self._plot = (key, self._draw_curve())
        return self._plot[1]

    def _draw_curve(self) -> list[Segments]:
        """Return the lines of the curves, none where the window is too low for them."""
        series, name = _mean_series(list(self._progress.runs.values()))
        if not series or self._console.height < _PLOT_ROWS + _LEAST_ROWS:
            return []
        plot = Plot(f"{name} accuracy so far, mean over seeds, %", series, height=_PLOT_ROWS)
        lines = self._console.render_lines(plot, pad=False)
        if len(lines) + 1 + _LEAST_ROWS > self._console.height - 1:
            return []
        return [Segments([*line, Segment.line()]) for line in lines]

    def _table(self, room: int) -> list[Text]:
        """List the runs in ``room`` lines and a head; of too many those under way come first."""
        states = list(self._progress.runs.values())
        accuracy = _accuracy_name(states)
        shown = len(states) if len(states) <= room else room - 1
        if shown < len(states):
            states = sorted(states, key=lambda run: _ORDER.index(run.status))
        bar = "=" if self._console.options.ascii_only else "\u2501"
        lines = _columns(states[:shown], accuracy, self._console.width, bar)
        if shown < len(states):
            lines.append(Text(f"and {len(states) - shown} more", style="dim"))
        return lines

    def _footer(self) -> Text:
        progress = self._progress
        states = list(progress.runs.values())
        done = sum(run.status == "done" for run in states)
        parts = [f"{done} of {plural(len(states), 'run')} done"]
        if all(run.status == "waiting" for run in states):
            parts.append("starting")
        elif progress.share is not None:  # 100 % is said of the end only
            parts.append(f"{math.floor(100 * progress.share)} %")
        parts.append(f"{duration(self._clock() - self._begun)} gone")
        left = progress.seconds_left
        if left is not None and round(left) and done < len(states):
            parts.append(f"about {duration(left)} left")
        text = glyphs(self._console).dot.join(parts)
        return Text(text, style="bold", no_wrap=True, overflow="ellipsis")


def _columns(states: Sequence[RunState], accuracy: str, width: int, bar: str) -> list[Text]:
    """Align the runs in columns, a bar of the epochs in the middle taking the rest.

    Done by hand: a rich table costs five times as much, some times a second.
    """
    cells = [("run", "round", "sparsity", accuracy, "epoch", "images/s"), *map(_cells, states)]
    least = _least_widths(states)
    widths = [max(size, *(len(row[place]) for row in cells)) for place, size in enumerate(least)]
    room = min(40, width - sum(widths) - 2 * 6)
    lines = []
    for row, run in zip(cells, [None, *states]):
        parts = [text.rjust(size) for text, size in zip(row, widths)]
        parts[0] = row[0].ljust(widths[0])
        style = _STATUS[run.status] if run else "dim"
        line = Text("  ".join(parts[:4]), style=style, no_wrap=True, overflow="ellipsis")
        if run and run.error:
            lines.append(Text.assemble(line, "  ", run.error, no_wrap=True, overflow="ellipsis"))
            continue
        gap = Text.assemble("  ", _bar(run, room, bar)) if room >= 4 else ""
        rest = ("  " + "  ".join(parts[4:]), "" if run else "dim")
        lines.append(Text.assemble(line, gap, rest, no_wrap=True, overflow="ellipsis"))
    for line in lines:
        line.rstrip()
    return lines


def _least_widths(states: Sequence[RunState]) -> tuple[int, ...]:
    """Return widths that hold what is to come too, so that nothing moves sideways."""
    longest = [max(planned_epochs(run.config, round) for round in (0, 1)) for run in states]
    epochs = len(str(max(longest, default=0)))
    return 0, len("waiting"), 0, len("99.9 %"), 2 * epochs + 1, 0


def _bar(run: RunState | None, width: int, character: str) -> Text:
    full = width * run.epoch // run.epochs if run and run.epochs else 0
    if run is None or run.status != "running":
        return Text(" " * width)
    rest = " " if character == "=" else character
    return Text.assemble((character * full, "bold green"), (rest * (width - full), "bright_black"))


def _cells(run: RunState) -> tuple[str, ...]:
    """Return what the columns say of a run: name, state, sparsity, accuracy, epoch, speed."""
    row, told = run.last_row, run.status
    running = told == "running"
    if running:
        planned = planned_rounds(run.config)
        told = f"{run.round}" + (f"/{planned}" if planned is not None else "")
    sparsity = f"{percent(row['sparsity'])} %" if row else ""
    accuracy = f"{percent(_accuracy(row)[1])} %" if row else ""
    epoch = f"{run.epoch}/{run.epochs}" if running and run.epochs else ""
    speed = f"{run.images_per_second:,.0f}" if running and run.images_per_second else ""
    return run.name, told, sparsity, accuracy, epoch, speed


def _accuracy_name(states: Sequence[RunState]) -> str:
    """Return ``val`` if the rounds so far were measured without a test part, else ``test``."""
    rows = [row for run in states for row in run.rows.values()]
    tested = any(row.get("test_accuracy") is not None for row in rows)
    return "test" if tested or not rows else "val"


def _mean_series(states: Sequence[RunState]) -> tuple[list[Series], str]:
    """Average the runs of one label; runs that are asked for come before their teachers.

    Of many labels only those under way are drawn.
    """
    name = _accuracy_name(states)
    groups: dict[tuple[bool, str], list[RunState]] = {}
    for run in states:
        groups.setdefault((run.teacher, run.job.label), []).append(run)
    if len(groups) > _MOST_CURVES:
        groups = {
            key: members
            for key, members in groups.items()
            if any(run.status == "running" for run in members)
        }
    found = []
    for (teacher, label), members in sorted(groups.items(), key=lambda item: item[0][0]):
        points = mean_curve([list(run.rows.values()) for run in members], f"{name}_accuracy")
        if points:
            text = f"teacher: {label}" if teacher else label or "mean"
            x, y = [1.0 - point.sparsity for point in points], [100 * one.mean for one in points]
            found.append(Series(text, x, y))
    return found, name

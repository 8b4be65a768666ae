"""How far the runs of a folder are, for people: a summary, who is at what, what is wrong."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.text import Text

from dsd_bench.config.naming import command
from dsd_bench.reports.standing import STATES, Overview, Standing, State
from dsd_bench.reports.words import duration, glyphs, plural, size_word

MOST = 12
"""Runs that are told one by one under each heading."""
STYLES: dict[State, str] = {
    "done": "green", "running": "bold", "ready": "", "waiting": "dim", "planned": "dim",
    "failed": "red", "dead": "yellow", "damaged": "bold red",
}  # fmt: skip
WORDS: dict[State, str] = {
    "done": "done", "running": "running", "ready": "ready", "waiting": "waiting for teachers",
    "planned": "not written yet", "failed": "failed", "dead": "left by a dead worker",
    "damaged": "damaged",
}  # fmt: skip


def overview_json(found: Overview, where: str) -> dict[str, Any]:
    """Return what ``status --json`` prints."""
    return {
        "runs_dir": where,
        "counts": {state: len(found.of(state)) for state in STATES},
        "left": found.left,
        "workers": found.workers,
        "seconds_left": found.seconds_left,
        "bytes": sum(run.bytes for run in found.runs),
        "bytes_free": found.free,
        "runs": [_run_json(run) for run in found.runs],
    }


def _run_json(run: Standing) -> dict[str, Any]:
    """Return what is known of a run; what is not is left out."""
    holder = run.holder
    value = {
        "run_id": run.run_id,
        "state": run.state,
        "bytes": run.bytes,
        "seed": run.seed,
        "method": run.method,
        "setting": ", ".join(run.setting.values()) or None,
        "round": run.round,
        "rounds": run.rounds,
        "epoch": run.epoch,
        "epochs": run.epochs,
        "images_per_second": run.images_per_second,
        "seconds_left": run.seconds_left,
        "host": holder and holder.host,
        "pid": holder and holder.pid,
        "silent": run.silent,
        "needs": list(run.needs) or None,
        "lost": run.lost or None,
        "error": run.error,
    }
    return {key: told for key, told in value.items() if told is not None}


def status_view(found: Overview, where: str, console: Console, suite: str = "") -> RenderableType:
    """Return the whole view for a console as wide as this one."""
    title = f"{suite} in {where}" if suite else where
    parts = [*_head(found, title, console), *_running(found), *_waiting(found)]
    return Group(*parts, *_problems(found), *_advice(found, where))


def _head(found: Overview, title: str, console: Console) -> list[Text]:
    """Say how many are in which state, draw them as a bar, and say when all ends."""
    total = len(found.runs)
    counts = {state: len(found.of(state)) for state in STATES}
    states = [
        Text(f"{count:,} {WORDS[state]}", style=STYLES[state])
        for state, count in counts.items()
        if count
    ]
    lines = [Text.assemble((title, "bold"), f": {plural(total, 'run')}")]
    if total:
        lines[0].append(": ").append(Text(", ").join(states))
    lines.append(_bar(counts, total, min(console.width, 78), console.options.ascii_only))
    parts = [f"{100 * counts['done'] // total} %" if total else "no runs"]
    if found.left and found.seconds_left is None:
        parts.append("nothing tells yet how long the rest takes")
    elif found.left:
        parts.append(_end(found))
    parts.append(f"{size_word(sum(run.bytes for run in found.runs))} of disk")
    if found.free is not None:
        parts.append(f"{size_word(found.free)} free")
    lines.append(Text(glyphs(console).dot.join(parts), style="bold"))
    return lines


def _end(found: Overview) -> str:
    """Say how long the rest takes, and at which time of which day that is."""
    assert found.seconds_left is not None
    left = duration(found.seconds_left)
    if not found.workers:
        return f"about {left} of work for one worker"
    ends = time.localtime(time.time() + found.seconds_left)
    today = time.strftime("%x", ends) == time.strftime("%x")
    day = "" if today else time.strftime("%a %d %b ", ends)
    return f"ends about {day}{time.strftime('%H:%M', ends)}, in {left}"


def _bar(counts: dict[State, int], total: int, width: int, ascii_only: bool) -> Text:
    """Draw the states side by side; what is there at all gets a cell at least."""
    full, rest = ("=", "-") if ascii_only else ("\u2501", "\u2500")
    line = Text(no_wrap=True, overflow="crop")
    drawn: tuple[State, ...] = ("done", "running", "failed", "damaged", "dead")
    shares = {
        state: max(1, round(width * counts[state] / total))
        for state in drawn
        if counts[state] and total
    }
    for state, size in shares.items():
        line.append(full * size, style=STYLES[state] if state != "running" else "bold cyan")
    line.append(rest * max(0, width - sum(shares.values())), style="bright_black")
    line.truncate(width)
    return line


def _running(found: Overview) -> list[Text]:
    runs = found.of("running")
    if not runs:
        return []
    head = ("running", "round", "epoch", "images/s", "left", "where")
    rows: list[tuple[str, ...]] = [head, *(_cells(run, found.name(run)) for run in runs[:MOST])]
    widths = [max(cell_len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = [Text()]
    for number, row in enumerate(rows):
        told = [row[0].ljust(widths[0])]
        told += [text.rjust(size) for text, size in zip(row[1:-1], widths[1:-1])]
        text = "  ".join([*told, row[-1]])
        lines.append(Text(text, style="" if number else "dim", no_wrap=True, overflow="ellipsis"))
    return [*lines, *_more(runs)]


def _cells(run: Standing, name: str) -> tuple[str, ...]:
    rounds = "" if run.rounds is None else f"/{run.rounds}"
    speed = "" if run.images_per_second is None else f"{run.images_per_second:,.0f}"
    left = "" if run.seconds_left is None else duration(run.seconds_left)
    where = _where(run)
    return name, f"{run.round}{rounds}", f"{run.epoch}/{run.epochs}", speed, left, where


def _where(run: Standing) -> str:
    """Say which process is at work, and on which host if it is another one."""
    if run.holder is None:
        return ""
    host = "" if run.holder.host == socket.gethostname() else f" on {run.holder.host}"
    return f"process {run.holder.pid}{host}"


def _waiting(found: Overview) -> list[Text]:
    """Say how many runs wait for which teacher, and what that one does."""
    known = {run.run_id: run for run in found.runs}
    groups: dict[str, int] = {}
    for run in found.of("waiting"):
        groups[run.needs[0]] = groups.get(run.needs[0], 0) + 1
    lines = [Text(), Text("waiting", style="dim")] if groups else []
    for need, count in list(groups.items())[:MOST]:
        teacher = known.get(need)
        state = WORDS[teacher.state] if teacher else "elsewhere"
        name = found.name(teacher) if teacher and teacher.method else ""
        text = f"{plural(count, 'run')} for {need[:8]} {name} ({state})"
        lines.append(Text(text, no_wrap=True, overflow="ellipsis"))
    return [*lines, *_more(list(groups))]


def _problems(found: Overview) -> list[Text]:
    """Tell what failed, is damaged, or was left by somebody who is gone."""
    lines, wrong = list[Text](), tuple[State, ...](("failed", "damaged", "dead"))
    for state in wrong:
        runs = found.of(state)
        lines += [Text(), Text(WORDS[state], style=STYLES[state])] if runs else []
        for run in runs[:MOST]:
            name = "" if run.method is None else f" {found.name(run)}"
            why = _gone(run) if state == "dead" else run.error or ""
            lines.append(Text(f"{run.run_id[:8]}{name}: {why}"))
        lines += _more(runs)
    return lines


def _gone(run: Standing) -> str:
    assert run.silent is not None
    if run.holder and run.holder.alive is False:
        return f"{_where(run)} is gone; any worker takes the run over"
    return (
        f"{_where(run)} has been silent for {duration(run.silent)}; a worker that watches it for a "
        "minute takes the run over"
    )


def _more(things: Sequence[object]) -> list[Text]:
    rest = len(things) - MOST
    return [Text(f"and {rest:,} more", style="dim")] if rest > 0 else []


def _advice(found: Overview, where: str) -> list[Text]:
    """Say which command helps."""
    lines = []
    if found.of("failed"):
        lines.append(f"{command('retry', where)}  lets failed runs be tried again")
    if found.left > len(found.of("planned")) and not found.workers:
        lines.append(f"{command('work', where)}  carries on what is ready; nobody does now")
    return [Text(), *map(Text, lines)] if lines else []

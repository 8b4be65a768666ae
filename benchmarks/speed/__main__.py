"""``python -m benchmarks.speed``: one table, or JSON.

Everything is timed in processes with the environment of a worker, the plain loop too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import typing
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.speed import command, many, roofline, rounds, scale, streaming
from benchmarks.speed.cases import Case, cases
from benchmarks.speed.engine import Engine
from benchmarks.speed.plain import Bare, PlainLoop
from benchmarks.speed.timing import Seconds, in_turn, often, ratio
from dsd_bench.config.run import Layout, Precision
from dsd_bench.environment import available_cores
from dsd_bench.executors import Settings
from dsd_bench.executors.local import worker_environment
from dsd_bench.training import device

KINDS = ("epoch", "limit", "many", "command", "stream", "round", "scale")


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Attributes:
        kind: one of :data:`KINDS`.
        case: what was timed.
        measure: what the value is.
        value: the number.
        unit: of the value.
        goal: what it should be, empty if there is no goal.
    """

    kind: str
    case: str
    measure: str
    value: float
    unit: str
    goal: str = ""


def epochs(
    case: Case, word: str, threads: int, precision: Precision, repeats: int
) -> Iterator[Line]:
    """Measure one case's epoch against the plain loop, bare passes and the chip."""
    context = case.context(word, threads, precision)
    plain = {f"plain {n}": PlainLoop(case, context, n, threads).epoch for n in (0, 2)}
    # the slower loader is left out after one look
    looks = in_turn(plain, 1, context.device)
    best = min(plain, key=lambda name: looks[name][0])
    things = {
        "plain": partial(often, plain[best], case.epochs),
        "plain, all cores": partial(
            often, PlainLoop(case, context, int(best[6:])).epoch, case.epochs
        ),
        "engine": partial(Engine(case, context).epochs, case.epochs),
    }
    for layout in typing.get_args(Layout):
        other = case.context(word, threads, precision, layout)
        things[f"bare {layout}"] = partial(often, Bare(case, other).epoch, case.epochs)
    if context.plan.layout == "nhwc":
        exact = Bare(case, context, exact=True)
        things["bare nhwc, exact"] = partial(often, exact.epoch, case.epochs)
    seconds = in_turn(things, repeats, context.device)
    name = f"{case.name}, {precision}"
    yield from _epoch_lines(case, name, best, seconds, context)
    allowed = roofline.limit(case, context, roofline.peaks(context))
    share = allowed * case.epochs / min(seconds["engine"])
    goal = ">= 50 at batch 512" if context.device.type == "cuda" else ""
    yield Line("limit", name, "share of the roofline", 100 * share, "%", goal)


def _epoch_lines(
    case: Case, name: str, loader: str, seconds: Seconds, context: device.ComputeContext
) -> Iterator[Line]:
    scale = 1e3 / (case.images * case.epochs)
    words = {"plain": f"plain loop ({loader[6:]} workers)", "engine": "engine"}
    for which, taken in seconds.items():
        word = words.get(which, which.replace("bare", "forward and backward,"))
        yield Line("epoch", name, word, scale * min(taken), "ms/image")
    goal = ">= 10" if context.device.type == "cuda" else ""
    for which in ("plain", "plain, all cores"):
        word = f"{which.replace('plain', 'plain loop')} / engine"
        yield Line("epoch", name, word, ratio(seconds, which, "engine"), "x", goal)
    for which in (which for which in seconds if which.startswith("bare")):
        over = 100 * (ratio(seconds, "engine", which) - 1)
        word = f"engine ({context.plan.layout}) over {which.removeprefix('bare ')}"
        wanted = f"<= {100 * case.goal:g} over the faster" if case.goal else ""
        yield Line("limit", name, word, over, "%", wanted if context.device.type == "cpu" else "")


def runs(word: str, repeats: int, quick: bool) -> Iterator[Line]:
    """Measure runs side by side."""
    on_cpu = device.resolve(word).type == "cpu"
    counts = [2] if quick else [2, 4, 8, 16]
    names = [("digits MLP", 2 if quick else 150)]
    names += [] if quick else [("VGG-like(1,5)", 1)]
    cores = f", {available_cores()} cores" if on_cpu else ""
    for name, epochs_each in names:
        found = many.side_by_side(name, word, counts, epochs_each, repeats, quick)
        for count, gain, same in found:
            goal = ">= 1.6 on 2 cores" if on_cpu and count == 2 else ""
            bytes_ = "same bytes as alone" if same else "OTHER BYTES than alone"
            yield Line("many", name, f"{count} at once{cores}, {bytes_}", gain, "x", goal)


def commands(word: str, repeats: int, quick: bool) -> Iterator[Line]:
    """Measure the command line."""
    words = ["--seeds", "0", "--rounds", "1", "--epochs", "5"] if quick else []
    name = "one short run" if quick else "the default run"
    found = [command.measure(words, word) for _ in range(repeats)]
    best = min(found, key=lambda one: one.whole)
    goals = ("", "") if quick else ("<= 25", "<= 10")
    yield Line("command", name, "command to first step", best.start, "s")
    yield Line("command", name, "round, beside its training", 1e3 * best.per_round, "ms")
    yield Line("command", name, "trainings of the longest run", best.training, "s")
    yield Line("command", name, "command to summary", best.whole, "s", goals[0])
    yield Line("command", name, "neither start nor training", 100 * best.other, "%", goals[1])


def streams(repeats: int, quick: bool) -> Iterator[Line]:
    """Measure streamed images."""
    for found in streaming.measure(16 if quick else 256, repeats):
        name = f"JPEG files, 224 px, {found.cores} cores"
        yield Line("stream", name, "decoder alone", found.decoded, "images/s")
        yield Line("stream", name, "decoder and random boxes", found.boxed, "images/s")
        yield Line("stream", name, "streamed", found.streamed, "images/s")
        yield Line("stream", name, "of decoder and boxes", 100 * found.share, "%", ">= 90")


def beside(word: str, quick: bool) -> Iterator[Line]:
    """Measure what a round costs beside its training."""
    name = "mlp" if quick else "resnet50"
    found = rounds.measure(name, "digits", word)
    where = f"{name}, digits"
    yield Line("round", where, "an epoch's training", found.epoch, "s")
    for part, seconds in found.parts.items():
        yield Line("round", where, part, seconds, "s a round")
    yield Line("round", where, "beside the training 5 % or less from", found.enough, "epochs")


def scales(word: str, quick: bool) -> Iterator[Line]:
    """Measure what many runs cost beside their own work."""
    plans, few, done = (1_000, 10, 100) if quick else (100_000, 1_000, 10_000)
    found = scale.planned_apart(plans)
    goals = ("", "", "", "") if quick else ("<= 10", "<= 1024", "<= 50", "<= 2")
    yield Line("scale", f"{plans:,} runs", "planning", found["seconds"], "s", goals[0])
    yield Line("scale", f"{plans:,} runs", "memory of planning", found["mib"], "MiB", goals[1])
    each = 1e3 * scale.beside_training(few, word)
    yield Line("scale", f"{few:,} trivial runs", "each, beside its trainings", each, "ms", goals[2])
    seconds = scale.status_seconds(done, word)
    yield Line("scale", f"{done:,} finished runs", "dsd-bench status", seconds, "s", goals[3])


def precisions(kind: str) -> list[Precision]:
    """Return what to time: bf16 where the chip has instructions for it."""
    if kind == "cpu":
        flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
        fast = "avx512_bf16" in flags or "amx_bf16" in flags
        return ["fp32", "bf16"] if fast else ["fp32"]
    return ["fp32", "tf32", "bf16"] if kind == "cuda" else ["fp32"]


def measure(options: argparse.Namespace) -> Iterator[Line]:
    """Yield every line that was asked for."""
    kind = device.resolve(options.device).type
    if {"epoch", "limit"} & set(options.only):
        for case in cases(kind, options.quick):
            if options.case not in case.name:
                continue
            for precision in precisions(kind):
                lines = epochs(case, options.device, options.threads, precision, options.repeats)
                yield from (line for line in lines if line.kind in options.only)
    if "many" in options.only:
        yield from runs(options.device, options.repeats, options.quick)
    if "stream" in options.only:
        yield from streams(options.repeats, options.quick)
    if "round" in options.only:
        yield from beside(options.device, options.quick)
    if "scale" in options.only:
        yield from scales(options.device, options.quick)
    if "command" in options.only:
        yield from commands(options.device, options.repeats, options.quick)


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ... (default: auto)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--repeats", type=int, help="times each is timed, in turn (default: 5)")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS, help="what to measure")
    parser.add_argument("--case", default="", help="only epochs of networks named so, in part")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run?")
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    options = parser.parse_args(words)
    options.repeats = options.repeats or (1 if options.quick else 5)
    return options


def facts(options: argparse.Namespace) -> dict[str, object]:
    """Return where and how it was measured."""
    where = device.resolve(options.device)
    return {
        "hardware": device.hardware(where),
        "versions": device.versions(),
        "threads": options.threads,
        "repeats": options.repeats,
        "quick": options.quick,
        "load": Path("/proc/loadavg").read_text().split()[0]
        if platform.system() == "Linux"
        else "",
    }


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = parse(words)
    known = facts(options)
    console = Console(stderr=options.json)
    lines = []
    for line in measure(options):
        lines.append(line)
        console.print(f"  {line.case}: {line.measure}: {line.value:.3g} {line.unit}", style="dim")
    if options.json:
        print(json.dumps({**known, "lines": [asdict(line) for line in lines]}, indent=1))
        return
    table = Table("kind", "case", "measure", "value", "goal")
    for line in lines:
        table.add_row(
            line.kind, line.case, line.measure, f"{line.value:.3g} {line.unit}", line.goal
        )
    console.print(table)
    console.print(json.dumps(known))


def as_a_worker(words: Sequence[str]) -> None:
    """Begin again with the environment of a worker process, if this is another one."""
    environment = worker_environment(Settings(threads=parse(words).threads))
    if environment != dict(os.environ):
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks.speed", *words], environment)


if __name__ == "__main__":
    as_a_worker(sys.argv[1:])
    main()

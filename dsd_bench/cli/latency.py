"""``dsd-bench latency``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dsd_bench.cli import reading
from dsd_bench.cli.saying import say, say_json
from dsd_bench.errors import UsageError
from dsd_bench.reports.words import duration, parse_duration, plural

if TYPE_CHECKING:
    from dsd_bench.latency import Latency, Subject
    from dsd_bench.latency.records import Setting

FILES = (".safetensors", ".onnx", ".pt2")
BACKENDS = ("eager", "compile", "onnxruntime", "openvino")


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="RUN|FILE...")
@click.option(
    "--batch", "batches", multiple=True, type=click.IntRange(1, 10**6), metavar="N",
    help="Images at once; may be repeated (default: 1 and 64).",
)  # fmt: skip
@click.option(
    "--backend", "backends", multiple=True, type=click.Choice(BACKENDS),
    help="What runs them; may be repeated (default: eager).",
)  # fmt: skip
@click.option("--all-backends", is_flag=True, help="All that are installed.")
@click.option(
    "--threads", type=click.IntRange(1, 1024), default=1, show_default=True,
    help="Of the processor.",
)  # fmt: skip
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:1.")
@click.option(
    "--blocks", type=click.IntRange(6, 10_000), default=40, show_default=True,
    help="How often everything is timed.",
)  # fmt: skip
@click.option("--budget", metavar="TIME", help="Measure no longer than this: 90s, 10m.")
@click.option(
    "--round", "which", default="best", show_default=True, metavar="N|best|one-se",
    help="Which round of RUN.",
)  # fmt: skip
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE",
    help="Also write what was measured as JSON.",
)  # fmt: skip
@click.option(
    "--data-dir", default="data", type=click.Path(path_type=Path), help="Where data sets lie.",
)  # fmt: skip
@reading.runs_dir
@click.option("--json", "as_json", is_flag=True, help="Print what was measured as JSON.")
def latency(
    words: tuple[str, ...], batches: tuple[int, ...], backends: tuple[str, ...],
    all_backends: bool, threads: int, device: str, blocks: int, budget: str | None, which: str,
    output: Path | None, data_dir: Path, runs_dir: Path, as_json: bool,
) -> None:  # fmt: skip
    """Time RUN's dense, masked and shrunk network side by side, or those in exported FILE...

    Networks are warmed up, then timed in turns in this process; told are medians, how many times
    faster each is than the first, and the 95 % interval of that. A copy of the first is timed with
    them: how far that comes out from it is what the machine cannot tell apart. Measure with nothing
    else running.
    """
    if backends and all_backends:
        raise UsageError("--backend and --all-backends exclude each other")
    seconds = None if budget is None else parse_duration(budget, "--budget")
    _check_device(device)
    subject = _subject(words, which, runs_dir, data_dir)
    chosen = BACKENDS if all_backends else backends or ("eager",)
    sizes = tuple(dict.fromkeys(batches)) or (1, 64)
    from dsd_bench.latency import measure

    if not as_json:
        say(subject.title)
        for note in subject.notes:
            say(f"  {note}")
        bound = f", at most {duration(seconds)}" if seconds else ""
        todo = f"{plural(len(chosen), 'backend')} and {plural(len(sizes), 'batch size')}{bound}"
        many = plural(len(subject.models), "network")
        say(f"{many}, {blocks} blocks for each of {todo}", err=True)
    found = measure(
        subject, chosen, sizes, threads=threads, device=device, blocks=blocks, budget=seconds,
        tell=lambda text: None if as_json else say(f"timing {text}", err=True),
    )  # fmt: skip
    told = found.model_dump(mode="json")
    if output is not None:
        _write(output, json.dumps(told, indent=1, allow_nan=False) + "\n")
    if as_json:
        say_json(told)
        return
    for line in lines(found):
        say(line)
    for text in found.warnings():
        say(f"note: {text}", err=True)


def _check_device(device: str) -> None:
    import torch

    kind = device.partition(":")[0]
    if kind not in ("cpu", "cuda") or (kind == "cpu" and device != "cpu"):
        raise UsageError(f"--device '{device}': cpu, cuda or cuda:1")
    if kind == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"--device '{device}': there is no NVIDIA GPU that torch can use here")


def _subject(words: tuple[str, ...], which: str, runs_dir: Path, data_dir: Path) -> Subject:
    from dsd_bench.cli.export import round_of
    from dsd_bench.latency import of_files, of_run

    files = [Path(word) for word in words if Path(word).suffix in FILES]
    runs = [word for word in words if Path(word).suffix not in FILES]
    if other := next((word for word in runs if Path(word).is_file()), None):
        raise UsageError(f"{other}: is neither a run nor a file that `dsd-bench export` writes")
    if len(runs) > 1:
        raise UsageError(f"{', '.join(runs)}: give one run, and files beside it")
    if not runs:
        return of_files(files)
    return of_run(runs[0], round_of(which), runs_dir, data_dir, files)


def _write(path: Path, text: str) -> None:
    from dsd_bench.store.files import output_folder, write_atomic

    output_folder(path.parent)
    write_atomic(path, text.encode())


def lines(found: Latency) -> Iterator[str]:
    """Yield what is printed."""
    machine = found.machine
    yield ""
    yield (
        f"{machine.device} ({machine.chip}), {machine.threads} of {machine.cores} cores, torch "
        f"{machine.torch}, fp32"
    )
    for setting in found.settings:
        yield ""
        yield from _table(setting)


def _table(setting: Setting) -> Iterator[str]:
    if not setting.timings:
        why = "; ".join(setting.skipped.values())
        yield f"{setting.backend}, batch {setting.batch}: not measured: {why}"
        return
    energy = any(one.joules is not None for one in setting.timings)
    names = max(len(one.name) for one in setting.timings)
    yield f"{setting.backend}, batch {setting.batch}, {setting.blocks} blocks"
    head = f"  {'':{names}}  {'median':>12}  {'times faster':>12}  {'95 % interval':>15}  layout"
    yield head + ("      joules" if energy else "")
    for one in setting.timings:
        joules = f"  {one.joules:10.3g}" if one.joules is not None else ""
        yield (
            f"  {one.name:{names}}  {_time(one.median):>12}  {one.faster:12.2f}  "
            f"{f'{one.low:.2f} to {one.high:.2f}':>15}  {one.layout:6}{joules}"
        )
    for name, why in setting.skipped.items():
        yield f"  {name}: not measured: {why}"
    yield f"  energy: {setting.energy}"


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"

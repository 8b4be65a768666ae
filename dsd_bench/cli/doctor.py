"""``dsd-bench doctor``."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import click
from rich.text import Text

from dsd_bench import __version__
from dsd_bench.cli.saying import say_json
from dsd_bench.environment import available_cores
from dsd_bench.environment.contained import contained
from dsd_bench.errors import DsdError, describe
from dsd_bench.executors.local import slots
from dsd_bench.plugins import catalogue
from dsd_bench.reports.standing import free_bytes
from dsd_bench.reports.words import open_console, plural, size_word
from dsd_bench.store.locks import LOCK, locked

Level = Literal["ok", "missing", "problem"]
"""``missing``: not needed for a plain run; ``problem``: a plain run cannot work."""
STYLES: dict[Level, str] = {"ok": "green", "missing": "yellow", "problem": "bold red"}
SECONDS = 10.0
"""Within which a command of the system must answer."""
LIBRARIES = ("torch", "numpy", "safetensors", "scikit-learn")
"""Distributions that a plain run needs."""


@dataclass(frozen=True)
class Finding:
    """One line.

    Attributes:
        what: the thing that was looked at.
        level: how it is.
        found: what was found.
        advice: what to do about it; empty if nothing.
    """

    what: str
    level: Level
    found: str
    advice: str = ""


@click.command()
@click.option(
    "--data-dir", default="data", type=click.Path(path_type=Path), help="Where data sets lie."
)
@click.option(
    "--runs-dir", default="runs", type=click.Path(path_type=Path), help="Where runs would be kept."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(data_dir: Path, runs_dir: Path, as_json: bool) -> int:
    """Look at what runs need here: versions, devices, folders, data sets, plugins, engines.

    Each line says what to do where something is missing. It ends with 1 only if a plain
    `dsd-bench run` cannot work. Nothing is downloaded.
    """
    looks: list[Callable[[], Iterator[Finding]]] = [
        _versions,
        _devices,
        lambda: _folder(runs_dir),
        _plugins,
        lambda: _data(data_dir),
        _engines,
    ]
    console = open_console(sys.stdout)
    found = []
    for look in looks:
        for one in look():
            found.append(one)
            if not as_json:
                line = Text.assemble((f"{one.level:<8}", STYLES[one.level]), f" {one.what}: ")
                console.print(line.append(one.found), soft_wrap=True)
                if one.advice:
                    console.print(Text(f"         {one.advice}", style="dim"), soft_wrap=True)
    works = all(one.level != "problem" for one in found)
    if as_json:
        say_json({"works": works, "checks": [asdict(one) for one in found]})
    else:
        text = "a plain run works here" if works else "a plain run cannot work here"
        console.print(Text(text, style="bold"))
    return 0 if works else 1


def _versions() -> Iterator[Finding]:
    yield Finding("dsd-bench", "ok", f"{__version__}, Python {platform.python_version()}")
    for name in LIBRARIES:
        module = {"scikit-learn": "sklearn"}.get(name, name)
        try:
            with contained():
                importlib.import_module(module)
            yield Finding(name, "ok", importlib.metadata.version(name))
        except Exception as error:  # whatever a broken installation raises
            advice = f"install it again: pip install --force-reinstall {name}"
            yield Finding(name, "problem", describe(error), advice)


def _devices() -> Iterator[Finding]:
    """Try each kind of device with one product."""
    try:
        import torch

        from dsd_bench.training import device
    except Exception:  # told with the versions
        return
    cpu = device.hardware(torch.device("cpu"))["cpu"]
    cores = available_cores()
    yield _tried("cpu", f"{cpu}, {plural(cores, 'core')} for this process")
    chosen = device.resolve("auto")
    if chosen.type != "cpu":
        count = getattr(torch, chosen.type).device_count()
        name = device.hardware(chosen)["gpu"]
        yield _tried(str(chosen), f"{plural(count, 'device')}: {name}")
    elif any(Path("/dev").glob("nvidia[0-9]*")):
        advice = "install a torch for it: https://pytorch.org/get-started/locally"
        yield Finding("GPU", "missing", "there is one, but this torch cannot use it", advice)
    else:
        yield Finding("GPU", "missing", "none; runs use the CPU")


def _tried(word: str, text: str) -> Finding:
    import torch

    try:
        ones = torch.ones(2, 2, device=word)
        if (ones @ ones).sum().item() == 8:
            return Finding(word, "ok", text)
        why = "it computes 2 x 2 ones wrongly"
    except Exception as error:  # whatever a driver raises
        why = describe(error)
    advice = "look at its driver; --device cpu runs without it" if word != "cpu" else ""
    return Finding(word, "problem", f"{text}: {why}", advice)


def _folder(runs_dir: Path) -> Iterator[Finding]:
    """Write, lock and remove a file where runs will be."""
    place = runs_dir.absolute()
    place = next((one for one in (place, *place.parents) if one.exists()), place)
    try:
        with (
            tempfile.TemporaryDirectory(prefix=".dsd-bench-", dir=place) as folder,
            locked(Path(folder, LOCK)),
        ):
            pass
        free = free_bytes(runs_dir)
        left = "" if free is None else f", {size_word(free)} free"
        yield Finding("runs", "ok", f"{runs_dir} can be written and locked{left}")
    except (OSError, DsdError) as error:
        why = getattr(error, "strerror", None) or str(error)
        advice = "choose another folder: --runs-dir FOLDER"
        yield Finding("runs", "problem", f"{runs_dir} cannot be written: {why}", advice)


def _plugins() -> Iterator[Finding]:
    found = catalogue()
    names = sorted({entry.distribution for entry in found.entries()} - {"dsd-bench"})
    yield Finding("plugins", "ok", ", ".join(names) or "none but the built-in components")
    for failure in found.failed:
        advice = "update or uninstall it; runs that do not use it work"
        yield Finding(f"plugin {failure.distribution}", "missing", failure.error, advice)


def _data(data_dir: Path) -> Iterator[Finding]:
    """Say which data sets are there; of those that need parameters nothing can be said."""
    for entry in catalogue().entries("dataset"):
        component = entry.component
        try:
            made = component.create(component.params())
        except Exception:  # it needs to be told more
            continue
        try:
            with contained():
                made.check(data_dir, False)
            yield Finding(f"data set {component.name}", "ok", "found")
        except DsdError as error:
            level: Level = "problem" if component.name == "digits" else "missing"
            where = f"not in {data_dir}"
            yield Finding(f"data set {component.name}", level, where, str(error))
        except Exception as error:  # a plugin's own
            yield Finding(f"data set {component.name}", "missing", describe(error))


def _engines() -> Iterator[Finding]:
    """Say what would run where."""
    at_once = slots(10**6, 1)
    text = f"{plural(at_once, 'run')} side by side on this computer's CPU; on GPUs one on each"
    yield Finding("executor local", "ok", text)
    if shutil.which("sbatch") is None:
        advice = "run where `sbatch` is, such as a cluster's login node, for --executor slurm"
        yield Finding("executor slurm", "missing", "no Slurm here", advice)
    else:
        yield _slurm()
    names = catalogue().names("executor")
    for name in sorted(set(names) - {"local", "inline", "slurm"}):
        yield Finding(f"executor {name}", "ok", "installed")
    if "ray" not in names:
        advice = "pip install dsd-bench-ray, for --executor ray"
        yield Finding("executor ray", "missing", "not installed", advice)


def _slurm() -> Finding:
    try:
        words = ["sinfo", "--noheader", "--format=%P %a %D nodes"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        why = describe(error)
    else:
        if done.returncode == 0:
            lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
            return Finding("executor slurm", "ok", "partitions " + "; ".join(lines))
        said = done.stderr.strip().splitlines()
        why = said[-1] if said else f"sinfo ended with {done.returncode}"
    advice = "ask the cluster's administrators, or wait until it is back"
    return Finding("executor slurm", "missing", f"Slurm does not answer: {why}", advice)

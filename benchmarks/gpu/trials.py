"""Runs of the command line, each in a process of its own: what breaks one breaks no other."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsd_bench.store.reading import read_rows

MLP = ("--model", "mlp:64x64")
CONV = ("--model", "vgg-like:depth=1,width_exponent=3")
SHORT = (
    *("--dataset", "digits:train_size=400,val_size=100", "--seeds", "0", "--rounds", "2"),
    *("--epochs", "4", "--batch-size", "64", "--lr", "0.05"),
)
"""Two prunings of a few seconds; 400 images leave a batch of 16."""


class Broken(Exception):
    """A check that failed, and how."""


@dataclass(frozen=True)
class Trial:
    """What a run left behind.

    Attributes:
        rows: the bytes of ``rounds.jsonl``, by seed.
        first: round 0 of the first seed.
        plan: how the first was computed, at its end.
        log: what it noted.
    """

    rows: tuple[bytes, ...]
    first: dict[str, Any]
    plan: dict[str, Any]
    log: str


def trial(words: Sequence[str], device: str, runs_dir: Path, *flags: str) -> Trial:
    """Run ``dsd-bench run`` with ``words``, options and their values, and ``flags`` to its end.

    Raises:
        Broken: if it does not end well.
    """
    command = [*_command(words, device, runs_dir), *flags]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        raise Broken(f"exit code {done.returncode}: {last}")
    paths = [Path(run["path"]) for run in json.loads(done.stdout)["runs"]]
    result = json.loads((paths[0] / "result.json").read_text())
    return Trial(
        tuple((path / "rounds.jsonl").read_bytes() for path in paths),
        dict(read_rows(paths[0] / "rounds.jsonl")[0]),
        result["plan"][-1],
        (paths[0] / "log.txt").read_text(),
    )


def killed(words: Sequence[str], device: str, runs_dir: Path, rows: int) -> bool:
    """Kill such a run once ``rows`` rounds are there; return whether it had not ended."""
    command = _command(words, device, runs_dir)
    silent = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=silent, stderr=silent, start_new_session=True) as process:
        while process.poll() is None:
            found = next(iter(runs_dir.glob("*/rounds.jsonl")), None)
            if found is not None and found.read_bytes().count(b"\n") >= rows:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.005)
    return not list(runs_dir.glob("*/result.json"))


@contextmanager
def folder() -> Iterator[Path]:
    """Give a folder for runs that is gone afterwards."""
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


def _command(words: Sequence[str], device: str, runs_dir: Path) -> list[str]:
    where = ("--device", device, "--runs-dir", str(runs_dir), "--json")
    # a word that is given again overrules SHORT's
    return [sys.executable, "-m", "dsd_bench", "run", *_merged([*SHORT, *words]), *where]


def _merged(words: Sequence[str]) -> list[str]:
    """Keep the last of every option but those that repeat."""
    kept: dict[tuple[str, str], list[str]] = {}
    for option, value in zip(words[::2], words[1::2], strict=True):
        kept[option, value if option == "--reg" else ""] = [option, value]
    return [word for pair in kept.values() for word in pair]

"""The table of docs/reliability.md."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .campaign import KINDS, Verdict


def markdown(verdicts: Sequence[Verdict]) -> str:
    """Return a line for each kind: sweeps, faults, what came out."""
    lines = [
        "| kind | sweeps | faults | every row and file as undisturbed |",
        "| --- | --- | --- | --- |",
    ]
    total = [0, 0, 0]
    for kind in KINDS:
        ours = [one for one in verdicts if one.kind == kind and not one.skipped]
        skipped = [one for one in verdicts if one.kind == kind and one.skipped]
        faults, right = sum(len(one.faults) for one in ours), sum(not one.wrong for one in ours)
        if ours:
            outcome = f"{right} of {len(ours)} sweeps"
            if unnoticed := sum(one.unnoticed for one in ours):
                outcome += f"; {unnoticed} flips were not noticed"
            lines.append(f"| {kind} | {len(ours)} | {faults} | {outcome} |")
        elif skipped:
            lines.append(f"| {kind} | - | - | not tried: {skipped[0].skipped} |")
        total = [total[0] + len(ours), total[1] + faults, total[2] + right]
    lines.append(f"| all | {total[0]} | {total[1]} | {total[2]} of {total[0]} sweeps |")
    return "\n".join(lines)


def where() -> dict[str, Any]:
    """Return what the campaign was run on."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    words = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "commit": commit,
        "processor": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }

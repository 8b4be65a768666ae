"""Cases one after the other, each from its own seed, with what came of each."""

from __future__ import annotations

import contextlib
import hashlib
import random
import shutil
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from . import damage, kinds
from .kinds import Case, Impossible
from .sweeps import Broken, Sweep, compare, undisturbed

KINDS: dict[str, tuple[Callable[[Case], None], int, int]] = {
    "kill -9 worker": (kinds.kill_worker, 3, 6),
    "kill -9 scheduler": (kinds.kill_scheduler, 2, 4),
    "kill -9 both": (kinds.kill_both, 2, 4),
    "SIGTERM": (kinds.term, 2, 4),
    "SIGINT": (kinds.interrupt, 2, 4),
    "SIGSTOP": (kinds.stop, 3, 5),
    "asleep at a rename": (kinds.asleep_at_rename, 3, 4),
    "full disk": (kinds.full_disk, 2, 5),
    "read-only": (kinds.read_only, 2, 5),
    "dead host": (kinds.dead_host, 1, 6),
    "two schedulers": (kinds.two, 2, 2),
    "five schedulers": (kinds.five, 1, 2),
    "clocks": (kinds.clocks, 2, 8),
    **{name: (act, 1, 6) for name, act in damage.KINDS.items()},
}
"""By name what is done, how often in a turn, and how many faults a sweep has at most."""
REAL = ("kill -9 worker", "kill -9 scheduler", "kill -9 both", "SIGTERM", "SIGINT")
"""Kinds of which a share has processes that are started, not forked."""
SHARE = 8
"""Of so many cases of these, one is such."""


@dataclass
class Verdict:
    """What came of a case.

    Attributes:
        kind, index: which case.
        faults: what happened, and when.
        wrong: what was wrong; empty if nothing was.
        skipped: why it could not be tried here; empty if it was.
        unnoticed: how many faults nobody could tell (:attr:`.sweeps.Sweep.unnoticed`).
        real: whether its processes were started, not forked.
        seconds: how long it took.
    """

    kind: str
    index: int
    faults: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    skipped: str = ""
    unnoticed: int = 0
    real: bool = False
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


class Campaign:
    """Cases in a folder of their own.

    Args:
        root: the folder.
        seed: decides what is drawn.
        broken: a protection that is left out in all processes (:data:`.child.BREAKS`).
        keep: whether folders of cases that went well stay too.
    """

    def __init__(self, root: Path, seed: int = 0, broken: str = "", keep: bool = False) -> None:
        self.root, self.seed, self.broken, self.keep = root, seed, broken, keep
        root.mkdir(parents=True, exist_ok=True)
        self.expected = undisturbed(root)

    def cases(self, only: list[str] | None = None) -> Iterator[tuple[str, int]]:
        """Yield kinds and indices for ever, each kind as often as it weighs."""
        chosen = [name for name in KINDS if not only or name in only]
        turn = dict.fromkeys(chosen, 0)
        while True:
            for name in chosen:
                for _ in range(KINDS[name][1]):
                    yield name, turn[name]
                    turn[name] += 1

    def run(
        self, kind: str, index: int, goal: int | None = None, real: bool | None = None
    ) -> Verdict:
        """Carry one case out."""
        goal = goal or KINDS[kind][2]
        began, text = time.monotonic(), f"{self.seed}/{kind}/{index}"
        name = hashlib.sha256(text.encode()).hexdigest()[:8]
        root = self.root / name
        _remove(root)
        if real is None:
            real = kind in REAL and index % SHARE == SHARE - 1
        verdict = Verdict(kind, index, real=real)
        (self.root / "logs").mkdir(exist_ok=True)
        for log in (self.root / "logs").glob(f"{name}-*"):  # of an earlier try
            log.unlink()
        root.mkdir()
        with contextlib.ExitStack() as stack:
            try:
                if kind == "full disk":
                    stack.enter_context(kinds.small_disk(root))
                sweep = Sweep(root, self.broken, self.root / "logs")
                draw = random.Random(text)
                case = Case(kind, index, draw, sweep, sorted(self.expected), goal, real)
                verdict.wrong = self._carry(case)
                verdict.faults, verdict.unnoticed = case.faults, len(sweep.unnoticed)
            except Impossible as error:
                verdict.skipped = str(error)
            if not verdict.wrong and not self.keep:
                stack.callback(_remove, root)
                for log in (self.root / "logs").glob(f"{name}-*"):
                    log.unlink()
        verdict.seconds = round(time.monotonic() - began, 2)
        return verdict

    def _carry(self, case: Case) -> list[str]:
        """Let the faults happen, carry the sweep on to its end, and compare."""
        act, sweep = KINDS[case.kind][0], case.sweep
        try:
            act(case)
            by = "sweep" if case.kind in damage.KINDS else case.draw.choice(("sweep", "work"))
            sweep.finish(case.expected, by)
            sweep.look()
            return compare(sweep, self.expected)
        except Broken as error:
            return [str(error)]
        except Impossible:
            raise
        except Exception:
            return [f"the campaign itself failed: {traceback.format_exc()}"]
        finally:
            sweep.kill()


def _remove(root: Path) -> None:
    for path in [root, *root.rglob("*")] if root.exists() else []:
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(root, ignore_errors=True)

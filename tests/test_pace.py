"""What happens between steps, by a clock of the test's own: progress, timing, checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from test_protocol import Silent, make_run

from dsd_bench import RunConfig
from dsd_bench.experiment import protocol
from dsd_bench.training.step import Stepper

Make = Callable[..., RunConfig]


class Told(Silent):
    """A watcher that notes what it is told of the pace."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[Any, ...]] = []
        self.timings: list[Mapping[str, Any]] = []

    def progress(self, *told: Any) -> None:
        self.told.append(told)

    def round(self, row: Any, timing: Mapping[str, Any]) -> None:
        super().round(row, timing)
        self.timings.append(timing)


class Clock:
    """The protocol's clock: every step takes an eighth of a second, all else no time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        real = Stepper.__call__

        def step(stepper: Stepper, *batch: Any) -> None:
            real(stepper, *batch)
            self.now += 0.125

        monkeypatch.setattr(Stepper, "__call__", step)
        monkeypatch.setattr(protocol, "time", self)

    def monotonic(self) -> float:
        return self.now


def test_the_pace_is_told_after_a_quarter_of_a_second_and_at_the_end(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Clock(monkeypatch)
    run = make_run(tiny(rounds=1, epochs=5, batch_size=15), tmp_path)
    run.watcher = watcher = Told()
    run.follow()
    # 4 steps an epoch; after 3 steps 0.375 s are over, after 2 not more than 0.25 s
    places = [divmod(step, 4) for step in (3, 6, 9, 12, 15, 18, 20)]
    speed = 15 / 0.125
    told = [(epoch, 5, speed, step / 4) for epoch, step in places]
    assert watcher.told == [(round, *one) for round in (0, 1) for one in told]
    assert watcher.timings == [{"seconds": 20 * 0.125, "images_per_second": speed}] * 2
    assert watcher.rows == run.rows


def test_a_training_is_made_safe_again_when_the_time_is_over_again(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Clock(monkeypatch)
    run = make_run(tiny(rounds=1, epochs=5, batch_size=15), tmp_path)
    object.__setattr__(run.experiment, "checkpoint_seconds", 0.5)
    saved: list[Any] = []

    def save(checkpoint: Any) -> None:
        saved.append((checkpoint.round, checkpoint.cursor if checkpoint.training else "done"))

    run.store.save = save  # type: ignore[method-assign]
    run.follow()
    # more than 0.5 s are five steps; with the training's end the round is made safe as a whole
    steps = [(s["epoch"] * 4 + s["step"] if s != "done" else s) for _, s in saved]
    assert steps == [5, 10, 15, "done"] * 2
    assert [round for round, _ in saved] == [0, 0, 0, 1, 1, 1, 1, 2]

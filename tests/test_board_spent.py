"""What a board says that trainings cost, against the ledger of the same runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from board_runs import config, kd, part, write_run

from dsd_bench import RunConfig, api
from dsd_bench.boards.files import read_row
from dsd_bench.boards.rows import submit
from dsd_bench.boards.schema import BoardRow
from dsd_bench.boards.spent import AS_PLANNED, own_macs, teachers_macs
from dsd_bench.costs.ledger import read_ledger
from dsd_bench.executors import Settings
from dsd_bench.schedules.builtin import register_schedules
from dsd_bench.store import load_run

EARLY_BIRD = part("early-bird", distance=0.1, last=5, fraction=0.5)
Make = Callable[..., RunConfig]


def submitted(paths: list[Path], boards: Path) -> BoardRow:
    submit([load_run(path) for path in paths], boards)
    (path,) = boards.glob("*/rows/*.json")
    return read_row(path)


@pytest.mark.parametrize(
    ("options", "teaching"),
    [
        ({}, 0),
        ({"reg": "kd"}, 3),
        ({"reg": "kd:teacher=dense"}, 1),
        ({"reg": "kd", "teacher": {"pruner": "random"}}, 3),
        ({"pruner": "structured-l1", "rounds": 1}, 0),
        ({"redense_epochs": 1, "schedule": "cosine", "optimizer": "adam"}, 0),
        ({"dataset": "digits:61,val_size=20", "stop": "patience"}, 0),  # an image is left over
    ],
)
def test_training_macs_are_the_ledger_s(
    options: dict[str, Any], teaching: int, tiny: Make, tmp_path: Path
) -> None:
    found = api.execute(
        [tiny(epochs=3, dense_epochs=4, seed=seed, **options) for seed in (0, 1)],
        tmp_path / "runs",
        Settings(),
        executor="inline",
    )
    own = [tmp_path / "runs" / one.outcome.run_id for one in found if not one.planned.teacher]
    row = submitted(own, tmp_path / "boards")
    ledgers = [read_ledger(load_run(path)) for path in own]
    whole = [sum(training.forward for training in ledger.trainings) for ledger in ledgers]
    assert own_macs(row) == pytest.approx(sum(whole) / 2)
    taught = [
        sum(training.forward for training in teacher.ledger.trainings[:teaching])
        for ledger in ledgers
        for teacher in ledger.teachers
        if teacher.ledger
    ]
    assert teachers_macs(row) == pytest.approx(sum(taught) / 2)
    assert bool(taught) == bool(teaching)


@pytest.mark.parametrize(
    ("own", "teachers", "changes"),
    [
        (False, True, {"optimizer": part("sam", rho=0.05)}),  # a step may be two passes
        (
            False,
            True,
            {"schedule": part("early-bird", distance=0.1, last=5, fraction=0.5)},
        ),  # may end a training early
        (True, False, {"regularizers": [kd(model=part("mlp", hidden="32"))]}),
        (True, False, {"regularizers": [kd(dense_epochs=10)]}),
        (True, False, {"regularizers": [kd(rounds=None, target_sparsity=0.9)]}),
        (True, True, {"regularizers": [kd(), kd(weights="dense")]}),
    ],
)
def test_what_a_row_does_not_tell_is_not_guessed(
    own: bool, teachers: bool, changes: dict[str, Any], tmp_path: Path
) -> None:
    path = write_run(tmp_path / "runs", config(**changes))
    row = submitted([path.path], tmp_path / "boards")
    assert (own_macs(row) is not None, teachers_macs(row) is not None) == (own, teachers)


def test_every_built_in_schedule_is_judged() -> None:
    names = {component.name for component in register_schedules()}
    assert names == {*AS_PLANNED, "early-bird"}

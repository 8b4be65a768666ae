"""What row files are held to, and what submit refuses to mix."""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from board_runs import (
    DIP,
    code,
    config,
    kd,
    part,
    plan,
    rehash,
    stop_rule,
    write_lines,
    write_run,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from dsd_bench.boards.check import check, write
from dsd_bench.boards.files import parse, read_row
from dsd_bench.boards.methods import reseeded, teacher_ids, whole
from dsd_bench.boards.places import row_path
from dsd_bench.boards.rows import row_of, submit
from dsd_bench.boards.schema import CheckedRow
from dsd_bench.boards.verify import count_bits, problems
from dsd_bench.config.run import RunConfig
from dsd_bench.errors import UsageError
from dsd_bench.masks import Masks, NothingLeft, prune_by_scores

Row = dict[str, Any]
SAMPLES = {"train": 1000, "val": 100, "test": 100}
PATIENT = stop_rule("patience", tolerance=0.0, patience=1)
SHIPPED = Path(__file__).parents[1] / "leaderboards"


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Any]:
    return functools.partial(write_run, tmp_path / "runs")


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    return tmp_path / "leaderboards"


@pytest.fixture
def row(make: Callable[..., Any], boards: Path) -> Path:
    """A row of two seeds that are distilled, with bits of 100 images."""
    (path,) = submit([make(config(seed, [kd(seed)])) for seed in (0, 1)], boards)
    return path


def changed(path: Path, change: Callable[[Row], Any]) -> str:
    """Change a row file as a careful forger would; return what reading it says."""
    told = json.loads(path.read_text())
    change(told)
    path.write_text(json.dumps(told, sort_keys=True, indent=1) + "\n")
    with pytest.raises(UsageError) as error:
        read_row(path)
    return str(error.value)


# -- a row agrees with itself


def at(*keys: Any, to: Any) -> Callable[[Row], None]:
    """Return a change of one value of the first seed."""

    def change(told: Row) -> None:
        place: Any = told["seeds"][0]
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = to(place[keys[-1]]) if callable(to) else to

    return change


def of_row(*keys: Any, to: Any) -> Callable[[Row], None]:
    """Return a change of one value beside the seeds."""

    def change(told: Row) -> None:
        place: Any = told
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = to

    return change


def packed(right: Any) -> str:
    return base64.b64encode(numpy.packbits(numpy.array(right, dtype=bool))).decode()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        # ids are hashes
        (at("run_id", to="0" * 16), "seeds.0.run_id: 0000000000000000, but its hash is"),
        (at("teachers", to=[]), "seeds.0.teachers"),
        (at("teachers", 0, to="0" * 16), "seeds.0.teachers"),
        (of_row("config", "protocol", "lr", to=0.5), "its hash is"),
        (of_row("config", "protocol", "lr", to="0.02"), "config: not as"),
        (of_row("config", "protocol", "rounds", to=-1), "config.protocol.rounds"),
        (of_row("config", "regularizers", 0, "teacher", "run_id", to="0" * 16), "not that of its"),
        (
            of_row("config", "regularizers", 0, "teacher", "config", "protocol", "lr", to=0.5),
            "config.regularizers.0.teacher",
        ),
        (of_row("config", "regularizers", 0, "params", to={}), "config: "),
        (of_row("config", "seed", to=1), "config.seed: 1, but the first seed is 0"),
        (of_row("method", "retrain_lr_scale", to=0.5), "method: not that of the configuration"),
        (of_row("track", "fingerprint", to="sha256:4567"), "track: not that of the configuration"),
        # weights
        (at("rounds", "nonzero", 2, to=800), "seeds.0.rounds.nonzero.2: 800, but the round before"),
        (at("rounds", "nonzero", 2, to=641), "nonzero.2: 641, but magnitude with fraction 0.2"),
        (at("rounds", "nonzero", to=[0] * 5), "nonzero.0: a network without weights"),
        (at("rounds", "sparsity", 2, to=0.36 + 1e-9), "seeds.0.rounds.sparsity.2"),
        (at("rounds", "macs_effective", 1, to=2001), "seeds.0.rounds.macs_effective.1"),
        (at("rounds", "macs_dense", 1, to=2001), "macs_dense: not the same in all rounds"),
        (at("layers", to=800), "seeds.0.rounds.nonzero.2"),
        # counts of images
        (at("rounds", "test_accuracy", 1, to=0.605), "test_accuracy.1: 0.605 is no number of 100"),
        (at("rounds", "val_accuracy", 1, to=0.6 + 1e-12), "seeds.0.rounds.val_accuracy.1"),
        (at("rounds", "train_accuracy", 1, to=0.901), "901 images right, but 570 with clean"),
        (at("rounds", "train_accuracy_noisy", 1, to=0.826), "train_accuracy_noisy.1"),
        (at("rounds", "train_accuracy_clean", 1, to=None), "train_accuracy_clean.1: None"),
        (at("samples", "test", to=99), "no number of 99 images"),
        (at("samples", "noisy", to=1001), "samples.noisy: 1001 of 1000"),
        (at("samples", "test", to=0), "seeds.0.rounds.test_accuracy.0: 0.7 is no number of 0"),
        # bits
        (at("correct", "dense", "test", to=packed([1] * 71 + [0] * 29)), "71 of 100 images are"),
        (
            at("correct", "selected", "val", to=packed([1] * 70 + [0] * 30)),
            "but 75 by the accuracy",
        ),
        (
            at("correct", "selected", "test", to=packed([0] * 28 + [1] * 75)),
            "no packed bits of 100",
        ),
        (at("correct", "selected", "test", to=packed([1] * 75)), "no packed bits of 100"),
        (at("correct", "selected", "test", to=None), "no packed bits of 100"),
        (at("correct", "selected", "test", to=lambda text: text[:-1] + " "), "no packed bits"),
        (
            at("correct", "selected", "test", to=lambda text: text.replace("=", "")),
            "no packed bits",
        ),
        (at("correct", "dense", "test", to="\u0661" * 20), "no packed bits"),
        # the selected round and the end
        (at("best_round", to=2), "best_round: 2, but the first of the best val_accuracy is 3"),
        (at("best_round", to=9), "best_round: 9"),
        (
            at("stopped_by", to="nothing-left"),
            "stopped_by: 'nothing-left', but by its rounds rounds",
        ),
        (at("stopped_by", to=None), "stopped_by: None"),
        # numbers that nothing has
        (at("rounds", "entropy", 0, to=1.5), "seeds.0.rounds.entropy.0"),
        (at("rounds", "entropy", 0, to=-0.1), "seeds.0.rounds.entropy.0"),
        (at("rounds", "train_loss", 0, to=1e300), "train_loss.0: a number beyond"),
        (at("rounds", "macs_dense", 0, to=1e308), "macs_dense.0"),
        (at("rounds", "macs_dense", 0, to=10**18 + 1), "macs_dense.0"),
        (at("rounds", "macs_dense", 0, to=10**400), "the number 10000000000000000000... is out of"),
        (at("rounds", "nonzero", 0, to=2**53 + 1), "nonzero.0"),
        (at("hardware", "cores", to=10**400), "out of range"),
        (at("hardware", "cores", to=float("inf")), "Infinity is no number"),
        (at("seed", to=2**31), "seeds.0.seed"),
        (of_row("track", "schedule", "lr", to=1e308), "track.schedule.lr: a number beyond"),
        # where it was computed
        (at("plan", to=[]), "seeds.0.plan"),
        (at("plan", 0, "from_round", to=1), "seeds.0.plan: begins in rounds"),
        (at("plan", 0, "from_round", to=True), "seeds.0.plan: begins in rounds"),
        (at("plan", 0, "numerics", to=0), "plan.0.numerics: 0"),
        (at("plan", 0, to="x"), "seeds.0.plan"),
        (at("code", 0, "round", to=5), "seeds.0.code: begins in rounds"),
        (at("code", 0, "plugins", to={"x": {"version": "1", "sha256": "no"}}), "sha256"),
        (at("plan", 0, "chip", to="AVX512"), "mixed: [], but by its seeds ['chip']"),
        (of_row("mixed", to=["chip"]), "mixed: ['chip'], but by its seeds []"),
        (at("samples", "train", to=2000), "samples or layers differ"),
    ],
)
def test_a_row_that_contradicts_itself_is_refused(
    row: Path, boards: Path, change: Callable[[Row], None], says: str
) -> None:
    message = changed(row, change)
    assert says in message
    assert str(row) in message
    assert any(says in problem for problem in check(boards))


def test_every_contradiction_is_named_at_once(row: Path) -> None:
    def change(told: Row) -> None:
        told["seeds"][0]["best_round"] = 1
        told["seeds"][1]["run_id"] = "0" * 16
        told["seeds"][1]["rounds"]["sparsity"][1] = 0.5

    message = changed(row, change)
    for says in ("seeds.0.best_round", "seeds.1.run_id", "seeds.1.rounds.sparsity.1"):
        assert says in message


@pytest.mark.parametrize("fraction", [0.0, 1.0, 1, "0.2", None])
def test_a_pruners_fraction_is_one(make: Callable[..., Any], boards: Path, fraction: Any) -> None:
    run = make(config(pruner=part("magnitude", fraction=0.2)))
    wrong = config(pruner=part("magnitude", fraction=fraction))
    with pytest.raises(UsageError, match=r"method\.pruner\.params\.fraction"):
        row_of(run, wrong)


def test_two_seeds_cannot_change_places(row: Path) -> None:
    def change(told: Row) -> None:
        first, second = told["seeds"]
        first["run_id"], second["run_id"] = second["run_id"], first["run_id"]

    assert "seeds.0.run_id" in changed(row, change)


@pytest.mark.parametrize(
    ("stop", "curve", "stopped_by", "says"),
    [
        (PATIENT, (0.7, 0.6), "patience", None),
        (
            PATIENT,
            (0.7, 0.6, 0.65),
            "patience",
            "ends the run in round 1",
        ),
        (PATIENT, (0.7, 0.75), "patience", "stopped_by: 'patience'"),
        (PATIENT, DIP[::-1][:1] + DIP[3:4], "nothing-left", None),
        ({**part("patience"), "version": 1}, (0.7, 0.75), "patience", None),
        (part("mine"), (0.7, 0.75), "mine", None),
        (part("mine"), (0.7, 0.75), "yours", "stopped_by: 'yours'"),
        (stop_rule("target", sparsity=0.35), (0.7, 0.6, 0.6), "target", None),
        (
            stop_rule("target", sparsity=0.35),
            (0.7, 0.6, 0.6, 0.6),
            "target",
            "ends the run in round 2",
        ),
        (part("never"), DIP, "never", "stopped_by: 'never'"),
        (part("never"), (*DIP, 0.5), "rounds", "5 prunings, but the method allows 4"),
    ],
)
def test_a_run_ends_where_its_method_ends_it(
    make: Callable[..., Any],
    boards: Path,
    stop: Any,
    curve: Any,
    stopped_by: str,
    says: str | None,
) -> None:
    run = make(config(stop=stop), curve, stopped_by=stopped_by)
    if says is None:
        submit([run], boards)
        return
    with pytest.raises(UsageError) as error:
        submit([run], boards)
    assert says in str(error.value)
    assert str(run.path) in str(error.value)


@pytest.mark.parametrize(
    ("curve", "stopped_by", "says"),
    [
        (DIP[:4], "target-sparsity", None),
        (DIP[:3], "target-sparsity", "by its rounds nothing-left"),
        (DIP, "target-sparsity", "went on beyond the target sparsity of 0.4"),
    ],
)
def test_a_target_sparsity_ends_a_run(
    make: Callable[..., Any], boards: Path, curve: Any, stopped_by: str, says: str | None
) -> None:
    target = config(rounds=None, target_sparsity=0.4)
    run = make(target, curve, stopped_by=stopped_by)
    if says is None:
        assert submit([run], boards)
        return
    with pytest.raises(UsageError, match=says):
        submit([run], boards)


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("fraction", [0.2, 0.35, 0.9])
def test_the_pruners_own_counts_are_right_to_the_last_weight(
    make: Callable[..., Any], boards: Path, scope: Any, fraction: float
) -> None:
    draw = torch.Generator().manual_seed(0)
    sizes = {"a": 61, "b": 7, "c": 1}
    masks = Masks({name: torch.ones(size, dtype=torch.bool) for name, size in sizes.items()})
    counts = [masks.nonzero]
    with contextlib.suppress(NothingLeft):
        while True:
            scores = {name: torch.rand(size, generator=draw) for name, size in sizes.items()}
            masks = prune_by_scores(scores, masks, fraction, scope)
            counts.append(masks.nonzero)
    assert counts[-1] == len(sizes)
    pruner = part("magnitude", fraction=fraction, scope=scope)
    many = config(pruner=pruner, rounds=len(counts) - 1)
    run = make(many, [0.5] * len(counts), stopped_by="rounds")
    rows = [
        {
            **json.loads(line),
            "nonzero": count,
            "sparsity": 1 - count / counts[0],
            "sparsity_per_layer": dict.fromkeys(sizes, 0.5),
            "macs_dense": counts[0],
            "macs_effective": count,
        }
        for line, count in zip((run.path / "rounds.jsonl").read_text().splitlines(), counts)
    ]
    write_lines(run.path / "rounds.jsonl", rows)
    (path,) = submit([rehash(run.path)], boards)
    row = read_row(path)
    assert list(row.seeds[0].rounds.nonzero) == counts
    if scope == "global":
        row.seeds[0].rounds.nonzero[-1] -= 1  # pydantic freezes names, not lists
        assert any("nonzero" in text for text in problems(row))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=50))
def test_bits_are_those_of_numpy(right: list[bool]) -> None:
    assert count_bits(packed(right), len(right)) == sum(right)
    assert count_bits(packed(right), len(right) + 8) is None
    assert count_bits(packed([*right, True]), len(right)) is None


def test_no_images_have_no_bits() -> None:
    assert count_bits(None, 0) == 0
    assert count_bits("", 0) is None
    assert count_bits(packed([1] * 8 + [0] * 8), 8) is None
    assert count_bits(None, 1) is None


# -- configurations


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (config(0), config(7)),
        (config(0, data_seed=3), config(7, data_seed=3)),
        (config(0, [kd(0)]), config(7, [kd(7)])),
        (config(0, [kd(5)]), config(7, [kd(5)])),
        (config(0, [kd(0, data_seed=3)]), config(7, [kd(7, data_seed=3)])),
        (
            config(0, [kd(0, data_seed=3)], data_seed=3),
            config(7, [kd(7, data_seed=3)], data_seed=3),
        ),
        (
            config(0, [part("l1", weight=1.0), kd(0, regularizers=[kd(0, "dense", rounds=2)])]),
            config(7, [part("l1", weight=1.0), kd(7, regularizers=[kd(7, "dense", rounds=2)])]),
        ),
    ],
)
def test_the_configuration_of_one_seed_gives_all(first: RunConfig, second: RunConfig) -> None:
    found = reseeded(first, 7)
    assert found.run_id == second.run_id
    assert teacher_ids(found) == teacher_ids(second)
    assert reseeded(found, 0) == first
    again = RunConfig.model_validate(json.loads(json.dumps(whole(found))))
    assert again.run_id == second.run_id
    assert whole(again) == whole(found)


def test_where_data_lie_stays_at_home(make: Callable[..., Any], boards: Path) -> None:
    folder = {**part("imagefolder", path="/home/someone/photos"), "places": ["path"]}
    student = config(0, [kd(0, dataset=folder)], dataset=folder)
    student = student.model_copy(update={"metrics": ("calibration",)})
    (path,) = submit([make(student)], boards)
    assert "someone" not in path.read_text()
    assert "calibration" not in path.read_text()
    assert read_row(path).seeds[0].run_id == student.run_id


def test_later_options_leave_the_bytes_of_rows_as_they_are(
    make: Callable[..., Any], boards: Path
) -> None:
    (path,) = submit([make(config(0, [kd(0)]))], boards)
    assert "redense" not in path.read_text()
    (path,) = submit([make(config(0, redense_epochs=3))], boards)
    assert path.read_text().count("redense_epochs") == 2  # of the method, of the configuration


# -- hostile files


def hostile(folder: Path) -> dict[str, str]:
    """Write what is no row; return what must be said of each."""
    deep = '{"schema": ' + "[" * 3000 + "]" * 3000 + "}"
    texts: dict[str, tuple[bytes, str]] = {
        "digits.json": (b'{"schema": ' + b"9" * 5000 + b"}", "JSON"),
        "nan.json": (b'{"schema": NaN}', "NaN"),
        "utf.json": (b'{"schema": "\xff\xfe"}', "UTF-8"),
        "deep.json": (deep.encode(), "nested too deeply"),
        "list.json": (b"[2]", ""),
        "empty.json": (b"", "JSON"),
        "key.json": (b'{"schema": 2, "\\u001b[31m\\u202e": 1}', "\\x1b[31m\\u202e"),
        "half.json": (b'{"schema": 2, "track": "\\ud800"}', "half a character"),
        "twice.json": (b'{"schema": 3, "schema": 1}', ""),
    }
    for name, (data, _) in texts.items():
        (folder / name).write_bytes(data)
    (folder / "folder.json").mkdir()
    os.mkfifo(folder / "pipe.json")
    (folder / "link.json").symlink_to(folder / "list.json")
    (folder / "nowhere.json").symlink_to(folder / "not-there")
    says = {name: words for name, (_, words) in texts.items()}
    kinds = {"folder.json": "file", "pipe.json": "file", "link.json": "link"}
    return says | kinds | {"nowhere.json": "link"}


def test_every_bad_file_is_named_and_hides_no_other(row: Path, boards: Path) -> None:
    write(boards)
    other = boards / "other" / "rows"
    other.mkdir(parents=True)
    says = hostile(other)
    (boards / "linked").symlink_to(other.parent)
    (boards / row.parent.parent.name / "README.md").write_text("old")
    found = check(boards)
    for name, words in says.items():
        assert any(f"{name}:" in line and words in line for line in found), name
    assert any("linked" in line and "link" in line for line in found)
    assert any("README.md: differs" in line for line in found)
    assert len(found) == len(says) + 2
    assert not any(character in "\x1b\u202e\ud800" for line in found for character in line)
    with pytest.raises(UsageError) as error:
        write(boards)
    assert all(name in str(error.value) for name in says)
    assert (boards / row.parent.parent.name / "README.md").read_text() == "old"


def test_a_folder_that_cannot_be_listed_is_named(
    boards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def listed(path: Path) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    boards.mkdir()
    monkeypatch.setattr(Path, "iterdir", listed)
    assert check(boards) == [f"{boards}: cannot be listed: Permission denied"]


def test_a_board_that_is_a_pipe_or_a_link_is_not_waited_for(row: Path, boards: Path) -> None:
    index, board, *_ = sorted(write(boards), key=lambda path: (len(path.parts), path.name))
    index.unlink()
    os.mkfifo(index)
    outside = boards.parent / "outside"
    outside.write_text(board.read_text())
    board.unlink()
    board.symlink_to(outside)
    assert ["differs" in line for line in check(boards)] == [True, True]
    assert len(write(boards)) == 2
    assert not board.is_symlink()
    assert check(boards) == []


def test_submit_follows_no_link_out_of_its_folder(
    make: Callable[..., Any], boards: Path, tmp_path: Path
) -> None:
    run = make()
    (path,) = submit([run], boards)
    outside = tmp_path / "outside"
    shutil.copytree(path.parent, outside)
    before = (outside / path.name).read_bytes()
    shutil.rmtree(path.parent)
    path.parent.symlink_to(outside)
    with pytest.raises(UsageError, match="link"):
        submit([make(config(1))], boards)
    assert (outside / path.name).read_bytes() == before


def test_rows_beside_each_other_have_the_same_images(
    make: Callable[..., Any], boards: Path
) -> None:
    submit([make(config(0))], boards)
    submit([make(config(0, [part("l1")]), images=200)], boards)
    (problem,) = [text for text in check(boards) if "sample" in text]
    assert "rows/magnitude-l1-" in problem


def test_a_row_that_cannot_be_shown_is_named(
    row: Path, boards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def board(rows: Any) -> str:
        raise OverflowError("too large")

    monkeypatch.setattr("dsd_bench.boards.check.board", board)
    assert check(boards) == [f"{row}: cannot be shown: OverflowError: too large"]


def test_a_row_of_too_many_rounds_is_refused(row: Path) -> None:
    def change(told: Row) -> None:
        rounds = told["seeds"][0]["rounds"]
        told["seeds"][0]["rounds"] = {key: values * 1000 for key, values in rounds.items()}

    assert "5,000 rounds" in changed(row, change)


# -- rows of the first release


def test_the_first_releases_rows_are_read_and_marked(old_row: Path) -> None:
    row, boards = read_row(old_row), old_row.parents[2]
    assert not isinstance(row, CheckedRow)
    (board,) = [at for at in write(boards) if at.parent != boards and at.name == "README.md"]
    text = board.read_text()
    assert f"](rows/{old_row.name})§ |" in text
    assert "§ schema 1: made by the first release; its run ids, counts and bits" in text


@pytest.fixture
def old_row(make: Callable[..., Any], tmp_path: Path) -> Path:
    """A row as the first release wrote it, in a folder of boards of its own."""
    (path,) = submit([make(config(seed)) for seed in (0, 1)], tmp_path / "new")
    told = json.loads(path.read_text())
    told["schema"] = 1
    del told["config"], told["mixed"], told["tried"]
    for entry in told["seeds"]:
        for key in ("samples", "layers", "correct", "code"):
            del entry[key]
    old: Path = tmp_path / "boards" / path.relative_to(tmp_path / "new")
    old.parent.mkdir(parents=True)
    old.write_text(json.dumps(told, sort_keys=True, indent=1) + "\n")
    shutil.rmtree(tmp_path / "new")
    return old


def test_what_can_be_checked_of_old_rows_is(old_row: Path) -> None:
    assert "nonzero.2" in changed(old_row, at("rounds", "nonzero", 2, to=650))


def test_an_old_row_is_only_replaced_as_a_whole(make: Callable[..., Any], old_row: Path) -> None:
    boards, before = old_row.parents[2], old_row.read_bytes()
    runs = [make(config(seed)) for seed in (0, 1, 2)]
    for given_, replace in (([runs[2]], True), ([runs[0]], True), (runs, False)):
        with pytest.raises(UsageError, match=r"is of schema 1.*\(0-1\) with --replace"):
            submit(given_, boards, replace)
        assert old_row.read_bytes() == before
    submit(runs, boards, replace=True)
    row = read_row(old_row)
    assert isinstance(row, CheckedRow)
    assert [entry.seed for entry in row.seeds] == [0, 1, 2]


def test_an_outcome_beside_an_old_row_goes_with_it(make: Callable[..., Any], old_row: Path) -> None:
    """Nobody can have run it again, so the file is about nothing."""
    outcome = old_row.parent.parent / "verified" / old_row.name
    outcome.parent.mkdir()
    outcome.write_text("{}")
    submit([make(config(seed)) for seed in (0, 1)], old_row.parents[2], replace=True)
    assert isinstance(read_row(old_row), CheckedRow)
    assert not outcome.exists()


# -- other results, other conditions


def test_a_seed_of_another_machine_replaces_nothing_without_leave(
    make: Callable[..., Any], boards: Path
) -> None:
    (path,) = submit([make(config(seed)) for seed in range(3)], boards)
    before = path.read_bytes()
    mine = make(config(1), DIP[::-1], plan=[plan(chip="AVX512", torch="2.16.0")])
    for leave in ({}, {"mixed": True}):
        with pytest.raises(UsageError) as error:
            submit([mine], boards, **leave)
        message = str(error.value)
        assert f"{path}: has other results for seed 1 already" in message
        assert 'chip: "AVX512", not "AVX2"; torch: "2.16.0", not "2.15.0"' in message
        assert "--replace" in message
        assert "--dir" in message
        assert path.read_bytes() == before


def test_other_numbers_under_the_same_conditions_need_leave_too(
    make: Callable[..., Any], boards: Path
) -> None:
    submit([make(config(0))], boards)
    with pytest.raises(UsageError, match=r"seed 0 already \(other numbers\)"):
        submit([make(config(0), DIP[::-1])], boards)


@pytest.mark.parametrize(
    ("other", "names"),
    [
        ({"plan": [plan(chip="AVX512")]}, ["chip"]),
        ({"plan": [plan(numerics=2)]}, ["numerics"]),
        ({"plan": [plan(), plan(from_round=2, torch="2.16.0")]}, ["torch"]),
        ({"plan": [plan(micro_batch=8)]}, ["micro_batch"]),
        ({"hardware": {"cpu": "another", "cores": 2, "gpu": None}}, ["cpu"]),
        ({"hardware": {"cpu": "a chip", "cores": 64, "gpu": "A100"}}, ["gpu"]),
        ({"provenance": [code(mine="a")]}, ["plugins"]),
    ],
)
def test_seeds_of_other_conditions_form_one_row_only_if_it_says_so(
    make: Callable[..., Any], boards: Path, other: Any, names: list[str]
) -> None:
    runs = [make(config(0)), make(config(1)), make(config(2), **other)]
    with pytest.raises(UsageError) as error:
        submit(runs, boards)
    assert f"not computed under the same conditions ({', '.join(names)})" in str(error.value)
    assert "seed 2" in str(error.value)
    assert not boards.exists()
    submit(runs[:2], boards)
    with pytest.raises(UsageError, match="--mixed"):
        submit(runs[2:], boards)
    (path,) = submit(runs[2:], boards, mixed=True)
    row = read_row(path)
    assert isinstance(row, CheckedRow)
    assert row.mixed == names
    (board,) = [at for at in write(boards) if at.parent != boards and at.name == "README.md"]
    assert f"({path.parent.name}/{path.name})¶ |" in board.read_text()
    assert f"mixed: {', '.join(names)} differ among its seeds" in board.read_text()
    submit([make(config(3), **other)], boards)  # the row says so already


@pytest.mark.parametrize(
    "other",
    [
        {"hardware": {"cpu": "a chip", "cores": 64, "gpu": None}},
        {"versions": {"dsd-bench": "0.2.0", "torch": "2.15.0", "python": "3.13"}},
        {"provenance": [code(), {**code(), "round": 2, "versions": {"dsd-bench": "0.2.0"}}]},
    ],
)
def test_what_changes_no_number_mixes_nothing(
    make: Callable[..., Any], boards: Path, other: Any
) -> None:
    (path,) = submit([make(config(0)), make(config(1), **other)], boards)
    assert json.loads(path.read_text())["mixed"] == []


def test_a_run_that_changed_machines_is_mixed_by_itself(
    make: Callable[..., Any], boards: Path
) -> None:
    run = make(plan=[plan(), plan(from_round=2, chip="AVX512")])
    with pytest.raises(UsageError, match=r"seed 0 changed them on the way"):
        submit([run], boards)
    (path,) = submit([run], boards, mixed=True)
    assert json.loads(path.read_text())["mixed"] == ["chip"]


def test_a_run_without_label_noise_and_without_validation(
    make: Callable[..., Any], boards: Path
) -> None:
    clean = config(noise=part("none"), selection="test")
    run = make(clean, label_noise={"rate": 0.0, "matrix": []}, samples=SAMPLES | {"val": 0})
    lines = [json.loads(line) for line in (run.path / "rounds.jsonl").read_text().splitlines()]
    absent = dict.fromkeys(("train_accuracy_noisy", "val_accuracy", "val_loss"))
    whole_ = {"train_accuracy": 0.95}
    write_lines(run.path / "rounds.jsonl", [{**line, **absent, **whole_} for line in lines])
    right = [json.loads(line) for line in (run.path / "correct.jsonl").read_text().splitlines()]
    write_lines(run.path / "correct.jsonl", [{**line, "val": None} for line in right])
    (path,) = submit([rehash(run.path)], boards)
    (entry,) = json.loads(path.read_text())["seeds"]
    assert entry["samples"] == SAMPLES | {"val": 0, "noisy": 0}
    assert entry["correct"]["selected"]["val"] is None


def test_plans_may_begin_in_one_round_and_in_the_last(
    make: Callable[..., Any], boards: Path
) -> None:
    late = [plan(), plan(threads=2), plan(from_round=4, chip="AVX512")]
    (path,) = submit([make(plan=late)], boards, mixed=True)
    assert "plan: begins in" in changed(path, at("plan", 2, "from_round", to=5))


def test_plans_from_before_numerics_have_the_first(make: Callable[..., Any], boards: Path) -> None:
    old = {key: value for key, value in plan().items() if key != "numerics"}
    (path,) = submit([make(config(0), plan=[old]), make(config(1))], boards)
    (entry, _) = json.loads(path.read_text())["seeds"]
    assert entry["plan"] == [plan()]


# -- what a row is made from


def test_a_file_that_changed_after_the_run_is_refused(
    make: Callable[..., Any], boards: Path
) -> None:
    for name in ("rounds.jsonl", "correct.jsonl", "config.json"):
        run = make()
        path = run.path / name
        whole_ = path.read_text()
        for damage in (lambda: path.write_text(whole_ + " \n"), path.unlink):  # noqa: B023
            damage()
            with pytest.raises(UsageError, match=rf"{name}: is not what the run wrote"):
                submit([run], boards)
    assert not boards.exists()


def test_a_run_of_an_older_version_is_told_what_to_do(
    make: Callable[..., Any], boards: Path
) -> None:
    run = make()
    result = json.loads((run.path / "result.json").read_text())
    del result["sha256"]
    run.result.clear()
    run.result.update(result)
    with pytest.raises(UsageError, match=r"made by an older version.* again with --force"):
        submit([run], boards)


def test_bits_and_code_of_a_run_must_be_whole(make: Callable[..., Any], boards: Path) -> None:
    run = make()
    lines = (run.path / "correct.jsonl").read_text().splitlines(keepends=True)
    (run.path / "correct.jsonl").write_text("".join(lines[:-1]))
    with pytest.raises(UsageError, match=r"correct\.jsonl: has not one line for each round"):
        submit([rehash(run.path)], boards)
    run = make()
    (run.path / "provenance.jsonl").unlink()
    with pytest.raises(UsageError, match="code"):
        submit([run], boards)


def test_a_row_holds_counts_bits_and_code(make: Callable[..., Any], boards: Path) -> None:
    run = make(provenance=[code(mine="a"), {**code(mine="b"), "round": 3}])
    with pytest.raises(UsageError, match="plugins"):
        submit([run], boards)
    (path,) = submit([run], boards, mixed=True)
    (entry,) = json.loads(path.read_text())["seeds"]
    assert entry["samples"] == {"train": 1000, "val": 100, "test": 100, "noisy": 400}
    lines = [json.loads(line) for line in (run.path / "correct.jsonl").read_text().splitlines()]
    expected = {name: lines[place] for name, place in (("dense", 0), ("selected", 3))}
    assert entry["correct"] == {
        name: {key: line[key] for key in ("val", "test")} for name, line in expected.items()
    }
    assert [part["plugins"]["mine"]["sha256"][0] for part in entry["code"]] == ["a", "b"]
    assert parse(path.read_text(), "") == read_row(path)
    assert path == boards / row_path(read_row(path))


# -- marks


@pytest.mark.parametrize(
    ("changes", "mark"),
    [
        ({"perturber": part("reinit")}, "‡"),
        ({"perturber": part("rewind", step=0)}, "‡"),
        ({"perturber": part("reinit"), "retrain_epochs": 200}, ""),
        ({"perturber": part("none")}, ""),
        ({"perturber": part("mine")}, "(‡)"),
        ({"pruner": part("mine") | {"at_initialisation": True}}, "‡"),
    ],
)
def test_methods_that_stop_early_are_marked(
    make: Callable[..., Any], boards: Path, changes: Any, mark: str
) -> None:
    (path,) = submit([make(config(**changes))], boards)
    index, board, *_ = sorted(write(boards), key=lambda path: (len(path.parts), path.name))
    assert f"](rows/{path.name}){mark} |" in board.read_text()
    assert f"\n- {mark} " in board.read_text() or not mark
    assert ("‡" in board.read_text()) == bool(mark)
    assert ("‡" in index.read_text()) == bool(mark)


@pytest.mark.parametrize(
    ("regularizers", "fit", "says"),
    [
        ([], 0.98, "fits 98.0 % of its labels: it interpolates"),
        ([], 0.90, "network fits 90.0 % of its labels, under 97: it does not interpolate"),
        ([part("l1")], 0.98, "interpolates is unknown: no run without regularizers"),
    ],
)
def test_a_board_says_whether_its_dense_network_interpolates(
    make: Callable[..., Any], boards: Path, regularizers: Any, fit: float, says: str
) -> None:
    run = make(config(0, regularizers))
    lines = [json.loads(line) for line in (run.path / "rounds.jsonl").read_text().splitlines()]
    parts = {"train_accuracy": fit, "train_accuracy_clean": 1.0}
    lines[0] |= {**parts, "train_accuracy_noisy": round(fit * 1000 - 600) / 400}
    write_lines(run.path / "rounds.jsonl", lines)
    submit([rehash(run.path)], boards)
    (board,) = [at for at in write(boards) if at.parent != boards and at.name == "README.md"]
    assert says in board.read_text()


def test_the_shipped_rows_hold() -> None:
    paths = sorted(SHIPPED.glob("*/rows/*.json"))
    assert paths
    assert all(read_row(path) for path in paths)

"""Readers meet files that anyone may have written: one line with the file's name, exit 2."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fakes import row

from dsd_bench import load_runs
from dsd_bench.errors import DamagedFile, UsageError
from dsd_bench.store.checkpoint import Checkpoint
from dsd_bench.store.folder import CHECKPOINT, RunFolder
from dsd_bench.store.reading import large, parse_object, read_json, read_rows, read_toml
from dsd_bench.store.runs import StoredRun, load_run
from dsd_bench.store.tensors import read_tensors, write_tensors

Command = Callable[..., tuple[int, str, str]]
Spoil = Callable[[Path], None]

DEEP = "[" * 100_000 + "]" * 100_000
SHALLOW = "[" * 200 + "]" * 200
BAD_JSON = {
    "empty": "",
    "cut": '{"a": 1',
    "list": "[1]",
    "number": "3",
    "null": "null",
    "nan": '{"a": NaN}',
    "infinity": '{"a": -Infinity}',
    "overflow": '{"a": 1e999}',
    "400 digits": f'{{"a": 1{"0" * 400}}}',
    "5,000 digits": f'{{"a": -{"9" * 5000}}}',
    "twice": '{"a": 1, "a": 2}',
    "twice inside": '{"b": [{"a": 1, "a": 2}]}',
    "deep": f'{{"a": {DEEP}}}',
    "deep for us": f'{{"a": {SHALLOW}}}',
    "deep objects": '{"a": ' * 5000 + "1" + "}" * 5000,
    "rest": '{"a": 1} {"b": 2}',
    "bom": '\ufeff{"a": 1}',
}
"""No file of JSON may hold these."""


LONG = {
    "digits in a text": f'{{"a": "{"1" * 500_000}x"}}',
    "a key twice among many": "{" + "".join(f'"{n}": 1, ' for n in range(200_000)) + '"7": 1}',
}
"""Texts at which a look that is not linear takes minutes."""


@pytest.mark.parametrize("text", LONG.values(), ids=LONG.keys())
def test_long_texts_are_read_at_once(text: str) -> None:
    began = time.perf_counter()
    with suppress(ValueError):
        parse_object(text)
    large(text, 20, 3)
    assert time.perf_counter() - began < 10


def test_a_key_that_is_there_twice_stays_on_its_line() -> None:
    with pytest.raises(ValueError, match=r"the key '\\n::x::\\x1b' is there twice"):
        parse_object('{"\\n::x::\\u001b": 1, "\\n::x::\\u001b": 2}')


@pytest.mark.parametrize("text", BAD_JSON.values(), ids=BAD_JSON.keys())
def test_no_such_json(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_object(text)
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"a\.json"):
        read_json(path)
    path.write_text(f'{{"a": 1}}\n{text}\n{{"a": 1}}\n')
    with pytest.raises(UsageError, match=r"a\.json:2: "):
        read_rows(path)


def test_what_is_allowed_is_read_as_it_is(tmp_path: Path) -> None:
    value = {
        "a": [1, -1.5, None, True, "\u2028\x0b[{", {}],
        "b": 2**63 - 1,
        "c": -(2**63),
        "d": 1e308,
    }
    path = tmp_path / "a.json"
    path.write_text(json.dumps(value, ensure_ascii=False))
    assert read_json(path) == value
    del value["d"]
    path.write_text("\n".join([json.dumps(value, ensure_ascii=False)] * 3) + "\n")
    assert read_rows(path) == [value] * 3  # a line separator in a text ends no line
    assert parse_object('{"a": "' + "[" * 1000 + '"}') == {"a": "[" * 1000}


def test_numbers_in_rows_can_be_summed(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"x": 1e308}\n')
    with pytest.raises(UsageError, match=r"a\.jsonl:1: .*1e308"):
        read_rows(tmp_path / "a.jsonl")


BAD_TOML = {
    "cut": "a = ",
    "deep": f"a = {DEEP}",
    "deep for us": f"a = {SHALLOW}",
    "400 digits": f"a = 1{'0' * 400}",
    "5,000 digits": f"a = {'9' * 5000}",
    "hexadecimal": f"a = 0x{'f' * 400}",
    "date": "a = 2026-13-45",
}


@pytest.mark.parametrize("text", BAD_TOML.values(), ids=BAD_TOML.keys())
def test_toml_names_its_file(text: str, tmp_path: Path, command: Command) -> None:
    path = tmp_path / "a.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"a\.toml"):
        read_toml(path)
    for words in (["run", "--config", "a.toml"], ["table", "a.toml"], ["sweep", "a.toml"]):
        refused(command, words, "a.toml")


SOON = 5.0
"""Seconds of the processor that it takes at most to refuse a file, imports included."""


def fifo(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


def endless(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/zero")


def loop(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(path.name)


def bad_text(path: Path) -> None:
    path.write_bytes(b'{"a": "\xff\xfe"}')


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(10**12)  # a hole: it takes no room


NO_FILES: tuple[Spoil, ...] = (fifo, folder, endless, loop, bad_text, huge)


@pytest.mark.parametrize("spoil", NO_FILES)
def test_what_is_no_file_of_text(spoil: Spoil, tmp_path: Path) -> None:
    for name, read in (("a.json", read_json), ("b.jsonl", read_rows), ("c.toml", read_toml)):
        path = tmp_path / name
        path.write_text("{}")
        spoil(path)
        began = time.process_time()
        with pytest.raises(UsageError, match=name):
            read(path)
        assert time.process_time() - began < SOON


# --- run folders ------------------------------------------------------------------------------

VIEWS = (
    ["show", "RUN"],
    ["show", "--csv", "RUN"],
    ["analyze", "RUN"],
    ["analyze", "--json", "RUN"],
    ["ledger", "RUN"],
    ["replay", "RUN", "--stop", "patience"],
    ["submit", "RUN"],
)


@pytest.fixture
def run_id(plain: StoredRun, command: Command) -> str:
    """Copy the tiny run into ./runs, without hashes, as the first release left runs behind."""
    hashed(plain)
    path = Path("runs") / plain.run_id / "result.json"
    result = json.loads(path.read_text())
    result.pop("sha256", None)
    path.write_text(json.dumps(result))
    return plain.run_id


def hashed(plain: StoredRun) -> Path:
    """Copy the tiny run into ./runs as it is."""
    return Path(shutil.copytree(plain.path, Path("runs") / plain.run_id))


def refused(command: Command, words: list[str], name: str) -> None:
    began = time.process_time()
    code, out, err = command(*words)
    assert (code, out) == (2, ""), (words, err)
    assert name in err, words
    assert err.startswith("error: "), words
    assert err.count("\n") == 1, words
    assert len(err) < 600, words
    assert time.process_time() - began < SOON, words


def views(command: Command, run_id: str, name: str) -> None:
    """Every reading command refuses the run and names the file."""
    for words in VIEWS:
        refused(command, [run_id if word == "RUN" else word for word in words], name)
    with pytest.raises(UsageError, match=name):
        load_runs("runs")


def test_the_run_is_a_good_one(plain: StoredRun, command: Command) -> None:
    run_id = hashed(plain).name
    for words in VIEWS:
        code, out, err = command(*[run_id if word == "RUN" else word for word in words])
        assert code == 0, (words, err)
        assert out
    assert len(load_runs("runs")) == 3


@pytest.mark.parametrize("spoil", NO_FILES)
@pytest.mark.parametrize("name", ["config.json", "rounds.jsonl", "result.json"])
def test_no_file_of_a_run(name: str, spoil: Spoil, run_id: str, command: Command) -> None:
    if spoil is loop and name == "result.json":
        return  # a name that leads nowhere is no file: the run is unfinished
    spoil(Path("runs") / run_id / name)
    views(command, run_id, name)


@pytest.mark.parametrize("spoil", NO_FILES)
@pytest.mark.parametrize("name", ["rounds.jsonl", "correct.jsonl"])
def test_no_file_of_a_run_with_hashes(
    name: str, spoil: Spoil, plain: StoredRun, command: Command
) -> None:
    path = hashed(plain)
    assert name in json.loads((path / "result.json").read_text())["sha256"]
    spoil(path / name)
    views(command, plain.run_id, name)


@pytest.mark.parametrize("text", BAD_JSON.values(), ids=BAD_JSON.keys())
@pytest.mark.parametrize("name", ["config.json", "rounds.jsonl", "result.json"])
def test_no_json_in_a_run(name: str, text: str, run_id: str, plain: StoredRun) -> None:
    path = Path("runs") / run_id / name
    path.write_text(text + "\n")
    with pytest.raises(UsageError, match=name):
        load_run(path.parent)


def edits(value: dict[str, Any], keys: set[str]) -> list[tuple[str, dict[str, Any]]]:
    """Return copies of ``value``, each with one of ``keys`` gone or of another type."""
    made = []
    for key in sorted(keys):
        made.append((f"no {key}", {k: v for k, v in value.items() if k != key}))
        for wrong in ("x", [[]], True, -1, 1e300, {"\x1b": {}}):
            if type(wrong) is not type(value[key]) and not (
                isinstance(value[key], int | float) and wrong == 1e300 and "loss" in key
            ):
                made.append((f"{key}={wrong!r}", value | {key: wrong}))
    return made


def test_a_row_with_a_key_missing_or_of_another_type(run_id: str, command: Command) -> None:
    path = Path("runs") / run_id / "rounds.jsonl"
    lines = path.read_text().splitlines()
    good = json.loads(lines[1])
    for what, bad in edits(good, set(good)):
        path.write_text("\n".join([lines[0], json.dumps(bad), lines[2]]))
        with pytest.raises(UsageError, match=r"rounds\.jsonl:2: ") as caught:
            load_run(path.parent)
        assert len(str(caught.value).splitlines()) == 1, what
    views(command, run_id, "rounds.jsonl:2: ")


@pytest.mark.parametrize(
    "change",
    [
        {"test_accuracy": 1.0001},
        {"val_accuracy": -1e-9},
        {"train_accuracy": 1e99},
        {"sparsity": 2},
        {"entropy": 1.1},
        {"entropy_per_layer": [0.5, -0.5]},
        {"sparsity_per_layer": {"0.weight": 7}},
        {"train_loss": -1},
        {"nonzero": -1},
        {"nonzero": 0.5},
        {"round": 2},
        {"round": 0},
        {"round": True},
    ],
)
def test_a_row_out_of_range(change: dict[str, Any], run_id: str, command: Command) -> None:
    path = Path("runs") / run_id / "rounds.jsonl"
    lines = path.read_text().splitlines()
    lines[1] = json.dumps(json.loads(lines[1]) | change)
    path.write_text("\n".join(lines))
    refused(command, ["show", run_id], f"rounds.jsonl:2: {next(iter(change))}")


def test_a_teacher_whose_name_is_gone(run_id: str, command: Command) -> None:
    path = Path("runs") / run_id / "config.json"
    config = json.loads(path.read_text())
    teacher = {"run_id": run_id, "weights": "best", "config": dict(config)}
    for key in ("run_id", "curve_id", "schema"):
        del teacher["config"][key]  # type: ignore[attr-defined]
    config["regularizers"] = [{"name": "kd", "version": 1, "params": {}, "teacher": teacher}]
    path.write_text(json.dumps(config))
    for words in (["ledger", run_id], ["replay", run_id, "--stop", "never"], ["submit", run_id]):
        refused(command, words, "config.json: its run_id is")


@pytest.mark.parametrize("name", ["config.json", "result.json"])
def test_a_key_missing_or_of_another_type(name: str, run_id: str, command: Command) -> None:
    path = Path("runs") / run_id / name
    good = json.loads(path.read_text())
    needed = {
        "config.json": set(good),
        "result.json": {"run_id", "status", "best_round"},
    }[name]
    for what, bad in edits(good, needed):
        path.write_text(json.dumps(bad))
        if name == "config.json" and what in ("no metrics",):
            continue
        with pytest.raises(UsageError, match=name):
            load_run(path.parent)
    path.write_text(json.dumps(good | {"run_id": 3}))
    views(command, run_id, name)


def test_a_best_round_that_is_not_there(run_id: str, command: Command) -> None:
    path = Path("runs") / run_id / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"best_round": 3}))
    views(command, run_id, "result.json")


def test_configurations_nested_in_teachers_are_bounded(run_id: str, command: Command) -> None:
    path = Path("runs") / run_id / "config.json"
    config = json.loads(path.read_text())
    part = {"name": "kd", "version": 1, "params": {}}
    for _ in range(30):
        teacher = {"run_id": "0" * 16, "weights": "best", "config": dict(config)}
        config["regularizers"] = [part | {"teacher": teacher}]
    path.write_text(json.dumps(config))
    views(command, run_id, "config.json")


def test_a_hundred_thousand_rows(run_id: str, command: Command) -> None:
    path = Path("runs") / run_id / "rounds.jsonl"
    good = json.loads(path.read_text().splitlines()[0])
    line = json.dumps(good)
    path.write_text(f"{line}\n" * 100_000)
    refused(command, ["show", run_id], "rounds.jsonl")


def test_text_of_a_run_steers_nothing(run_id: str, command: Command) -> None:
    """Names, parameters and reasons are whatever a plugin or a file says."""
    path = Path("runs") / run_id
    bad = "\x1b]0;x\x07\u202e[red]a[/]\x9b2J\n\r"
    config = json.loads((path / "config.json").read_text())
    for kind in ("model", "dataset", "noise", "pruner", "perturber", "stop"):
        config[kind] = {"name": bad, "version": 1, "params": {bad: bad}}
    (path / "config.json").write_text(json.dumps(config))
    (path / "failure.json").write_text(json.dumps({"error": bad}))
    rows = [json.loads(line) | {bad: bad} for line in (path / "rounds.jsonl").open()]
    (path / "rounds.jsonl").write_text("\n".join(map(json.dumps, rows)))
    result = json.loads((path / "result.json").read_text())
    result |= {"stopped_by": bad, "reason": bad, "status": bad}
    (path / "result.json").write_text(json.dumps(result))
    for words in VIEWS:
        _, out, err = command(*[run_id if word == "RUN" else word for word in words])
        assert not set(out + err) & set("\x1b\x07\u202e\x9b\r"), words


# --- what is mere information, and checkpoints -------------------------------------------------


@pytest.mark.parametrize("text", ["{", '{"round": "x"}\n', '{"round": null}\n', "\ud800", "3\n"])
def test_damaged_timings_stop_no_run(text: str, tmp_path: Path) -> None:
    (tmp_path / "timings.jsonl").write_bytes(text.encode(errors="surrogatepass"))
    RunFolder(tmp_path).add_timing({"round": 0, "seconds": 1.0})
    assert read_rows(tmp_path / "timings.jsonl") == [{"round": 0, "seconds": 1.0}]


GOOD = Checkpoint((row(0),), 1, False, {}, {}, (), ("dense",)).state()


@pytest.mark.parametrize(
    "change",
    [
        *({key: wrong} for key in GOOD for wrong in (None, "x", 1.5, {"x": 1}, [3])),
        {"rows": [{"round": 0}]},
        {"rows": [row(1)]},
        {"rows": [row(0, metrics={"../../x": {"v": 1}})]},
        {"rows": [row(0, metrics={"m": 3})]},
        {"kept": ["../../../tmp/x"]},
        {"kept": ["/tmp/x"]},
        {"kept": ["a\n"]},
        {"kept": [""]},
        {"round": -1},
    ],
)
def test_a_checkpoint_that_says_something_else(change: dict[str, Any], tmp_path: Path) -> None:
    key = next(iter(change))
    if key == "cursor" and change[key] == {"x": 1}:
        return
    folder = RunFolder(tmp_path, "c")
    write_tensors(tmp_path / CHECKPOINT, {}, {"curve_id": "c", **GOOD})
    assert folder.read().state() == GOOD
    write_tensors(tmp_path / CHECKPOINT, {}, {"curve_id": "c", **GOOD, **change})
    with pytest.raises(DamagedFile, match=CHECKPOINT):
        folder.read()
    assert folder.restore() is None


def test_a_pipe_in_place_of_a_checkpoint_is_not_waited_for(tmp_path: Path) -> None:
    fifo(tmp_path / CHECKPOINT)
    with pytest.raises(DamagedFile, match=CHECKPOINT):
        read_tensors(tmp_path / CHECKPOINT)

"""Which images are right, round by round: ``correct.jsonl``."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dsd_bench import RunConfig, load_model
from dsd_bench.errors import UsageError
from dsd_bench.experiment.assemble import Sources, load_data
from dsd_bench.replay.curves import rows_with_metrics
from dsd_bench.store.checkpoint import Checkpoint
from dsd_bench.store.correct import pack, read_bits, read_correct, unpack
from dsd_bench.store.folder import RunFolder
from dsd_bench.store.runs import StoredRun, load_run

TinyRun = Callable[..., dict[str, Any]]


@given(st.lists(st.booleans(), max_size=70))
def test_bits_come_back_first_image_highest(flags: list[bool]) -> None:
    text = pack(numpy.array(flags, bool))
    assert unpack(text, len(flags)).tolist() == flags
    digits = "".join(f"{byte:08b}" for byte in base64.b64decode(text))
    assert digits == "".join("01"[flag] for flag in flags).ljust(len(digits), "0")
    assert len(digits) - len(flags) < 8


@pytest.mark.parametrize("text", ["AA", "A\n==", "wA==", "AAAA", "\u00e9", "", 3, None])
def test_what_is_not_the_bits_of_one_image_is_refused(text: Any) -> None:
    with pytest.raises(ValueError, match=r"bits of 1 images|base64"):
        unpack(text, 1)


def test_shares_of_right_images_are_the_accuracies(plain: StoredRun) -> None:
    found = read_correct(plain.path)
    assert list(found) == [row["round"] for row in plain.rows]
    for row in plain.rows:
        for part, count in (("val", 30), ("test", 597)):
            right = found[row["round"]][part]
            assert right is not None
            assert (len(right), right.sum() / count) == (count, row[f"{part}_accuracy"])


def test_they_are_those_that_the_kept_network_gets_right(plain: StoredRun) -> None:
    """Recomputed from the data and the weights of each round, without the tool's measuring."""
    data = load_data(RunConfig.from_json(plain.config), Sources(plain.path.parent, Path()))
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (data.mean, data.std))
    found = read_correct(plain.path)
    for round in found:
        model = load_model(plain.path, round)
        for name, part in (("val", data.val), ("test", data.test)):
            assert part is not None
            assert isinstance(part.images, numpy.ndarray)
            with torch.no_grad():
                answers = model((torch.from_numpy(part.images) / 255 - mean) / std).argmax(1)
            right = answers.numpy() == part.labels
            assert right.tolist() == found[round][name].tolist()


def test_without_a_validation_part_its_bits_are_null(tiny_run: TinyRun) -> None:
    (found,) = tiny_run("--dataset", "digits:train_size=60,val_size=0", "--selection", "test")[
        "runs"
    ]
    correct = read_correct(Path(found["path"]))
    assert all(parts["val"] is None and parts["test"] is not None for parts in correct.values())


def test_they_are_adopted_like_rows(tiny_run: TinyRun) -> None:
    (long,) = tiny_run("--rounds", "2")["runs"]
    (short,) = tiny_run("--rounds", "1")["runs"]
    (longer,) = tiny_run("--rounds", "3")["runs"]
    (fresh,) = tiny_run("--rounds", "3", "--runs-dir", "elsewhere")["runs"]
    texts = [
        (Path(entry["path"]) / "correct.jsonl").read_text().splitlines()
        for entry in (short, long, longer, fresh)
    ]
    assert texts[2] == texts[3]
    assert [text == texts[3][: len(text)] for text in texts] == [True] * 4
    assert [len(text) for text in texts] == [2, 3, 4, 4]


def test_rules_and_replays_may_read_them(plain: StoredRun) -> None:
    bits = read_bits(plain.path)
    rows = rows_with_metrics(plain)
    assert [row["correct"] for row in rows] == list(bits.values())
    assert all("correct" not in row for row in plain.rows)


def test_a_stop_rule_is_given_them(tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(self: Any, rounds: Sequence[Mapping[str, Any]], score: str) -> str | None:
        return "as told" if unpack(rounds[-1]["correct"]["test"], 597).any() else None

    monkeypatch.setattr("dsd_bench.stopping.rules.Patience.stop", stop)
    (found,) = tiny_run("--stop", "patience")["runs"]
    assert len(load_run(Path(found["path"])).rows) == 1


def first_release(path: Path, rows: int) -> None:
    """Make a finished run's folder an unfinished one of the first release after ``rows`` rows."""
    folder = RunFolder(path, json.loads((path / "config.json").read_text())["curve_id"])
    checkpoint = folder.read()
    bare = [{k: v for k, v in row.items() if k != "correct"} for row in checkpoint.rows]
    assert rows <= len(bare)
    plans = [{k: v for k, v in plan.items() if k != "numerics"} for plan in checkpoint.plans]
    folder.save(dataclasses.replace(checkpoint, rows=tuple(bare[:rows]), plans=tuple(plans)))
    for name in ("result.json", "correct.jsonl"):
        (path / name).unlink()


def test_runs_of_the_first_release_go_on_with_bits_for_the_later_rounds(tiny_run: TinyRun) -> None:
    (short,) = tiny_run("--rounds", "1")["runs"]
    path = Path(short["path"])
    first_release(path, rows=2)
    (longer,) = tiny_run("--rounds", "3")["runs"]  # goes on from it
    assert longer["resumed_from_round"] == 2
    (fresh,) = tiny_run("--rounds", "3", "--runs-dir", "elsewhere")["runs"]
    other, one = Path(longer["path"]), Path(fresh["path"])
    assert (other / "rounds.jsonl").read_bytes() == (one / "rounds.jsonl").read_bytes()
    assert list(read_correct(other)) == [2, 3]
    whole = (one / "correct.jsonl").read_text().splitlines()
    assert (other / "correct.jsonl").read_text().splitlines() == whole[2:]
    assert len(json.loads((other / "result.json").read_text())["plan"]) == 1


@pytest.mark.parametrize(
    "line",
    [
        *("[]", '{"round": 0}', '{"round": "0", "val": null, "test": ""}', "{"),
        *('{"round": 0, "val": null, "test": 3}', '{"round": 0, "val": null, "test": "AAAA"}'),
    ],
)
def test_a_damaged_file_is_named(line: str, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps({"samples": {"val": 0, "test": 3}}))
    (tmp_path / "correct.jsonl").write_text(line + "\n")
    with pytest.raises(UsageError, match=r"correct\.jsonl"):
        read_correct(tmp_path)


def test_names_in_a_checkpoint_are_never_paths(plain: StoredRun) -> None:
    base = Checkpoint((), 0, False, {}, {}).state()
    row = {**plain.rows[0], "metrics": {"../../x": {"v": 1}}}
    for wrong in ({"kept": ["../x"]}, {"needed": ["/etc/x"]}, {"rows": [row]}):
        with pytest.raises(ValueError, match="pattern"):
            Checkpoint.from_state({**base, **wrong}, {})

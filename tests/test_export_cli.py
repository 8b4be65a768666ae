"""``dsd-bench export``: files, card, both truths, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dsd_bench import load_exported, load_model
from dsd_bench.errors import UsageError
from dsd_bench.export import card, export_run, open_round, running
from dsd_bench.export.card import wilson
from dsd_bench.export.checking import Check
from dsd_bench.store.runs import StoredRun

Command = Callable[..., tuple[int, str, str]]


def told(command: Command, run: StoredRun, *words: str) -> dict[str, Any]:
    code, out, err = command("export", str(run.path), "--json", *words)
    assert code == 0, err
    return json.loads(out)


def test_json_has_all_counts_and_the_file_is_what_it_says(
    command: Command, plain: StoredRun
) -> None:
    for round in range(3):
        found = told(command, plain, "-o", "a.safetensors", "--round", str(round))
        row = plain.rows[round]
        assert found["nonzero"] == row["nonzero"]
        assert (found["macs_dense"], found["macs_masked"]) == (
            row["macs_dense"], row["macs_effective"],
        )  # fmt: skip
        model = load_model(plain.path, round)
        assert found["parameters_dense"] == sum(p.numel() for p in model.parameters())
        small = load_exported("a.safetensors")
        assert found["parameters_shrunk"] == sum(p.numel() for p in small.parameters())
        opened = open_round(plain.path, round)
        apart = (small(opened.images) - model(opened.images)).abs().max()
        assert float(apart.detach()) == found["max_abs_logit_difference"] <= found["tolerance"]
        assert found["files"] == ["a.safetensors", "a.safetensors.md"]
        assert found["bytes"] == Path("a.safetensors").stat().st_size
        assert found["checked"]["images"] == len(opened.images) == 256


def test_the_images_are_the_runs_test_images(plain: StoredRun) -> None:
    opened = open_round(plain.path)
    everything = opened.take(10**6)
    assert len(everything) == len(opened.data.test)
    with torch.no_grad():
        right = opened.model(everything).argmax(1).eq(opened.data.test.labels).float().mean()
    assert float(right) == pytest.approx(opened.row["test_accuracy"], abs=1e-6)


def test_both_truths_side_by_side_and_the_card(command: Command, plain: StoredRun) -> None:
    run = ["export", str(plain.path), "--round", "2", "--licence", "MIT"]
    code, out, _ = command(*run, "-o", "new/a.safetensors")
    assert code == 0
    assert "  1.6x fewer\n" in out
    assert "  were zeros free" in out
    assert max(map(len, out.partition("logits differ")[0].splitlines())) < 80
    text = Path("new/a.safetensors.md").read_text()
    row = plain.rows[2]
    for part in (
        plain.run_id, "Round 2", "digits", "symmetric", f"{row['test_accuracy']:.2%}",
        "95 % interval", "| licence | MIT |", "load_exported", "torch 2", f"{row['nonzero']:,}",
        f"{row['macs_dense']:,}",
    ):  # fmt: skip
        assert part in text


def test_rounds_by_word(command: Command, plain: StoredRun) -> None:
    best = told(command, plain, "-o", "a.safetensors")
    assert (best["round"], best["how"]) == (plain.result["best_round"], "best")
    found = told(command, plain, "-o", "b.safetensors", "--round", "one-se")
    assert best["round"] <= found["round"] <= 2


def test_sparse_files_hold_the_masked_network(command: Command, plain: StoredRun) -> None:
    found = told(command, plain, "-o", "a.safetensors", "--sparse", "--round", "2")
    assert found["max_abs_logit_difference"] == 0
    opened = open_round(plain.path, 2)
    loaded, model = load_exported("a.safetensors"), load_model(plain.path, 2)
    assert loaded(opened.images).equal(model(opened.images))
    assert found["stored_bytes"]["sparse"] < found["stored_bytes"]["masked"]
    code, _, err = command(
        "export", str(plain.path), "--sparse", "--fold-bn", "-o", "a.safetensors"
    )
    assert (code, "--fold-bn" in err) == (2, True)
    code, _, err = command("export", str(plain.path), "--sparse", "-o", "a.pt2")
    assert (code, "--sparse" in err) == (2, True)


def test_pt2_and_onnx(command: Command, plain: StoredRun) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    for name in ("a.pt2", "a.onnx"):
        found = told(command, plain, "-o", name)
        assert found["max_abs_logit_difference"] <= found["tolerance"]
        assert name in Path(f"{name}.md").read_text()
    images = open_round(plain.path).take(5)
    program = torch.export.load("a.pt2").module()
    assert torch.allclose(program(images), load_model(plain.path)(images), atol=1e-5)
    import onnxruntime

    session = onnxruntime.InferenceSession("a.onnx")
    logits = torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
    assert torch.allclose(logits, load_model(plain.path)(images), atol=1e-5)


def test_onnx_without_its_libraries(
    command: Command, plain: StoredRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dsd_bench.export import writers

    monkeypatch.setattr(writers.importlib.util, "find_spec", lambda name: None)
    code, _, err = command("export", str(plain.path), "-o", "a.onnx")
    assert code == 2
    assert "pip install 'dsd-bench[onnx]'" in err


def test_assumed_of_data_is_said(command: Command, plain: StoredRun) -> None:
    found = told(command, plain, "-o", "a.safetensors", "--assume-data", "--round", "2")
    if found["assumed"]:
        assert "**Not exact**" in Path("a.safetensors.md").read_text()
    exact = told(command, plain, "-o", "b.safetensors", "--round", "2")
    assert exact["assumed"] == []
    assert found["parameters_shrunk"] <= exact["parameters_shrunk"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["-o", "a.bin"], "must end in .safetensors, .pt2, .onnx"),
        (["-o", "a.safetensors", "--round", "3"], "no round 3; it has rounds 0 to 2"),
        (["-o", "a.safetensors", "--round", "-1"], "give a number, best or one-se"),
        (["-o", "a.safetensors", "--round", "nice"], "give a number, best or one-se"),
        ([], "Missing option"),
    ],
)
def test_what_can_be_known_before(
    command: Command, plain: StoredRun, words: list[str], text: str
) -> None:
    code, _, err = command("export", str(plain.path), *words)
    assert (code, text in err) == (2, True), err
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    "words",
    [
        "export RUN -o file/a.safetensors",
        "report RUN -o file/a.html",
        "plot RUN -o file/a.svg",
        "table RUN -o file/a.md",
        "analyze RUN --figure file/a.svg",
        "latency RUN -o file/a.json --budget 1s --blocks 6 --batch 1",
    ],
)
def test_a_folder_that_cannot_be_made(words: str, command: Command, plain: StoredRun) -> None:
    Path("file").write_text("x")
    code, _, err = command(*words.replace("RUN", str(plain.path)).split())
    assert code == 2
    assert "no folder can be made at file: " in err
    assert "; choose another place" in err
    assert "Errno" not in err


def test_runs_without_kept_weights(command: Command, plain: StoredRun, tmp_path: Path) -> None:
    copied = tmp_path / plain.run_id
    shutil.copytree(plain.path, copied)
    shutil.rmtree(copied / "weights", ignore_errors=True)
    other = next(r for r in (1, 2) if r != plain.result["best_round"])
    code, _, err = command("export", str(copied), "-o", "a.safetensors", "--round", str(other))
    assert (code, f"round {other}: its weights are not there" in err) == (2, True)
    (copied / "best.safetensors").unlink()
    code, _, err = command("export", str(copied), "-o", "a.safetensors")
    assert (code, "best.safetensors: no such file" in err) == (1, True)
    (copied / "result.json").unlink()
    code, _, err = command("export", str(copied), "-o", "a.safetensors")
    assert (code, "not finished" in err) == (2, True)
    code, _, err = command("export", "nowhere", "-o", "a.safetensors")
    assert code == 2


def test_a_difference_is_refused_and_leaves_what_was_there(
    command: Command, plain: StoredRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("a.safetensors").write_bytes(b"before")
    wrong = Check(5, 1.0, 0.1, 0.01, 3.0, 1.0)
    monkeypatch.setattr(running, "check", lambda *given: wrong)
    code, _, err = command("export", str(plain.path), "-o", "a.safetensors")
    assert (code, "differ" in err) == (1, True)
    assert Path("a.safetensors").read_bytes() == b"before"
    assert not Path("a.safetensors.md").exists()
    code, _, _ = command("export", str(plain.path), "-o", "b.safetensors", "--sparse")
    assert code == 1
    assert not Path("b.safetensors").exists()


def test_from_python(plain: StoredRun, tmp_path: Path) -> None:
    found = export_run(plain.path, tmp_path / "a.safetensors", 2, fold_bn=True)
    assert found.path.exists()
    assert found.card.exists()
    with pytest.raises(UsageError):
        export_run(plain.path, tmp_path, 2)


def test_wilson_is_scipys() -> None:
    from scipy.stats import binomtest

    for right, count in ((0, 5), (3, 7), (597, 597), (390, 597)):
        low, high = binomtest(right, count).proportion_ci(method="wilson")
        assert wilson(right / count, count) == pytest.approx((low, high), abs=1e-12)


def test_texts_of_others_are_no_markup_in_a_card() -> None:
    assert card._text("a|b\n[x](y)<i>\x1b") == "a\\|b\\\\n\\[x\\](y)\\<i\\>\\\\x1b"

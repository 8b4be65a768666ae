"""``dsd-bench compress`` from the command to the page, on tiny folders of images."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import dsd_bench
from dsd_bench.store.runs import load_run

Command = Callable[..., tuple[int, str, str]]

SHORT = ("--model", "mlp:hidden=16x8", "--executor", "inline", "--batch-size", "16", "--no-latency")
LENGTHS = ("--dense-epochs", "4", "--retrain-epochs", "1", "--rounds", "3")


def pictures(
    root: Path, train: int = 24, test: int = 10, names: tuple[str, ...] = ("bee", "cat"),
    mode: str = "RGB", side: int = 6,
) -> Path:  # fmt: skip
    """Make classes that differ in their brightness."""
    draw = numpy.random.default_rng(0)
    for part, count in (("train", train), ("test", test)):
        for place, name in enumerate(names):
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                middle = 60 + 130 * place / max(1, len(names) - 1)
                pixels = draw.normal(middle, 60, (side, side, 3)).clip(0, 255).astype("uint8")
                Image.fromarray(pixels).convert(mode).save(folder / f"{number:03}.png")
    return root


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return pictures(tmp_path / "photos")


def done(command: Command, *words: str) -> dict[str, Any]:
    """Compress, and return what is printed as JSON."""
    code, out, err = command("compress", *words, "--json")
    assert code == 0, err
    return json.loads(out)  # type: ignore[no-any-return]


def test_from_the_command_to_the_page(command: Command, photos: Path, tmp_path: Path) -> None:
    found = done(command, "photos", *SHORT, *LENGTHS)
    curve = load_run(tmp_path / "runs" / found["run"]["run_id"])
    original = load_run(tmp_path / "runs" / found["original"]["run_id"])
    assert len(original.rows) == 1
    assert curve.result is not None
    assert found["round"] == curve.result["best_round"]
    row, first = curve.rows[found["round"]], curve.rows[0]
    assert found["nonzero"] == row["nonzero"]
    # row 0 of the curve is the original, and what is compared are the rows' own accuracies
    assert first["test_accuracy"] == original.rows[0]["test_accuracy"]
    assert found["test"]["before"]["value"] == first["test_accuracy"]
    assert found["test"]["after"]["value"] == row["test_accuracy"]
    change = found["test"]["change"]
    assert change["value"] == pytest.approx(row["test_accuracy"] - first["test_accuracy"])
    assert {one["name"] for one in found["test"]["classes"]} == {"bee", "cat"}
    assert (
        sum(one["after"]["right"] for one in found["test"]["classes"])
        == (found["test"]["after"]["right"])
    )
    assert json.loads((tmp_path / "compressed/result.json").read_text())["round"] == found["round"]
    card = (tmp_path / "compressed/model.safetensors.md").read_text()
    assert "\n- 0: bee\n- 1: cat\n" in card
    page = (tmp_path / "compressed/report.html").read_text()
    for words in ("In short", "The choice, and why", "Which classes changed", "Caution", "bee"):
        assert words in page
    assert "http" not in page.replace("http-equiv", "")


def test_how_fast_it_is_is_measured_once(
    command: Command, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dsd_bench.compress.shipping.SECONDS", 0.01)
    words = ("photos", *(word for word in SHORT if word != "--no-latency"), *LENGTHS)
    first = done(command, *words)
    batches = [one["batch"] for one in first["shipped"]["timings"]]
    assert batches == [1, 32]
    page = (tmp_path / "compressed/report.html").read_bytes()
    assert b"PyTorch eager" in page
    measured = (tmp_path / "compressed/latency.json").read_bytes()
    assert done(command, *words) == first
    assert (tmp_path / "compressed/latency.json").read_bytes() == measured
    assert (tmp_path / "compressed/report.html").read_bytes() == page
    other = done(command, *words, "--fraction", "0.5")  # another network: measured anew
    assert (tmp_path / "compressed/latency.json").read_bytes() != measured
    assert other["shipped"]["timings"] != first["shipped"]["timings"]


def test_it_makes_ordinary_runs(command: Command, photos: Path) -> None:
    """The commands that it prints name the same runs, which are there already."""
    found = done(command, "photos", *SHORT, *LENGTHS, "--seed", "3")
    for words, key in zip(found["commands"][1:], ("original", "run")):
        code, out, err = command(*shlex.split(words)[1:], "--dry-run", "--json")
        assert code == 0, err
        entry = json.loads(out)["runs"][0]
        assert (entry["run_id"], entry["reused"]) == (found[key]["run_id"], True)
    assert found["commands"][0].startswith("dsd-bench compress photos --model mlp:hidden=16x8")


def test_the_exported_network_is_the_chosen_one(
    command: Command, photos: Path, tmp_path: Path
) -> None:
    found = done(command, "photos", *SHORT, *LENGTHS, "--structured", "--choose", "max-drop:1")
    assert found["round"] == 3  # the sparsest: every drop is allowed
    assert found["shipped"]["parameters_shrunk"] < found["shipped"]["parameters_dense"]
    assert found["shipped"]["files"]["model.safetensors"] > 0
    small = dsd_bench.load_exported(tmp_path / "compressed/model.safetensors")
    masked = dsd_bench.load_model(found["run"]["run_id"], runs_dir=tmp_path / "runs")
    images = torch.randn(5, 3, 6, 6)
    with torch.no_grad():
        torch.testing.assert_close(small(images), masked(images))


def test_choices_of_others_are_shown_after_ones_own(command: Command, photos: Path) -> None:
    found = done(command, "photos", *SHORT, *LENGTHS, "--choose", "max-drop:0.5")
    names = [one["chooser"] for one in found["choosers"]]
    assert names[0] == "max-drop:0.5"
    assert sorted(names[1:]) == ["best", "max-drop:0.01", "max-drop:0.02", "one-se"]
    assert found["choosers"][0]["round"] == found["round"]


def test_without_distillation_nobody_teaches(
    command: Command, photos: Path, tmp_path: Path
) -> None:
    found = done(command, "photos", *SHORT, *LENGTHS, "--no-distil")
    config = load_run(tmp_path / "runs" / found["run"]["run_id"]).config
    assert config["regularizers"] == []
    assert config["weights"]["file"].endswith(f"{found['original']['run_id']}/dense.safetensors")


def test_a_dry_run_trains_nothing(command: Command, photos: Path, tmp_path: Path) -> None:
    found = done(command, "photos", *SHORT, "--dry-run")
    assert found["lengths"] == {"dense_epochs": 40, "retrain_epochs": 8, "rounds": 14}
    assert found["seconds"] > 0
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "compressed").exists()


def test_what_is_said_in_the_terminal(
    command: Command, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = command("compress", "photos", *SHORT, *LENGTHS)
    assert code == 0
    lines = [line for line in out.splitlines() if not line.startswith(("  dsd-bench", "[seed"))]
    assert max(map(len, lines)) <= 80
    said = " ".join(out.split())
    for words in (
        "2 classes, images: 43 train, 5 validation, 20 test",
        "at most about",
        "of memory",
        "chosen",
        "balanced",
        "page",
        "dsd-bench run --dataset imagefolder:photos",
    ):
        assert words in said


# --- interrupted, resumed, within a budget ----------------------------------------------------


def files(root: Path) -> dict[str, bytes]:
    """Return what must be the same however often it was interrupted."""
    kept = [*root.glob("runs/*/rounds.jsonl"), *root.glob("runs/*/*.safetensors"),
            *root.glob("small/*")]  # fmt: skip
    return {str(path.relative_to(root)): path.read_bytes() for path in kept}


def test_interrupted_and_resumed(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "dsd_bench", "compress", "photos", *SHORT, "--rounds", "6",
             "--dense-epochs", "4", "--retrain-epochs", "3", "-o", "small",
             "--checkpoint-seconds", "0"]  # fmt: skip
    place = str(Path(__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": place, "OMP_NUM_THREADS": "1"}
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    for root in (whole, torn):
        pictures(root / "photos")
    subprocess.run(words, cwd=whole, env=environment, check=True, capture_output=True)
    for mark in ("round 0/0", "round 2/6"):  # within each of its two runs
        process = subprocess.Popen(
            words, cwd=torn, env=environment, stdout=subprocess.PIPE, text=True,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                if mark in line:
                    process.send_signal(signal.SIGINT)
                    break
            rest = process.stdout.read()
        assert process.wait() in (0, 130), rest
    subprocess.run(words, cwd=torn, env=environment, check=True, capture_output=True)
    assert files(torn) == files(whole)
    assert len(files(whole)) > 5


def test_a_budget_is_planned_once(command: Command, photos: Path, tmp_path: Path) -> None:
    plan = tmp_path / "compressed/plan.json"
    first = done(command, "photos", *SHORT, "--budget", "1h", "--dry-run")
    assert first["seconds"] < 3600
    told = json.loads(plan.read_text())
    told |= {"retrain_epochs": 2, "rounds": 3, "dense_epochs": 1}  # as a slower machine would
    plan.write_text(json.dumps(told))
    again = done(command, "photos", *SHORT, "--budget", "1h", "--dry-run")
    assert again["lengths"] == {"dense_epochs": 1, "retrain_epochs": 2, "rounds": 3}
    other = done(command, "photos", *SHORT, "--budget", "2h", "--dry-run")
    assert other["lengths"] != again["lengths"]  # another question is planned anew


def test_a_budget_in_which_nothing_fits(command: Command, photos: Path, tmp_path: Path) -> None:
    code, _, err = command("compress", "photos", *SHORT, "--budget", "0.001s")
    assert code == 2
    assert "--budget: not even" in err
    assert not (tmp_path / "runs").exists()
    assert command("compress", "photos", *SHORT, "--budget", "soon")[0] == 2


# --- weights ----------------------------------------------------------------------------------


def test_ones_own_network_is_taken_as_it_is(command: Command, photos: Path, tmp_path: Path) -> None:
    first = done(command, "photos", *SHORT, *LENGTHS)
    path = tmp_path / "runs" / first["original"]["run_id"] / "dense.safetensors"
    state = {k: v for k, v in load_file(path).items() if not k.startswith("masks/")}
    save_file(state, tmp_path / "mine.safetensors")
    words = ("--weights", "mine.safetensors", "--retrain-epochs", "1", "--rounds", "2")
    found = done(command, "photos", *SHORT, *words)
    original = load_run(tmp_path / "runs" / found["original"]["run_id"])
    assert original.config["protocol"]["dense_epochs"] == 0
    before = load_run(tmp_path / "runs" / first["original"]["run_id"])
    assert original.rows[0]["test_accuracy"] == before.rows[0]["test_accuracy"]
    assert original.rows[0]["test_loss"] == before.rows[0]["test_loss"]


def test_weights_that_do_not_fit_are_named(command: Command, photos: Path, tmp_path: Path) -> None:
    from dsd_bench.models.builtin import MLPParams
    from dsd_bench.models.mlp import MLPFactory

    other = MLPFactory(MLPParams(hidden="16x8")).build((3, 6, 6), 7)
    save_file(other.state_dict(), tmp_path / "seven.safetensors")
    code, _, err = command("compress", "photos", *SHORT, "--weights", "seven.safetensors")
    assert code == 2
    assert "of another shape" in err
    assert "7x8, not 2x8" in err
    assert "--weights-head replace" in err
    words = ("--weights", "seven.safetensors", "--weights-head", "replace")
    found = done(command, "photos", *SHORT, *LENGTHS, *words)
    config = load_run(tmp_path / "runs" / found["original"]["run_id"]).config
    assert (config["weights"]["head"], config["protocol"]["dense_epochs"]) == ("replace", 4)


def test_published_weights_from_a_stand_in_for_the_hub(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timm = pytest.importorskip("timm")
    from timm.models import _builder

    pictures(tmp_path / "photos", side=32)
    torch.manual_seed(5)
    published = timm.create_model("test_resnet", num_classes=1000)
    asked: list[Any] = []

    def hub(*where: Any, **_: Any) -> dict[str, torch.Tensor]:
        asked.append(where)
        return dict(published.state_dict())

    monkeypatch.setattr(_builder, "load_state_dict_from_hf", hub)
    monkeypatch.setattr(_builder, "load_state_dict_from_url", hub)
    words = ("photos", "--model", "timm:test_resnet", "--executor", "inline", "--rounds", "1")
    short = ("--dense-epochs", "0", "--retrain-epochs", "1")
    done(command, *words, "--dry-run", *short)
    assert asked == []  # nothing is fetched unless asked
    found = done(command, *words, *short, "--download")
    assert asked
    run = tmp_path / "runs" / found["original"]["run_id"]
    kept = load_file(run / "dense.safetensors")
    theirs = published.state_dict()
    head = [key for key, tensor in theirs.items() if tensor.shape[:1] == (1000,)]
    trunk = [key for key in theirs if key not in head]
    assert len(trunk) > 20
    assert all(torch.equal(kept[key], theirs[key]) for key in trunk)
    assert all(len(kept[key]) == 2 for key in head)  # it is made anew for these classes
    config = load_run(run).config
    assert config["dataset"]["params"]["normalise"] == "inception"
    curve = load_run(tmp_path / "runs" / found["run"]["run_id"]).config
    assert curve["model"]["params"]["pretrained"] is False
    monkeypatch.setattr(_builder, "load_state_dict_from_hf", None)  # its own weights are kept now
    assert dsd_bench.load_model(run, data_dir=tmp_path)(torch.zeros(1, 3, 32, 32)).shape == (1, 2)
    assert "--download" in found["commands"][1]


# --- other people's folders -------------------------------------------------------------------


def refused(command: Command, *words: str) -> str:
    code, _, err = command("compress", "photos", *SHORT, *words, "--dry-run")
    assert code == 2, err
    return err


def test_a_class_that_is_missing_in_test(command: Command, photos: Path) -> None:
    for file in (photos / "test/cat").iterdir():
        file.unlink()
    assert "test/cat holds no image" in refused(command)
    (photos / "test/cat").rmdir()
    assert "only one of train/ and test/ has: cat" in refused(command)


def test_a_folder_without_train(command: Command, photos: Path) -> None:
    for folder in (photos / "train").iterdir():
        folder.rename(photos / folder.name)
    (photos / "train").rmdir()
    assert "has no folder train/" in refused(command)
    (photos / "test").rename(photos.parent / "away")
    assert "move the classes' folders (bee/, cat/, ...) into it" in refused(command)


def test_a_damaged_image_is_refused_or_skipped(command: Command, photos: Path) -> None:
    whole = (photos / "train/bee/003.png").read_bytes()
    (photos / "train/bee/003.png").write_bytes(whole[:60])
    (photos / "test/cat/001.png").write_text("no image")
    assert "is no readable image" in refused(command)
    code, out, err = command("compress", "photos", *SHORT, *LENGTHS, "--skip-unreadable")
    assert code == 0, err
    assert "skipped, since they cannot be read: test/cat/001.png, train/bee/003.png" in (
        " ".join(out.split())
    )
    assert "images: 42 train, 5 validation, 19 test" in " ".join(out.split())


def test_a_class_of_which_nothing_can_be_read(command: Command, photos: Path) -> None:
    for file in (photos / "test/cat").iterdir():
        file.write_text("no image")
    assert "no image of test cat can be read" in refused(command, "--skip-unreadable")


def test_one_image_a_class(command: Command, tmp_path: Path) -> None:
    pictures(tmp_path / "photos", train=1, names=("a", "b", "c", "d"))
    err = refused(command)
    assert "no image" in err or "val_size" in err


def test_few_images_are_enough_and_said_to_be_few(command: Command, tmp_path: Path) -> None:
    pictures(tmp_path / "photos", train=5, test=2)
    found = done(command, "photos", *SHORT, *LENGTHS)
    assert any("test has 4 images: one of them is 25.0 points" in one for one in found["notes"])


def test_without_a_test_folder_images_are_drawn(command: Command, photos: Path) -> None:
    (photos / "test").rename(photos.parent / "away")
    found = done(command, "photos", *SHORT, *LENGTHS)
    assert found["test"]["before"]["n"] == 10  # 20 % of 48


def test_grey_images(command: Command, tmp_path: Path) -> None:
    pictures(tmp_path / "photos", mode="L")
    assert done(command, "photos", *SHORT, *LENGTHS)["test"]["before"]["n"] == 20


def test_unequal_classes(command: Command, photos: Path, tmp_path: Path) -> None:
    for number in range(4, 24):
        (photos / f"train/cat/{number:03}.png").unlink()
    for number in range(2, 10):
        (photos / f"test/cat/{number:03}.png").unlink()
    found = done(command, "photos", *SHORT, *LENGTHS)
    assert any("look at the balanced accuracy" in one for one in found["notes"])
    each = {one["name"]: one["after"]["value"] for one in found["test"]["classes"]}
    balanced = found["test"]["balanced_after"]
    assert balanced == pytest.approx((each["bee"] + each["cat"]) / 2)
    assert "balanced accuracy" in (tmp_path / "compressed/report.html").read_text()


def test_large_images_are_resized(command: Command, tmp_path: Path) -> None:
    pictures(tmp_path / "photos", train=8, test=3, side=40)
    found = done(command, "photos", *SHORT, *LENGTHS, "--size", "6")
    assert "imagefolder:photos,size=6" in found["commands"][1]


def test_names_of_classes_cannot_steer_a_page(command: Command, tmp_path: Path) -> None:
    pictures(tmp_path / "photos", names=("<b>bold", "x\u202ey"))
    done(command, "photos", *SHORT, *LENGTHS)
    card = (tmp_path / "compressed/model.safetensors.md").read_text()
    assert "\n- 0: \\<b\\>bold\n- 1: x\\\\u202ey\n" in card
    page = (tmp_path / "compressed/report.html").read_text()
    assert "<b>bold" not in page
    assert "&lt;b&gt;bold" in page
    assert "\u202e" not in page


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--choose", "nonsense"), "nonsense"),
        (("--stop", "gate:drop=2"), "gate"),
        (("--choose", "best:1"), "takes no parameters"),
        (("--precision", "fp8"), "fp8"),
        (("--weights", "nowhere.safetensors"), "no such file"),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(
    command: Command, photos: Path, tmp_path: Path, words: tuple[str, ...], text: str
) -> None:
    assert text in refused(command, *words)
    assert not (tmp_path / "runs").exists()


def test_another_data_set_than_a_folder(command: Command) -> None:
    found = done(command, "digits:train_size=60,val_size=30", *SHORT, *LENGTHS)
    assert {one["name"] for one in found["test"]["classes"]} == set(map(str, range(10)))
    assert found["test"]["before"]["n"] == 597


def test_an_output_that_is_a_file(command: Command, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    assert "is a file" in refused(command, "-o", "x")

"""Every built-in component through the command line, from its name to the files of a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fakes
import pandas
import pytest
import slurm_stand_in
import torch

from dsd_bench import RunConfig, load_model, load_runs
from dsd_bench.config.words import component_name
from dsd_bench.data.files import ImageFiles
from dsd_bench.data.images import read_images
from dsd_bench.data.sets.digits import Digits
from dsd_bench.experiment.assemble import Sources, load_data
from dsd_bench.experiment.measure import ROW
from dsd_bench.plugins import build
from dsd_bench.store.runs import StoredRun, load_run
from dsd_bench.store.tensors import read_tensors

Command = Callable[..., tuple[int, str, str]]
TinyRun = Callable[..., dict[str, Any]]

PRUNERS = {
    "magnitude": [592, 474, 379],
    "magnitude:fraction=0.5": [592, 296, 148],
    "magnitude:scope=layer": [592, 410 + 64, 328 + 51],
    "random": [592, 474, 379],
    "random:scope=layer": [592, 474, 379],
    "gradient": [592, 474, 379],
    "gradient:scope=layer,batches=1": [592, 474, 379],
    "structured-l1": [592, 4 * 64 + 80, 2 * 64 + 80],
}
"""Pruners and the weights that are left of an MLP 64-8-10 in each round, counted by hand."""
PERTURBERS = ["none", "rewind:step=0", "rewind:step=3", "reinit"]
UPDATERS = ["none"]
REGULARIZERS = ["l1:weight=0.01", "l2:weight=0.01", "dropout:p=0.5"]
POLICIES = [
    *("autoaugment", "randaugment", "trivialaugment", "augmix", "cutout", "shift", "flip"),
    *("autoaugment+cutout", "rand-m9-mstd0.5-inc1"),
]
TEACHERS = ["kd", "kd:teacher=dense", "kd:alpha=0.5,temperature=4"]
OPTIMIZERS = ["sgd", "adam", "adamw"]
SCHEDULES = ["step", "cosine", "cosine:0.1,every=step", "one-cycle", "early-bird"]
STOPS = ["never", "target:0.3", "patience:tolerance=0", "entropy-gate:drop=0,tolerance=0"]
STOPS += ["interpolation-gate:drop=0,tolerance=0"]
CHOOSERS = ["best", "one-se", "max-drop:0.05"]
NOISES = {
    "none": 0.0,
    "symmetric:rate=0.25": 15 / 60,
    "uniform:rate=0.5": None,
    "asymmetric:0.3": 18 / 60,
    "pairflip:0.3": 18 / 60,
}
MODELS = {
    "mlp:hidden=6x5": 64 * 6 + 6 * 5 + 5 * 10,
    "vgg-like:depth=1,width_exponent=2": None,
    "resnet18": None,
    "resnet50": None,
    "timm:test_resnet": None,
    "torchvision:squeezenet1_1": None,
}
"""Models and their prunable weights on digits, where those are quickly counted."""
DATASETS = {
    "digits:train_size=60,val_size=30": (10, [1, 8, 8], (60, 30, 597)),
    "cifar10:val_size=4": (10, [3, 32, 32], (16, 4, 4)),
    "cifar100:val_size=1": (100, [3, 32, 32], (3, 1, 4)),
    "cifar10n:rand2,val_size=4": (10, [3, 32, 32], (16, 4, 4)),
    "cifar100n:val_size=1": (100, [3, 32, 32], (3, 1, 4)),
    "flowers102": (102, [3, 224, 224], (6, 3, 4)),
    "imagenet:val_size=3": (3, [3, 224, 224], (15, 3, 6)),
    "tiny-imagenet:val_size=3": (3, [3, 64, 64], (15, 3, 6)),
    "mnist": (10, [1, 28, 28], (27, 3, 10)),
    "fashion-mnist": (10, [1, 28, 28], (27, 3, 10)),
    "mnist5k:train_size=60": (10, [1, 28, 28], (60, 20, 1000)),
    "imagefolder:.": (2, [3, 6, 5], (18, 2, 6)),
}
"""Classes, one image's shape, and samples to train, validate and test on, as faked."""
METRICS = ["classification", "entropy", "sparsity", "macs"]
FURTHER = ["ece:bins=9"]
EXECUTORS = ["inline", "local", "slurm:workers=1"]
REPORTERS = ["terminal:height=6", "csv"]
COVERED = {
    "pruner": PRUNERS,
    "perturber": PERTURBERS,
    "updater": UPDATERS,
    "regularizer": [*REGULARIZERS, *(f"augment:{policy}" for policy in POLICIES), *TEACHERS],
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "stop": STOPS,
    "chooser": CHOOSERS,
    "model": MODELS,
    "dataset": DATASETS,
    "noise": NOISES,
    "metric": [*METRICS, *FURTHER],
    "executor": EXECUTORS,
    "reporter": REPORTERS,
}
"""What the tests below run, by kind."""


def test_every_built_in_component_is_run_below() -> None:
    """A new component has to be added to one of the lists above."""
    builtin = {(e.kind, e.component.name) for e in build(third_party=False).entries()}
    words = [(kind, component_name(word, kind)) for kind in COVERED for word in COVERED[kind]]
    assert set(words) == builtin


def only(found: dict[str, Any]) -> StoredRun:
    """Return the one run that was asked for, checked: see :func:`check`."""
    (entry,) = found["runs"]
    return check(entry)


def check(entry: dict[str, Any], data_dir: Path = Path()) -> StoredRun:
    """Return the run of an entry of ``run --json`` after checking its files against each other."""
    run = load_run(Path(entry["path"]))
    assert run.result is not None
    assert (entry["status"], entry["error"], run.result["status"]) == ("done", None, "done")
    assert [row["round"] for row in run.rows] == list(range(len(run.rows)))
    assert all(tuple(row) == ROW for row in run.rows)
    scores = [row[run.score] for row in run.rows]
    assert entry["best_round"] == run.result["best_round"]
    if "chooser" not in run.config:
        assert entry["best_round"] == scores.index(max(scores))
    check_weights(run, run.rows[entry["best_round"]], data_dir)
    return run


def check_weights(run: StoredRun, row: dict[str, Any], data_dir: Path) -> None:
    """The best weights are those of the row: as sparse, as accurate, pruned ones exactly zero."""
    tensors = read_tensors(run.path / "best.safetensors")[0]
    state = load_model(run.path, data_dir=data_dir).state_dict()
    masks = {k.split("/", 2)[2]: v for k, v in tensors.items() if k.startswith("masks/weights/")}
    assert sum(int(mask.sum()) for mask in masks.values()) == row["nonzero"]
    for name, mask in masks.items():
        assert not state[name][~mask].any()
        assert state[name][mask].any()
    assert row["sparsity"] == pytest.approx(
        1 - row["nonzero"] / sum(m.numel() for m in masks.values())
    )
    if run.config["protocol"]["precision"] == "fp32":
        assert accuracy_on_test(run, data_dir) == row["test_accuracy"]


def accuracy_on_test(run: StoredRun, data_dir: Path) -> float:
    """Return the accuracy of the best weights on the test part, without the tool's measuring."""
    data = load_data(RunConfig.from_json(run.config), Sources(run.path.parent, data_dir.absolute()))
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (data.mean, data.std))
    images = data.test.images
    pixels = read_images(images) if isinstance(images, ImageFiles) else images
    inputs = (torch.from_numpy(pixels) / 255 - mean) / std
    with torch.no_grad():
        answers = load_model(run.path, data_dir=data_dir)(inputs).argmax(1)
    return float((answers == torch.from_numpy(data.test.clean)).double().mean())


# --- components -----------------------------------------------------------------------------


@pytest.mark.parametrize("word", PRUNERS)
def test_pruners(word: str, tiny_run: TinyRun, plain: StoredRun) -> None:
    run = only(tiny_run("--pruner", word))
    assert [row["nonzero"] for row in run.rows] == PRUNERS[word]
    assert run.rows[0] == plain.rows[0]
    assert (run.rows == plain.rows) == (word == "magnitude")
    if "scope=layer" in word:
        expected = {"1.weight": 1 - 410 / 512, "3.weight": 1 - 64 / 80}
        assert run.rows[1]["sparsity_per_layer"] == expected
    assert run.config["pruner"]["name"] == word.partition(":")[0]


@pytest.mark.parametrize("word", PERTURBERS)
def test_perturbers(word: str, tiny_run: TinyRun, plain: StoredRun) -> None:
    run = only(tiny_run("--perturber", word))
    assert run.rows[0] == plain.rows[0]
    assert [row["nonzero"] for row in run.rows] == PRUNERS["magnitude"]
    assert (run.rows[1] == plain.rows[1]) == (word == "none")


@pytest.mark.parametrize("word", UPDATERS)
def test_updaters(word: str, tiny_run: TinyRun, plain: StoredRun) -> None:
    run = only(tiny_run("--updater", word))
    assert (run.rows, run.config) == (plain.rows, plain.config)


@pytest.mark.parametrize("word", REGULARIZERS)
def test_regularizers(word: str, tiny_run: TinyRun, plain: StoredRun) -> None:
    run = only(tiny_run("--reg", word))
    assert all(row["train_loss"] != old["train_loss"] for row, old in zip(run.rows, plain.rows))
    assert run.rows[1:] != plain.rows[1:]


@pytest.mark.parametrize("policy", POLICIES)
def test_augmentation(policy: str, tiny_run: TinyRun, plain: StoredRun) -> None:
    run = only(tiny_run("--rounds", "1", "--reg", f"augment:{policy}"))
    assert run.rows[0]["train_loss"] != plain.rows[0]["train_loss"]
    assert run.config["regularizers"][0]["params"]["policy"] == policy


def test_regularizers_chain_in_their_order(tiny_run: TinyRun) -> None:
    words = ["dropout:0.2", "augment:shift", "l1", "kd"]
    found = tiny_run(*(part for word in words for part in ("--reg", word)))
    names = [part["name"] for part in only(found).config["regularizers"]]
    assert names == ["dropout", "augment", "l1", "kd"]
    teacher = check(found["teachers"][0])
    assert [part["name"] for part in teacher.config["regularizers"]] == names[:3]


@pytest.mark.parametrize("word", TEACHERS)
def test_a_teacher_is_run_first_and_listed(word: str, tiny_run: TinyRun, plain: StoredRun) -> None:
    found = tiny_run("--reg", word)
    student = only(found)
    (entry,) = found["teachers"]
    assert check(entry).rows == plain.rows
    assert entry["run_id"] == plain.run_id
    assert student.config["regularizers"][0]["teacher"]["run_id"] == plain.run_id
    assert student.rows[0]["train_loss"] != plain.rows[0]["train_loss"]


def test_a_teacher_may_be_a_finished_run(tiny_run: TinyRun) -> None:
    teacher = tiny_run("--model", "mlp:hidden=12")["runs"][0]
    found = tiny_run("--reg", f"kd:teacher={teacher['run_id'][:6]}")
    (listed,) = found["teachers"]
    assert (listed["run_id"], listed["reused"]) == (teacher["run_id"], True)
    named = only(found)
    again = tiny_run("--reg", "kd", "--teacher-model", "mlp:hidden=12")
    assert again["runs"][0]["run_id"] == named.run_id
    assert again["runs"][0]["reused"]


def test_a_teacher_may_have_another_model(tiny_run: TinyRun) -> None:
    found = tiny_run("--reg", "kd", "--teacher-model", "vgg-like:depth=1,width_exponent=2",
                     "--teacher-rounds", "1", "--teacher-epochs", "1")  # fmt: skip
    teacher = check(found["teachers"][0])
    assert (teacher.config["model"]["name"], len(teacher.rows)) == ("vgg-like", 2)
    student = only(found)
    assert (student.config["model"]["name"], len(student.rows)) == ("mlp", 3)


def last_round(word: str, rows: tuple[dict[str, Any], ...]) -> int:
    """Return the round after which the rule ``word`` of STOPS ends this curve."""
    if word == "target:0.3":
        return next(row["round"] for row in rows if row["sparsity"] >= 0.3)
    allowed, best, fitted = word.startswith("patience"), -1.0, -1.0
    for row in rows if word != "never" else ():
        if allowed and row["val_accuracy"] < best:
            return int(row["round"])
        fitted = max(fitted, row["train_accuracy"])
        fell = row["entropy"] < rows[0]["entropy"]
        allowed |= row["train_accuracy"] < fitted if word.startswith("interp") else fell
        best = max(best, row["val_accuracy"]) if allowed else -1.0
    return int(rows[-1]["round"])


@pytest.mark.parametrize("word", CHOOSERS)
def test_choosers(word: str, tiny_run: TinyRun) -> None:
    whole = only(tiny_run("--rounds", "8"))
    run = only(tiny_run("--rounds", "8", "--choose", word, "--runs-dir", "elsewhere"))
    assert run.rows == whole.rows
    assert run.result is not None
    assert whole.result is not None
    chosen, scores = run.result["best_round"], [row["val_accuracy"] for row in run.rows]
    assert chosen >= whole.result["best_round"]
    if word.startswith("max-drop"):
        assert chosen == max(n for n, one in enumerate(scores) if one > max(scores) - 0.05 - 1e-6)


@pytest.mark.parametrize("word", STOPS)
def test_stop_criteria(word: str, tiny_run: TinyRun) -> None:
    whole = only(tiny_run("--rounds", "10"))
    run = only(tiny_run("--rounds", "10", "--stop", word, "--runs-dir", "elsewhere"))
    last = last_round(word, whole.rows)
    assert run.result is not None
    assert run.rows == whole.rows[: last + 1]
    assert run.result["stopped_by"] == ("rounds" if last == 10 else word.partition(":")[0])
    assert (last == 10) == (word == "never")


@pytest.mark.parametrize("word", NOISES)
def test_noises(word: str, tiny_run: TinyRun) -> None:
    run = only(tiny_run("--rounds", "0", "--noise", word))
    assert run.result is not None
    noise, rate = run.result["label_noise"], NOISES[word]
    assert 0 < noise["rate"] < 0.5 if rate is None else noise["rate"] == rate
    diagonal = [noise["matrix"][label][label] for label in range(10)]
    assert 1 - sum(diagonal) / 10 == pytest.approx(noise["rate"])  # six samples of each class
    assert (run.rows[0]["train_accuracy_noisy"] is None) == (noise["rate"] == 0)


def test_noise_on_validation_labels_changes_only_what_is_measured_there(
    tiny_run: TinyRun, plain: StoredRun
) -> None:
    run = only(tiny_run("--noise", "symmetric:rate=0.4,validation=true"))
    for row, old in zip(run.rows, plain.rows):
        assert {key for key in ROW if row[key] != old[key]} <= {"val_accuracy", "val_loss"}
        assert row["val_loss"] != old["val_loss"]


SMALL = ("--rounds", "1", "--epochs", "1", "--batch-size", "16")


@pytest.mark.parametrize("word", MODELS)
def test_models(word: str, tiny_run: TinyRun, tmp_path: Path) -> None:
    large = not word.startswith(("mlp", "vgg"))
    fakes.image_folder(tmp_path, (32, 32) if "squeezenet" in word else (8, 8))
    data = "imagefolder:.,train_size=16,val_size=2" if large else "digits:train_size=16,val_size=10"
    run = only(tiny_run("--dataset", data, "--model", word, *SMALL))
    assert run.config["model"]["name"] == word.partition(":")[0]
    weights = run.rows[0]["nonzero"]
    assert weights == (MODELS[word] or weights)
    assert run.rows[1]["nonzero"] == weights - round(0.2 * weights)
    assert 0 < run.rows[0]["entropy"] <= 1
    assert (
        run.rows[1]["macs_effective"] < run.rows[0]["macs_effective"] == run.rows[0]["macs_dense"]
    )


@pytest.mark.parametrize("word", DATASETS)
def test_data_sets(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_run: TinyRun
) -> None:
    classes, shape, samples = DATASETS[word]
    fakes.install(component_name(word, "dataset"), tmp_path, monkeypatch)
    words = ["--dataset", word, "--data-dir", ".", "--noise", "symmetric:0.5", "--lr", "0.01"]
    run = only(tiny_run(*words, "--rounds", "1"))
    assert run.result is not None
    assert tuple(run.result["samples"].values()) == samples
    assert len(run.result["label_noise"]["matrix"]) == classes
    pixels = torch.tensor(shape).prod().item()
    assert run.rows[0]["nonzero"] == pixels * 8 + 8 * classes


@pytest.mark.parametrize("word", METRICS)
def test_metrics(word: str, tiny_run: TinyRun, plain: StoredRun) -> None:
    """The built-in ones fill the rows anyway; asked for by name they come in a file as well."""
    run = only(tiny_run("--metric", word))
    assert (run.run_id, run.rows) == (plain.run_id, plain.rows)
    lines = (run.path / "metrics" / f"{word}.jsonl").read_text().splitlines()
    values = [json.loads(line) for line in lines]
    assert len(values[0]) > 1
    assert values == [{key: row[key] for key in values[0]} for row in plain.rows]


def test_further_metrics(tiny_run: TinyRun, plain: StoredRun) -> None:
    """They come in a file alone, and change nothing else."""
    run = only(tiny_run("--metric", "ece:bins=9"))
    assert (run.run_id, run.rows) == (plain.run_id, plain.rows)
    lines = (run.path / "metrics" / "ece+bins-9.jsonl").read_text().splitlines()
    values = [json.loads(line) for line in lines]
    assert [line["round"] for line in values] == [row["round"] for row in run.rows]
    for line, row in zip(values, run.rows):
        for part in ("train", "val", "test"):  # no bin is farther off than the mean over all
            gap = abs(line[f"{part}_confidence"] - row[f"{part}_accuracy"])
            assert gap - 1e-9 <= line[f"{part}_ece"] <= 1


@pytest.mark.parametrize("word", EXECUTORS)
def test_executors(word: str, tiny_run: TinyRun, plain: StoredRun, slurm: Path) -> None:
    slurm_stand_in.set_up(slurm, starts=True)
    found = tiny_run("--executor", word, "--seeds", "0-1", "--jobs", "1", "--wait")
    first, second = (check(entry) for entry in found["runs"])
    assert (first.path / "rounds.jsonl").read_bytes() == (plain.path / "rounds.jsonl").read_bytes()
    assert first.result["plan"] == plain.result["plan"]  # type: ignore[index]
    assert (first.seed, second.seed) == (0, 1)
    assert first.rows != second.rows


def test_the_command_as_the_user_wrote_it(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All in workers, six seeds and their teachers; only the trainings are shorter."""
    whole = Digits.recipe
    short = {"dense_epochs": 2, "retrain_epochs": 1, "rounds": 2}
    monkeypatch.setattr(Digits, "recipe", lambda self, model: {**whole(self, model), **short})
    monkeypatch.setattr("dsd_bench.executors.local.available_cores", lambda: 1)
    code, out, err = command("run", "--pruner", "magnitude", "--reg", "kd")
    assert (code, err) == (0, "")
    frame = load_runs()
    assert len(frame) == 12 * 3
    assert sorted(frame["seed"].unique()) == [0, 1, 2, 3, 4, 5]
    assert sum("kd" in words for words in frame["regularizers"]) == 6 * 3
    assert out.count("teacher") >= 6
    assert "mean over seeds" in out
    assert "more: dsd-bench show " in out


@pytest.mark.parametrize("word", REPORTERS)
def test_reporters(word: str, command: Command, plain: StoredRun) -> None:
    code, out, err = command("show", str(plain.path), "--reporter", word)
    assert (code, err) == (0, "")
    for row in plain.rows:
        shown = str(row["nonzero"]) if "csv" in word else f" {row['nonzero']} "
        assert shown in out
    assert ("run_id,curve_id" in out) == (word == "csv")


# --- the protocol's options -----------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        *(("--optimizer", word, "--lr", "0.01") for word in OPTIMIZERS),
        ("--momentum", "0"),
        ("--weight-decay", "0.1"),
        ("--milestones", ""),
        ("--lr-drop", "0.5"),
        ("--clip-norm", "0.5"),
        ("--precision", "bf16"),
    ],
)
def test_options_of_the_training_change_the_numbers(
    words: tuple[str, ...], tiny_run: TinyRun, plain: StoredRun
) -> None:
    run = only(tiny_run(*words))
    assert run.rows[0]["train_loss"] != plain.rows[0]["train_loss"]
    assert [row["nonzero"] for row in run.rows] == PRUNERS["magnitude"]


@pytest.mark.parametrize("word", SCHEDULES)
def test_schedules(word: str, tiny_run: TinyRun, plain: StoredRun) -> None:
    run = only(tiny_run("--schedule", word))
    assert (run.run_id == plain.run_id) == (word == "step")
    assert (run.rows == plain.rows) == (word in ("step", "early-bird"))  # two epochs, none to spare


def test_a_scaled_learning_rate_leaves_the_dense_training_alone(
    tiny_run: TinyRun, plain: StoredRun
) -> None:
    run = only(tiny_run("--retrain-lr-scale", "0.1"))
    assert run.rows[0] == plain.rows[0]
    assert run.rows[1]["train_loss"] != plain.rows[1]["train_loss"]


def test_target_sparsity(tiny_run: TinyRun, plain: StoredRun) -> None:
    run = only(tiny_run("--target-sparsity", "0.1"))
    assert run.rows == plain.rows[:2]
    assert run.result is not None
    assert run.result["stopped_by"] == "target-sparsity"


def test_selection_on_test_holds_nothing_out(tiny_run: TinyRun, command: Command) -> None:
    words = ["--dataset", "digits:train_size=60,val_size=0", "--selection", "test"]
    run = only(tiny_run(*words))
    assert [row["val_accuracy"] for row in run.rows] == [None] * 3
    assert run.result is not None
    assert run.result["samples"] == {"train": 60, "val": 0, "test": 597}
    _, out, _ = command("show", run.run_id)
    assert "selected on test" in out


def test_a_data_seed_fixes_the_data_of_all_seeds(tiny_run: TinyRun) -> None:
    def noise(*words: str) -> list[Any]:
        runs = [check(entry) for entry in tiny_run("--seeds", "0-1", *words)["runs"]]
        assert runs[0].rows[0]["train_loss"] != runs[1].rows[0]["train_loss"]
        return [run.result["label_noise"]["matrix"] for run in runs]  # type: ignore[index]

    own = noise("--rounds", "1")
    shared = noise("--rounds", "1", "--data-seed", "1")
    assert own[0] != own[1]
    assert shared == [own[1], own[1]]


def test_deterministic_algorithms_give_the_same_here(tiny_run: TinyRun, plain: StoredRun) -> None:
    run = only(tiny_run("--deterministic"))
    assert run.rows == plain.rows
    assert run.result is not None
    assert run.result["plan"][0]["deterministic"]


# --- identity and reuse ---------------------------------------------------------------------


def assert_same(one: Path, other: Path) -> None:
    """The two runs have the same rows and the same best weights, byte for byte."""
    for name in ("rounds.jsonl", "best.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


def trained(path: Path) -> list[int]:
    """Return the rounds that were trained in a run's own folder."""
    file = path / "timings.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return [json.loads(line)["round"] for line in lines]


def snapshot(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def test_a_finished_run_is_reused_untouched(tiny_run: TinyRun, tmp_path: Path) -> None:
    (first,) = tiny_run()["runs"]
    assert (first["reused"], first["resumed_from_round"]) == (False, None)
    before = snapshot(tmp_path)
    (again,) = tiny_run()["runs"]
    assert again == {**first, "reused": True}
    assert snapshot(tmp_path) == before


def test_force_begins_anew_with_the_same_bytes(tiny_run: TinyRun, tmp_path: Path) -> None:
    (first,) = tiny_run("--reg", "kd", "--rounds", "1")["runs"]
    path = Path(first["path"])
    before = snapshot(path)
    (path / "rounds.jsonl").write_bytes(b"")
    found = tiny_run("--reg", "kd", "--rounds", "1", "--force")
    (again,), (teacher,) = found["runs"], found["teachers"]
    assert (again["reused"], again["resumed_from_round"], teacher["reused"]) == (False, None, True)
    after = snapshot(path)
    assert before.keys() == after.keys()
    for name in ("config.json", "rounds.jsonl", "best.safetensors", "result.json"):
        assert after[name] == before[name]
    assert trained(path) == [0, 1]


KINDS = {
    "plain": (),
    "chain": ("--reg", "dropout", "--reg", "augment:shift", "--pruner", "gradient"),
    "rewind": ("--perturber", "rewind:step=3", "--pruner", "random"),
    "distilled": ("--reg", "kd"),
}
"""Methods whose rounds may be gone on from."""


@pytest.mark.parametrize("method", KINDS)
def test_more_rounds_go_on_from_the_shorter_run(method: str, tiny_run: TinyRun) -> None:
    words = (*KINDS[method], "--teacher-rounds", "1") if method == "distilled" else KINDS[method]
    tiny_run("--rounds", "1", *words)
    (longer,) = tiny_run("--rounds", "3", *words)["runs"]
    assert longer["resumed_from_round"] == 2
    assert trained(Path(longer["path"])) == [2, 3]
    (fresh,) = tiny_run("--rounds", "3", *words, "--runs-dir", "elsewhere")["runs"]
    assert fresh["run_id"] == longer["run_id"]
    assert_same(Path(longer["path"]), Path(fresh["path"]))


@pytest.mark.parametrize(
    "words",
    [
        *(("--rounds", "8", "--stop", word) for word in STOPS[1:]),
        ("--rounds", "8", "--stop", "patience:tolerance=1"),
        ("--target-sparsity", "0.1"),
        ("--rounds", "1"),
        ("--rounds", "0"),
    ],
    ids=" ".join,
)
def test_another_end_on_a_finished_curve_trains_nothing(
    words: tuple[str, ...], tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tiny_run("--rounds", "8")["runs"][0]
    (fresh,) = tiny_run(*words, "--runs-dir", "elsewhere")["runs"]

    def refuse(*_: Any) -> None:
        raise AssertionError("a training began")

    monkeypatch.setattr("dsd_bench.training.loop.Training.run", refuse)
    (found,) = tiny_run(*words)["runs"]
    path = Path(found["path"])
    assert found["run_id"] == fresh["run_id"] != long["run_id"]
    assert trained(path) == []
    assert found["resumed_from_round"] == len(load_run(path).rows)
    assert_same(path, Path(fresh["path"]))
    assert load_run(path).result == load_run(Path(fresh["path"])).result


def test_what_was_adopted_can_be_gone_on_from(tiny_run: TinyRun) -> None:
    """A run that only took over rounds holds no state to train on from; the long one does."""
    tiny_run("--rounds", "2")
    tiny_run("--rounds", "1")
    (longest,) = tiny_run("--rounds", "3")["runs"]
    assert longest["resumed_from_round"] == 3
    (fresh,) = tiny_run("--rounds", "3", "--runs-dir", "elsewhere")["runs"]
    assert_same(Path(longest["path"]), Path(fresh["path"]))


def test_runs_of_a_folder_as_a_table(tiny_run: TinyRun) -> None:
    found = tiny_run("--seeds", "0-1", "--reg", "kd")
    frame = load_runs("runs")
    ids = {entry["run_id"] for entry in [*found["runs"], *found["teachers"]]}
    assert set(frame["run_id"]) == ids
    assert len(frame) == 4 * 3
    best = frame[frame["best"]].set_index("run_id")["round"]
    expected = {e["run_id"]: e["best_round"] for e in [*found["runs"], *found["teachers"]]}
    pandas.testing.assert_series_equal(best.sort_index(), pandas.Series(expected, name="round")
                                       .rename_axis("run_id").sort_index())  # fmt: skip

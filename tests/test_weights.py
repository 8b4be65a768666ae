"""Beginning from a file of weights: its hash, its checks, the run, and what views say."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_protocol import Silent, make_run
from torch import Tensor, nn

from dsd_bench import RunConfig, load_model, run
from dsd_bench.analysis.fairness import dense_key
from dsd_bench.boards.files import read_row
from dsd_bench.boards.methods import method_of, track_of, whole
from dsd_bench.boards.places import track_slug
from dsd_bench.boards.ranking import rank
from dsd_bench.boards.render import board
from dsd_bench.boards.rows import submit
from dsd_bench.config.layers import read_layer
from dsd_bench.config.naming import configuration_key, setting
from dsd_bench.config.resolve import resolve
from dsd_bench.config.run import WeightsConfig
from dsd_bench.errors import UsageError
from dsd_bench.experiment.given import begin_from
from dsd_bench.store.given import contents
from dsd_bench.store.runs import StoredRun

Make = Callable[..., RunConfig]
Command = Callable[..., tuple[int, str, str]]
TinyRun = Callable[..., dict[str, Any]]


class Net(nn.Module):
    """Two layers, a batch norm, and an output layer."""

    def __init__(self, classes: int = 10, hidden: int = 8) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, hidden), nn.BatchNorm1d(hidden))
        self.head = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))  # type: ignore[no-any-return]


def write(path: Path, state: dict[str, Tensor]) -> WeightsConfig:
    save_file({k: v.contiguous() for k, v in state.items()}, path)
    return WeightsConfig(file=str(path), sha256=contents(path))


def net(seed: int = 0, **options: Any) -> Net:
    torch.manual_seed(seed)
    made = Net(**options)
    made.body[2].running_mean.normal_()  # type: ignore[operator,union-attr]
    return made


# -- what a file holds


def test_contents_are_tensors_alone(tmp_path: Path) -> None:
    state = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(0), "c": torch.tensor(3)}
    save_file(state, tmp_path / "one")
    save_file(dict(reversed(state.items())), tmp_path / "two", {"format": "pt", "by": "me"})
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert (tmp_path / "one").read_bytes() != (tmp_path / "two").read_bytes()
    others = [
        {**state, "a": state["a"] + 1},
        {**state, "a": state["a"].view(3, 2)},
        {**state, "c": torch.tensor(3, dtype=torch.int32)},
        {"a2": state["a"], "b": state["b"], "c": state["c"]},
        {"a": state["a"], "b": state["b"]},
    ]
    found = {contents(tmp_path / "one")}
    for number, other in enumerate(others):
        save_file(other, tmp_path / str(number))
        found.add(contents(tmp_path / str(number)))
    assert len(found) == len(others) + 1


def damaged(text: bytes, body: bytes = b"") -> bytes:
    return len(text).to_bytes(8, "little") + text + body


def torch_saved(**how: Any) -> bytes:
    file = io.BytesIO()
    torch.save({"weight": torch.zeros(2)}, file, **how)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "wrong"),
    [
        (b"", "its header would have 0 bytes"),
        (b"\xff" * 8, "its header would have"),
        ((50).to_bytes(8, "little") + b"{}", "ends within its header"),
        (damaged(b"{}"), "holds no tensors"),
        (damaged(b"[1]"), "is no whole safetensors file"),
        (torch_saved(), r"weights_only=True\), 'net.safetensors'\)$"),
        (torch_saved(_use_new_zipfile_serialization=False), "begins as torch.save's files do"),
        (damaged(b'{"a": 3}'), "'a' has no place"),
        (damaged(b'{"a": {"data_offsets": [0, 4]}}', b"abc"), "ends within 'a'"),
        (damaged(b'{"a": {"data_offsets": [2, 1]}}', b"abc"), "ends within 'a'"),
        (damaged(b'{"a": {"data_offsets": [0, true]}}', b"abc"), "'a' has no place"),
        (damaged(b"\xff\xff"), "is no whole safetensors file"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, tiny: Make, data: bytes, wrong: str) -> None:
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(UsageError, match=wrong) as caught:
        tiny(weights=str(tmp_path / "file"))
    assert str(caught.value).startswith(f"--weights: {tmp_path / 'file'}: ")


def test_what_is_no_file_is_refused(tmp_path: Path, tiny: Make) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, wrong in {"pipe": "no regular file", "gone": "no such file", ".": "no reg"}.items():
        with pytest.raises(UsageError, match=wrong):
            tiny(weights=str(tmp_path / name))


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"weights_head": "replace"}, "--weights-head says what to do with the file of --weights"),
        ({"weights": {"file": "x", "sha256": "12"}}, "--weights: sha256=12: String should match"),
        ({"weights": {"sha256": "a" * 64, "head": "cut"}}, "head=cut: Input should be 'keep' or"),
    ],
)
def test_wrong_options_are_told(tiny: Make, options: dict[str, Any], wrong: str) -> None:
    with pytest.raises(UsageError, match=wrong):
        tiny(**options)


# -- into a network


def test_all_is_taken_and_types_are_converted(tmp_path: Path) -> None:
    source, target = net(1), net(2)
    state = {k: v.half() if v.is_floating_point() else v for k, v in source.state_dict().items()}
    del state["body.2.num_batches_tracked"]
    target.body[2].num_batches_tracked += 3  # type: ignore[operator]
    notes = begin_from(write(tmp_path / "f", state), target, "model 'net'", 10)
    for name, tensor in target.state_dict().items():
        assert torch.equal(tensor, state[name].float() if name in state else torch.tensor(3))
    assert target.head.weight.dtype == torch.float32
    assert len(notes) == 1


def test_another_head_is_replaced_when_told(tmp_path: Path) -> None:
    source, target, fresh = net(1, classes=1000), net(2), net(2)
    weights = write(tmp_path / "f", source.state_dict())
    with pytest.raises(
        UsageError, match=r"head.weight is 1000x8, not 10x8.*--weights-head replace draws head anew"
    ):
        begin_from(weights, target, "model 'net'", 10)
    told = weights.model_copy(update={"head": "replace"})
    notes = begin_from(told, target, "model 'net'", 10)
    assert any("output layer head is as initialised" in note for note in notes)
    for name, tensor in target.state_dict().items():
        expected = fresh if name.startswith("head.") else source
        assert torch.equal(tensor, expected.state_dict()[name])


def test_a_head_that_fits_is_replaced_too(tmp_path: Path) -> None:
    source, target, fresh = net(1), net(2), net(2)
    told = write(tmp_path / "f", source.state_dict()).model_copy(update={"head": "replace"})
    begin_from(told, target, "model 'net'", 10)
    assert torch.equal(target.head.weight, fresh.head.weight)
    assert torch.equal(target.body[1].weight, source.body[1].weight)  # type: ignore[arg-type]


def test_a_file_without_a_head_will_do(tmp_path: Path) -> None:
    state = {k: v for k, v in net(1).state_dict().items() if not k.startswith("head")}
    weights, target = write(tmp_path / "f", state), net(2)
    with pytest.raises(UsageError, match=r"it lacks head.weight, head.bias; --weights-head"):
        begin_from(weights, target, "model 'net'", 10)
    begin_from(weights.model_copy(update={"head": "replace"}), target, "model 'net'", 10)
    assert torch.equal(target.state_dict()["body.1.weight"], state["body.1.weight"])


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lambda s: s.pop("body.1.bias"), "does not fit model 'net': it lacks body.1.bias"),
        (lambda s: s.update(more=torch.ones(1)), "the model has no more"),
        (lambda s: s.update({"body.1.bias": torch.ones(9)}), "body.1.bias is 9, not 8"),
        (lambda s: s["body.1.bias"].fill_(float("nan")), "'body.1.bias' has values that are not"),
        (lambda s: s["head.bias"].fill_(float("inf")), "'head.bias' has values that are not"),
    ],
)
@pytest.mark.parametrize("head", ["keep", "replace"])
def test_what_does_not_fit_is_named(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], Any], wrong: str, head: str
) -> None:
    state = {k: v.clone() for k, v in net(1).state_dict().items()}
    change(state)
    told, target = write(tmp_path / "f", state).model_copy(update={"head": head}), net(2)
    if "head" in wrong and head == "replace":
        begin_from(told, target, "model 'net'", 10)
        return
    with pytest.raises(UsageError, match=wrong) as caught:
        begin_from(told, target, "model 'net'", 10)
    assert "--weights-head" not in str(caught.value)
    fresh = net(2).state_dict()
    assert all(torch.equal(tensor, fresh[name]) for name, tensor in target.state_dict().items())


def test_no_head_to_replace_is_told(tmp_path: Path) -> None:
    told = write(tmp_path / "f", net(1).state_dict()).model_copy(update={"head": "replace"})
    with pytest.raises(UsageError, match="no linear layer of 11 outputs to replace"):
        begin_from(told, net(2), "model 'net'", 11)


def test_a_convolution_with_an_output_for_each_class_is_a_head(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source, target = (nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, n, 1)) for n in (5, 10))
    fresh = target[1].weight.clone()
    told = write(tmp_path / "f", source.state_dict()).model_copy(update={"head": "replace"})
    begin_from(told, target, "model 'conv'", 10)
    assert torch.equal(target[0].weight, source[0].weight)
    assert torch.equal(target[1].weight, fresh)


@pytest.mark.parametrize(("lacking", "wrong"), [(3, "a, b, c$"), (4, "a, b, c and 1 more$")])
def test_three_names_are_told_and_how_many_more(tmp_path: Path, lacking: int, wrong: str) -> None:
    state = net(1).state_dict() | {name: torch.ones(1) for name in "abcd"[:lacking]}
    with pytest.raises(UsageError, match=f"the model has no {wrong}"):
        begin_from(write(tmp_path / "f", state), net(2), "model 'net'", 10)


@pytest.mark.parametrize("metadata", ["", ', "__metadata__": {"dsd-bench": "[]"}'])
def test_what_only_torch_finds_wrong_is_told(tmp_path: Path, metadata: str) -> None:
    path = tmp_path / "f"
    text = f'{{"a": {{"dtype": "X8", "shape": [4], "data_offsets": [0, 4]}}{metadata}}}'
    path.write_bytes(damaged(text.encode(), b"abcd"))
    told = WeightsConfig(file=str(path), sha256=contents(path))
    with pytest.raises(UsageError, match=f"--weights {path}: cannot be read: "):
        begin_from(told, net(), "model 'net'", 10)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight


@pytest.mark.parametrize("name", ["first.weight", "second.weight"])
def test_a_shared_weight_has_either_name(tmp_path: Path, name: str) -> None:
    source, target = Tied(), Tied()
    state = {k: v for k, v in source.state_dict().items() if k in (name, *_biases)}
    begin_from(write(tmp_path / "f", state), target, "model 'tied'", 4)
    assert torch.equal(target.second.weight, source.first.weight)


_biases = ("first.bias", "second.bias")


def test_another_file_than_was_planned_with_is_refused(tmp_path: Path) -> None:
    weights = write(tmp_path / "f", net(1).state_dict())
    write(tmp_path / "f", net(3).state_dict())
    with pytest.raises(UsageError, match=r"is not the file that this run was planned with"):
        begin_from(weights, net(2), "model 'net'", 10)
    (tmp_path / "f").unlink()
    with pytest.raises(UsageError, match=r"--weights: .*f: no such file"):
        begin_from(weights, net(2), "model 'net'", 10)


# -- runs


@pytest.fixture(scope="module")
def given(plain: StoredRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dense network of the tiny run, as a file of anybody's."""
    path = tmp_path_factory.mktemp("given") / "net.safetensors"
    save_file(load_model(plain.path, "dense").state_dict(), path)
    return path


def test_row_0_is_the_network_as_given(
    given: Path, plain: StoredRun, tiny: Make, tmp_path: Path
) -> None:
    """Its pruning and second training are those of the run that trained it."""
    config = tiny(weights=str(given), dense_epochs=0)
    made = run(config, runs_dir=tmp_path)
    assert made.rows == plain.rows
    assert "begun from the weights in" in (made.path / "log.txt").read_text()
    assert config.run_id != tiny(dense_epochs=0).run_id
    kept = load_model(made.path, "dense").state_dict()
    assert all(torch.equal(tensor, kept[name]) for name, tensor in load_file(given).items())


def test_training_begins_from_them_and_rewinds_to_them(
    given: Path, tiny: Make, tmp_path: Path
) -> None:
    config = tiny(weights=str(given), perturber="rewind:step=0", rounds=1)
    made = make_run(config, tmp_path)
    made.follow()
    snapshot = made.store.recall("snapshot-0")
    assert all(torch.equal(tensor, snapshot[name]) for name, tensor in load_file(given).items())
    assert not torch.equal(made.store.recall("dense")["1.weight"], snapshot["1.weight"])


def test_the_file_is_needed_for_the_beginning_alone(
    given: Path, tiny: Make, tmp_path: Path
) -> None:
    from dsd_bench.errors import Interrupted
    from dsd_bench.experiment.protocol import Run

    mine = tmp_path / "mine.safetensors"
    shutil.copy(given, mine)
    config = tiny(weights=str(mine))
    whole_run = make_run(config, tmp_path)
    whole_run.follow()
    cut = make_run(config, tmp_path)
    cut.watcher = Silent(3)
    with pytest.raises(Interrupted):
        cut.follow()
    again = Run(make_run(config, tmp_path).experiment, cut.store, Silent())
    mine.unlink()
    again.follow()
    assert json.dumps(again.rows) == json.dumps(whole_run.rows)


def test_what_a_run_kept_is_taken_without_its_masks(
    plain: StoredRun, tiny: Make, tmp_path: Path
) -> None:
    for file, round in (("weights/round-002.safetensors", 2), ("dense.safetensors", 0)):
        config = tiny(weights=str(plain.path / file), dense_epochs=0, rounds=0)
        made = run(config, runs_dir=tmp_path)
        state, kept = load_model(made.path).state_dict(), load_model(plain.path, round).state_dict()
        assert all(torch.equal(tensor, kept[name]) for name, tensor in state.items())
        assert made.rows[0]["nonzero"] == plain.rows[0]["nonzero"]
        log = (made.path / "log.txt").read_text()
        assert ("its masks were left aside" in log) == bool(round)


def test_a_head_for_other_classes(tiny_run: TinyRun, command: Command, tmp_path: Path) -> None:
    big = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 100))
    write(tmp_path / "big.safetensors", big.state_dict())
    words = ("--weights", "big.safetensors", "--dense-epochs", "1")
    code, _, err = command("run", *words, "--model", "mlp:hidden=8", "--executor", "inline")
    assert code == 2
    assert "3.weight is 100x8, not 10x8" in err
    assert "--weights-head replace draws 3 anew for 10 classes" in err
    assert not list(tmp_path.glob("runs/*"))
    (found,) = tiny_run(*words, "--weights-head", "replace")["runs"]
    assert found["status"] == "done"


# -- ids and views


def test_ids_have_the_contents_and_not_the_place(given: Path, tiny: Make, tmp_path: Path) -> None:
    shutil.copy(given, tmp_path / "copy")
    one, other = tiny(weights=str(given)), tiny(weights=str(tmp_path / "copy"))
    assert (one.run_id, one.curve_id) == (other.run_id, other.curve_id)
    assert one.run_id != tiny().run_id
    assert one.curve_id != tiny().curve_id
    assert one.run_id != tiny(weights=str(given), weights_head="replace").run_id
    assert configuration_key(one.to_json()) == configuration_key(other.to_json())
    assert tiny(weights="none") == tiny()
    assert "weights" not in tiny().to_json()
    write(tmp_path / "copy", {**load_file(given), "1.bias": torch.zeros(8)})
    assert tiny(weights=str(tmp_path / "copy")).run_id != one.run_id
    assert RunConfig.from_json(json.loads(json.dumps(one.to_json()))) == one


def test_a_config_json_needs_no_file(given: Path, tiny: Make, tmp_path: Path) -> None:
    shutil.copy(given, tmp_path / "copy")
    config = tiny(weights=str(tmp_path / "copy"), weights_head="replace")
    (tmp_path / "config.json").write_text(json.dumps(config.to_json()))
    (tmp_path / "copy").unlink()
    layer = read_layer(tmp_path / "config.json")
    assert resolve(layer)[0] == config
    moved = resolve(layer, {"weights": str(given), "weights_head": "replace"})[0]
    assert moved.run_id == config.run_id
    assert resolve(layer, {"weights_head": "keep"})[0].weights.head == "keep"  # type: ignore[union-attr]


def test_a_teacher_begins_as_its_student_if_it_is_the_same_model(given: Path, tiny: Make) -> None:
    def teacher(**own: Any) -> RunConfig:
        config = tiny(weights=str(given), weights_head="replace", reg="kd", teacher=own)
        taught = config.regularizers[0].teacher
        assert taught is not None
        return taught.config

    assert teacher().weights == tiny(weights=str(given), weights_head="replace").weights
    assert teacher(model="mlp:hidden=9").weights is None
    assert teacher(weights="none").weights is None
    differs = (
        method_of(tiny(weights=str(given), reg="kd", teacher={"model": "mlp:hidden=9"}))
        .regularizers[0]
        .teacher.differs
    )  # type: ignore[union-attr]
    assert differs["weights"] == "none"


def test_other_contents_have_another_hash_and_the_same_ones_the_same(tmp_path: Path) -> None:
    state = Net().state_dict()
    first = write(tmp_path / "first.safetensors", state)
    assert write(tmp_path / "again.safetensors", state).sha256 == first.sha256
    for name, tensor in state.items():
        if tensor.is_floating_point():
            other = {**state, name: tensor + 1}
            assert write(tmp_path / f"{name}.safetensors", other).sha256 != first.sha256


def test_boards_and_views_tell_them(
    given: Path, tiny: Make, tmp_path: Path, command: Command
) -> None:
    config = tiny(weights=str(given), dense_epochs=0)
    made = run(config, runs_dir=tmp_path / "runs")
    sha = contents(given)
    (path,) = submit([made], tmp_path / "leaderboards")
    row = read_row(path)
    assert row.track.weights is not None
    assert row.track.weights.sha256 == sha
    assert str(given) not in path.read_text()
    assert sha[:8] in track_slug(row.track)
    assert f"weights of contents sha256:{sha}" in board(rank([row]))
    assert "weights" not in track_of(tiny()).model_dump(mode="json")
    assert "weights" not in whole(tiny())
    assert dense_key(config.to_json()) != dense_key(tiny(dense_epochs=0).to_json())
    assert setting(config.to_json()).endswith(f"weights {sha[:8]}")
    command("show", str(made.path))
    options = ("--dataset", "digits:train_size=60,val_size=30", "--model", "mlp:hidden=8")
    code, out, err = command("run", *options, "--weights", str(given), "--dry-run", "--seeds", "0")
    assert code == 0, err
    assert f"(weights {sha[:8]})" in " ".join(out.split())


def test_a_row_s_runs_begin_again_from_the_file_that_is_given(
    given: Path, tiny: Make, tmp_path: Path, command: Command
) -> None:
    """And so do their teachers, of which the row does not say either where it lies."""
    own = Path(shutil.copy(given, tmp_path / "own"))
    config = tiny(weights=str(own), reg="kd")
    (path,) = submit([run(config, runs_dir=tmp_path / "runs")], tmp_path / "leaderboards")
    assert str(own) not in path.read_text()
    moved = own.rename(tmp_path / "moved")
    words = ("verify", str(path), "--rerun", "1", "--runs-dir", "none", "--executor", "inline")
    code, _, err = command(*words)
    assert code == 2
    assert f"sha256:{contents(moved)}; give them by --weights" in " ".join(err.split())
    save_file(net().state_dict(), tmp_path / "other")
    code, _, err = command(*words, "--weights", str(tmp_path / "other"))
    assert code == 2
    assert "its contents are not those of the row" in " ".join(err.split())
    code, out, err = command(*words, "--weights", str(moved))
    assert code == 0, err
    assert "same (run again: seed 0)" in out

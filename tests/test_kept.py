"""Which rounds' weights stay, and in how few bytes they come back exactly."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from fakes import InMemoryStore
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor, nn

from dsd_bench import RunConfig, load_model, run
from dsd_bench.errors import DamagedFile, Interrupted, UsageError
from dsd_bench.experiment import keeping
from dsd_bench.experiment.keeping import chosen, curve_bytes
from dsd_bench.masks import Masks
from dsd_bench.plugins import catalogue
from dsd_bench.store.folder import RunFolder
from dsd_bench.store.kept import pack, unpack
from dsd_bench.store.runs import StoredRun, load_run
from dsd_bench.store.tensors import read_tensors, write_tensors
from dsd_bench.store.weights import kept_rounds, read_weights

Make = Callable[..., RunConfig]
TinyRun = Callable[..., dict[str, Any]]


def same_bits(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    def bits(tensor: Tensor) -> tuple[Any, ...]:
        flat = tensor.contiguous().reshape(-1).view(torch.uint8)
        return tensor.dtype, tuple(tensor.shape), flat.numpy().tobytes()

    return one.keys() == other.keys() and all(bits(one[k]) == bits(other[k]) for k in one)


@given(
    shape=st.lists(st.integers(0, 5), max_size=3),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    seed=st.integers(0, 99),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    dirty=st.booleans(),
)
@example(shape=[1], density=0.5, seed=23, dtype=torch.bfloat16, dirty=False)  # a NaN of one bit
def test_all_bits_come_back(
    shape: list[int], density: float, seed: int, dtype: torch.dtype, dirty: bool
) -> None:
    draw = torch.Generator().manual_seed(seed)
    mask = torch.rand(shape, generator=draw) < density
    special = torch.tensor([0.0, -0.0, float("nan"), float("inf"), 1e-45, -1.5])
    weight = special[torch.randint(0, 6, shape, generator=draw)].to(dtype)
    if not dirty:  # as masks leave it; else some pruned weights are -0.0 or worse
        weight = weight.masked_fill(~mask, 0.0)
    tensors = {
        "layer.weight": weight,
        "layer.bias": torch.randn(3, generator=draw),
        "norm.num_batches_tracked": torch.tensor(7),
        "masks/weights/layer.weight": mask,
        "masks/tied/layer.bias": torch.tensor([True, False, True]),
    }
    packed, state = pack(tensors)
    assert same_bits(unpack(packed, state), tensors)


def test_what_a_packed_round_holds() -> None:
    """Bits of the mask, first element highest, and the values that are left, in order."""
    weight = torch.tensor([[0.0, 2.0, 0.0], [-0.0, 0.0, 5.0]])
    mask = torch.tensor([[False, True, False], [True, False, True]])
    packed, state = pack({"w": weight, "masks/weights/w": mask})
    assert packed["masks/weights/w"].tolist() == [0b01010100]
    assert packed["w"].tolist() == [2.0, -0.0, 5.0]
    assert state == {"packed": {"masks/weights/w": [2, 3]}, "values": ["w"]}


def test_a_curve_takes_about_five_dense_models() -> None:
    dense, total = 4 * 100_000, 0
    for round in range(1, 31):
        mask = torch.zeros(100_000, dtype=torch.bool)
        mask[: int(100_000 * 0.8**round)] = True
        packed, _ = pack({"w": mask.float(), "masks/weights/w": mask})
        total += sum(tensor.nbytes for tensor in packed.values())
    assert 4 * dense < total < 5.2 * dense


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"w": torch.ones(2)}, "values do not fit"),
        ({"masks/weights/w": torch.tensor([84, 0], dtype=torch.uint8)}, "fit its shape"),
        ({"masks/weights/w": torch.tensor([85], dtype=torch.uint8)}, "beyond its end"),
        ({"masks/weights/w": torch.tensor([84.0])}, "fit its shape"),
    ],
)
def test_tensors_that_do_not_fit_their_state(change: dict[str, Tensor], says: str) -> None:
    mask = torch.tensor([[False, True, False], [True, False, True]])
    packed, state = pack({"w": mask.float(), "masks/weights/w": mask})
    with pytest.raises(ValueError, match=says):
        unpack({**packed, **change}, state)


@pytest.mark.parametrize(
    "state",
    [
        {"packed": [1], "values": []},
        {"packed": {"masks/weights/w": [10**12]}, "values": []},
        {"packed": {"masks/weights/w": [-2, -3]}, "values": []},
        {"packed": {"masks/weights/w": 6}, "values": []},
        {"packed": {}, "values": ["w"]},
    ],
)
def test_a_state_that_does_not_fit_the_tensors(state: dict[str, Any], tmp_path: Path) -> None:
    mask = torch.tensor([[False, True, False], [True, False, True]])
    packed, _ = pack({"w": mask.float(), "masks/weights/w": mask})
    (tmp_path / "weights").mkdir()
    path = tmp_path / "weights" / "round-001.safetensors"
    write_tensors(path, packed, {"run_id": "a", **state})
    with pytest.raises(DamagedFile, match=r"round-001\.safetensors: damaged"):
        read_weights(tmp_path, "round-001", "a")


# --- which rounds ----------------------------------------------------------------------------


def records(stored: StoredRun) -> list[int]:
    scores = [row[stored.score] for row in stored.rows]
    return [r for r, score in enumerate(scores) if r == 0 or score > max(scores[:r])]


def kept_by(tiny: Make, folder: Path, keep: Any, **options: Any) -> StoredRun:
    return run(tiny(rounds=5, epochs=1, lr=0.2, **options), runs_dir=folder, keep=keep)


def test_all_records_or_none_stay(tiny: Make, tmp_path: Path) -> None:
    every = kept_by(tiny, tmp_path / "all", "all")
    assert every.result is not None
    assert records(every) not in ([0], list(range(6)))  # else it shows nothing
    best = every.result["best_round"]
    assert kept_rounds(every.path) == list(range(6))
    some = kept_by(tiny, tmp_path / "records", "records")
    assert kept_rounds(some.path) == records(every)
    none = kept_by(tiny, tmp_path / "none", "none")
    assert sorted(kept_rounds(none.path)) == [0, best]
    assert list((none.path / "weights").iterdir()) == []
    default = kept_by(tiny, tmp_path / "default", None)
    assert kept_rounds(default.path) == list(range(6))
    for other in (some, none, default):
        assert other.rows == every.rows
        for name in ("rounds.jsonl", "correct.jsonl", "best.safetensors", "dense.safetensors"):
            assert (other.path / name).read_bytes() == (every.path / name).read_bytes()


def test_every_kept_round_is_the_network_of_its_row(plain: StoredRun) -> None:
    for row in plain.rows:
        state = load_model(plain.path, row["round"]).state_dict()
        weights = [state[name] for name in row["sparsity_per_layer"]]
        assert sum(int(weight.count_nonzero()) for weight in weights) == row["nonzero"]
    assert plain.result is not None
    best = load_model(plain.path).state_dict()
    assert same_bits(dict(best), dict(load_model(plain.path, 0).state_dict())) == (
        plain.result["best_round"] == 0
    )


@pytest.mark.parametrize("weights", [7, -1, True, "last", None])
def test_weights_that_were_not_kept_are_refused(weights: Any, plain: StoredRun) -> None:
    with pytest.raises(UsageError, match=r"those of 0, 1, 2 are|none of best, dense"):
        load_model(plain.path, weights)


def test_by_default_a_large_curve_keeps_its_records(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "MOST", 1000)
    stored = kept_by(tiny, tmp_path, None)
    assert kept_rounds(stored.path) == records(stored)


def test_the_estimate_is_what_a_curve_takes(tiny: Make, tmp_path: Path) -> None:
    stored = run(tiny(rounds=4, epochs=1, model="mlp:hidden=64"), runs_dir=tmp_path, keep="all")
    tensors = [read_tensors(file)[0] for file in (stored.path / "weights").iterdir()]
    taken = sum(tensor.nbytes for held in tensors for tensor in held.values())
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    config = RunConfig.from_json(stored.config)
    weights = [name for name in model.state_dict() if name.endswith("weight")]
    masks = Masks({name: model.state_dict()[name].bool() for name in weights})
    pruner = catalogue().get("pruner", "magnitude").component.create()
    expected = curve_bytes(config.protocol, pruner, model.state_dict(), masks)
    assert expected == pytest.approx(taken, rel=0.01)
    whole = curve_bytes(config.protocol, pruner, model.state_dict(), masks, whole=True)
    assert whole > expected
    target = config.protocol.model_copy(update={"rounds": None, "target_sparsity": 1 - 0.8**4})
    found = curve_bytes(target, pruner, model.state_dict(), masks)
    assert found == pytest.approx(expected, rel=0.3)
    assert chosen("records", target, pruner, model.state_dict(), masks) == "records"


class StopsIn:
    """A watcher's question that is answered with yes once some rounds are done."""

    def __init__(self, path: Path, rounds: int) -> None:
        self.path, self.rounds = path / "rounds.jsonl", rounds

    def __call__(self) -> bool:
        return self.path.exists() and self.path.read_text().count("\n") >= self.rounds


@pytest.mark.parametrize("first", ["all", "records", "none"])
@pytest.mark.parametrize("second", ["all", "records", "none"])
def test_a_run_goes_on_across_a_change_of_keep(
    first: Any, second: Any, tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dsd_bench.executors import Settings
    from dsd_bench.experiment.runner import run_folder
    from dsd_bench.store.files import write_json

    config = tiny(rounds=4, epochs=1, lr=0.2, perturber="rewind:step=2")
    path = tmp_path / "runs" / config.run_id
    path.mkdir(parents=True)
    write_json(path / "config.json", config.to_json())
    began = run_folder(path, Settings(keep=first), lambda event: None, StopsIn(path, 3))
    assert began.status == "interrupted"
    assert run_folder(path, Settings(keep=second), lambda e: None, bool).status == "done"
    whole = run(config, runs_dir=tmp_path / "whole")
    for name in ("rounds.jsonl", "correct.jsonl", "best.safetensors"):
        assert (path / name).read_bytes() == (whole.path / name).read_bytes()
    kept, stored = set(kept_rounds(path)), load_run(path)
    if second == "none":
        assert kept == {0, stored.result["best_round"]}
    else:
        assert kept >= set(records(stored))
        early = set(range(3)) if first == "all" else set()
        late = {3, 4} if second == "all" else set()
        assert kept >= early | late
    assert (list((path / "weights").iterdir()) == []) == (second == "none")


def test_adoption_carries_kept_rounds(tiny_run: TinyRun) -> None:
    tiny_run("--rounds", "2", "--keep", "all")
    (longer,) = tiny_run("--rounds", "3", "--keep", "all")["runs"]
    assert longer["resumed_from_round"] == 3
    assert kept_rounds(Path(longer["path"])) == [0, 1, 2, 3]
    (shorter,) = tiny_run("--rounds", "1", "--keep", "all")["runs"]
    assert kept_rounds(Path(shorter["path"])) == [0, 1]


def test_a_run_that_kept_none_can_be_gone_on_from(tiny_run: TinyRun) -> None:
    tiny_run("--rounds", "2", "--keep", "none")
    (longer,) = tiny_run("--rounds", "3", "--keep", "all")["runs"]
    assert longer["resumed_from_round"] == 3
    (fresh,) = tiny_run("--rounds", "3", "--runs-dir", "elsewhere")["runs"]
    for name in ("rounds.jsonl", "best.safetensors"):
        one, other = Path(longer["path"]) / name, Path(fresh["path"]) / name
        assert one.read_bytes() == other.read_bytes()


def test_records_of_the_first_release_are_found_under_their_old_names(
    tiny_run: TinyRun,
) -> None:
    """There the records were called best-NNN, whole, and did not say whose they are."""
    (short,) = tiny_run("--rounds", "2", "--lr", "0.1", "--keep", "records")["runs"]
    path = Path(short["path"])
    rounds = [round for round in kept_rounds(path) if round]
    assert rounds
    for round in rounds:
        name = f"round-{round:03d}"
        tensors = read_weights(path, name, path.name)
        old = path / "weights" / f"best-{round:03d}.safetensors"
        write_tensors(old, tensors, {"name": old.stem})
        (path / "weights" / f"{name}.safetensors").unlink()
    folder = RunFolder(path, load_run(path).config["curve_id"])
    checkpoint = folder.read()
    state = dataclasses.replace(checkpoint, kept=tuple(
        name.replace("round-", "best-") for name in checkpoint.kept)).state()  # fmt: skip
    del state["needed"]
    write_tensors(
        path / "checkpoint.safetensors",
        checkpoint.tensors,
        {"curve_id": folder.curve_id, **state},
    )
    (path / "result.json").unlink()
    shutil.rmtree(path / "metrics", ignore_errors=True)
    assert folder.read().needed == ("dense", f"round-{rounds[-1]:03d}")
    (again,) = tiny_run("--rounds", "2", "--lr", "0.1")["runs"]
    assert again["resumed_from_round"] == 3
    (longer,) = tiny_run("--rounds", "3", "--lr", "0.1")["runs"]
    assert longer["resumed_from_round"] == 3
    assert set(kept_rounds(Path(longer["path"]))) >= {0, *rounds}
    load_model(path, rounds[-1])


def test_what_is_needed_is_kept_until_the_end(tiny: Make, tmp_path: Path) -> None:
    from test_protocol import make_run

    memory = InMemoryStore()
    config = tiny(rounds=4, epochs=1, lr=0.1, perturber="rewind:step=2")
    with pytest.raises(Interrupted):
        make_run(config, tmp_path, memory, patience=11).follow()
    assert memory.checkpoint is not None
    needed = set(memory.checkpoint.needed)
    scores = [row["val_accuracy"] for row in memory.checkpoint.rows]
    best = int(numpy.argmax(scores))
    assert needed == {"dense", "snapshot-2", "dense" if best == 0 else f"round-{best:03d}"}

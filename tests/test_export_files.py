"""Exported files: what comes back, and that files of strangers do no harm."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

import dsd_bench
from dsd_bench.errors import DamagedFile, RunError, UsageError
from dsd_bench.export import load_exported, shrink, trace, write_exported
from dsd_bench.export.architecture import MOST_NODES, from_json, to_json
from dsd_bench.export.operators import OPERATORS
from dsd_bench.store.tensors import write_tensors

IMAGES = torch.randn(4, 1, 6, 6, generator=torch.Generator().manual_seed(1))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU6(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(36, 3),
    ).eval()  # fmt: skip


@pytest.fixture(scope="module")
def parts() -> tuple[dict[str, Any], dict[str, Tensor]]:
    graph = trace(network(), IMAGES)
    return to_json(graph), dict(graph.tensors)


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    found = shrink(network(), IMAGES)
    path = tmp_path / "a.safetensors"
    write_exported(path, found.graph, {"run_id": "x"})
    loaded = dsd_bench.load_exported(path)
    assert loaded(IMAGES).equal(found.model(IMAGES))
    assert not loaded.training
    assert loaded.graph.size == found.parameters_shrunk
    assert loaded(IMAGES[:1]).shape == (1, 3)
    before = path.read_bytes()
    write_exported(path, found.graph, {"run_id": "x"})
    assert path.read_bytes() == before


def test_masked_networks_as_bits_and_values(tmp_path: Path) -> None:
    model = network()
    masks = {name: torch.rand(weight.shape) < 0.1 for name, weight in model.named_parameters()}
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight[~masks[name]] = 0.0
    sparse, full = tmp_path / "s.safetensors", tmp_path / "f.safetensors"
    write_exported(sparse, trace(model, IMAGES), masks=masks)
    write_exported(full, trace(model, IMAGES))
    for path in (sparse, full):
        assert load_exported(path)(IMAGES).equal(model(IMAGES))
    held = {}
    for path in (sparse, full):
        with safe_open(path, "pt") as file:
            held[path] = sum(file.get_tensor(n).nbytes for n in file.keys())  # noqa: SIM118
    assert held[sparse] < held[full] / 2


LOADER = Path(dsd_bench.__file__).parents[1] / "docs" / "export.md"


def test_the_documented_loader_needs_torch_and_safetensors_only(tmp_path: Path) -> None:
    text = LOADER.read_text()
    code = text.split("```python\nimport json")[1].split("```")[0]
    lines = ("import json" + code).strip().splitlines()
    assert len(lines) <= 40
    found = shrink(network(), IMAGES)
    path = tmp_path / "a.safetensors"
    write_exported(path, found.graph)
    torch.save(IMAGES, tmp_path / "images.pt")
    script = "\n".join([
        "import sys", "sys.modules['dsd_bench'] = None", *lines,
        f"import torch\nimages = torch.load({str(tmp_path / 'images.pt')!r})",
        f"print(load({str(path)!r})(images).tolist())",
    ])  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert torch.tensor(json.loads(done.stdout)).equal(found.model(IMAGES))


@pytest.mark.parametrize("op", ["linear.default", "reshape.default"])
def test_operators_that_no_file_may_hold(tmp_path: Path, op: str) -> None:
    class Strange(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.erfinv(x.flatten(1))

    graph = trace(Strange().eval(), IMAGES)
    with pytest.raises(RunError, match=r"erfinv.*\.pt2"):
        write_exported(tmp_path / "a.safetensors", graph)
    assert not list(tmp_path.iterdir())
    assert op in OPERATORS


def nodes_of(state: dict[str, Any], op: str) -> dict[str, Any]:
    return next(args for _, name, args in state["nodes"] if name == op)


def spoil_op(state: dict[str, Any]) -> None:
    state["nodes"][0][1] = "__import__"


def spoil_dunder(state: dict[str, Any]) -> None:
    state["nodes"][0][1] = "load_library"


def spoil_argument(state: dict[str, Any]) -> None:
    nodes_of(state, "conv2d.default")["evil"] = 1


def spoil_missing(state: dict[str, Any]) -> None:
    del nodes_of(state, "conv2d.default")["stride"]


def spoil_kind(state: dict[str, Any]) -> None:
    nodes_of(state, "conv2d.default")["stride"] = "1"


def spoil_tensor(state: dict[str, Any]) -> None:
    nodes_of(state, "conv2d.default")["weight"] = {"tensor": "nowhere"}


def spoil_later(state: dict[str, Any]) -> None:
    nodes_of(state, "conv2d.default")["input"] = {"node": state["output"]}


def spoil_name(state: dict[str, Any]) -> None:
    state["nodes"][0][0] = "__class__"


def spoil_twice(state: dict[str, Any]) -> None:
    state["nodes"].append(copy.deepcopy(state["nodes"][0]))


def spoil_output(state: dict[str, Any]) -> None:
    state["output"] = "images"


def spoil_input(state: dict[str, Any]) -> None:
    state["input"] = [1, 10**9, 10**9]


def spoil_shape(state: dict[str, Any]) -> None:
    state["input"] = [2, 6, 6]


def spoil_parameters(state: dict[str, Any]) -> None:
    state["parameters"] = ["nowhere"]


def spoil_version(state: dict[str, Any]) -> None:
    state["version"] = 2


def spoil_padding(state: dict[str, Any]) -> None:
    nodes_of(state, "conv2d.default")["padding"] = [2**30, 2**30]


def spoil_text(state: dict[str, Any]) -> None:
    nodes_of(state, "conv2d.default")["groups"] = {"dtype": "__builtins__"}


def spoil_many(state: dict[str, Any]) -> None:
    state["nodes"] *= MOST_NODES


def spoil_doubling(state: dict[str, Any]) -> None:
    last = state["output"]
    for place in range(100, 160):
        both = [{"node": last}, {"node": last}]
        state["nodes"].append([f"v{place}", "cat.default", {"tensors": both, "dim": 1}])
        last = f"v{place}"
    state["output"] = last


def spoil_powers(state: dict[str, Any]) -> None:
    state["nodes"].append(["v100", "size", {"self": {"node": "images"}, "dim": 3}])
    for place in range(101, 200):
        both = {side: {"node": f"v{place - 1}"} for side in "ab"}
        state["nodes"].append([f"v{place}", "int_mul", both])


def spoil_pieces(state: dict[str, Any]) -> None:
    size = [{"node": "v100"}, 2**20]
    state["nodes"].append(["v100", "size", {"self": {"node": "images"}, "dim": 0}])
    expanded = {"self": {"node": state["output"]}, "size": [1, 2**20, 3], "implicit": False}
    state["nodes"].append(["v101", "expand.default", expanded])
    state["nodes"].append(["v102", "unbind.int", {"self": {"node": "v101"}, "dim": 1}])
    assert size


SPOILS = [value for name, value in sorted(globals().items()) if name.startswith("spoil_")]


@pytest.mark.parametrize("spoil", SPOILS)
def test_hostile_architectures_are_refused(
    tmp_path: Path, parts: Any, spoil: Callable[[dict[str, Any]], None]
) -> None:
    state, tensors = copy.deepcopy(parts[0]), parts[1]
    assert from_json(copy.deepcopy(state), tensors).size
    spoil(state)
    path = tmp_path / "a.safetensors"
    write_tensors(path, tensors, state)
    with pytest.raises(DamagedFile) as caught:
        load_exported(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_tensor_that_nothing_uses_is_refused(tmp_path: Path, parts: Any) -> None:
    path = tmp_path / "a.safetensors"
    write_tensors(path, {**parts[1], "more\x1b": torch.zeros(3)}, parts[0])
    with pytest.raises(DamagedFile, match=r"more\\x1b.*no node"):
        load_exported(path)


def test_names_of_arguments_that_steer_a_terminal(tmp_path: Path, parts: Any) -> None:
    state = copy.deepcopy(parts[0])
    state["nodes"][0][1] = "\x1b[2J"
    path = tmp_path / "a.safetensors"
    write_tensors(path, parts[1], state)
    with pytest.raises(DamagedFile) as caught:
        load_exported(path)
    assert "\x1b" not in str(caught.value)


def test_damaged_missing_and_other_files(tmp_path: Path, parts: Any) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(DamagedFile, match="no such file"):
        load_exported(path)
    write_tensors(path, {"a": torch.zeros(2)}, {"name": "best"})
    with pytest.raises(DamagedFile, match="no exported network"):
        load_exported(path)
    write_tensors(path, parts[1], parts[0])
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedFile, match="checksum"):
        load_exported(path)
    with pytest.raises(UsageError, match="pickles"):
        load_exported(tmp_path / "a.pt2")

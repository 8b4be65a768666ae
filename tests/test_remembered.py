"""Counts that are remembered between commands, and commands that need no torch then."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dsd_bench import configure
from dsd_bench.components import Component
from dsd_bench.costs import counting, networks, remembered
from dsd_bench.costs.counted import Counted
from dsd_bench.costs.counting import count_model
from dsd_bench.costs.expected import expected_cost, planned_trainings
from dsd_bench.errors import UsageError
from dsd_bench.hookspecs import hookimpl
from dsd_bench.models import ModelFactory
from dsd_bench.plugins import build, catalogue

Command = Callable[..., tuple[int, str, str]]

SHAPE = (1, 8, 8)


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    """Let each test begin, and leave, as a new process would."""
    forget()
    yield
    forget()


def forget() -> None:
    counting._count.cache_clear()
    remembered._core.cache_clear()


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of the models that are built in order to be counted."""
    seen: list[str] = []
    real = networks.count_afresh

    def counted(config: Any, *arguments: Any) -> Counted:
        seen.append(config.name)
        return real(config, *arguments)

    monkeypatch.setattr(networks, "count_afresh", counted)
    return seen


def count(word: str = "mlp:8", shape: tuple[int, int, int] = SHAPE, classes: int = 10) -> Counted:
    """Count a model as a new process would."""
    forget()
    config = configure(dataset="digits", model=word, rounds=1)
    return count_model(config.model, shape, classes)


# --- a hit is what would be computed ----------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "shape"),
    [
        ("mlp:hidden=16x8", (1, 8, 8)),
        ("vgg-like:depth=3,width_exponent=2", (3, 32, 32)),
        ("resnet18", (3, 32, 32)),
        ("timm:test_vit", (3, 96, 96)),  # on the device meta; its projections are packed
        ("torchvision:squeezenet1_1", (1, 64, 64)),
    ],
)
def test_a_hit_is_what_would_be_computed(
    word: str, shape: tuple[int, int, int], built: list[str]
) -> None:
    first, second = count(word, shape), count(word, shape)
    assert len(built) == 1
    config = configure(dataset="digits", model=word, rounds=1)
    afresh = networks.count_afresh(config.model, shape, 10)
    assert first == second == afresh
    for found in (second.prunable, second.step.layers):  # sums of floats depend on the order
        assert list(found) == [name for name in afresh.prunable if name in found]
    sparsity = {name: 0.1 + index / 1000 for index, name in enumerate(afresh.prunable)}
    assert second.step.effective(sparsity) == afresh.step.effective(sparsity)


def test_prunings_to_a_target_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"dataset": "digits", "model": "mlp:8", "target_sparsity": 0.9}
    one, other = configure(**asked), configure(**asked, pruner="magnitude:0.5")
    layers = configure(**asked, pruner="magnitude:scope=layer,fraction=0.5")
    counted = count_model(one.model, SHAPE, 10)
    first = [planned_trainings(config, counted) for config in (one, other, layers)]
    assert first[:2] == [1 + 11, 1 + 4]  # 0.8^11 < 0.1 < 0.8^10, and so on
    monkeypatch.setattr("dsd_bench.masks.prune_count", None)
    assert [planned_trainings(config, counted) for config in (one, other, layers)] == first
    with pytest.raises(TypeError):
        planned_trainings(configure(**asked | {"target_sparsity": 0.91}), counted)


def test_pretrained_weights_make_no_other_network(built: list[str]) -> None:
    word = "torchvision:squeezenet1_1"
    assert count(word, (3, 64, 64)) == count(f"{word},pretrained=true", (3, 64, 64))
    assert len(built) == 1


def test_a_refusal_is_not_remembered(built: list[str]) -> None:
    for _ in range(2):
        with pytest.raises(UsageError, match="cannot"):
            count("timm:test_vit", (3, 8, 9))
    assert len(built) == 2


def test_another_version_than_the_runs_is_refused_on_a_hit_too(built: list[str]) -> None:
    count()
    config = configure(dataset="digits", model="mlp:8", rounds=1)
    other = config.model.model_copy(update={"version": 7})
    with pytest.raises(UsageError, match="installed in version 1, the run was made with version 7"):
        count_model(other, SHAPE, 10)


# --- what a count depends on ------------------------------------------------------------------


def test_another_question_is_another_count(built: list[str]) -> None:
    count()
    asked: list[tuple[Any, ...]] = [("mlp:9",), ("mlp:8", (1, 9, 8)), ("mlp:8", SHAPE, 11)]
    for number, question in enumerate(asked, start=2):
        assert count(*question) != count()
        assert count(*question) == count(*question)
        assert len(built) == number


@pytest.mark.parametrize("library", ["torch", "torchvision", "timm", "numpy", "own", "python"])
def test_another_library_is_another_count(
    library: str, built: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    count()
    if library == "own":
        monkeypatch.setattr(remembered, "own_digest", lambda: "0" * 64)
    elif library == "python":
        monkeypatch.setattr(remembered.platform, "python_version", lambda: "3.99")
    else:
        real = remembered.version
        newer = {library: "99"}
        monkeypatch.setattr(remembered, "version", lambda name: newer.get(name) or real(name))
    count()
    count()
    assert len(built) == 2


def test_the_digest_of_our_own_code_changes_with_any_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dsd_bench.plugins import digest

    (tmp_path / "plugins").mkdir()
    monkeypatch.setattr(digest, "__file__", str(tmp_path / "plugins" / "digest.py"))
    found = []
    for name, text in (("a.py", "1"), ("a.py", "2"), ("plugins/b.py", "1"), ("a.pyc", "1")):
        (tmp_path / name).write_text(text)
        found.append(digest.own_digest.__wrapped__())
    assert len(set(found)) == 3
    assert found[2] == found[3]  # compiled files don't count


class Doubled(ModelFactory):
    """A plugin's."""

    def build(
        self, shape: tuple[int, int, int], classes: int, *, download: bool = False
    ) -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, classes))


class Plugin:
    @hookimpl
    def register_models(self) -> list[Component]:
        return [Component("doubled", f"{__name__}:Doubled", "two")]


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have a plugin's model; its distribution is called ``dsd-bench-two``."""
    found = build(third_party=False)
    found.add(Plugin(), "dsd-bench-two")
    for module in ("dsd_bench.plugins", "dsd_bench.config.words", "dsd_bench.config.resolve"):
        if hasattr(sys.modules[module], "catalogue"):
            monkeypatch.setattr(f"{module}.catalogue", lambda: found)
    for module in (counting, networks, remembered):
        monkeypatch.setattr(module, "catalogue", lambda: found)
    yield
    catalogue.cache_clear()


def test_a_plugin_whose_code_is_unknown_is_counted_each_time(
    plugin: None, built: list[str], own_cache: Path
) -> None:
    assert count("doubled") == count("doubled")
    assert built == ["doubled", "doubled"]
    assert not (own_cache / "counts.sqlite").exists()


@pytest.mark.parametrize("change", ["version", "sha256", "requirement"])
def test_another_code_of_a_plugin_is_another_count(
    change: str, plugin: None, built: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, needs = {"version": "1", "sha256": "a" * 64}, {"einops": "1"}
    monkeypatch.setattr(remembered, "code_of", lambda name: code)
    monkeypatch.setattr(remembered, "required", lambda name, but: needs)
    count("doubled")
    count("doubled")
    assert built == ["doubled"]
    if change == "requirement":
        needs["einops"] = "2"
    else:
        code[change] = "b"
    count("doubled")
    assert built == ["doubled", "doubled"]


def test_requirements_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dsd_bench.plugins import digest

    needs = {
        "One": ["two.b>=1; python_version > '3'", "torch", "(odd", "absent"],
        "two_b": ["three[extra] (<9)", "one"],
        "three": ["two-b"],
    }
    for name, lines in needs.items():
        info = tmp_path / f"{name}-1.{len(lines)}.dist-info"
        info.mkdir()
        text = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.{len(lines)}\n"
        (info / "METADATA").write_text(text + "".join(f"Requires-Dist: {x}\n" for x in lines))
    monkeypatch.syspath_prepend(tmp_path)
    found = digest.required("One", ("torch",))
    assert found == {"one": "1.4", "two-b": "1.2", "three": "1.1"}
    assert digest.required("absent", ()) == {}


# --- a damaged memory -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage", ["garbage", "empty", "cut", "folder", "pipe", "device", "link", "flipped"]
)
def test_a_damaged_memory_is_a_miss(damage: str, built: list[str], own_cache: Path) -> None:
    right = count()
    memory = own_cache / "counts.sqlite"
    whole = memory.read_bytes()
    memory.unlink()
    if damage in ("garbage", "empty", "cut", "flipped"):
        contents = {"garbage": b"x" * 9999, "empty": b"", "cut": whole[:5000]}
        memory.write_bytes(contents.get(damage, whole))
        if damage == "flipped":
            with contextlib.closing(sqlite3.connect(memory)) as connection:
                connection.execute("UPDATE counts SET value = replace(value, '8', '9')")
                connection.commit()
    elif damage == "folder":
        memory.mkdir()
    elif damage == "pipe":
        os.mkfifo(memory)
    else:
        elsewhere = own_cache / "elsewhere"
        elsewhere.write_bytes(whole)
        memory.symlink_to("/dev/zero" if damage == "device" else elsewhere)
    assert count() == right
    assert count() == right
    healed = damage in ("garbage", "empty", "cut", "flipped")
    assert len(built) == (2 if healed else 3)


GOOD = '{"step":{"forward":592,"backward":672,"layers":{}},"prunable":{"a":1},"state_bytes":4}'


@pytest.mark.parametrize(
    "value",
    [
        "",
        "null",
        "[]",
        "{}",
        "[" * 100_000,
        GOOD[:-1],
        GOOD.replace("592", "-1"),
        GOOD.replace("592", "5.5"),
        GOOD.replace("592", '"592"'),
        GOOD.replace("592", "true"),
        GOOD.replace("592", "NaN"),
        GOOD.replace("592", str(2**63)),
        GOOD.replace("592", "9" * 5000),
        GOOD.replace('{"a":1}', '{"a":-1}'),
        GOOD.replace('{"a":1}', '{"a":[1]}'),
        GOOD.replace('"layers":{}', '"layers":{"a":[1]}'),
        GOOD.replace('"layers":{}', '"layers":{"a":[1,2,3]}'),
        GOOD.replace('"layers":{}', '"layers":{"a":[1,-2]}'),
    ],
)
def test_what_is_read_is_checked(value: str, built: list[str], own_cache: Path) -> None:
    """The entry is whole, as somebody who means harm would write it."""
    right = count()
    enter(own_cache / "counts.sqlite", value.encode())
    assert count() == right
    assert len(built) == 2
    assert count() == right  # mended
    assert len(built) == 2


def test_the_checks_let_a_right_entry_pass(built: list[str], own_cache: Path) -> None:
    count()
    enter(own_cache / "counts.sqlite", GOOD.encode())
    assert count().step.forward == 592
    assert count().prunable == {"a": 1}
    assert len(built) == 1


def enter(memory: Path, value: bytes) -> None:
    with contextlib.closing(sqlite3.connect(memory)) as connection:
        ((key,),) = connection.execute("SELECT key FROM counts").fetchall()
        proof = hashlib.blake2b(key + value, digest_size=8).digest()
        connection.execute("UPDATE counts SET value = ?, proof = ?", (value, proof))
        connection.commit()


def test_without_a_place_nothing_breaks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in ("/proc/nothing", "/dev/null", str(tmp_path / "file")):
        monkeypatch.setenv("XDG_CACHE_HOME", place)
        assert count() == count()


def test_the_memory_is_bounded(
    built: list[str], monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    layout = remembered.Layout("counts", "value", most=2, longest=400)
    monkeypatch.setattr(remembered, "LAYOUT", layout)
    for width in (5, 6, 7):
        count(f"mlp:{width}")
    with contextlib.closing(sqlite3.connect(own_cache / "counts.sqlite")) as connection:
        assert connection.execute("SELECT count(*) FROM counts").fetchone() == (2,)
    count("mlp:7")
    assert len(built) == 3
    for _ in range(2):
        count("mlp:" + "x".join(["4"] * 20))  # its entry is longer than 400 bytes
    assert len(built) == 5


# --- commands without torch -------------------------------------------------------------------

ALONE = """
import contextlib, io, json, sys
from dsd_bench.cli.main import call

HEAVY = {"torch", "torchvision", "timm", "sklearn"}
told = []
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = call(words)
    told.append([code, out.getvalue(), sorted(HEAVY & set(sys.modules))])
print(json.dumps(told))
"""
SUITE = """
title = "A title"
question = "A question?"
source = "a source"

[options]
dataset = "digits:train_size=60,val_size=30"
model = "mlp:hidden=8"
batch_size = 20
epochs = 2
rounds = 2

[scale.small]
seeds = "0"

[[grid.method]]
label = "plain"

[[grid.method]]
label = "other"
pruner = "random"
reg = ["kd:teacher=dense"]
"""


def test_reading_commands_need_no_torch(command: Command, tmp_path: Path) -> None:
    """The second time for those that count models; and they say the same as the first time."""
    (tmp_path / "benchmarks").mkdir()
    for name in ("mine", "target"):
        text = SUITE.replace("rounds = 2", "target_sparsity = 0.5") if name == "target" else SUITE
        (tmp_path / "benchmarks" / f"{name}.toml").write_text(text)
    assert command("sweep", "mine", "--executor", "inline", "--json")[0] == 0
    runs = sorted(path.name for path in (tmp_path / "runs").iterdir() if path.is_dir())
    commands = [
        ["runs"],
        ["show", runs[0], "--json"],
        ["analyze", *runs],
        ["analyze", runs[0], "--figure", "phases.svg"],
        ["plugins", "--json"],
        ["info", "model", "timm"],
        ["table", "mine"],
        ["plot", "mine"],
        ["submit", *runs],
        ["sweep"],
        ["sweep", "mine", "target", "--dry-run", "--json"],
        ["ledger", *runs],
        ["ledger", *runs, "--json"],
        ["ledger", *runs, "--convention", "paper"],
        ["ledger", "--paper"],
        ["replay", *runs, "--stop", "patience", "--csv"],
        ["replay", *runs, "--stop", "patience", "--figure", "stops.svg"],
        ["sweep", "mine", "--json"],
        ["leaderboard"],
        ["leaderboard", "--check"],
        ["show", *runs, "--csv"],
    ]
    first = [command(*words)[:2] for words in commands]
    words = [sys.executable, "-c", ALONE, json.dumps(commands)]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    second = json.loads(done.stdout)
    for given, (code, out), (again, told, heavy) in zip(commands, first, second, strict=True):
        assert (heavy, again) == ([], code) == ([], 0), given
        if given[0] not in ("submit", "leaderboard"):  # they write what is not there
            assert told == out, given


def test_what_is_expected_of_a_run_is_the_same_from_memory(built: list[str]) -> None:
    config = configure(dataset="digits", model="mlp:16", rounds=3, reg="kd:teacher=dense")
    first = expected_cost(config)
    forget()
    assert expected_cost(config) == first
    assert built == ["mlp"]

"""The code behind a run: recorded with the round it began in, and never mixed unasked."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dsd_bench import configure, plugins, run
from dsd_bench.errors import UsageError
from dsd_bench.experiment import provenance as record
from dsd_bench.plugins import catalogue
from dsd_bench.plugins.digest import digest, own_digest, version
from dsd_bench.plugins.origins import came_from, remembering
from dsd_bench.plugins.release import state
from dsd_bench.store.provenance import differences, read_provenance, recorded

SHA = "ab" * 32
SOURCE = '''"""A pruner: prunes {what} first."""
from dsd_bench import Component, hookimpl
from dsd_bench.pruners import Pruner, PrunerParams

class Mine(Pruner):
    def scores(self, view):
        weights = dict(view.model.named_parameters())
        return {{name: {sign}weights[name].detach().abs() for name in view.masks.weights}}

@hookimpl
def register_pruners():
    return [Component("mine", "dsd_bench_mine:Mine", "mine", PrunerParams)]
'''
SMALL, LARGE = SOURCE.format(what="small", sign=""), SOURCE.format(what="large", sign="-")


class Site:
    """A folder of installed plugins; ``install`` replaces one, as a new process would find it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, source: str = SMALL, release: str = "1.0", listed: bool = True) -> str:
        """Install the distribution and return the digest that it should have."""
        for old in self.folder.glob("dsd_bench_mine*"):
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        (self.folder / "dsd_bench_mine.py").write_text(source)
        info = self.folder / f"dsd_bench_mine-{release}.dist-info"
        info.mkdir()
        head = f"Metadata-Version: 2.1\nName: dsd-bench-mine\nVersion: {release}\n"
        (info / "METADATA").write_text(head)
        (info / "entry_points.txt").write_text("[dsd_bench]\nmine = dsd_bench_mine\n")
        if listed:
            names = ["dsd_bench_mine.py", f"{info.name}/METADATA", "__pycache__/x.pyc", "../bin/x"]
            (info / "RECORD").write_text("".join(f"{name},,\n" for name in names))
        self.forget()
        inner = hashlib.sha256(source.encode()).hexdigest()
        return hashlib.sha256(f"dsd_bench_mine.py\0{inner}\n".encode()).hexdigest()

    def forget(self) -> None:
        catalogue.cache_clear()
        digest.cache_clear()
        state.cache_clear()
        version.cache_clear()
        sys.modules.pop("dsd_bench_mine", None)
        importlib.invalidate_caches()


@pytest.fixture
def site(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    made = Site(folder)
    yield made
    made.forget()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "provenance.jsonl").read_text().splitlines()]


def plugin(path: Path) -> list[tuple[int, Any]]:
    """Return each line's round, and version and digest of the plugin."""
    found = [(line["round"], line["plugins"].get("dsd-bench-mine")) for line in lines(path)]
    return [(round, code and (code["version"], code["sha256"])) for round, code in found]


@pytest.fixture
def mine(tiny_run: Callable[..., dict[str, Any]], tmp_path: Path) -> Callable[..., Any]:
    """Carry out a run of the plugin's pruner: (its JSON, its folder)."""

    def carry(*words: str, code: int = 0) -> tuple[dict[str, Any], Path]:
        [found] = tiny_run("--pruner", "mine", *words, code=code)["runs"]
        return found, tmp_path / found["path"]

    return carry


def interrupt(folder: Path, rounds: int) -> None:
    """Leave the folder of a finished run as if it had been killed while it ended."""
    (folder / "result.json").unlink()
    assert len((folder / "rounds.jsonl").read_text().splitlines()) == rounds + 1


# -- what is recorded


def test_a_run_records_versions_and_no_plugins(tiny, tmp_path):
    import numpy
    import torch

    import dsd_bench

    folder = run(tiny(), runs_dir=tmp_path).path
    [line] = lines(folder)
    assert line == {
        "round": 0,
        "versions": {
            "dsd-bench": dsd_bench.__version__,
            "python": ".".join(map(str, sys.version_info[:3])),
            "torch": torch.__version__,
            "numpy": numpy.__version__,
        },
        "plugins": {},
        "core": {"version": dsd_bench.__version__, "sha256": own_digest(), "state": "dirty"},
    }
    assert read_provenance(folder) == [line]


def test_a_plugins_version_and_digest_are_recorded(site, mine):
    sha = site.install()
    _, folder = mine()
    assert plugin(folder) == [(0, ("1.0", sha))]


def test_the_teachers_model_counts(tiny, monkeypatch):
    class Known:
        def get(self, kind: str, name: str) -> Any:
            entry = plugins.build(third_party=False).get(kind, name)
            foreign = kind == "model" and name == "vgg-like"
            return type("E", (), {"distribution": "theirs" if foreign else entry.distribution})

    monkeypatch.setattr(record, "catalogue", Known)
    assert record.distributions(tiny(reg="kd", teacher={"model": "vgg-like"})) == ["theirs"]
    assert record.distributions(tiny(reg="kd")) == []


# -- finished runs


def test_a_finished_run_of_other_code_is_told_and_reused(site, mine, tiny_run, command):
    old = site.install(SMALL, "1.0")
    _, folder = mine()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    new = site.install(LARGE, "2.0")
    words = ("run", "--pruner", "mine", "--dataset", "digits:train_size=60,val_size=30")
    words += ("--model", "mlp:hidden=8", "--batch-size", "20", "--rounds", "2", "--epochs", "2")
    code, _, err = command(*words, "--seeds", "0", "--executor", "inline", "--json")
    assert code == 0
    text = f"dsd-bench-mine 1.0 (sha256 {old[:12]}), now 2.0 (sha256 {new[:12]})"
    [told] = [line for line in err.splitlines() if "other code" in line]
    assert told.endswith(f"reused as it is; its rounds so far were made with other code: {text}")
    assert {path: path.read_bytes() for path in before} == before


def test_of_many_reused_runs_the_difference_is_told_once(site, tiny_run, command):
    site.install(SMALL)
    tiny_run("--pruner", "mine", "--seeds", "0-2", "--rounds", "1")
    site.install(LARGE)
    words = ("run", "--pruner", "mine", "--dataset", "digits:train_size=60,val_size=30")
    words += ("--model", "mlp:hidden=8", "--batch-size", "20", "--rounds", "1", "--epochs", "2")
    _, _, err = command(*words, "--seeds", "0-2", "--executor", "inline", "--json")
    [told] = [line for line in err.splitlines() if "other code" in line]
    assert "reused as it is (and 2 more)" in told


def test_a_finished_run_of_the_same_code_says_nothing(site, mine, tmp_path):
    site.install()
    mine()
    config = configure(
        dataset="digits:train_size=60,val_size=30", model="mlp:hidden=8", batch_size=20,
        rounds=2, epochs=2, pruner="mine",
    )  # fmt: skip
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(config, runs_dir=tmp_path / "runs")
    site.install(LARGE)
    with pytest.warns(UserWarning, match="reused as it is; its rounds so far were made with other"):
        run(config, runs_dir=tmp_path / "runs")


def test_a_run_of_an_older_release_is_compared_by_version(site, mine, command):
    site.install(SMALL, "1.0")
    _, folder = mine()
    (folder / "provenance.jsonl").unlink()
    [line] = recorded(folder)
    assert line["plugins"] == {"dsd-bench-mine": {"version": "1.0", "sha256": None}}
    assert set(line["versions"]) == {"dsd-bench", "python", "torch", "numpy"}
    config = configure(
        dataset="digits:train_size=60,val_size=30", model="mlp:hidden=8", batch_size=20,
        rounds=2, epochs=2, pruner="mine",
    )  # fmt: skip
    site.install(LARGE, "1.0")
    assert record.other_code(folder, config) == ""  # the digest is not known
    new = site.install(LARGE, "1.1")
    assert record.other_code(folder, config) == (f"dsd-bench-mine 1.0, now 1.1 (sha256 {new[:12]})")


# -- runs that go on


def test_a_run_of_other_code_is_not_extended_unasked(site, mine, command):
    old = site.install(SMALL, "1.0")
    _, folder = mine()
    new = site.install(LARGE, "1.0")
    found, longer = mine("--rounds", "3", code=2)
    assert found["error"] == (
        f"{folder.name}, of the same curve: its rounds so far were made with other code: "
        f"dsd-bench-mine 1.0 (sha256 {old[:12]}), now 1.0 (sha256 {new[:12]}); "
        "--accept-versions goes on with what is installed and records it, --force begins anew"
    )
    assert not (longer / "provenance.jsonl").exists()
    assert not (longer / "rounds.jsonl").exists()
    mine("--rounds", "3", "--accept-versions")
    assert plugin(longer) == [(0, ("1.0", old)), (3, ("1.0", new))]
    first = (folder / "rounds.jsonl").read_bytes()
    assert (longer / "rounds.jsonl").read_bytes().startswith(first)


def test_force_begins_anew_with_the_new_code_alone(site, mine):
    site.install(SMALL)
    _, folder = mine()
    new = site.install(LARGE)
    _, longer = mine("--rounds", "3", "--force")
    assert plugin(longer) == [(0, ("1.0", new))]
    assert (
        not (longer / "rounds.jsonl")
        .read_bytes()
        .startswith((folder / "rounds.jsonl").read_bytes())
    )


def test_rounds_of_the_same_code_are_adopted_with_their_record(site, mine):
    sha = site.install()
    mine()
    found, longer = mine("--rounds", "3")
    assert found["resumed_from_round"] == 3
    assert plugin(longer) == [(0, ("1.0", sha))]


def test_a_donor_of_the_same_code_is_preferred_to_one_that_went_further(site, mine):
    site.install(SMALL)
    mine("--rounds", "3")
    new = site.install(LARGE)
    mine("--rounds", "1", "--force")
    found, longer = mine("--rounds", "4")
    assert found["resumed_from_round"] == 2
    assert plugin(longer) == [(0, ("1.0", new))]


def test_an_interrupted_run_is_refused_before_anything_starts(site, mine, command, tmp_path):
    old = site.install(SMALL)
    _, folder = mine("--rounds", "3")
    checkpoint = (folder / "checkpoint.previous.safetensors").read_bytes()
    (folder / "checkpoint.safetensors").write_bytes(checkpoint)  # killed in round 3
    (folder / "result.json").unlink()
    new = site.install(LARGE)
    words = ("run", "--pruner", "mine", "--dataset", "digits:train_size=60,val_size=30")
    words += ("--model", "mlp:hidden=8", "--batch-size", "20", "--rounds", "3", "--epochs", "2")
    code, _, err = command(*words, "--seeds", "0", "--executor", "inline")
    assert code == 2
    [error] = [line for line in err.splitlines() if line.startswith("error: ")]
    assert error.startswith(f"error: run {folder.name}: its rounds so far were made with other")
    assert "--accept-versions" in error
    assert "--force" in error
    assert not (folder / "failure.json").exists()
    found, _ = mine("--rounds", "3", "--accept-versions")
    assert plugin(folder) == [(0, ("1.0", old)), (found["resumed_from_round"], ("1.0", new))]
    site.install(SMALL)  # and back: the last code counts
    assert "other code" in (mine("--rounds", "4", code=2)[0]["error"])


def test_workers_refuse_and_accept_too(site, tiny, tmp_path, monkeypatch):
    from dsd_bench.api import execute
    from dsd_bench.executors import Settings

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site.folder), str(Path.cwd())]))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    old = site.install(SMALL)
    run(tiny(pruner="mine"), runs_dir=tmp_path)
    new = site.install(LARGE)
    longer = tiny(pruner="mine", rounds=3)
    [refused] = execute([longer], tmp_path, Settings(jobs=1))
    assert refused.outcome.exit_code == 2
    [done] = execute([longer], tmp_path, Settings(jobs=1, accept_versions=True))
    assert done.outcome.status == "done"
    assert plugin(done.planned.job.path) == [(0, ("1.0", old)), (3, ("1.0", new))]


def test_another_torch_is_told_and_recorded_but_not_refused(tiny, tmp_path, monkeypatch):
    first = run(tiny(), runs_dir=tmp_path)
    file = first.path / "provenance.jsonl"
    file.write_text(file.read_text().replace(lines(first.path)[0]["versions"]["torch"], "2.0.0"))
    with pytest.warns(UserWarning, match=r"other versions: torch 2\.0\.0, now"):
        longer = run(tiny(rounds=3), runs_dir=tmp_path)
    assert [line["round"] for line in lines(longer.path)] == [0, 3]
    assert "other versions: torch" in (longer.path / "log.txt").read_text()


def test_a_record_is_the_same_however_often_a_run_was_stopped(tiny, tmp_path):
    whole = run(tiny(), runs_dir=tmp_path / "a")
    from dsd_bench.executors.planning import plan, prepare_folders
    from dsd_bench.experiment.runner import run_folder
    from dsd_bench.experiment.settings import Settings

    planned = plan([tiny()], tmp_path / "b")
    prepare_folders(planned, tmp_path / "b")
    path = planned[0].job.path
    for stops in range(1, 9):
        answers = iter([False] * stops)
        run_folder(path, Settings(), lambda event: None, partial(next, answers, True))
    again = run(tiny(), runs_dir=tmp_path / "b")
    assert again.path == path
    for name in ("provenance.jsonl", "rounds.jsonl"):
        assert (path / name).read_bytes() == (whole.path / name).read_bytes()


@pytest.mark.parametrize(
    ("round", "midway", "left"),
    [(0, False, []), (0, True, [0]), (2, False, [0, 1]), (2, True, [0, 1, 2])],
)
def test_only_what_is_behind_the_rounds_so_far_is_kept(round, midway, left):
    from dsd_bench.store.provenance import behind

    given = [{"round": number} for number in (0, 1, 2, 5)]
    assert [line["round"] for line in behind(given, round, midway)] == left


# -- damaged records

DAMAGED = {
    "not JSON": b"{",
    "no object": b"[]\n",
    "no text": b"\xff\xfe\n",
    "deep": b"[" * 100_000,
    "a number too long": b'{"round": ' + b"1" * 5000 + b', "versions": {}, "plugins": {}}\n',
    "no round": b'{"versions": {}, "plugins": {}}\n',
    "a round that is none": b'{"round": true, "versions": {}, "plugins": {}}\n',
    "a negative round": b'{"round": -1, "versions": {}, "plugins": {}}\n',
    "a huge round": b'{"round": 1e400, "versions": {}, "plugins": {}}\n',
    "versions that are none": b'{"round": 0, "versions": {"torch": 2}, "plugins": {}}\n',
    "a plugin that is none": b'{"round": 0, "versions": {}, "plugins": {"x": "1.0"}}\n',
    "a digest that is none": (
        b'{"round": 0, "versions": {}, "plugins": {"x": {"version": "1", "sha256": "00"}}}\n'
    ),
    "another order": b'{"round": 1, "versions": {}, "plugins": {}}\n' * 1
    + b'{"round": 0, "versions": {}, "plugins": {}}\n',
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_record_is_one_line_that_names_the_file(tmp_path, case):
    (tmp_path / "provenance.jsonl").write_bytes(DAMAGED[case])
    with pytest.raises(UsageError) as error:
        read_provenance(tmp_path)
    assert str(error.value).startswith(str(tmp_path / "provenance.jsonl"))
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_a_record_that_is_no_file_is_one_line_too(tmp_path, make):
    make(tmp_path / "provenance.jsonl")
    with pytest.raises(UsageError, match=r"provenance\.jsonl"):
        read_provenance(tmp_path)


def test_a_run_with_a_damaged_record_goes_on_only_if_asked(tiny, tmp_path):
    first = run(tiny(), runs_dir=tmp_path)
    (first.path / "provenance.jsonl").write_text("{")
    with pytest.warns(UserWarning, match=r"provenance\.jsonl:1: "):
        assert run(tiny(), runs_dir=tmp_path).run_id == first.run_id  # finished: reused
    (first.path / "checkpoint.safetensors").unlink()
    (first.path / "result.json").unlink()
    with pytest.raises(UsageError, match=r"provenance\.jsonl:1: .*--accept-versions"):
        run(tiny(), runs_dir=tmp_path)
    with pytest.warns(UserWarning, match="which code made the rounds so far is lost"):
        run(tiny(), runs_dir=tmp_path, accept_versions=True)
    [line] = lines(first.path)
    assert line["round"] == 2


def test_a_donor_with_a_damaged_record_is_left_aside(tiny, tmp_path):
    first = run(tiny(), runs_dir=tmp_path)
    (first.path / "provenance.jsonl").write_text("{")
    longer = run(tiny(rounds=3), runs_dir=tmp_path)
    assert [line["round"] for line in lines(longer.path)] == [0]
    assert f"cannot go on from {first.run_id}" in (longer.path / "log.txt").read_text()


def test_rounds_without_a_record_are_said(site, mine, command):
    sha = site.install()
    _, folder = mine("--rounds", "3")
    (folder / "provenance.jsonl").unlink()
    (folder / "result.json").unlink()
    shutil.copy(folder / "checkpoint.previous.safetensors", folder / "checkpoint.safetensors")
    mine("--rounds", "3")
    [(round, code)] = plugin(folder)
    assert round == 3
    assert code == ("1.0", sha)
    assert "what code made the rounds before round 3 was not recorded" in (
        (folder / "log.txt").read_text()
    )


# -- digests


@pytest.fixture
def package(site) -> Path:
    """A package that no distribution lists among its files, as where it is installed editable."""
    folder = site.folder / "dsd_bench_pack"
    (folder / "sub").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise SystemExit('is not imported')")
    (folder / "sub" / "a.py").write_text("A = 1")
    (folder / "table.csv").write_text("1,2")
    yield folder
    site.forget()


def pack(*roots: str) -> str | None:
    digest.cache_clear()
    importlib.invalidate_caches()
    return digest("dsd-bench-pack", roots or ("dsd_bench_pack",))


def test_a_digest_is_that_of_names_and_contents(package):
    files = {"__init__.py": "raise SystemExit('is not imported')", "sub/a.py": "A = 1"}
    files["table.csv"] = "1,2"
    expected = hashlib.sha256()
    for name in sorted(files):
        inner = hashlib.sha256(files[name].encode()).hexdigest()
        expected.update(f"dsd_bench_pack/{name}\0{inner}\n".encode())
    assert pack() == expected.hexdigest()


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("sub/a.py", True),
        ("table.csv", True),
        ("new.py", True),
        ("__pycache__/a.cpython-311.pyc", False),
        ("sub/b.pyc", False),
        (".git/HEAD", False),
        (".hidden", False),
    ],
)
def test_what_a_digest_depends_on(package, name, changes):
    before = pack()
    (package / name).parent.mkdir(exist_ok=True)
    (package / name).write_text("changed")
    assert (pack() != before) == changes


def test_a_renamed_file_changes_the_digest(package):
    before = pack()
    (package / "table.csv").rename(package / "other.csv")
    assert pack() != before


def test_links_out_are_not_followed(package, tmp_path):
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    (outside / "file.py").write_text("1")
    (package / "file.py").symlink_to(outside / "file.py")
    (package / "folder").symlink_to(outside)
    (package / "loop").symlink_to(package)
    os.mkfifo(package / "pipe")
    before = pack()
    (outside / "file.py").write_text("2")
    (outside / "deep" / "new.py").write_text("3")
    assert pack() == before
    (package / "file.py").unlink()
    (package / "file.py").symlink_to(outside / "deep" / "new.py")
    assert pack() != before


def test_a_listed_file_outside_does_not_count(site, tmp_path):
    first = site.install()
    info = next(site.folder.glob("*.dist-info"))
    with (info / "RECORD").open("a") as file:
        file.write(f"{tmp_path}/absolute,,\n../up,,\n__editable__.x.pth,,\nx.pth,,\n")
    (tmp_path / "absolute").write_text("1")
    assert digest("dsd-bench-mine", ("dsd_bench_mine",)) == first


def test_how_it_was_installed_does_not_matter(site):
    listed = site.install(listed=True)
    assert digest("dsd-bench-mine", ("dsd_bench_mine",)) == listed
    site.install(listed=False)
    assert digest("dsd-bench-mine", ("dsd_bench_mine",)) == listed


@pytest.mark.parametrize("text", ["\xff\xfe", '"open', "a,b,c,d,e\n" * 3, "\0"])
def test_a_damaged_list_of_files_stops_nothing(site, text):
    expected = site.install()
    info = next(site.folder.glob("*.dist-info"))
    (info / "RECORD").write_bytes(text.encode("latin-1"))
    found = digest("dsd-bench-mine", ("dsd_bench_mine",))
    assert found is not None
    assert len(found) == 64
    assert expected


def test_what_has_no_files_has_no_digest():
    assert digest("no-such-distribution", ("no_such_module", "sys")) is None
    assert digest("no-such-distribution", ("dsd_bench", "numpy", "torch")) is None
    assert version("no-such-distribution") == "unknown"


def test_differences_are_said_by_name():
    one, two = {"version": "1", "sha256": SHA}, {"version": "1", "sha256": "cd" * 32}
    unknown = {"version": "1", "sha256": None}
    assert differences({"a": one}, {"a": one}) == ""
    assert differences({"a": one}, {"a": unknown}) == ""
    assert differences({"a": one, "b": one}, {"a": two, "c": unknown}) == (
        f"a 1 (sha256 {'ab' * 6}), now 1 (sha256 {'cd' * 6}); "
        f"b 1 (sha256 {'ab' * 6}), now not used; c not used, now 1"
    )


# -- which distribution a component that is gone came from

GONE = 'pruner "mine" of {} came from dsd-bench-mine 1.2, which is not installed; '
GONE += "pip install dsd-bench-mine==1.2"
SUITE = """
title = "A title"
question = "A question?"
source = "a source"
[options]
pruner = "mine"
dataset = "digits:train_size=60,val_size=30"
[scale.small]
seeds = "0-1"
"""


@pytest.fixture
def gone(site: Site, mine: Callable[..., Any]) -> Path:
    """The folder of a run whose plugin was removed since."""
    site.install(release="1.2")
    _, folder = mine()
    for old in site.folder.glob("dsd_bench_mine*"):
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    site.forget()
    return folder


def alter(folder: Path, **changes: Any) -> None:
    [line] = lines(folder)
    line |= changes
    text = json.dumps({key: value for key, value in line.items() if value is not None})
    (folder / "provenance.jsonl").write_text(text + "\n")


def asked(kind: str, name: str, *places: Path) -> str:
    with remembering(*places):
        return came_from(kind, name)


def test_what_held_a_component_is_recorded_only_where_there_are_plugins(site, mine, tiny, tmp_path):
    site.install()
    _, folder = mine()
    assert lines(folder)[0]["components"] == {"pruner": {"mine": "dsd-bench-mine"}}
    plain_run = run(tiny(), runs_dir=tmp_path / "other")
    assert "components" not in lines(plain_run.path)[0]


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("words", [("--pruner", "mine"), ("--config", "{}/config.json")])
def test_a_missing_component_names_its_package(gone, command, tmp_path, monkeypatch, words, old):
    monkeypatch.chdir(tmp_path)
    place = gone.relative_to(tmp_path)
    if old:
        alter(gone, components=None)  # as the releases before wrote it
    code, _, err = command("run", *(word.format(place) for word in words))
    assert (code, err.strip()) == (2, f"error: --pruner: {GONE.format(place)}")


def test_a_run_outside_of_the_runs_folder_tells_it_too(gone, command, tmp_path):
    code, _, err = command("run", "--config", str(gone / "config.json"), "--runs-dir", "elsewhere")
    assert (code, err.strip()) == (2, f"error: --pruner: {GONE.format(gone)}")


def test_a_suite_tells_it_too(gone, command, tmp_path):
    (tmp_path / "s.toml").write_text(SUITE)
    code, _, err = command("sweep", str(tmp_path / "s.toml"), "--runs-dir", str(gone.parent))
    assert code == 2
    assert GONE.format(gone) in err


def test_a_model_of_such_a_run_is_loaded_all_the_same(gone, tmp_path):
    from dsd_bench import load_model

    assert load_model(gone.name, runs_dir=gone.parent) is not None


def test_what_needs_no_plugin_goes_on_without_it(gone, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = ("--runs-dir", str(gone.parent))
    for words in (
        ("show", gone.name),
        ("ledger", gone.name),
        ("replay", gone.name, "--stop", "patience:patience=1"),
        ("submit", gone.name),
    ):
        code, _, err = command(*words, *runs)
        assert code == 0, err
    code, _, err = command("replay", gone.name, "--stop", "mine", *runs)
    assert code == 2
    assert "dsd-bench-mine" not in err  # it held a pruner, no stop criterion


def test_rows_and_boards_tell_who_held_what(gone, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command("submit", gone.name, "--runs-dir", str(gone.parent))[0] == 0
    [row] = (tmp_path / "leaderboards").glob("*/rows/*.json")
    [code] = json.loads(row.read_text())["seeds"][0]["code"]
    assert code["components"] == {"pruner": {"mine": "dsd-bench-mine"}}
    sha = code["plugins"]["dsd-bench-mine"]["sha256"]
    assert command("leaderboard")[0] == 0
    board = (row.parents[1] / "README.md").read_text()
    words = f"pruner mine of dsd-bench-mine 1.2 (release or dirty: unknown, sha256 {sha[:12]})"
    assert words in board
    # a record of an older release lacks it, and is the same result
    told = json.loads((gone / "provenance.jsonl").read_text())
    del told["components"], told["core"]
    (gone / "provenance.jsonl").write_text(json.dumps(told) + "\n")
    assert command("submit", gone.name, "--runs-dir", str(gone.parent))[0] == 0
    assert "components" not in row.read_text()


def test_another_version_that_lacks_it_and_plugins_that_are_off_are_told(gone, site, monkeypatch):
    site.install("", release="2.0")
    told = asked("pruner", "mine", gone)
    assert told == (
        f"of {gone} came from dsd-bench-mine 1.2; 2.0 is installed, which does not register it; "
        "pip install dsd-bench-mine==1.2"
    )
    site.install("", release="1.2")
    assert "is installed but does not register it" in asked("pruner", "mine", gone)
    monkeypatch.setenv("DSD_BENCH_NO_PLUGINS", "1")
    assert "plugins are switched off" in asked("pruner", "mine", gone)


@pytest.mark.parametrize(
    ("name", "release"),
    [
        ("--index-url=http://x", "1.2"),
        ("x; rm -rf ~", "1.2"),
        ("a\x1b[2Jb", "1.2"),
        ("git+https://x/y", "1.2"),
        ("../x", "1.2"),
        ("x" * 200, "1.2"),
        ("-r", "1.2"),
        ("", "1.2"),
        ("dsd\u202efoo", "1.2"),
        ("dsd-foo\n", "1.2"),
        ("dsd-foo", "1.2 --pre"),
        ("dsd-foo", "1.2\n"),
        ("dsd-foo", "\x1b[2J"),
        ("dsd-foo", "\u0661.2"),
        ("dsd-foo", ""),
    ],
)
@pytest.mark.parametrize("old", [False, True])
def test_nothing_is_suggested_of_names_that_no_distribution_has(gone, name, release, old):
    table = None if old else {"pruner": {"mine": name}}
    alter(gone, plugins={name: {"version": release, "sha256": None}}, components=table)
    assert asked("pruner", "mine", gone.parent) == ""


def test_an_unknown_version_is_left_out(gone):
    alter(gone, plugins={"dsd-bench-mine": {"version": "unknown", "sha256": None}})
    assert asked("pruner", "mine", gone).endswith("not installed; pip install dsd-bench-mine")


def test_of_several_distributions_an_old_record_tells_nothing(gone):
    code = {"version": "1.0", "sha256": None}
    alter(gone, plugins={"a": code, "b": code}, components=None)
    assert asked("pruner", "mine", gone) == ""
    alter(gone, plugins={"a": code, "b": code}, components={"pruner": {"mine": "b"}})
    assert "came from b 1.0" in asked("pruner", "mine", gone)
    assert asked("stop", "mine", gone) == ""
    assert asked("pruner", "other", gone) == ""


@pytest.mark.parametrize("table", [[], "x", {"pruner": "mine"}, {"pruner": {"mine": 1}}, 3])
def test_a_damaged_table_is_damage_and_suggests_nothing(gone, table):
    alter(gone, components=table)
    with pytest.raises(UsageError, match=r"provenance\.jsonl:1: "):
        read_provenance(gone)
    assert asked("pruner", "mine", gone) == ""


def test_a_table_names_recorded_distributions_only(gone):
    alter(gone, components={"pruner": {"mine": "another"}})
    with pytest.raises(UsageError, match=r"provenance\.jsonl:1: "):
        read_provenance(gone)


def test_damaged_neighbours_are_passed_over(gone):
    for number, text in enumerate(("{", "[]", '{"pruner": 1, "regularizers": 3}')):
        other = gone.parent / f"{number:016x}"
        other.mkdir()
        (other / "config.json").write_text(text)
        (other / "provenance.jsonl").write_text(text)
    assert "came from dsd-bench-mine 1.2" in asked("pruner", "mine", gone.parent)
    assert asked("pruner", "mine", gone.parent / "nowhere") == ""


def test_an_old_record_goes_on_without_a_new_line(site, mine):
    sha = site.install()
    _, folder = mine()
    alter(folder, components=None)
    _, longer = mine("--rounds", "3")
    assert plugin(longer) == [(0, ("1.0", sha))]

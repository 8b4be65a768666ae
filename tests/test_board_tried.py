"""What a row tells of how it came about: what was tried, and whether the code was a release."""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from board_runs import code, config, kd, part, write_run

from dsd_bench.boards.check import check, write
from dsd_bench.boards.files import read_row
from dsd_bench.boards.rows import submit
from dsd_bench.boards.schema import CheckedRow
from dsd_bench.errors import UsageError
from dsd_bench.plugins.release import state

SHA = "ab" * 32
CORE = {"version": "0.1.0", "sha256": SHA, "state": "release"}


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Any]:
    return partial(write_run, tmp_path / "runs")


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    return tmp_path / "boards"


def tried(path: Path) -> int | None:
    row = read_row(path)
    assert isinstance(row, CheckedRow)
    return row.tried.configurations if row.tried else None


def fraction(value: float, seed: int = 0) -> Any:
    return config(seed, pruner=part("magnitude", fraction=value, scope="global"))


# -- what was tried


def test_settings_of_the_same_components_count_whatever_their_seeds(make, boards):
    ours = [make(config(seed)) for seed in (0, 1)]
    for value in (0.1, 0.3, 0.5):
        for seed in (0, 1):
            make(fraction(value, seed))
    make(config(retrain_lr_scale=0.1))  # a setting of the method, so it counts
    make(config(perturber=part("reinit")))  # other components
    make(config(regularizers=[kd()]))
    make(config(noise=part("symmetric", rate=0.2, validation=False)))  # another track
    make(fraction(0.4), status=None)  # unfinished
    make(fraction(0.6), status="failed")
    (path,) = submit(ours, boards)
    assert tried(path) == 5
    write(boards)
    board = (path.parents[1] / "README.md").read_text()
    assert "tried: best of 5 configurations of these components, at the least" in board


def test_teachers_and_data_seeds_of_seeds_are_one_configuration(make, boards):
    ours = [make(config(seed, regularizers=[kd(seed)])) for seed in (0, 1, 2)]
    (path,) = submit(ours, boards)
    assert tried(path) == 1
    make(config(0, regularizers=[kd(0, "dense")]))
    (path,) = submit(ours, boards)
    assert tried(path) == 2


def test_a_fixed_data_seed_is_of_the_track_and_hides_no_run_of_another(make, boards):
    for seed in (7, 8):
        make(config(0, data_seed=seed))
    magnitude = part("magnitude", fraction=0.3, scope="global")
    ours = [make(config(0, data_seed=seed, pruner=magnitude)) for seed in (7, 8)]
    assert [tried(path) for path in submit(ours, boards)] == [2, 2]


def test_runs_that_cannot_be_read_do_not_count(make, boards, tmp_path):
    run, other, third = make(), make(fraction(0.1)), make(fraction(0.3))
    (other.path / "config.json").write_text("{")
    told = json.loads((third.path / "config.json").read_text())
    told["protocol"]["lr"] = -1
    (third.path / "config.json").write_text(json.dumps(told))
    (tmp_path / "runs" / "0123456789abcdef").mkdir()
    assert tried(submit([run], boards)[0]) == 1


def test_a_run_in_a_folder_of_any_name_counts_itself(boards, tmp_path):
    run = write_run(tmp_path / "runs")
    moved = run.path.rename(tmp_path / "mine")
    from dsd_bench.store import load_run

    assert tried(submit([load_run(moved)], boards)[0]) == 1


def test_the_count_never_falls_and_later_seeds_raise_it(make, boards, tmp_path):
    first, second = make(config(0)), make(config(1))
    other = make(fraction(0.3))
    (path,) = submit([first], boards)
    assert tried(path) == 2
    (other.path / "result.json").unlink()
    (path,) = submit([second], boards)
    assert tried(path) == 2
    before = path.read_bytes()
    submit([first, second], boards)
    assert path.read_bytes() == before


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "2", None, 10**7])
def test_a_count_is_a_whole_number_from_one(make, boards, value):
    (path,) = submit([make()], boards)
    told = json.loads(path.read_text())
    told["tried"]["configurations"] = value
    path.write_text(json.dumps(told, sort_keys=True, indent=1) + "\n")
    with pytest.raises(UsageError, match=r"tried\.configurations"):
        read_row(path)


@pytest.mark.parametrize("value", [None, {}, {"configurations": 1, "more": 2}])
def test_what_was_tried_is_told_whole_or_not_at_all(make, boards, value):
    (path,) = submit([make()], boards)
    told = json.loads(path.read_text()) | {"tried": value}
    path.write_text(json.dumps(told, sort_keys=True, indent=1) + "\n")
    with pytest.raises(UsageError, match=r"tried|not as `dsd-bench submit` writes it"):
        read_row(path)


def test_a_row_that_does_not_tell_is_valid_and_the_board_says_unknown(make, boards):
    (path,) = submit([make()], boards)
    told = json.loads(path.read_text())
    del told["tried"]
    path.write_text(json.dumps(told, sort_keys=True, indent=1) + "\n")
    write(boards)
    assert check(boards) == []
    board = (path.parents[1] / "README.md").read_text()
    assert "tried: unknown" in board
    assert "code: dsd-bench 0.1.0 (release or dirty: unknown, sha256 unknown)" in board


def test_an_outcome_outlives_a_higher_count_and_no_other_result(make, boards):
    from dsd_bench.boards import verified

    runs = [make(config(seed)) for seed in (0, 1)]
    (path,) = submit(runs, boards)
    row = read_row(path)
    assert isinstance(row, CheckedRow)
    place = verified.write(path, row, [verified.rerun(row.seeds[0], row.seeds[0])])
    make(fraction(0.3))
    submit(runs, boards)
    assert tried(path) == 2
    write(boards)
    assert check(boards) == []
    assert json.loads(place.read_text())["seeds"][0]["seed"] == 0
    submit([make(config(2))], boards)
    assert not place.exists()


# -- releases and trees


def line(**changes: Any) -> dict[str, Any]:
    return {**code(mine="a"), "core": CORE, "components": {"pruner": {"own": "mine"}}, **changes}


def test_a_board_names_every_components_distribution(make, boards):
    told = line()
    told["plugins"]["mine"]["state"] = "dirty"
    (path,) = submit([make(config(pruner=part("own")), provenance=[told])], boards)
    write(boards)
    words = f"dsd-bench 0.1.0 (release, sha256 {SHA[:12]}); pruner own of mine 1.0 (dirty, sha256"
    assert f"code: {words} {12 * 'a'})" in (path.parents[1] / "README.md").read_text()


def test_code_that_changed_on_the_way_is_told_in_its_order(make, boards):
    later = {**line(core={**CORE, "state": "dirty", "sha256": "cd" * 32}), "round": 2}
    (path,) = submit([make(config(pruner=part("own")), provenance=[line(), later])], boards)
    write(boards)
    text = (path.parents[1] / "README.md").read_text()
    then = " / dsd-bench 0.1.0 (dirty, sha256 cdcd"
    assert text.index("(release, sha256 abab") < text.index(then)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        (
            {"components": {"pruner": {"own": "theirs"}}},
            "components.pruner.own: 'theirs' is",
        ),
        ({"components": {"pruner": {"other": "mine"}}}, "does not use it"),
        ({"components": {"thing": {"own": "mine"}}}, "is no component"),
        ({"components": {"pruner": {"<b>": "mine"}}}, "is no component"),
        ({"components": {}}, "components"),
        ({"core": {**CORE, "state": "clean"}}, "core.state"),
        ({"core": {**CORE, "state": True}}, "core.state"),
        ({"core": {**CORE, "sha256": "00"}}, "core.sha256"),
        ({"core": {**CORE, "version": "<b>"}}, "without markup"),
        ({"core": {"version": "1"}}, "core.sha256"),
        ({"core": {**CORE, "more": 1}}, "core.more"),
    ],
)
def test_a_false_record_of_the_code_is_refused(make, boards, changes, key):
    (path,) = submit([make(config(pruner=part("own")), provenance=[line()])], boards)
    told = json.loads(path.read_text())
    told["seeds"][0]["code"][0].update(changes)
    path.write_text(json.dumps(told, sort_keys=True, indent=1) + "\n")
    with pytest.raises(UsageError) as error:
        read_row(path)
    assert key in str(error.value)


def test_a_metric_of_a_plugin_is_no_part_of_the_configuration(make, boards):
    told = line(components={"metric": {"extra": "mine"}})
    (path,) = submit([make(provenance=[told])], boards)
    assert isinstance(read_row(path), CheckedRow)


class Installed:
    """A distribution in a folder on the path, installed as pip does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, listed: bool = True, **origin: Any) -> None:
        package, info = self.folder / "stately", self.folder / "stately-1.0.dist-info"
        package.mkdir(exist_ok=True)
        info.mkdir(exist_ok=True)
        (package / "__init__.py").write_text("A = 1\n")
        (package / "data.txt").write_text("not code\n")
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stately\nVersion: 1.0\n")
        found = hashlib.sha256((package / "__init__.py").read_bytes()).digest()
        text = base64.urlsafe_b64encode(found).rstrip(b"=").decode()
        names = f"stately/__init__.py,sha256={text},6\nstately/data.txt,sha256=xx,9\n"
        (info / "RECORD").write_text((names if listed else "") + f"{info.name}/RECORD,,\n")
        if origin:
            (info / "direct_url.json").write_text(json.dumps(origin))
        self.again()

    def again(self) -> None:
        state.cache_clear()
        sys.modules.pop("stately", None)
        importlib.invalidate_caches()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installed]:
    monkeypatch.syspath_prepend(tmp_path)
    made = Installed(tmp_path)
    yield made
    made.again()


def found() -> str | None:
    return state("stately", ("stately",))


def test_what_is_as_it_was_built_is_a_release(install):
    install()
    assert found() == "release"
    install(url="https://example.org/x.git", vcs_info={"vcs": "git", "commit_id": "1"})
    assert found() == "release"


def test_an_editable_installation_is_dirty(install):
    install(url="file:///x", dir_info={"editable": True})
    assert found() == "dirty"


def test_changed_added_and_lost_modules_are_dirty(install, tmp_path):
    install()
    (tmp_path / "stately" / "__init__.py").write_text("A = 2\n")
    install.again()
    assert found() == "dirty"
    install()
    (tmp_path / "stately" / "more.py").write_text("")
    install.again()
    assert found() == "dirty"
    (tmp_path / "stately" / "more.py").unlink()
    (tmp_path / "stately" / "__init__.py").unlink()
    install.again()
    assert found() == "dirty"


def test_another_tree_first_on_the_path_is_dirty(install, tmp_path, monkeypatch):
    install()
    (tmp_path / "tree" / "stately").mkdir(parents=True)
    (tmp_path / "tree" / "stately" / "__init__.py").write_text("A = 1\n")
    monkeypatch.syspath_prepend(tmp_path / "tree")
    install.again()
    assert found() == "dirty"


def test_what_nothing_tells_is_unknown(install, tmp_path):
    install(listed=False)
    assert found() is None
    install(url="x")
    (tmp_path / "stately-1.0.dist-info" / "direct_url.json").write_text("{")
    install.again()
    assert found() is None
    assert state("no-such-distribution", ()) is None

"""What rows say of built-in components, and of who brought the others."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from board_runs import config, kd, part, stop_rule

from dsd_bench import configure
from dsd_bench.boards.built_in import _all_built_in, built_in, misstated
from dsd_bench.boards.holders import held, used_components
from dsd_bench.boards.schema import Code, SeedResult
from dsd_bench.components import TABLE
from dsd_bench.config.run import RunConfig
from dsd_bench.plugins import catalogue


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"choose": "one-se"},
        {"choose": "max-drop", "stop": "entropy-gate", "perturber": "rewind"},
        {"reg": ["l1", "kd"], "optimizer": "adam", "schedule": "cosine", "noise": "none"},
        {"model": "vgg-like", "pruner": "structured-l1", "stop": "target:0.9"},
    ],
)
def test_what_a_run_has_can_be_said(options: Any) -> None:
    made = configure(**options)
    assert list(misstated(made)) == []
    again = RunConfig.model_validate(made.model_dump(mode="json"))
    assert list(misstated(again)) == []


MAX_DROP = part("max-drop", drop=0.01)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"chooser": part("best")}, "config.chooser: 'best' is what runs do that name none"),
        ({"updater": part("none")}, "config.updater: 'none' is what runs do that name none"),
        ({"optimizer": part("adam")}, "config.optimizer: 'adam' is what runs do that name none"),
        ({"schedule": part("step")}, "config.schedule: 'step' is what runs do that name none"),
        ({"chooser": {**MAX_DROP, "version": 2}}, "version: 2, but 'max-drop' here has 1; upgrade"),
        (
            {"dataset": {**part("imagefolder", path="/etc"), "version": 1}},
            "config.dataset.params.path: says where data lie",
        ),
        (
            {"regularizers": [kd(data_seed=7)]},
            "config.regularizers.0.teacher.config.data_seed: not its student's",
        ),
        (
            {"regularizers": [kd(fingerprint="sha256:7")]},
            "config.regularizers.0.teacher.config.fingerprint: not its student's",
        ),
        ({"regularizers": [kd(-1, data_seed=0)]}, "teacher.config.seed: -1 is no seed"),
        ({"chooser": {**MAX_DROP, "version": 0}}, "config.chooser.version: 0, but versions begin"),
        ({"chooser": part("max-drop", drop=1.5)}, "config.chooser.params.drop: Input should be"),
        ({"chooser": part("max-drop", drop="0.5")}, 'params.drop: "0.5", which runs have as 0.5'),
        ({"chooser": part("max-drop", drop=1)}, "params.drop: 1, which runs have as 1.0"),
        ({"chooser": part("max-drop", drip=0.1)}, "config.chooser.params.drip: Extra inputs"),
        ({"stop": stop_rule("patience", patience=0)}, "config.stop.params.patience: Input should"),
        ({"noise": part("symmetric", rate=7.0)}, "config.noise.params.rate: Input should be"),
        (
            {"pruner": {**part("magnitude"), "at_initialisation": True}},
            "config.pruner.at_initialisation: 'magnitude' prunes what was trained",
        ),
        (
            {"regularizers": [part("l1", weight=-1.0)]},
            "config.regularizers.0.params.weight: Input should be",
        ),
        (
            {"regularizers": [part("l1", weight=1.0), kd(stop=stop_rule("patience", patience=0))]},
            "config.regularizers.1.teacher.config.stop.params.patience: Input should be",
        ),
    ],
)
def test_what_no_run_has_is_told(changes: Any, says: str) -> None:
    (told,) = misstated(config(0, **changes))
    assert told.startswith(says) or says in told


@pytest.mark.parametrize(
    "changes",
    [
        {"chooser": part("mine", anything=[1])},
        {"chooser": MAX_DROP},
        {"stop": {**part("patience", patience=0), "version": 1}},
        {},
    ],
)
def test_of_other_components_and_older_versions_nothing_is_known(changes: Any) -> None:
    assert list(misstated(config(0, **changes))) == []


def test_every_kind_has_its_built_in_components() -> None:
    for kind, name in (("pruner", "magnitude"), ("regularizer", "kd"), ("chooser", "best")):
        found = built_in(kind, name)
        assert found is not None
        assert found.name == name
        assert all(built_in(other.name, name) is None for other in TABLE if other.name != kind)


def test_a_row_runs_no_code_of_a_plugin(tmp_path: Path, use: Callable[[Path], None]) -> None:
    (tmp_path / "dsd_bench_mine.py").write_text(
        "from dsd_bench import Component, hookimpl\n@hookimpl\ndef register_pruners():\n"
        "    return [Component('mine', 'm:C', 's')]\n"
    )
    info = tmp_path / "dsd_bench_mine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dsd-bench-mine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[dsd_bench]\nmine = dsd_bench_mine\n")
    use(tmp_path)
    _all_built_in.cache_clear()
    assert built_in("pruner", "mine") is None
    assert list(misstated(config(0, pruner=part("mine", anything=1)))) == []
    assert "dsd_bench_mine" not in sys.modules
    assert catalogue().find("pruner", "mine")


def test_components_of_a_configuration_are_known_by_kind() -> None:
    value = config(0, [part("l1", weight=1.0), kd(pruner=part("mine"))]).model_dump(mode="json")
    used = set(used_components(value))
    assert {("pruner", "magnitude"), ("pruner", "mine"), ("regularizer", "l1")} <= used
    assert {("regularizer", "kd"), ("model", "mlp"), ("stop", "never")} <= used
    assert ("stop", "mine") not in used


PLUGIN = {"version": "1", "sha256": None}
USED = {("pruner", "mine"), ("stop", "late"), ("pruner", "magnitude")}


@pytest.mark.parametrize(
    ("components", "plugins", "says"),
    [
        ({"pruner": {"mine": "a"}}, "a", []),
        ({"pruner": {"mine": "a"}, "stop": {"late": "b"}, "metric": {"any": "b"}}, "ab", []),
        (None, "", []),
        (None, "a", ["plugins.a: holds none of the components"]),
        ({"pruner": {"mine": "a"}}, "ab", ["plugins.b: holds none of the components"]),
        ({"pruner": {"mine": "b"}}, "b", []),
        ({"pruner": {"mine": "a"}, "stop": {}}, "a", ["components.stop: names no component"]),
        (
            {"pruner": {"late": "a"}},
            "a",
            ["components.pruner.late: the configuration does not use it"],
        ),
        ({"pruner": {"mine": "b"}, "stop": {"late": "a"}}, "a",
         ["components.pruner.mine: 'b' is none of the plugins"]),
        ({"pruner": {"magnitude": "a"}}, "a",
         ["components.pruner.magnitude: is built in, no plugin's"]),
        ({"pruners": {"mine": "a"}}, "a", ["components.pruners.mine: is no component"]),
        ({"metric": {"a b": "a"}}, "a", ["components.metric.a b: is no component"]),
    ],
)  # fmt: skip
def test_who_brought_what(components: Any, plugins: str, says: list[str]) -> None:
    told = {
        "round": 0,
        "versions": {},
        "plugins": dict.fromkeys(plugins, PLUGIN),
        "core": PLUGIN,
        **({} if components is None else {"components": components}),
    }
    code = Code.model_validate(told)
    entry = SeedResult.model_construct()
    object.__setattr__(entry, "code", [code, code])
    assert list(held(entry, USED)) == [f"code.{place}.{text}" for place in (0, 1) for text in says]


def test_of_lines_of_older_releases_no_holder_is_asked() -> None:
    code = Code.model_validate({"round": 0, "versions": {}, "plugins": {"a": PLUGIN}})
    entry = SeedResult.model_construct()
    object.__setattr__(entry, "code", [code])
    assert list(held(entry, set())) == []

"""Finding plugins: what is broken is listed, and breaks nothing else."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pluggy
import pytest

from dsd_bench import Component, hookimpl, hookspecs, plugins
from dsd_bench.cli.plugins import listing
from dsd_bench.components import KINDS
from dsd_bench.deprecation import Deprecated, deprecated
from dsd_bench.errors import UsageError
from dsd_bench.plugins import BUILTIN, REGISTER, Catalogue, build

HOOKS = {name: value for name, value in vars(hookspecs).items() if hasattr(value, "dsd_bench_spec")}


def pruner(name: str = "mine") -> Component:
    return Component(name, "mine.pruner:Mine", "prunes")


def plugin(name: str = "mine", **functions: object) -> ModuleType:
    """Return a module whose functions are marked as hooks."""
    module = ModuleType(name)
    for hook, function in functions.items():
        setattr(module, hook, hookimpl(function))  # type: ignore[call-overload]
    return module


def good(name: str = "good", component: str | None = None) -> ModuleType:
    return plugin(name, register_pruners=lambda: [pruner(component or name)])


def failures(known: Catalogue) -> list[tuple[str, str]]:
    return [(failure.distribution, failure.error) for failure in known.failed]


@pytest.fixture
def known() -> Catalogue:
    return build(third_party=False)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that puts a distribution with one entry point where Python finds it."""
    monkeypatch.syspath_prepend(tmp_path)

    def add(name: str, source: str, attribute: str = "") -> None:
        module = name.replace("-", "_")
        monkeypatch.delitem(sys.modules, module, raising=False)
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[dsd_bench]\n{module} = {module}{attribute}\n")

    return add


def registers(name: str) -> str:
    return (
        "from dsd_bench import Component, hookimpl\n@hookimpl\ndef register_pruners():\n"
        f"    return [Component('{name}', 'm:C', 's')]\n"
    )


# -- the hooks themselves


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_documented_and_annotated(name):
    signature = inspect.signature(HOOKS[name])
    assert len(inspect.getdoc(HOOKS[name]) or "") > 20
    assert all(p.annotation is not p.empty for p in signature.parameters.values())


def test_every_register_hook_has_a_kind_and_every_kind_a_hook():
    assert set(REGISTER) == {name for name in HOOKS if name.startswith("register_")}
    assert sorted(REGISTER.values()) == sorted(KINDS)


@pytest.mark.parametrize("module", BUILTIN)
def test_builtin_components_register_through_the_public_hooks_alone(module, known):
    functions = vars(importlib.import_module(module)).items()
    hooks = {name: value for name, value in functions if hasattr(value, "dsd_bench_impl")}
    assert hooks
    for name, hook in hooks.items():
        for component in hook():
            assert known.find(REGISTER[name], component.name) == component


def test_every_builtin_module_of_the_package_is_listed():
    folder = Path(hookspecs.__file__).parent
    found = {f"dsd_bench.{path.parent.name}.builtin" for path in folder.glob("*/builtin.py")}
    assert found == set(BUILTIN)


@pytest.mark.parametrize("hook", REGISTER)
def test_builtin_classes_have_the_base_class_that_the_hook_names(hook, known):
    path = re.search(r":class:`([\w.]+)`", HOOKS[hook].__doc__).group(1)
    module, _, name = path.rpartition(".")
    base = getattr(importlib.import_module(module), name)
    entries = known.entries(REGISTER[hook])
    assert entries
    for entry in entries:
        assert issubclass(entry.component.load(), base), entry.component.name


def test_nothing_of_the_builtin_components_fails(known):
    assert known.failed == []
    assert {entry.distribution for entry in known.entries()} == {"dsd-bench"}
    assert all(entry.component.summary for entry in known.entries())


def test_a_new_kind_of_component_needs_one_edit(tmp_path):
    package = tmp_path / "dsd_bench"
    source = Path(hookspecs.__file__).parent
    shutil.copytree(source, package, ignore=shutil.ignore_patterns("__pycache__"))
    table = package / "components.py"
    line = '    Kind("planet", "register_planets", "planets.Planet", "planets"),\n'
    table.write_text(table.read_text().replace("TABLE = (\n", "TABLE = (\n" + line))
    (package / "planets").mkdir()
    (package / "planets" / "__init__.py").write_text("class Planet:\n    pass\n")
    (package / "planets" / "builtin.py").write_text(
        "from dsd_bench import Component, hookimpl\n@hookimpl\ndef register_planets():\n"
        "    return [Component('mars', 'dsd_bench.planets:Planet', 'red')]\n"
    )
    script = (
        "from dsd_bench import hookspecs\nfrom dsd_bench.plugins import build\n"
        "known = build(third_party=False)\nprint(known.names('planet'), known.failed)\n"
        "print(known.entries()[0].kind, hookspecs.register_planets.__doc__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "['mars'] []",
        "planet Return planets; each implements :class:`dsd_bench.planets.Planet`.",
    ]


# -- finding components


def test_entries_are_sorted_by_kind_and_name(known):
    keys = [(KINDS.index(entry.kind), entry.component.name) for entry in known.entries()]
    assert keys == sorted(keys)
    assert {"none", "reinit", "rewind"} <= set(known.names("perturber"))


def test_a_wrong_name_gets_the_nearest_one_the_list_and_who_asked(known):
    with pytest.raises(UsageError) as error:
        known.get("pruner", "magnitud", "--pruner")
    assert str(error.value) == (
        "--pruner: there is no pruner 'magnitud'; did you mean 'magnitude'? "
        f"choose from: {', '.join(known.names('pruner'))}"
    )


def test_a_name_of_another_kind_is_unknown(known):
    assert known.find("pruner", "kd") is None
    with pytest.raises(UsageError, match="there is no pruner 'kd'"):
        known.get("pruner", "kd")


def test_a_wrong_name_tells_of_plugins_that_failed(known):
    known.add(plugin(register_pruners=lambda: 1 / 0), "dsd-bench-broken")
    with pytest.raises(UsageError, match=r"\(1 plugin failed to load: see `dsd-b"):
        known.get("pruner", "mine")


def test_an_exception_of_a_plugins_code_is_placed(known, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "careless.py").write_text("import json\n\ndef read(text):\n    json.loads(text)\n")
    careless = importlib.import_module("careless")
    component = Component("careless", "careless:read", "")
    known.add(plugin(register_pruners=lambda: [component]), "dsd-bench-careless")
    with pytest.raises(ValueError, match="Expecting") as caught:
        careless.read("{")  # the last line of all is json's
    assert known.place(caught.value) == f"{tmp_path / 'careless.py'}:4, of dsd-bench-careless"
    assert known.place(ValueError()) == ""


def test_a_run_that_fails_in_a_plugin_says_where(monkeypatch):
    from dsd_bench.experiment import runner

    for place, said in (("a.py:4, of x", "(in a.py:4, of x; --debug"), ("", "looks like a bug")):
        known = SimpleNamespace(place=lambda error, place=place: place)
        monkeypatch.setattr(runner, "catalogue", lambda known=known: known)
        assert said in str(runner.explain(ValueError("no"), runner.Settings()))


def test_the_origin_is_the_implementing_file(known):
    origin = known.get("pruner", "magnitude").origin
    assert Path(origin) == Path(hookspecs.__file__).parent / "pruners" / "unstructured.py"


def test_the_origin_of_a_missing_or_broken_module_is_said(known, install):
    install("breaks", "raise OSError('no disk')")
    components = [Component("a", "no_such_module:C", "s"), Component("b", "breaks.sub:C", "s")]
    known.add(plugin(register_pruners=lambda: components), "dsd-bench-mine")
    assert known.get("pruner", "a").origin == "no_such_module"
    assert known.get("pruner", "b").origin == "breaks.sub (cannot be found: OSError: no disk)"


# -- broken plugins


def raises(error: BaseException):
    def hook():
        raise error

    return hook


def yields_then_fails():
    yield pruner()
    raise LookupError("the second one")


def unhashable() -> object:
    return SimpleNamespace(register_pruners=hookimpl(lambda: [pruner()]))


def no_component() -> list[object]:
    return ["mine"]


BROKEN = {
    "a hook that raises": (
        plugin(register_pruners=raises(OSError("no licence"))),
        "register_pruners: OSError: no licence",
    ),
    "a hook that exits": (plugin(register_pruners=raises(SystemExit(3))), "SystemExit: 3"),
    "a generator that fails": (plugin(register_pruners=yields_then_fails), "the second one"),
    "a component that is none": (
        plugin(register_pruners=no_component),
        "register_pruners returned 'mine', which is no Component",
    ),
    "a component outside a list": (plugin(register_pruners=pruner), "not iterable"),
    "an invalid component": (
        plugin(register_pruners=lambda: [pruner("My Pruner")]),
        "register_pruners: ValueError: component name 'My Pruner'",
    ),
    "an unknown hook": (plugin(register_pruner=lambda: []), "unknown hook 'register_pruner'"),
    "a wrong signature": (plugin(round_finished=lambda run_id, rows: None), "rows"),
    "no hook at all": (ModuleType("mine"), "has no hook: mark its functions with @hookimpl"),
    "nothing": (None, "has no hook"),
    "an object that cannot be hashed": (unhashable(), "unhashable"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_is_listed_and_breaks_nothing_else(case, known):
    broken, text = BROKEN[case]
    before = known.entries()
    known.add(broken, "dsd-bench-broken")
    [(distribution, error)] = failures(known)
    assert distribution == "dsd-bench-broken"
    assert text in error
    assert known.entries() == before
    known.add(good(), "dsd-bench-good")
    assert known.find("pruner", "good") == pruner("good")
    assert len(known.failed) == 1


def test_one_broken_hook_leaves_the_plugins_other_hooks(known):
    half = plugin(register_pruners=raises(OSError()), register_metrics=lambda: [pruner("seen")])
    known.add(half, "dsd-bench-half")
    assert known.find("metric", "seen")
    assert len(known.failed) == 1


def test_a_builtin_name_cannot_be_taken(known):
    builtin = known.get("pruner", "magnitude")
    components = [pruner("magnitude"), pruner("another")]
    known.add(plugin(register_pruners=lambda: components), "dsd-bench-mine")
    assert known.get("pruner", "magnitude") == builtin
    assert known.find("pruner", "another")
    expected = "the name of pruner 'magnitude' is already taken by dsd-bench"
    assert failures(known) == [("dsd-bench-mine", expected)]


def test_a_name_may_be_used_for_each_kind(known):
    known.add(plugin(register_metrics=lambda: [pruner("magnitude")]), "dsd-bench-mine")
    assert known.failed == []
    assert known.find("metric", "magnitude")


def test_a_plugin_that_is_registered_twice_is_listed_and_keeps_working(known):
    seen = []
    twice = plugin(run_failed=lambda run_id, error: seen.append(error))
    known.add(twice, "dsd-bench-a")
    known.add(twice, "dsd-bench-b")
    [(distribution, error)] = failures(known)
    assert distribution == "dsd-bench-b"
    assert error.endswith("is registered already")
    known.notify("run_failed", pytest.fail, run_id="x", error="boom")
    assert seen == ["boom"]


# -- entry points


def test_installed_plugins_are_found_and_carry_their_distribution(install):
    install("dsd-bench-one", registers("one"))
    entry = build(third_party=True).get("pruner", "one")
    assert entry.distribution == "dsd-bench-one"


@pytest.mark.parametrize(
    ("source", "attribute", "text"),
    [
        ("import no_such_package", "", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("raise SystemExit('go away')", "", "SystemExit: go away"),
        ("def broken(:", "", "SyntaxError"),
        ("", ":missing", "AttributeError"),
        ("", " is no module", "'dsd_bench_bad'"),
    ],
)
def test_an_entry_point_that_fails_to_load_is_listed(install, source, attribute, text):
    install("dsd-bench-bad", source, attribute)
    install("dsd-bench-good", registers("good"))
    known = build(third_party=True)
    assert known.find("pruner", "good")
    [error] = [error for owner, error in failures(known) if owner == "dsd-bench-bad"]
    assert error.startswith("entry point 'dsd_bench_bad': ")
    assert text in error


def test_of_two_plugins_the_first_by_name_takes_a_components_name(install):
    install("dsd-bench-b", registers("same"))
    install("dsd-bench-a", registers("same"))
    known = build(third_party=True)
    assert known.get("pruner", "same").distribution == "dsd-bench-a"
    text = "the name of pruner 'same' is already taken by dsd-bench-a"
    assert ("dsd-bench-b", text) in failures(known)


def test_a_distribution_without_metadata_goes_by_its_entry_point(install, tmp_path):
    install("dsd-bench-torn", registers("torn"))
    install("dsd-bench-whole", registers("whole"))
    (tmp_path / "dsd_bench_torn-1.0.dist-info" / "METADATA").unlink()
    known = build(third_party=True)
    assert known.get("pruner", "torn").distribution == "dsd_bench_torn"
    assert known.find("pruner", "whole")


# -- switches


def fresh_catalogue() -> Catalogue:
    """Return what ``catalogue()`` would in a new process."""
    return plugins.catalogue.__wrapped__()


def test_the_switch_leaves_third_party_plugins_out(install, monkeypatch):
    install("dsd-bench-one", registers("one"))
    monkeypatch.setenv(plugins.DISABLE, "1")
    known = fresh_catalogue()
    assert known.find("pruner", "one") is None
    assert known.find("pruner", "magnitude")
    assert "dsd_bench_one" not in sys.modules
    monkeypatch.setenv(plugins.DISABLE, "0")
    assert fresh_catalogue().find("pruner", "one")


def test_the_trace_switch_writes_every_hook_call(monkeypatch, capsys):
    monkeypatch.setenv(plugins.DISABLE, "1")
    monkeypatch.setenv(plugins.TRACE, "1")
    known = fresh_catalogue()
    known.add(plugin(run_failed=lambda run_id: None), "dsd-bench-mine")
    known.notify("run_failed", pytest.fail, run_id="abc", error="boom")
    traced = capsys.readouterr().err
    assert "register_pruners" in traced
    assert "run_failed" in traced
    assert "error: boom" in traced


def test_hook_calls_are_silent_without_the_switch(known, capsys):
    known.add(plugin(run_failed=lambda run_id: None), "dsd-bench-mine")
    known.notify("run_failed", pytest.fail, run_id="abc", error="boom")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("value", "on"), [(None, False), ("", False), ("0", False), ("1", True), ("yes", True)]
)
def test_a_switch_is_off_when_unset_empty_or_zero(value, on):
    environment = {} if value is None else {"SWITCH": value}
    assert plugins.switched_on("SWITCH", environment) is on


# -- observers


@pytest.mark.parametrize("error", [OSError("no space"), SystemExit(1)])
def test_a_failing_observer_is_reported_and_the_others_still_see_the_event(known, error):
    seen = []

    def fails(run_id):
        raise error

    known.add(plugin("first", round_finished=lambda run_id, row: seen.append(row)), "a")
    known.add(plugin("failing", round_finished=fails), "b")
    known.add(plugin("last", round_finished=lambda row: seen.append(row)), "c")
    notes = []
    known.notify("round_finished", notes.append, run_id="abc", row={"round": 1})
    assert seen == [{"round": 1}] * 2
    assert notes == [f"observer failing.round_finished: {type(error).__name__}: {error}"]


def test_an_observer_of_one_event_hears_of_no_other(known):
    seen = []
    known.add(plugin(run_finished=lambda result: seen.append(result)), "a")
    known.notify("run_started", pytest.fail, run_id="abc", config={}, path=Path())
    assert seen == []


# -- the version of the plugin API


def made_for(api: object, name: str = "mine") -> ModuleType:
    module = good(name)
    module.dsd_bench_api = api  # type: ignore[attr-defined]
    return module


def test_a_plugin_says_which_api_it_was_made_for(known):
    known.add(made_for("1"), "dsd-bench-mine")
    known.add(good("silent"), "dsd-bench-silent")
    assert known.get("pruner", "mine").api == 1
    assert known.get("pruner", "silent").api is None
    assert known.failed == []


def test_a_plugin_of_a_newer_api_is_one_clear_line(known):
    known.add(made_for("2"), "dsd-bench-mine")
    assert failures(known) == [
        (
            "dsd-bench-mine",
            "made for plugin API 2, dsd-bench 0.1.0 has API 1; pip install --upgrade dsd-bench, "
            "or take an older dsd-bench-mine",
        )
    ]
    assert known.find("pruner", "mine") is None


def test_of_a_newer_api_no_hook_is_called(known):
    module = plugin("mine", register_planets=raises(OSError("called")))
    module.dsd_bench_api = "7"  # type: ignore[attr-defined]
    known.add(module, "dsd-bench-mine")
    [(_, error)] = failures(known)
    assert error.startswith("made for plugin API 7")


def test_a_plugin_of_an_api_that_is_gone_is_one_clear_line(known, monkeypatch):
    monkeypatch.setattr("dsd_bench.plugins.api.API", 3)
    monkeypatch.setattr("dsd_bench.plugins.api.OLDEST", 2)
    known.add(made_for("1"), "dsd-bench-mine")
    [(_, error)] = failures(known)
    assert error == (
        "made for plugin API 1, dsd-bench 0.1.0 needs 2 to 3; "
        "pip install --upgrade dsd-bench-mine, or take an older dsd-bench"
    )


@pytest.mark.parametrize("api", [1, "one", "", "-1", "1.0", "²", "1" * 9, ["1"]])
def test_what_is_no_version_of_the_api_is_refused(known, api):
    known.add(made_for(api), "dsd-bench-mine")
    [(_, error)] = failures(known)
    assert error.startswith("dsd_bench_api is ")
    assert 'such as "1"' in error


def test_what_will_go_is_noted_with_what_to_write_instead(known, recwarn):
    def old() -> list[Component]:
        for _ in range(2):
            deprecated("Component(colour=...)", "Component(hue=...)", 2)
        warnings.warn("of its own", UserWarning, stacklevel=1)
        return [pruner()]

    known.add(plugin(register_pruners=old), "dsd-bench-old")
    text = "Component(colour=...) goes with plugin API 2: write Component(hue=...) instead"
    assert [(d.distribution, d.error) for d in known.deprecated] == [("dsd-bench-old", text)]
    assert known.failed == []
    assert known.find("pruner", "mine")
    assert listing(known)["deprecated"] == [{"distribution": "dsd-bench-old", "warning": text}]


def test_a_hook_that_will_go_is_noted(known):
    spec = pluggy.HookspecMarker("dsd_bench")
    later = SimpleNamespace()

    def register_moons() -> list[Component]:
        raise NotImplementedError

    warning = Deprecated("register_moons", "register_planets", 2)
    later.register_moons = spec(register_moons, warn_on_impl=warning)
    known.manager.add_hookspecs(later)
    known.add(plugin(register_moons=lambda: []), "dsd-bench-old")
    assert [(d.distribution, d.error) for d in known.deprecated] == [
        ("dsd-bench-old", "register_moons goes with plugin API 2: write register_planets instead")
    ]

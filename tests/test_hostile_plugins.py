"""Plugins that do what they please: no other plugin, command, run, byte or JSON suffers."""

from __future__ import annotations

import importlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dsd_bench import Component, Params, configure, hookimpl, run
from dsd_bench.cli.describe import parameter_lines, usage
from dsd_bench.environment.contained import contained, interrupted
from dsd_bench.environment.limited import limited
from dsd_bench.errors import Quit, describe
from dsd_bench.executors.local import Tail
from dsd_bench.plugins import build, catalogue

ROOT = Path(__file__).parent.parent
TINY = ("--dataset", "digits:train_size=60,val_size=30", "--model", "mlp:hidden=8")
TINY += ("--batch-size", "20", "--rounds", "2", "--epochs", "2", "--seeds", "0")

HEAD = """
import os, signal, sys
from dsd_bench import Component, hookimpl
from dsd_bench.pruners import Pruner, PrunerParams
"""
REGISTER = """
class Mine(Pruner):
    def scores(self, view):
        weights = dict(view.model.named_parameters())
        act()
        return {name: weights[name].detach().abs() for name in view.masks.weights}

@hookimpl
def register_pruners():
    return [Component("mine", "dsd_bench_bad:Mine", "mine", PrunerParams)]
"""


def at_import(act: str) -> str:
    return f"{HEAD}def act(): pass\n{act}\n{REGISTER}"


def at_register(act: str) -> str:
    return f"{HEAD}def act(): pass\n{REGISTER}".replace(
        "    return [C", f"    {act}\n    return [C"
    )


def when_run(act: str) -> str:
    return f"{HEAD}def act():\n    {act}\n{REGISTER}"


def when_pruning_again(act: str) -> str:
    """Act in round 2 only: what is tried out before a run finds nothing."""
    return when_run(act).replace("        act()", "        if view.round > 1: act()")


def when_watching(act: str) -> str:
    observer = f"@hookimpl\ndef round_finished(run_id, row):\n    {act}\n"
    return f"{HEAD}def act(): pass\n{REGISTER}{observer}"


@pytest.fixture
def install(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Path]]:
    """Return a function that installs a distribution ``dsd-bench-bad`` and a good one."""
    folder = tmp_path_factory.mktemp("site")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def forget() -> None:
        catalogue.cache_clear()
        for name in ("dsd_bench_bad", "dsd_bench_good"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()

    def add(source: str, name: str = "dsd-bench-bad") -> Path:
        good = f"{HEAD}@hookimpl\ndef register_pruners():\n"
        good += "    return [Component('good', 'm:C', 's')]\n"
        written = ((name, "dsd_bench_bad", source), ("dsd-bench-good", "dsd_bench_good", good))
        for owner, module, text in written:
            (folder / f"{module}.py").write_text(text)
            info = folder / f"{module}-1.0.dist-info"
            info.mkdir(exist_ok=True)
            head = f"Metadata-Version: 2.1\nName: {owner}\nVersion: 1.0\n"
            (info / "METADATA").write_text(head, "utf-8")
            (info / "entry_points.txt").write_text(f"[dsd_bench]\n{module} = {module}\n")
        forget()
        return folder

    yield add
    forget()


def python(folder: Path, cwd: Path, *words: str, **options: Any) -> subprocess.CompletedProcess:
    """Run the command line in a process of its own, as a user does."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    command = [sys.executable, "-m", "dsd_bench", *words]
    options = {"text": True, "timeout": 120, "stdin": subprocess.DEVNULL, **options}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, check=False, **options)


# -- leaving

LEAVING = {
    "sys.exit": ("sys.exit(3)", "SystemExit: 3"),
    "a Ctrl-C of its own": ("raise KeyboardInterrupt('mine')", "KeyboardInterrupt: mine"),
    "a BaseException": (
        "raise type('Odd', (BaseException,), {})('so')",
        "Odd: so",
    ),
    "an exception that cannot be shown": (
        "raise type('Mute', (Exception,), {'__str__': lambda self: 1 / 0})()",
        "Mute: (its message cannot be shown)",
    ),
    "a huge message": ("raise OSError('x' * 10**6)", "OSError: " + "x" * 500 + "..."),
    "a message that steers": (
        r"raise OSError('\x1b[31m[red]\u202e\ud800' + chr(10) + 'error: x')",
        r"OSError: \x1b[31m[red]\u202e\ud800\nerror: x",
    ),
}


@pytest.mark.parametrize("place", [at_import, at_register])
@pytest.mark.parametrize("case", LEAVING)
def test_a_plugin_that_leaves_is_listed_and_the_others_load(install, place, case):
    act, text = LEAVING[case]
    install(place(act))
    known = build(third_party=True)
    [failure] = [f for f in known.failed if f.distribution == "dsd-bench-bad"]
    assert failure.error.endswith(text)
    assert known.find("pruner", "good")
    assert known.find("pruner", "mine") is None


SOON = (
    "import signal, time; assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 60\n"
    "signal.setitimer(signal.ITIMER_REAL, 0.05, 1.0)\n"
)
"""Brings forward when a plugin's minute is over, so that those beside it have all of theirs."""

HANGING = {
    "sleeps": f"{SOON}time.sleep(999)",
    "turns": f"{SOON}while True: pass",
    "turns on": f"{SOON}while True:\n    try: time.sleep(9)\n    except Exception: pass",
}


@pytest.mark.parametrize("place", [at_import, at_register])
@pytest.mark.parametrize("case", HANGING)
def test_a_plugin_that_hangs_is_listed_and_the_others_load(install, monkeypatch, place, case):
    monkeypatch.setenv("DSD_BENCH_PLUGIN_SECONDS", "60")
    signal.setitimer(signal.ITIMER_REAL, 0)  # that of pytest-timeout
    act = HANGING[case]
    install(place(act if place is at_import else act.replace("\n", "\n    ")))
    known = build(third_party=True)
    [failure] = [f for f in known.failed if f.distribution == "dsd-bench-bad"]
    assert failure.error.endswith(
        "Hung: loading it (switch: DSD_BENCH_PLUGIN_SECONDS) has not come to an end after 60 s"
    )
    assert known.find("pruner", "good")
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)  # nothing rings any more


def test_a_timer_around_what_is_limited_still_rings():
    rung = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(time.monotonic()))
    outer = signal.setitimer(signal.ITIMER_REAL, 0.3)
    began = time.monotonic()
    try:
        with limited(5, "it"):
            time.sleep(0.2)
        left, _ = signal.getitimer(signal.ITIMER_REAL)
        while not rung and time.monotonic() < began + 60:
            time.sleep(0.01)
    finally:
        signal.setitimer(signal.ITIMER_REAL, *outer)
        signal.signal(signal.SIGALRM, before)
    assert left < 0.15
    assert rung[0] - began > 0.25


@pytest.mark.parametrize("place", [at_import, at_register])
def test_a_plugin_that_ends_the_process_at_once_is_listed(install, place):
    install(place("os._exit(3)"))
    known = build(third_party=True)
    [failure] = [f for f in known.failed if f.distribution == "dsd-bench-bad"]
    assert failure.error.endswith("SystemExit: 3")
    assert known.find("pruner", "good")


def test_a_child_of_a_plugin_may_end_at_once(install):
    install(at_import("child = os.fork()\nif not child: os._exit(7)\nos.waitpid(child, 0)"))
    assert build(third_party=True).find("pruner", "mine")


@pytest.mark.parametrize("case", LEAVING)
def test_a_component_that_leaves_fails_its_run_only(install, tiny_run, tmp_path, case):
    act, text = LEAVING[case]
    install(when_pruning_again(act))
    [found] = tiny_run("--pruner", "mine", code=1)["runs"]
    assert found["status"] == "failed"
    first = text.removesuffix("...").split("\\n")[0]
    assert found["error"].startswith(first)
    noted = json.loads((tmp_path / found["path"] / "failure.json").read_text("utf-8"))
    assert noted["error"].startswith(first)
    assert "\x1b" not in (tmp_path / found["path"] / "log.txt").read_text("utf-8")


@pytest.mark.parametrize("case", LEAVING)
def test_a_component_that_leaves_when_it_is_tried_out_is_told_at_once(
    install, command, tmp_path, case
):
    act, text = LEAVING[case]
    install(when_run(act))
    words = [*TINY, "--pruner", "mine", "--executor", "inline", "--json"]
    code, out, err = command("run", *words)
    assert (code in (1, 2), out) == (True, "")
    [line] = [line for line in err.splitlines() if line.startswith("error: ")]
    assert text.split("...")[0].split("\\n")[0][:60] in line
    assert "\x1b" not in err
    assert "Traceback" not in err
    assert list((tmp_path / "runs").glob("*")) == []


@pytest.mark.parametrize("case", LEAVING)
def test_an_observer_that_leaves_is_noted_and_costs_nothing(install, tiny_run, tmp_path, case):
    act, text = LEAVING[case]
    install(when_watching(act))
    [found] = tiny_run("--pruner", "mine")["runs"]
    log = (tmp_path / found["path"] / "log.txt").read_text("utf-8")
    assert log.count(f"observer dsd_bench_bad.round_finished: {text}") == 3


def test_a_user_error_of_a_component_that_steers_is_written_down(install, tiny_run, tmp_path):
    act = r"from dsd_bench.errors import UsageError; raise UsageError('\ud800\x1b[31m')"
    install(when_pruning_again(act))
    [found] = tiny_run("--pruner", "mine", code=2)["runs"]
    assert found["error"] == r"\ud800\x1b[31m"
    noted = json.loads((tmp_path / found["path"] / "failure.json").read_text("utf-8"))
    assert noted["error"] == r"\ud800\x1b[31m"


def test_a_failure_with_an_exit_code_of_its_own_is_still_one(install, tiny_run):
    act = "from dsd_bench.errors import RunError; "
    act += "raise type('E', (RunError,), {'exit_code': 0})('no')"
    install(when_pruning_again(act))
    [found] = tiny_run("--pruner", "mine", code=1)["runs"]
    assert found["error"] == "pruner 'mine': no"


def test_a_real_interrupt_is_the_users():
    def press(*arguments: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(10**6):  # until it arrives
            pass

    def press_noted() -> None:  # as a handler of the command's own does
        interrupted()
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), contained():
        press()
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(KeyboardInterrupt), contained():
        press_noted()
    with pytest.raises(Quit), contained():
        raise KeyboardInterrupt
    with pytest.raises(Quit), contained(), contained():
        raise KeyboardInterrupt


AT_IMPORT = {
    "raises": "raise ValueError('mine')",
    "prints": "print('noise'); sys.__stdout__.write('noise')",
    "exits": "sys.exit(3)",
    "exits at once": "os._exit(3)",
    "hangs": HANGING["turns"],
}


@pytest.mark.parametrize("case", AT_IMPORT)
def test_what_is_bad_at_import_costs_no_other_command(
    install, command, tiny_run, monkeypatch, case
):
    monkeypatch.setenv("DSD_BENCH_PLUGIN_SECONDS", "60")
    signal.setitimer(signal.ITIMER_REAL, 0)  # that of pytest-timeout
    install(at_import(AT_IMPORT[case]))
    for words in (["--help"], ["run", "--help"], ["plugins", "--help"]):
        code, out, _ = command(*words)
        assert (code, out.startswith("Usage: ")) == (0, True)
    code, out, _ = command("plugins", "--json")
    listing = json.loads(out)
    assert code == 0
    assert "good" in [each["name"] for each in listing["components"]]
    bad = [each["distribution"] for each in listing["failed"]]
    assert bad == ([] if case == "prints" else ["dsd-bench-bad"])
    [found] = tiny_run("--rounds", "1")["runs"]
    assert found["status"] == "done"
    told = json.loads(command("plugins", "test", "good", "--json")[1])
    assert [each["name"] for each in told["components"]] == ["good"]
    assert told["failed"] == []


# -- the process around it

CHANGES = {
    "prints": "print('noise'); sys.stdout.write('noise'); print('noise', file=sys.__stdout__)",
    "reads": "assert sys.stdin.read() == ''; assert sys.__stdin__.readline() == ''",
    "input": "exec('try: input()\\nexcept EOFError: pass')",
    "folder": "os.chdir('/')",
    "signals": "[signal.signal(s, signal.SIG_IGN) for s in (signal.SIGINT, signal.SIGTERM)]",
    "warnings": "import warnings; warnings.simplefilter('error')",
    "logging": "import logging; logging.basicConfig(level=1); logging.disable(50)",
    "streams": "sys.stdout = sys.stderr = sys.stdin = None",
    "threads": "import torch; torch.set_num_threads(7)",
    "dtype": "import torch; torch.set_default_dtype(torch.float64)",
    "precision": "import torch; torch.set_float32_matmul_precision('medium')",
    "cudnn": "import torch; torch.backends.cudnn.benchmark = True",
}


def state() -> dict[str, Any]:
    return {
        "streams": [getattr(sys, name) for name in ("stdin", "stdout", "stderr", "__stdout__")],
        "folder": os.getcwd(),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "warnings": list(warnings.filters),
        "logging": (list(logging.root.handlers), logging.root.level, logging.root.manager.disable),
    }


@pytest.fixture
def torch_state() -> Iterator[None]:
    """Put torch back: outside of a run nobody does."""
    import torch

    before = torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision()
    yield
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float32)
    torch.backends.cudnn.benchmark = before[0]
    torch.set_float32_matmul_precision(before[1])


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The rounds of the tiny run that the well-behaved pruner of the same scores gives."""
    config = configure(
        dataset=TINY[1], model=TINY[3], batch_size=20, rounds=1, epochs=2, pruner="magnitude"
    )
    return (
        run(config, runs_dir=tmp_path_factory.mktemp("quiet")).path / "rounds.jsonl"
    ).read_bytes()


@pytest.mark.parametrize("place", [at_import, at_register, when_run, when_watching])
@pytest.mark.parametrize("case", CHANGES)
def test_what_a_plugin_changes_costs_no_json_no_byte_and_no_state(
    install, tiny_run, tmp_path, torch_state, quiet, place, case
):
    install(place(CHANGES[case]))
    before = state()
    [found] = tiny_run("--pruner", "mine", "--rounds", "1")["runs"]  # parses what is printed
    assert state() == before
    assert found["status"] == "done"
    assert (tmp_path / found["path"] / "rounds.jsonl").read_bytes() == quiet


def test_the_steps_have_the_threads_that_the_plan_says(torch_state):
    import torch
    from torch import nn

    from dsd_bench.masks import Masks
    from dsd_bench.regularizers import Regularizer
    from dsd_bench.training.device import make_context
    from dsd_bench.training.step import Stepper

    seen = []

    class Greedy(Regularizer):
        def loss(self, loss: Any, step: Any) -> Any:
            torch.set_num_threads(3)
            torch.set_default_dtype(torch.float64)
            loss.register_hook(lambda grad: seen.append(torch.get_num_threads()))
            return loss

    class Optimizer:
        def hold(self, masks: object) -> None:
            pass

        def step(self) -> None:
            seen.append((torch.get_num_threads(), torch.get_default_dtype()))

    context = make_context("cpu", 1, False, "fp32")
    model = nn.Linear(4, 3)
    step = Stepper(context, model, Masks.dense(model), Optimizer(), [Greedy(Params())])
    torch.set_num_threads(5)
    model.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
    images = torch.zeros(2, 4)
    step(images, torch.tensor([0, 1]), torch.tensor([0, 1]))
    assert seen == [1, 1, (1, torch.float32)]


def test_a_model_has_the_dtype_that_the_plan_says(tiny, torch_state):
    import torch

    from dsd_bench.experiment.assemble import build_model
    from dsd_bench.training.device import make_context

    context = make_context("cpu", 1, False, "fp32")
    torch.set_default_dtype(torch.float64)
    model = build_model(tiny().model, 0, (1, 8, 8), 10, context)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_other_threads_leave_the_process_alone():
    found = []

    def work() -> None:
        with contained() as section:
            found.append(sys.stdout)
            section.outside(lambda: found.append(sys.stdout))()

    before = sys.stdout
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [before, before]


def test_outside_has_the_commands_own_streams(capsys):
    with contained() as section:
        print("within")
        section.outside(print)("outside")
        print("within again")
        assert sys.stdin.read() == ""
    assert capsys.readouterr() == ("outside\n", "within\nwithin again\n")


# -- a process of its own: children, descriptors, the terminal

DESCRIPTORS = "os.system('echo noise'); os.write(1, b'noise'); assert os.read(0, 9) == b''"


@pytest.mark.parametrize(("place", "executor"), [(at_import, "local"), (when_run, "inline")])
def test_what_descriptors_and_children_write_is_no_output(install, tmp_path, place, executor):
    folder = install(place(DESCRIPTORS))
    words = ("run", *TINY, "--pruner", "mine", "--executor", executor, "--json")
    done = python(folder, tmp_path, *words, input="typed by the user\n", stdin=None)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["runs"][0]["status"] == "done"


def test_a_closed_input_and_output_are_no_reason_to_fail(install, tmp_path):
    folder = install(at_import("print('x')"))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    script = f"exec {sys.executable} -m dsd_bench plugins --json <&- >out"
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, env=env, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out").read_text())["failed"] == []


def test_a_worker_keeps_the_end_of_a_flood_only(install, tmp_path):
    act = "print('flood' * 10**6); sys.stderr.write('the end'); os._exit(9)"
    folder = install(when_pruning_again(act))
    done = python(folder, tmp_path, "run", *TINY, "--pruner", "mine")
    assert done.returncode == 1
    assert "the end" in done.stderr
    assert len(done.stderr) < 20_000


def test_of_a_flood_no_more_than_its_end_is_kept():
    reading, writing = os.pipe()
    tail = Tail(os.fdopen(reading, "rb"))
    with os.fdopen(writing, "wb") as stream:
        for _ in range(200):
            stream.write(b"flood " * 10**4)
        stream.write(b"the end \xff\n")
    assert tail.text().endswith("flood the end \ufffd")
    assert len(tail._kept) == Tail.KEPT


# -- objects


class EqualToAll:
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 1

    @hookimpl
    def run_failed(self) -> None:
        pass


class Unshowable:
    def __repr__(self) -> str:
        raise SystemExit(4)

    @hookimpl
    def register_pruners(self) -> list[Any]:
        return [self]


class Told(Component):
    pass


def hooks(**functions: object) -> ModuleType:
    module = ModuleType(f"plugin{id(functions)}")
    for hook, function in functions.items():
        setattr(module, hook, hookimpl(function))  # type: ignore[call-overload]
    return module


def failures(*plugins: object) -> list[str]:
    known = build(third_party=False)
    for plugin in plugins:
        known.add(plugin, "bad")
    known.add(hooks(register_pruners=lambda: [Component("good", "m:C", "s")]), "good")
    assert known.find("pruner", "good")
    return [failure.error for failure in known.failed]


def test_objects_that_compare_or_show_themselves_oddly_break_no_other():
    [text] = failures(EqualToAll())
    assert text.endswith("has an __eq__ of its own")
    [text] = failures(Unshowable())
    assert text == "register_pruners returned an object of Unshowable, which is no Component"
    [text] = failures(hooks(register_pruners=lambda: [Told("a", "m:C", "s")]))
    assert text.endswith("which is no Component")


@pytest.mark.parametrize(
    "values",
    [{"summary": None}, {"citation": 3}, {"metrics": (1,)}, {"name": 3}, {"implementation": None}],
)
def test_a_component_of_wrong_types_is_listed(values):
    given = {"name": "a", "implementation": "m:C", "summary": "s", **values}
    [text] = failures(hooks(register_stop_criteria=lambda: [Component(**given)]))
    assert text.startswith("register_stop_criteria: ValueError: component")


def test_texts_of_plugins_cannot_steer_or_add_lines(install, command):
    evil = r"\x1b[31m[red]\u202e" + r"\nfailed: dsd-bench: hacked\ud800"
    source = f"{HEAD}from dsd_bench import Params, param\n"
    source += f"class P(PrunerParams):\n    x: str = param('a{evil}', main=True, help='h{evil}')\n"
    source += "@hookimpl\ndef register_pruners():\n"
    source += f"    return [Component('mine', 'm:C', 's{evil}', P, citation='c{evil}')]\n"
    install(source, name="dsd-bench-\x1b[31mbad")
    for words in (("plugins",), ("info", "pruner", "mine"), ("run", "--pruner", "mine", "--help")):
        code, out, err = command(*words)
        assert code == 0, err
        assert out.isascii() or "\u202e" not in out
        assert "\x1b" not in out
        assert not any(line.startswith("failed: dsd-bench:") for line in out.splitlines())
    code, out, _ = command("plugins", "--json")
    [mine] = [c for c in json.loads(out)["components"] if c["name"] == "mine"]
    assert "\x1b" not in out
    assert mine["summary"].startswith("s\x1b[31m[red]")
    code, _, err = command("run", "--pruner", "mines")
    assert code == 2
    assert "\x1b" not in err


class Odd(Params):
    """Parameters that no command can describe."""

    x: tuple[()] = ()


def test_parameters_that_cannot_be_described_cost_their_line_only():
    known = build(third_party=False)
    known.add(hooks(register_pruners=lambda: [Component("odd", "m:C", "s", Odd)]), "bad")
    entry = known.get("pruner", "odd")
    assert usage(entry) == "odd"
    [(name, text)] = parameter_lines(entry)
    assert name == "(parameters)"
    assert text.startswith("cannot be described: IndexError")


@pytest.mark.parametrize("name", ["entry_points.txt", "METADATA"])
@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"[dsd_bench\n= =\n\x00"])
def test_damaged_metadata_cost_their_distribution_only(install, command, name, content):
    folder = install("")
    (folder / "dsd_bench_bad-1.0.dist-info" / name).write_bytes(content)
    catalogue.cache_clear()
    code, out, err = command("plugins", "--json")
    assert code == 0, err
    assert "good" in {c["name"] for c in json.loads(out)["components"]}


def test_a_reporter_that_prints_and_leaves_writes_to_the_stream_it_got(install, command, tiny_run):
    source = f"{HEAD}class R:\n    def __init__(self, params): pass\n"
    source += "    def report(self, runs, stream):\n        print('noise')\n"
    source += "        stream.write('report')\n        sys.exit(0)\n"
    source += "@hookimpl\ndef register_reporters():\n"
    source += "    return [Component('mine', 'dsd_bench_bad:R', 's')]\n"
    install(source)
    [found] = tiny_run("--rounds", "1")["runs"]
    code, out, err = command("show", found["run_id"], "--reporter", "mine")
    assert (code, out) == (1, "report")
    assert "error: SystemExit: 0" in err


def test_a_component_that_ends_the_process_when_built_is_one_line(install, command):
    source = f"{HEAD}@hookimpl\ndef register_datasets():\n"
    source += "    from dsd_bench.data import DatasetParams\n"
    source += "    return [Component('mine', 'dsd_bench_bad:D', 's', DatasetParams)]\n"
    source += "class D:\n    def __init__(self, params):\n        print('noise'); sys.exit(0)\n"
    install(source)
    code, out, err = command("run", "--dataset", "mine")
    assert (code, out) == (1, "")
    assert "SystemExit: 0" in err


def test_what_an_exception_says_is_one_safe_line():
    assert describe(OSError("a\nb\x1b")) == r"OSError: a\nb\x1b"
    assert describe(type("\x1b[31m", (Exception,), {})("x")) == r"\x1b[31m: x"

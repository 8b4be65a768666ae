"""The command line: what it imports, says, refuses and survives."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pandas
import pytest

from dsd_bench import __version__, load_runs
from dsd_bench.cli.main import COMMANDS, cli
from dsd_bench.components import KINDS
from dsd_bench.plugins import catalogue
from dsd_bench.store import locks
from dsd_bench.store.locks import locked
from dsd_bench.store.runs import StoredRun, load_run
from dsd_bench.training.step import Stepper

Command = Callable[..., tuple[int, str, str]]
TinyRun = Callable[..., dict[str, Any]]

IMPORTS = """
import contextlib, io, json, sys
from dsd_bench.cli.main import call

HEAVY = {"torch", "torchvision", "timm", "sklearn", "pandas", "scipy"}
found = {}
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()):
        assert call(words) == 0, words
    found[" ".join(words)] = sorted(HEAVY & set(sys.modules))
print(json.dumps(found))
"""


def imports(cwd: Path, *commands: list[str]) -> dict[str, list[str]]:
    """Return the heavy modules that a fresh process has after each of some commands."""
    words = [sys.executable, "-c", IMPORTS, json.dumps(commands)]
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def test_help_and_lists_import_nothing_heavy(tmp_path: Path) -> None:
    words = [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)]
    words += [["run", "--pruner", "magnitude", "--reg", "kd", "--help"], ["plugins", "--json"]]
    words += [["info", "model", "timm"], ["info", "regularizer", "augment"], ["plugins"]]
    assert imports(tmp_path, *words) == {" ".join(command): [] for command in words}


def test_a_default_run_imports_torch_alone(tmp_path: Path) -> None:
    default = ["run", "--rounds", "1", "--epochs", "1", "--seeds"]
    found = imports(tmp_path, [*default, "0"], [*default, "1", "--executor", "inline"])
    assert list(found.values()) == [[], ["torch"]]  # workers do the work of the first


def test_python_m_is_the_command() -> None:
    words = [sys.executable, "-m", "dsd_bench", "--version"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == f"dsd-bench, version {__version__}\n"


def test_a_reader_that_leaves_early_is_no_error() -> None:
    words = f'"{sys.executable}" -m dsd_bench plugins --json | head -1'
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {words}"], capture_output=True, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == (b"{\n", b"", 0)


def unread(cwd: Path, *words: str) -> tuple[int, str]:
    """Give a command whose standard output nobody reads; return its code and what it complains."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "dsd_bench", *words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), "OMP_NUM_THREADS": "1"},
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    return done.returncode, done.stderr


def test_a_table_that_nobody_reads_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    assert unread(tmp_path, "status") == (130, "")


def test_a_worker_that_nobody_hears_works_on(tmp_path: Path, command: Command) -> None:
    (tmp_path / "suite.toml").write_text(
        'title = "t"\nsource = "s"\nquestion = "?"\n[scale.small]\nseeds = "0-1"\n'
        '[scale.small.options]\nrounds = 2\nepochs = 2\n[table]\ncolumns = ["dense"]\n'
    )
    write = ("sweep", str(tmp_path / "suite.toml"), "--write", "--runs-dir", str(tmp_path / "runs"))
    assert command(*write)[0] == 0
    assert unread(tmp_path, "work") == (0, "")
    assert len(list(tmp_path.glob("runs/*/result.json"))) == 2
    assert list(tmp_path.glob("runs/*/failure.json")) == []


# --- help -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_the_summary_is_the_commands(name: str) -> None:
    """The group lists commands without importing them, so it could list what is not there."""
    found = cli.get_command(click.Context(cli), name)
    assert isinstance(found, click.Command)
    assert found.name == name


def test_help_of_a_run_shows_the_chosen_components_alone(command: Command) -> None:
    code, out, _ = command("run", "--pruner", "magnitude", "--reg", "kd", "--help")
    text = " ".join(out.split())
    assert code == 0
    assert (
        "fraction=X fraction of the remaining weights to prune per round (> 0, < 1; default: 0.2)"
        in text
    )
    assert "scope=global|layer" in text
    assert re.search(r"alpha=X weight of the teacher's part;.* \(>= 0, <= 1; default: 0.8\)", text)
    assert re.search(r"temperature=X .* \(> 0; default: 10\)", text)
    assert "teacher=TEXT" in text
    for other in ("batches=", "policy=", "p=X", "weight=X", "step=N", "hidden=TEXT"):
        assert other not in text
    assert "Pruner magnitude" not in command("run", "--help")[1]


def test_help_of_a_run_names_a_wrong_component(command: Command) -> None:
    code, out, _ = command("run", "--stop", "patiense", "--help")
    assert code == 0
    assert "did you mean 'patience'" in " ".join(out.split())


def test_every_option_of_a_run_has_help(command: Command) -> None:
    run = cli.get_command(click.Context(cli), "run")
    assert run is not None
    shown = [option for option in run.params if not getattr(option, "hidden", False)]
    assert len(shown) > 30
    assert all(getattr(option, "help", None) for option in shown)


def test_info_describes_a_component(command: Command) -> None:
    code, out, _ = command("info", "regularizer", "kd")
    assert code == 0
    for expected in (
        "regularizer kd: knowledge distillation",
        "alpha=X",
        "(>= 0, <= 1; default: 0.8)",
        "AAAI 2024, eq. 2",
        "distribution  dsd-bench",
    ):
        assert expected in out
    origin = re.search(r"origin +(\S+)", out)
    assert origin is not None
    assert Path(origin[1]).is_file()


@pytest.mark.parametrize(
    "entry", catalogue().entries(), ids=lambda e: f"{e.kind}-{e.component.name}"
)
def test_info_knows_every_component_and_parameter(entry: Any, command: Command) -> None:
    code, out, _ = command("info", entry.kind, entry.component.name)
    assert code == 0
    assert entry.component.summary in out
    for name, field in entry.component.params.model_fields.items():
        assert f"{name}=" in out
        assert field.description
        assert field.description[1:] in out


def test_plugins_as_json(command: Command) -> None:
    code, out, _ = command("plugins", "--json")
    value = json.loads(out)
    assert code == 0
    assert list(value) == ["components", "observers", "failed", "deprecated"]
    keys = {"kind", "name", "version", "distribution", "origin", "summary"}
    assert all(set(component) == keys for component in value["components"])
    assert {component["kind"] for component in value["components"]} == set(KINDS)
    assert all(Path(component["origin"]).is_file() for component in value["components"])


def test_plugins_for_people(command: Command) -> None:
    code, out, _ = command("plugins")
    assert code == 0
    lines = out.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == list(KINDS)
    assert any(line.split()[0] == "timm:TEXT" for line in lines)
    assert len(lines) == len(KINDS) + len(catalogue().entries())


def test_hooks_are_traced_on_request(tmp_path: Path) -> None:
    words = [
        sys.executable,
        "-m",
        "dsd_bench",
        "--trace-hooks",
        "--no-plugins",
        "plugins",
        "--json",
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "register_pruners" in done.stderr
    assert {c["distribution"] for c in json.loads(done.stdout)["components"]} == {"dsd-bench"}


# --- what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("rnu", "no such command 'rnu'; did you mean 'run'?"),
        ("run --round 3", "--round"),
        ("run --pruner magnitud", "did you mean 'magnitude'? choose from: gradient, magnitude"),
        ("run --pruner magnitude:fraction=2", "fraction=2"),
        ("run --pruner=", "'' does not start with a component's name"),
        ("run --seeds=", "'' is not a seed"),
        ("run --reg kd:alpa=1", "unknown key 'alpa'; did you mean 'alpha'?"),
        ("run --reg kd:teacher=ffff", "no run 'ffff'"),
        ("run --reg augment:cutuot", "did you mean 'cutout'?"),
        ("run --metric entropie", "did you mean 'entropy'?"),
        ("run --executor lokal", "did you mean 'local'?"),
        ("run --lr fast", "lr=fast"),
        ("run --lr nan", "lr=nan"),
        ("run --epochs 0", "retrain_epochs=0"),
        ("run --rounds -1", "rounds=-1"),
        ("run --rounds 2 --target-sparsity 0.5", "not both"),
        ("run --seeds 2-0", "write 0-2"),
        ("run --data-seed x", "--data-seed: 'x' is not a seed"),
        ("run --dataset digits:val_size=0", "--selection test"),
        ("run --dataset cifar10", "add --download"),
        ("run --dataset imagefolder:nowhere", "there is no folder nowhere"),
        ("run --teacher-model mpl --reg kd", "teacher: --model"),
        ("run --jobs 0", "--jobs"),
        ("run --stop patience --stop entropy-gate", "--stop is given 2 times; it takes one value"),
        ("run --lr 0.1 --epochs 3 --lr=0.2 --lr 0.3", "--lr is given 3 times"),
        ("run --reg kd --teacher-model mlp --teacher-model mlp:8", "--teacher-model is given 2"),
        ("show --runs-dir a --runs-dir b zz", "--runs-dir is given 2 times"),
        ("analyze zz --within 1 --within 2", "--within is given 2 times"),
        ("run --dataset imagefolder:a,b/c", "is put in quotes, such as name:'a,b'"),
        ("run --dataset imagefolder:a=b/c", "unknown key 'a'; choose from: "),
        ("run --dataset imagefolder:a=b/c", "is put in quotes, such as name:'a,b'"),
        ("run --dataset imagefolder:'a=b,c'", "there is no folder a=b,c"),
        ("info regulariser kd", "did you mean 'regularizer'?"),
        ("info kd", "to describe the component: `dsd-bench info regularizer kd`"),
        ("info digits --json", "`dsd-bench info dataset digits`"),
        ("info none", "`dsd-bench info perturber none` or `dsd-bench info updater none` or "),
        ("info pruner magnitud", "did you mean 'magnitude'?"),
        ("info pruner", "choose from: gradient, magnitude, random, structured-l1"),
        ("show zz", "no run 'zz' in runs (0 runs there)"),
        ("submit zz", "no run 'zz'"),
        ("leaderboard --dir nowhere", "nowhere: no such folder"),
    ],
)
def test_mistakes_are_named_with_exit_code_2(words: str, says: str, command: Command) -> None:
    code, out, err = command(*words.split())
    assert (code, out) == (2, "")
    assert says in " ".join(err.split())
    assert "Traceback" not in err
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("executor", "device", "says"),
    [
        ("inline", "cuda:99", r"--device: cuda:99 was asked for, but torch \S+ sees"),
        ("inline", "gpu", "'gpu' is none of auto, cpu"),
        ("local", "gpu", "'gpu' is none of auto, cpu"),
    ],
)
def test_a_wrong_device(executor: str, device: str, says: str, command: Command) -> None:
    words = ["run", "--rounds", "1", "--seeds", "0", "--device", device, "--executor", executor]
    code, _, err = command(*words)
    assert code == 2
    assert re.search(says, err)
    assert "Traceback" not in err


@pytest.mark.parametrize("executor", ["local", "inline"])
def test_a_wrong_device_is_refused_where_nothing_is_left_to_run(
    executor: str, tiny_run: TinyRun, command: Command
) -> None:
    (entry,) = tiny_run("--rounds", "0")["runs"]
    before = sorted(Path("runs").iterdir())
    words = ["run", "--config", f"{entry['path']}/config.json", "--executor", executor]
    assert command(*words)[0] == 0
    for more in (
        ["--device", "tpu"],
        ["--device", "cuda:77"],
        ["--rounds", "1", "--device", "xpu:9"],
    ):
        code, _, err = command(*words, *more)
        assert code == 2
        assert err.startswith("error: --device: ")
    assert sorted(Path("runs").iterdir()) == before


def test_a_suite_is_no_file_of_options(command: Command, suite_file: Path) -> None:
    code, _, err = command("run", "--config", str(suite_file))
    assert code == 2
    assert f"{suite_file} is a suite" in err
    assert f"try dsd-bench sweep '{suite_file}'" in err
    assert "unknown option" not in err


def test_what_there_is_to_choose_from_is_said_once(command: Command) -> None:
    Path("odd.toml").write_text("flavour = 1\ncolour = 2\nepohcs = 3\ndepth = 4\n")
    code, _, err = command("run", "--config", "odd.toml")
    assert code == 2
    assert all(f"unknown option '{key}'" in err for key in ("flavour", "colour", "depth"))
    assert "unknown option 'epohcs'; did you mean 'epochs'?" in err
    assert err.count("choose from: ") == 1


@pytest.fixture
def suite_file(tmp_path: Path) -> Path:
    """A suite in a folder whose name a shell would split."""
    folder = tmp_path / "my suites"
    folder.mkdir()
    file = folder / "mine.toml"
    file.write_text('title = "t"\nquestion = "q"\nsource = "s"\n[scale.small]\n')
    return file


@pytest.mark.parametrize("name", ["sweep", "table", "plot"])
def test_without_a_suite_those_that_there_are_are_listed(name: str, command: Command) -> None:
    code, out, _ = command(name)
    assert code == 0
    assert re.search(r"(?m)^fig5 +\S", out)
    code, out, _ = command(name, "--json")
    assert "fig5" in {one["name"] for one in json.loads(out)["suites"]}


def test_hints_can_be_pasted(tiny_run: TinyRun, command: Command) -> None:
    words = ["--rounds", "0", "--epochs", "1", "--runs-dir", "my runs (2)"]
    tiny_run(*words)
    code, out, _ = command(
        *[
            "run",
            "--dataset",
            "digits:train_size=60,val_size=30",
            "--model",
            "mlp:8",
            "--batch-size",
            "20",
        ],
        *("--seeds", "0", *words),
    )
    assert code == 0
    (hint,) = re.findall("more: (.*)", out)
    first, *rest = shlex.split(hint)
    assert first == "dsd-bench"
    assert command(*rest)[0] == 0


@pytest.mark.parametrize(
    ("word", "label"),
    [
        ("digits:val_size=150", "digits:val_size=150"),
        ("digits:val_size=0.25", "digits:val_size=0.25"),
        ("digits:train_size=60,val_size=30.0", "digits:60,val_size=30"),
    ],
)
def test_whole_numbers_are_written_whole(word: str, label: str, command: Command) -> None:
    code, out, _ = command(
        "run", "--dataset", word, "--rounds", "0", "--epochs", "1", "--seeds", "0"
    )
    assert code == 0
    assert re.search(rf"(?m)^dataset +{label}$", out)


def test_info_as_json(command: Command) -> None:
    code, out, _ = command("info", "regularizer", "kd", "--json")
    told = json.loads(out)
    assert (code, told["name"], told["kind"]) == (0, "kd", "regularizer")
    assert told["schema"]["properties"]["alpha"]["default"] == 0.8


def test_all_mistakes_are_named_at_once(command: Command) -> None:
    words = (
        "run --pruner magnitud --reg kd:alpa=1 --reg l1:weight=-1 --lr x --dataset imagefolder:no"
    )
    _, _, err = command(*words.split())
    assert err.startswith("error: 5 problems:\n")
    for expected in ("magnitude", "alpha", "weight=-1", "lr=x", "no folder no"):
        assert expected in err


def test_a_file_in_place_of_the_folder_for_runs(tiny_run: TinyRun, command: Command) -> None:
    Path("file").touch()
    for folder in ("file", "file/runs"):
        code, _, err = command("run", "--seeds", "0", "--runs-dir", folder)
        assert code == 2
        assert f"error: --runs-dir: cannot make the folder {folder} (" in err
        assert "choose one that you may write" in err


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(command: Command) -> None:
    Path("locked").mkdir(mode=0o555)
    code, _, err = command("run", "--seeds", "0", "--runs-dir", "locked/runs")
    assert code == 2
    assert "--runs-dir: locked/runs" in err


def test_a_bug_is_shown_as_one_line_unless_debugging(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("dsd_bench.cli.run.resolve", broken)
    code, _, err = command("run")
    assert (code, err) == (1, "error: ZeroDivisionError: oops (a bug; --debug shows where)\n")
    for words in (["run", "--debug"], ["--debug", "run"]):
        code, _, err = command(*words)
        assert code == 1
        assert "in broken" in err


# --- runs that fail or are stopped ----------------------------------------------------------


def test_divergence_is_a_failure_with_one_line(tiny_run: TinyRun, command: Command) -> None:
    found = tiny_run("--lr", "1e9", "--seeds", "0-1", code=1)
    assert [entry["status"] for entry in found["runs"]] == ["failed", "failed"]
    assert found["runs"][0]["best_round"] is None
    for entry in found["runs"]:
        assert re.match(r"round 0, epoch \d: the loss is no longer finite; .*--lr", entry["error"])
    path = Path(found["runs"][0]["path"])
    assert json.loads((path / "failure.json").read_text())["error"] == found["runs"][0]["error"]
    assert "no longer finite" in (path / "log.txt").read_text()
    code, out, err = command("show", path.name)
    assert (code, err) == (0, "")
    assert "No round is finished yet" in out


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_traceback_of_a_failed_run_only_on_request(place: str, command: Command) -> None:
    words = ["run", "--lr", "1e9", "--rounds", "0", "--epochs", "1", "--seeds", "0"]
    words += ["--executor", "inline"]
    _, _, quiet = command(*words)
    assert quiet.count("\n") == 1
    _, _, loud = command(*(["--debug", *words] if place == "before" else [*words, "--debug"]))
    assert "Traceback (most recent call last)" in loud


def test_a_failed_teacher_fails_its_student_alone(tiny_run: TinyRun) -> None:
    found = tiny_run("--reg", "kd", "--teacher-lr", "1e9", code=1)
    (teacher,), (student,) = found["teachers"], found["runs"]
    assert "no longer finite" in teacher["error"]
    assert student["error"] == f"its teacher {teacher['run_id']} did not finish"


@pytest.fixture
def interrupted_after(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Press Ctrl-C once after that many steps."""
    step = Stepper.__call__

    def interrupt(steps: int) -> None:
        left = [steps]

        def counted(self: Stepper, *batch: Any) -> None:
            left[0] -= 1
            if left[0] == 0:
                signal.raise_signal(signal.SIGINT)
            step(self, *batch)

        monkeypatch.setattr(Stepper, "__call__", counted)

    return interrupt  # type: ignore[return-value]


def test_ctrl_c_says_how_to_resume(
    tiny_run: TinyRun, plain: StoredRun, capsys: pytest.CaptureFixture[str],
    command: Command, interrupted_after: Callable[[int], None],
) -> None:  # fmt: skip
    interrupted_after(8)  # six steps a round
    words = (
        "run --dataset digits:train_size=60,val_size=30 --model mlp:8 --batch-size 20 --rounds 2"
    )
    words += " --epochs 2 --seeds 0 --executor inline --json"
    code, out, err = command(*words.split())
    assert code == 130
    (entry,) = json.loads(out)["runs"]
    assert (entry["status"], entry["error"]) == ("interrupted", None)
    assert "the same command resumes" in err
    assert "Traceback" not in err
    (again,) = tiny_run()["runs"]
    assert again["run_id"] == entry["run_id"]
    assert (again["status"], again["resumed_from_round"], again["reused"]) == ("done", 1, False)
    rows = Path(again["path"]) / "rounds.jsonl"
    assert rows.read_bytes() == (plain.path / "rounds.jsonl").read_bytes()


def test_an_interrupted_run_can_be_shown_but_not_submitted(
    tiny_run: TinyRun, command: Command, interrupted_after: Callable[[int], None]
) -> None:
    interrupted_after(8)
    (entry,) = tiny_run(code=130)["runs"]
    code, out, _ = command("show", entry["run_id"])
    assert code == 0
    assert "unfinished after round 0" in out
    code, _, err = command("submit", entry["run_id"])
    assert code == 2
    assert "is unfinished; only finished runs count" in err
    assert not Path("leaderboards").exists()


def test_a_full_disk_costs_nothing_but_time(
    tiny_run: TinyRun, plain: StoredRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, limit = [0], [10**9]
    real = os.fsync

    def fsync(handle: int) -> None:
        calls[0] += 1
        if calls[0] > limit[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    tiny_run("--runs-dir", "counted")
    total = calls[0]
    for place in range(2, total - 1, total // 9):  # the last one only makes a rename durable
        calls[0], limit[0] = 0, place
        (entry,) = tiny_run("--runs-dir", f"full{place}", code=1)["runs"]
        assert entry["status"] == "failed"
        assert "the disk is full; free some space" in entry["error"]
        limit[0] = 10**9
        (again,) = tiny_run("--runs-dir", f"full{place}")["runs"]
        path = Path(again["path"])
        assert (path / "rounds.jsonl").read_bytes() == (plain.path / "rounds.jsonl").read_bytes()
        assert not list(path.rglob("*.tmp"))
        assert not (path / "failure.json").exists()


def test_a_run_that_another_process_holds_is_waited_for(
    tiny_run: TinyRun, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    (entry,) = tiny_run()["runs"]
    path = Path(entry["path"])
    (path / "result.json").unlink()
    words = ("run", "--config", str(path / "config.json"), "--executor", "inline")
    with contextlib.ExitStack() as stack:
        stack.enter_context(locked(path / "lock"))
        code, _, err = command(*words, "--force")
        assert code == 1
        assert f"process {os.getpid()} is working on this run; wait for it" in err
        looks: list[float] = []

        def sleep(seconds: float) -> None:
            looks.append(seconds)
            if len(looks) == 3:
                stack.close()

        with monkeypatch.context() as patch:
            patch.setattr(locks.time, "sleep", sleep)
            code, out, _ = command(*words)
        assert looks[:3] == [locks.PAUSE] * 3
    assert code == 0
    assert out.count(f"waiting: {path}: process {os.getpid()} is working on this run") == 1
    assert not (path / "failure.json").exists()


# --- damaged files --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["config.json", "result.json", "rounds.jsonl"])
@pytest.mark.parametrize("text", ["{", "[]\n"])
def test_a_damaged_file_is_named_and_force_mends_it(
    name: str, text: str, tiny_run: TinyRun, command: Command
) -> None:
    (entry,) = tiny_run()["runs"]
    file = Path(entry["path"]) / name
    whole = file.read_bytes()
    file.write_text(text)
    for words in (["show", entry["run_id"]], ["submit", entry["run_id"]]):
        code, _, err = command(*words)
        assert code == 2
        assert str(file) in err
        assert "Traceback" not in err
    assert tiny_run("--force")["runs"][0]["status"] == "done"
    assert file.read_bytes() == whole


def test_a_changed_configuration_is_noticed(tiny_run: TinyRun, command: Command) -> None:
    (entry,) = tiny_run()["runs"]
    file = Path(entry["path"]) / "config.json"
    file.write_text(file.read_text().replace('"lr": 0.03', '"lr": 0.5'))
    code, _, err = command("submit", entry["run_id"])
    assert code == 2
    assert "config.json: is not what the run wrote" in err


def test_force_measures_a_further_metric(tiny_run: TinyRun) -> None:
    tiny_run()
    (entry,) = tiny_run("--metric", "sparsity", "--force")["runs"]
    assert (Path(entry["path"]) / "metrics" / "sparsity.jsonl").exists()


# --- files of options -----------------------------------------------------------------------


def test_options_from_a_file(tiny_run: TinyRun) -> None:
    Path("run.toml").write_text(
        'pruner = {name = "random", scope = "layer"}\nreg = ["l1:weight=0.5", "dropout"]\n'
        'stop = "patience"\nlr = 0.5\n'
    )
    (entry,) = tiny_run("--config", "run.toml", "--lr", "0.01")["runs"]
    config = load_run(Path(entry["path"])).config
    assert config["pruner"]["params"] == {"fraction": 0.2, "scope": "layer"}
    assert [part["name"] for part in config["regularizers"]] == ["l1", "dropout"]
    assert config["protocol"]["lr"] == 0.01


def test_a_file_says_where_and_which_seed(command: Command) -> None:
    Path("run.toml").write_text(
        'dataset = "digits:train_size=60,val_size=30"\nseeds = 0\nrounds = 0\nepochs = 1\n'
        'runs_dir = "mine"\n'
    )
    words = ("run", "--config", "run.toml", "--executor", "inline", "--json")
    (entry,) = json.loads(command(*words)[1])["runs"]
    assert (entry["seed"], Path(entry["path"]).parent) == (0, Path("mine"))
    (entry,) = json.loads(command(*words, "--runs-dir", "other")[1])["runs"]
    assert (Path(entry["path"]).parent, entry["reused"]) == (Path("other"), False)


def test_options_from_a_runs_own_file(tiny_run: TinyRun, command: Command) -> None:
    words = ("--reg", "kd:alpha=0.5", "--teacher-model", "mlp:4", "--stop", "target:0.1")
    (first,) = tiny_run(*words, "--data-seed", "7")["runs"]
    file = f"{first['path']}/config.json"
    code, out, _ = command("run", "--config", file, "--json")
    (again,) = json.loads(out)["runs"]
    assert (code, again["run_id"], again["reused"]) == (0, first["run_id"], True)
    code, out, _ = command(
        "run", "--config", file, "--stop", "never", "--executor", "inline", "--json"
    )
    (other,) = json.loads(out)["runs"]
    assert (code, other["resumed_from_round"]) == (0, 2)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.toml", "lr = \n", "a.toml: Invalid value (at line 1, column 6)"),
        ("a.toml", "round = 3", "a.toml: unknown option 'round'; did you mean 'rounds'?"),
        ("a.toml", "rounds = 1\ntarget_sparsity = 0.5", "a.toml: give --rounds or"),
        ("a.toml", "reg = 3", "--reg: 3 is neither"),
        ("a.toml", "metric = 3", "--metric: 3 is neither"),
        ("a.toml", "teacher = 3", "a.toml: teacher=3 is no table"),
        ("a.toml", 'reg = {name = "l1", params = 3}', "--reg l1: params=3 is no table"),
        ("a.toml", "pruner = 3", "--pruner: 3 is neither"),
        ("a.toml", 'pruner = {nam = "random"}', "--pruner: {'nam': 'random'} is neither"),
        ("a.toml", "[teacher]\nmodell = 3", "did you mean 'model'?"),
        ("a.toml", "\udcff", "a.toml:1: is not UTF-8"),
        ("a.json", "{", "a.json: cannot be read as JSON"),
        ("a.json", "{}", "a.json: schema None"),
        ("none.toml", None, "none.toml: no such file"),
        ("none.json", None, "none.json: no such file"),
    ],
)
def test_wrong_files_of_options(name: str, text: str | None, says: str, command: Command) -> None:
    if text is not None:
        Path(name).write_bytes(text.encode(errors="surrogateescape"))
    words = ["--reg", "kd"] if text and "teacher" in text else []
    code, out, err = command("run", "--config", name, *words)
    assert (code, out) == (2, "")
    assert says in err
    assert "Traceback" not in err


# --- what is printed ------------------------------------------------------------------------


def test_a_run_that_is_no_terminal_prints_plain_lines(command: Command, tiny_run: TinyRun) -> None:
    words = "run --dataset digits:train_size=60,val_size=30 --model mlp:8 --rounds 2 --epochs 1"
    code, out, err = command(*words.split(), "--seeds", "0-1", "--executor", "inline")
    assert (code, err) == (0, "")
    assert "\x1b" not in out
    assert "protocol     2 rounds; 1 + 1 epochs" in out
    assert len(re.findall(r"^\[seed \d\] round \d/2 sparsity", out, re.M)) == 6
    assert "mean over seeds" in out
    assert re.search(r"^verdict +\S", out, re.M)
    hint = re.search(r"dsd-bench (show \w{8} \w{8})", out)
    assert hint is not None
    assert command(*hint[1].split())[0] == 0
    again = command(*words.split(), "--seeds", "0-1", "--executor", "inline")[1]
    assert again.count("(finished: reused)") == 2
    assert "[seed 0] round" not in again


def test_json_is_alone_on_stdout(command: Command) -> None:
    words = "run --dataset digits:train_size=60,val_size=30 --model mlp:8 --rounds 1 --epochs 1"
    code, out, err = command(*words.split(), "--executor", "inline", "--json", "--seeds", "3")
    assert code == 0
    value = json.loads(out)
    assert list(value) == ["runs", "teachers"]
    keys = [
        "run_id",
        "path",
        "seed",
        "status",
        "reused",
        "resumed_from_round",
        "best_round",
        "error",
    ]
    (entry,) = value["runs"]
    assert list(entry) == keys
    assert entry["seed"] == 3
    assert "[seed 3] round 1/1" in err


def test_show_several_methods_overlaid(tiny_run: TinyRun, command: Command) -> None:
    ids = [tiny_run("--pruner", name)["runs"][0]["run_id"] for name in ("magnitude", "random")]
    code, out, err = command("show", *ids)
    assert (code, err) == (0, "")
    assert "● magnitude" in out
    assert "◆ random" in out
    assert "entropy, bits" in out
    alone = command("show", ids[0])[1]
    assert "random" not in alone
    assert command("show", ids[0], ids[0][:6], f"runs/{ids[0]}")[1] == alone  # once is enough


def test_show_of_an_ambiguous_prefix(tiny_run: TinyRun, command: Command) -> None:
    (entry,) = tiny_run()["runs"]
    twin = entry["run_id"][:5] + "f" * 11
    config = json.loads((Path(entry["path"]) / "config.json").read_text())
    (Path("runs") / twin).mkdir()
    (Path("runs") / twin / "config.json").write_text(json.dumps({**config, "run_id": twin}))
    code, _, err = command("show", entry["run_id"][:5])
    assert code == 2
    assert f"fits 2 runs in runs: {', '.join(sorted((entry['run_id'], twin)))}" in err
    assert command("show", entry["run_id"][:6])[0] == 0


def test_show_as_csv_is_the_table(tiny_run: TinyRun, command: Command) -> None:
    found = tiny_run("--seeds", "0-1", "--noise", "none")
    ids = [entry["run_id"] for entry in found["runs"]]
    code, out, err = command("show", "--csv", *sorted(ids))
    assert (code, err) == (0, "")
    names = {"run_id": str, "curve_id": str}
    table = pandas.read_csv(io.StringIO(out), dtype=names)
    expected = load_runs("runs")
    assert expected["train_accuracy_noisy"].isna().all()
    pandas.testing.assert_frame_equal(table, expected, check_exact=True, check_dtype=False)
    assert command("show", "--reporter", "csv", *sorted(ids))[1] == out


def test_a_bad_reporter(tiny_run: TinyRun, command: Command) -> None:
    (entry,) = tiny_run()["runs"]
    for word, says in (("terminl", "did you mean 'terminal'"), ("terminal:height=1", "height=1")):
        code, _, err = command("show", entry["run_id"], "--reporter", word)
        assert code == 2
        assert says in err


def test_submit_and_leaderboard(tiny_run: TinyRun, command: Command) -> None:
    ids = [entry["run_id"] for entry in tiny_run("--seeds", "0-1")["runs"]]
    code, out, err = command("submit", *ids)
    (row,) = (Path(line) for line in out.splitlines())
    assert (code, err) == (0, "write the boards with: dsd-bench leaderboard\n")
    assert json.loads(row.read_text())["seeds"][1]["run_id"] == ids[1]
    assert command("leaderboard", "--check")[0] == 1  # not written yet
    code, out, _ = command("leaderboard")
    assert code == 0
    boards = [Path(line) for line in out.splitlines()]
    names = ["README.md", "README.md", "pareto.svg", "rules.md"]
    assert [board.name for board in boards] == names
    assert "magnitude" in boards[1].read_text()
    assert command("leaderboard", "--check") == (0, "", "")
    written = [board.read_bytes() for board in boards]
    boards[-1].write_bytes(written[-1] + b"\n")
    code, out, err = command("leaderboard", "--check")
    assert (code, out) == (1, "")
    assert err.startswith(f"{boards[-1]}: differs")
    assert command("submit", *reversed(ids), "--dir", "leaderboards")[0] == 0
    assert command("leaderboard")[0] == 0
    assert [board.read_bytes() for board in boards] == written


def test_submit_skips_what_is_not_finished(tiny_run: TinyRun, command: Command) -> None:
    done, open_, failed = (entry for entry in tiny_run("--seeds", "0-2")["runs"])
    (Path(open_["path"]) / "result.json").unlink()
    result = Path(failed["path"]) / "result.json"
    result.write_text(result.read_text().replace('"done"', '"failed"'))
    code, out, err = command("submit", *(str(path) for path in sorted(Path("runs").iterdir())))
    assert code == 0
    assert f"skipped: {open_['path']}: run {open_['run_id']} is unfinished" in err
    assert f"skipped: {failed['path']}: run {failed['run_id']} is 'failed'" in err
    assert [entry["seed"] for entry in json.loads(Path(out.strip()).read_text())["seeds"]] == [0]
    code, out, _ = command("submit", "--json", done["run_id"], open_["run_id"])
    told = json.loads(out)
    assert [Path(row).suffix for row in told["rows"]] == [".json"]
    assert told["skipped"] == [
        {"run_id": open_["run_id"], "path": open_["path"], "reason": "unfinished"}
    ]


def test_what_leaderboard_finds_as_json(tiny_run: TinyRun, command: Command) -> None:
    (entry,) = tiny_run()["runs"]
    (row,) = json.loads(command("submit", entry["run_id"], "--json")[1])["rows"]
    written = json.loads(command("leaderboard", "--json")[1])["written"]
    names = ["README.md", "README.md", "pareto.svg", "rules.md"]
    assert sorted(Path(path).name for path in written) == names
    assert json.loads(command("leaderboard", "--check", "--json")[1]) == {"problems": []}
    Path(row).write_text(Path(row).read_text().replace(entry["run_id"], "0" * 16))
    code, out, err = command("leaderboard", "--check", "--json")
    assert (code, err) == (1, "")
    (problem,) = json.loads(out)["problems"]
    assert problem.startswith(f"{row}: seeds.0.run_id: ")


def test_another_machines_row_is_not_replaced_without_a_word(
    tiny_run: TinyRun, command: Command
) -> None:
    (entry,) = tiny_run()["runs"]
    (row,) = json.loads(command("submit", entry["run_id"], "--json")[1])["rows"]
    shipped = Path(row).read_text().replace('"torch": "', '"torch": "9.')
    Path(row).write_text(shipped)
    code, _, err = command("submit", entry["run_id"])
    assert code == 2
    assert "has other results for seed 0 already (torch: " in err
    assert Path(row).read_text() == shipped
    assert command("submit", entry["run_id"], "--replace")[0] == 0
    assert Path(row).read_text() != shipped

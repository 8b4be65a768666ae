"""What needs no tracker's library: the words, the view of a run, and what a run is spared."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import RUN, Folder
from dsd_bench_trackers import plugin, serving, watching
from dsd_bench_trackers.serving import Line
from dsd_bench_trackers.session import Ended
from dsd_bench_trackers.view import Values, View, read
from dsd_bench_trackers.words import TAKES, TrackerParams, parse

from dsd_bench.errors import RunError, UsageError


def test_words_are_trackers_with_their_parameters() -> None:
    found = parse("tensorboard wandb:project='two words',mode=offline")
    assert [(name, params.model_dump(exclude_defaults=True)) for name, params in found] == [
        ("tensorboard", {}),
        ("wandb", {"project": "two words", "mode": "offline"}),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("wand", "DSD_BENCH_TRACKERS: there is no tracker 'wand'; did you mean 'wandb'?"),
        ("wandb:projekt=x", "wandb: unknown key 'projekt'; did you mean 'project'?"),
        ("wandb:mode=on", "wandb: mode=on: Input should be 'online' or 'offline'"),
        ("mlflow:http://here", "mlflow: 'http://here' is not key=value, or given twice"),
        ("mlflow mlflow", "'mlflow' is asked for twice"),
        ("mlflow:'", "No closing quotation"),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(text)
    assert said in str(error.value)


def test_a_view_is_flat_and_leaves_out_what_is_no_number(folder: Folder) -> None:
    folder.rounds(2)
    view = read(folder.path)
    assert view.rows[1] == {
        "test_accuracy": 0.125,
        "sparsity_per_layer/1.w": 1.0,
        "timings/seconds": 2.0,
        "metrics/ece+bins-9/all": 1.0,
    }
    assert view.config["protocol.milestones.1"] == 0.75
    assert view.config["regularizers.0.params.tau"] == 2.0
    assert (view.result, view.summary()) == (None, {})
    folder.finish()
    assert read(folder.path).summary() == {
        "best_round": 1,
        "stopped_by": "rounds",
        "reason": "all rounds are done",
        "best/test_accuracy": 0.125,
    }


def test_a_group_is_what_seeds_have_in_common(folder: Folder) -> None:
    assert read(folder.path).group(None) == "runs/magnitude(fraction=0.2)+kd(tau=2.0)"
    assert read(folder.path).group("noise").startswith("noise/magnitude")


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="is this a run's folder"):
        read(tmp_path)


# -- the thread of a tracker


class Fake:
    """A tracker that remembers, and does what a test wants first."""

    def __init__(self, act: Callable[[], None] = lambda: None) -> None:
        self.known: set[int] = set()
        self.logged: list[int] = []
        self.ended: list[Ended] = []
        self.act = act

    def begin(self, name: str, params: TrackerParams, view: View) -> Fake:
        self.known = set()
        return self

    def log(self, round: int, values: Values) -> None:
        self.act()
        self.logged.append(round)

    def end(self, view: View, how: Ended) -> None:
        self.ended.append(how)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def line(told: list[str], monkeypatch: pytest.MonkeyPatch) -> Callable[[Fake], Line]:
    def made(fake: Fake) -> Line:
        monkeypatch.setattr(serving, "begin", fake.begin)
        return Line("fake", TrackerParams(), lambda text, path: told.append(text))

    return made


def done(line: Line) -> None:
    line.close()
    line.thread.join(10)
    assert not line.thread.is_alive()


def settled(line: Line) -> None:
    """Wait until all that was put has been looked at."""
    while line._pending or line._busy:
        time.sleep(0.001)


def test_rounds_are_shown_as_they_come_and_the_end_once(
    folder: Folder, line: Callable[[Fake], Line], told: list[str]
) -> None:
    fake = Fake()
    shown = line(fake)
    for rounds in (1, 2, 2, 3):
        folder.rounds(rounds)
        shown.put("round", folder.path)
    folder.finish()
    shown.put("finished", folder.path)
    done(shown)
    assert (fake.logged, fake.ended, told) == ([0, 1, 2], ["finished"], [])


@pytest.mark.parametrize("event", ["finished", "left"])
def test_a_round_that_is_being_written_is_shown_when_it_is_whole(
    folder: Folder, line: Callable[[Fake], Line], told: list[str], event: str
) -> None:
    fake = Fake()
    shown = line(fake)
    folder.rounds(3, timed=False)
    shown.put("round", folder.path)
    settled(shown)
    assert (fake.logged, fake.known) == ([0, 1], {0, 1})
    shown.put(event, folder.path)
    done(shown)
    assert (fake.logged, told) == ([0, 1, 2], [])


def test_a_run_that_is_cut_is_left_and_one_that_fails_failed(
    folder: Folder, line: Callable[[Fake], Line]
) -> None:
    for event, how in (("round", "left"), ("failed", "failed")):
        fake = Fake()
        shown = line(fake)
        folder.rounds(1)
        if how == "failed":
            (folder.path / "failure.json").write_text('{"error": "diverged"}')
        shown.put(event, folder.path)
        done(shown)
        assert fake.ended == [how]


def test_what_fails_is_told_once_and_tried_again(
    folder: Folder, line: Callable[[Fake], Line], told: list[str]
) -> None:
    left = [True, True, False]

    def act() -> None:
        if left and left.pop(0):
            raise RuntimeError("no\x1b[31m")

    fake = Fake(act)
    shown = line(fake)
    folder.rounds(2)
    for _ in range(3):
        shown.put("round", folder.path)
        settled(shown)
    done(shown)
    assert fake.logged == [0, 1]
    assert told == [
        "fake: RuntimeError: no\\x1b[31m "
        "(`python -m dsd_bench_trackers fake RUN...` sends what is missing)"
    ]


def test_what_hangs_is_told_once_and_goes_on_when_it_can(
    folder: Folder,
    line: Callable[[Fake], Line],
    told: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serving, "PATIENCE", 0.0)
    stuck, answers = threading.Event(), threading.Event()

    def act() -> None:
        stuck.set()
        answers.wait(10)

    fake = Fake(act)
    shown = line(fake)
    folder.rounds(1)
    shown.put("started", folder.path)
    assert stuck.wait(10)
    folder.rounds(3)
    shown.put("round", folder.path)
    for _ in range(2):
        time.sleep(0.01)
        shown.watch()
    assert [text.split(" (")[0] for text in told] == ["fake: no answer for 0 s; the run goes on"]
    answers.set()
    done(shown)
    assert fake.logged == [0, 1, 2]


# -- the side of the run


@pytest.fixture
def library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], watching.Sender]]:
    """Put a library in MLflow's place that does as a test says when it is imported."""
    senders = []

    def made(body: str) -> watching.Sender:
        (tmp_path / "lib").mkdir()
        (tmp_path / "lib" / "mlflow.py").write_text(body)
        monkeypatch.syspath_prepend(tmp_path / "lib")
        senders.append(watching.Sender("mlflow"))
        return senders[-1]

    yield made
    for sender in senders:
        if sender._process is not None:
            sender._process.kill()
            sender._process.wait()


def test_without_the_variable_nothing_is_started_or_imported(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; os.environ.pop('DSD_BENCH_TRACKERS', None)\n"
        "from dsd_bench_trackers import plugin\n"
        "plugin.run_started('a', {}, Path('a')); plugin.round_finished('a', {})\n"
        "plugin.run_finished('a', {}); plugin.run_failed('a', '')\n"
        "print([name for name in sys.modules if name in ('subprocess', 'torch', "
        "'dsd_bench_trackers.watching')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_an_unknown_tracker_is_told_once(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(plugin.TRACKERS, "wandb tensorbord")
    watching.sender.cache_clear()
    with pytest.raises(UsageError, match="did you mean 'tensorboard'"):
        plugin.run_started(RUN, {}, folder.path)
    plugin.round_finished(RUN, {})
    plugin.run_finished(RUN, {})


def test_a_library_that_is_missing_is_told_once_with_what_to_do_and_noted(
    folder: Folder, library: Callable[[str], watching.Sender]
) -> None:
    sender = library("raise ModuleNotFoundError(\"No module named 'mlflow'\", name='mlflow')")
    sender.tell("started", RUN, folder.path)
    complaint = ""
    ends = time.monotonic() + 60
    while not complaint:
        assert time.monotonic() < ends
        time.sleep(0.05)
        try:
            sender.tell("round", RUN)
        except RunError as error:
            complaint = str(error)
    assert "pip install 'dsd-bench-trackers[mlflow]'" in complaint
    sender.tell("round", RUN)
    sender.close()
    log = (folder.path.parent / "trackers" / "log.txt").read_text()
    assert log.count("\n") == 1
    assert complaint in log


def test_a_library_that_hangs_delays_nothing(
    folder: Folder,
    library: Callable[[str], watching.Sender],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watching, "WAIT", 0.1)
    sender = library("import time; time.sleep(600)")
    sender.tell("started", RUN, folder.path)
    assert sender._process is not None
    sender._process.send_signal(19)  # it does not even read: its pipe fills
    began = time.thread_time()
    for _ in range(5000):
        sender.tell("round", RUN)
    assert time.thread_time() - began < 5
    sender.close()
    assert sender._process.poll() is None


def test_a_sender_that_was_killed_is_told_once(
    folder: Folder, library: Callable[[str], watching.Sender]
) -> None:
    sender = library("")
    sender.tell("started", RUN, folder.path)
    assert sender._process is not None
    sender._process.kill()
    sender._process.wait()
    with pytest.raises(RunError, match="has ended"):
        sender.tell("round", RUN)
    sender.tell("round", RUN)


def test_every_tracker_is_documented() -> None:
    for params in TAKES.values():
        assert all(field.description for field in params.model_fields.values())


def test_the_command_says_what_it_takes(tmp_path: Path) -> None:
    def command(*words: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "dsd_bench_trackers", *words],
            cwd=tmp_path,
            env=os.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stderr

    assert command("wandb")[0] == 2
    assert command("wandbb", "x") == (
        2,
        "error: DSD_BENCH_TRACKERS: there is no tracker 'wandbb'; did you mean 'wandb'? "
        "choose from: mlflow, tensorboard, wandb\n",
    )
    assert command("wandb", "x")[0] == 1

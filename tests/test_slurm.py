"""The executor ``slurm``, with commands that stand in for Slurm's; tests/cluster has the real."""

from __future__ import annotations

import dataclasses
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import pytest
import slurm_stand_in as stand_in

from dsd_bench import RunConfig, api
from dsd_bench.cli.carrying import settings_of, worker_options
from dsd_bench.config.words import parse_component
from dsd_bench.conformance.running import report
from dsd_bench.conformance.subjects import Subject
from dsd_bench.errors import RunError, UsageError
from dsd_bench.executors import Event, Outcome, Settings
from dsd_bench.executors.builtin import minutes
from dsd_bench.executors.planning import Planned, plan, prepare_folders
from dsd_bench.executors.pulling import Pool
from dsd_bench.executors.remote import Crew, RemoteExecutor, worker_command
from dsd_bench.executors.slurm import BEGUN, Slurm
from dsd_bench.plugins import catalogue
from dsd_bench.store.runs import finished, record_failure

Make = Callable[..., RunConfig]
Command = Callable[..., tuple[int, str, str]]
SUITE = """
title = "Mini"
source = "none"
question = "?"
[scale.small]
seeds = "0-1"
[scale.small.options]
dataset = "digits:train_size=60,val_size=30"
model = "mlp:hidden=8"
rounds = 1
epochs = 2
[scale.small.grid]
reg = [{ label = "none" }, { label = "kd", reg = ["kd:teacher=dense"] }]
[table]
columns = ["dense"]
"""


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RemoteExecutor, "every", 0.05)


def executor(word: str = "slurm") -> Slurm:
    entry, params = parse_component("executor", word, "--executor")
    made = entry.component.create(params)
    assert isinstance(made, Slurm)
    return made


def prepared(configs: Sequence[RunConfig], runs_dir: Path) -> list[Planned]:
    planned = plan(configs, runs_dir)
    prepare_folders(planned, runs_dir)
    return planned


def carry(
    planned: Sequence[Planned], word: str = "slurm", **settings: Any
) -> tuple[list[Outcome], list[Event]]:
    events: list[Event] = []
    jobs = [item.job for item in planned]
    return executor(word).execute(jobs, Settings(**settings), events.append), events


def notes(events: Sequence[Event]) -> list[str]:
    return [event["text"] for event in events if event["event"] == "note"]


# -- what is submitted


def test_a_sweep_is_submitted_once_and_again_only_what_is_missing(
    slurm: Path, tiny: Make, tmp_path: Path
) -> None:
    planned = prepared([tiny(seed=seed) for seed in range(5)], tmp_path / "runs")
    word = "slurm:debug,workers=3,gpus=1,time=4:00:00,mem=8G,options='--account=x --qos=\"a b\"'"
    outcomes, events = carry(planned, word, threads=2)
    assert [one.status for one in outcomes] == ["submitted"] * 5
    [call] = stand_in.submitted(slurm)
    for option in (
        *("--requeue", "--open-mode=append", "--signal=B:TERM@90", "--array=0-2", "--gres=gpu:1"),
        *("--partition=debug", "--mem=8G", "--time=4:00:00", "--cpus-per-task=2", "--ntasks=1"),
        *("--account=x", "--qos=a b", "--nodes=1"),
    ):
        assert option in call
    script = Path(call[-1])
    assert script.parent.parent == tmp_path / "runs" / "workers"
    assert notes(events) == [f"job 100: 3 workers ({script})"]

    # all that are needed wait or run: nothing is submitted
    assert "3 queued (Resources); no more" in notes(carry(planned, word)[1])[0]
    stand_in.change(slurm, "100_1", state="RUNNING")
    assert "1 running, 2 queued" in notes(carry(planned, word)[1])[0]
    assert len(stand_in.submitted(slurm)) == 1

    # two were lost, one with its node
    stand_in.change(slurm, "100_1", state="NODE_FAIL")
    stand_in.change(slurm, "100_2", state="CANCELLED")
    carry(planned, word)
    assert "--array=0-1" in stand_in.submitted(slurm)[-1]

    # never more than unfinished runs; those of another set are others
    for name in stand_in.tasks(slurm):
        stand_in.change(slurm, name, state="COMPLETED")
    for item in planned[:3]:
        (item.job.path / "result.json").write_text(
            json.dumps({"run_id": item.job.run_id, "status": "done"} | WHOLE)
        )
    outcomes, _ = carry(planned, word)
    assert [one.status for one in outcomes] == ["done"] * 3 + ["submitted"] * 2
    assert "--array=0-1" in stand_in.submitted(slurm)[-1]
    carry(planned[3:], word)
    assert "--array=0-1" in stand_in.submitted(slurm)[-1]
    assert len(stand_in.submitted(slurm)) == 4


WHOLE = {"best_round": 0, "stopped_by": "never", "samples": {}}
"""What makes a result whole."""


@pytest.mark.parametrize(
    ("largest", "arrays"),
    [(1001, ["0-4"]), (3, ["0-2", "0-1"]), (1, ["0-0"] * 5), (0, [None] * 5)],
)
def test_arrays_are_cut_to_what_the_site_allows(
    largest: int, arrays: list[str | None], slurm: Path, tiny: Make, tmp_path: Path
) -> None:
    stand_in.set_up(slurm, largest=largest)
    planned = prepared([tiny(seed=seed) for seed in range(5)], tmp_path / "runs")
    carry(planned, "slurm:workers=9")
    calls = stand_in.submitted(slurm)
    found = [next((w[8:] for w in call if w.startswith("--array=")), None) for call in calls]
    assert found == arrays
    assert ("%A_%a.log" if largest else "%j.log") in " ".join(calls[0])
    assert len(stand_in.tasks(slurm)) == 5
    carry(planned, "slurm:workers=9")
    assert len(stand_in.submitted(slurm)) == len(calls)


def test_what_was_submitted_before_a_refusal_is_told(
    slurm: Path, tiny: Make, tmp_path: Path
) -> None:
    stand_in.set_up(slurm, largest=2, refuses="sbatch: error: QOSMaxSubmitJob", refuses_after=1)
    planned = prepared([tiny(seed=seed) for seed in range(3)], tmp_path / "runs")
    with pytest.raises(UsageError) as error:
        carry(planned, "slurm:workers=3")
    assert str(error.value) == (
        "--executor slurm: sbatch says: error: QOSMaxSubmitJob (2 workers submitted before)"
    )
    stand_in.set_up(slurm, refuses="")
    carry(planned, "slurm:workers=3")
    assert "--array=0-0" in stand_in.submitted(slurm)[-1]


def test_the_script_holds_together_whatever_the_folder_is_called(
    slurm: Path, tiny: Make, tmp_path: Path
) -> None:
    runs_dir = tmp_path / "a 'b' $(touch c) %j"
    runs_dir.mkdir()
    planned = prepared([tiny()], runs_dir)
    carry(planned)
    [call] = stand_in.submitted(slurm)
    script = Path(call[-1])
    subprocess.run(["sh", "-n", script], check=True)
    line = next(line for line in script.read_text().splitlines() if line.endswith(" &"))
    words = shlex.split(line.removesuffix(" &"))
    assert words[:5] == [sys.executable, "-m", "dsd_bench", "work", str(runs_dir)]
    assert Path(words[6]).read_text().split() == [planned[0].job.run_id]
    output = next(word for word in call if word.startswith("--output="))
    assert output == f"--output={script.parent}/%A_%a.log".replace("%j", "%%j")


def test_a_path_that_slurm_would_read_otherwise_is_refused(
    slurm: Path, tiny: Make, tmp_path: Path
) -> None:
    (tmp_path / "a\\b").mkdir()
    with pytest.raises(UsageError, match="has a backslash"):
        carry(prepared([tiny()], tmp_path / "a\\b"))


SETTINGS = (
    Settings(),
    Settings(
        device="cuda:1",
        threads=3,
        layout="nhwc",
        deterministic=True,
        data_dir=Path("/some where"),
        download=True,
        checkpoint_seconds=7.5,
        debug=True,
        accept_versions=True,
        keep="records",
        retries=7,
    ),
)


@pytest.mark.parametrize("settings", SETTINGS, ids=["default", "other"])
def test_a_worker_s_command_says_every_setting(settings: Settings, tmp_path: Path) -> None:
    got: list[Settings] = []

    @click.command()
    @worker_options
    def read(**given: Any) -> None:
        got.append(settings_of(given, given["data_dir"]))

    words = worker_command(tmp_path, tmp_path / "ids", settings)
    assert words[3:7] == ("work", str(tmp_path), "--runs", str(tmp_path / "ids"))
    read.main(list(words[7:]), standalone_mode=False)
    tries = 2 if settings.retries is None else settings.retries
    here = settings.data_dir.absolute()
    assert got == [dataclasses.replace(settings, data_dir=here, retries=tries)]
    if settings is SETTINGS[1]:  # nothing is left out of this test
        same = [
            f.name for f in dataclasses.fields(Settings) if f.default == getattr(settings, f.name)
        ]
        assert same == ["jobs", "wait"]  # which no worker has a use for


# -- what is refused


@pytest.mark.parametrize(
    ("text", "found"),
    [
        *(("90", 90.0), ("90:30", 90.5), ("1:30:00", 90.0), ("2-3", 3060.0), ("1-0:30", 1470.0)),
        *(("1-00:00:30", 1440.5), ("4h", None), ("", None), ("1-2-3", None), ("-5", None)),
    ],
)
def test_time_limits_as_slurm_reads_them(text: str, found: float | None) -> None:
    assert minutes(text) == found


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("slurm:workers=0", "workers=0"),
        ("slurm:wokers=3", "did you mean 'workers'?"),
        ("slurm:gpus=-1", "gpus=-1"),
        ("slurm:time=soon", "no time limit; write it as 4:00:00"),
        ("slurm:time=0:01:00", "too short: a worker leaves 90 s before its end; at least 0:05:00"),
        ("slurm:'a b'", "only letters, digits"),
        ("slurm:mem='8G --wrap'", "only letters, digits"),
        ("slurm:options='--account=x\n--y'", "a line break"),
        ("slurm:options='--account x'", "'x' is no option; write each as --name=value"),
        ("slurm:options='--array=1'", "'--array' is the executor's own to give"),
        ("slurm:options='--arr=1'", "'--arr' is the executor's own"),
        ("slurm:options='-Jx'", "'-J' is the executor's own"),
        ("slurm:options='--'", "'--' is no option"),
        ("slurm:options='--comment=\"x'", "No closing quotation"),
        ("slrum", "did you mean 'slurm'?"),
    ],
)
def test_bad_options_are_refused_in_one_line(word: str, says: str, command: Command) -> None:
    code, out, err = command("run", "--executor", word)
    assert (code, out) == (2, "")
    assert err.startswith("error: --executor")
    assert says in err
    assert len(err.splitlines()) <= 2


def suite(folder: Path) -> str:
    (folder / "mini.toml").write_text(SUITE)
    return "mini.toml"


def test_without_slurm_nothing_is_written(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, err = command("sweep", suite(tmp_path), "--executor", "slurm")
    assert code == 2
    assert err == (
        "error: --executor slurm: no scontrol here; give the command where Slurm's commands are, "
        "as on a login node, or use --executor local\n"
    )
    assert not (tmp_path / "runs").exists()


def test_the_conformance_kit_skips_what_needs_slurm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = report(Subject(catalogue().get("executor", "slurm")))
    skipped = [one.check for one in found.results if "no scontrol here" in one.reason]
    assert skipped == ["same-bytes", "finished-runs", "failures", "events"]
    assert found.passed


def test_slurm_that_is_down_or_refuses_is_shown_in_its_words(
    slurm: Path, command: Command, tmp_path: Path
) -> None:
    stand_in.set_up(slurm, down=True)
    code, _, err = command("sweep", suite(tmp_path), "--executor", "slurm")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "scontrol says: slurm_load_jobs error: Unable to contact slurm controller" in err
    assert not (tmp_path / "runs").exists()
    stand_in.set_up(slurm, down=False, refuses="sbatch: error: invalid partition\n\nsecond")
    code, _, err = command("sweep", suite(tmp_path), "--executor", "slurm:no")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "sbatch says: error: invalid partition / second" in err


def test_the_device_is_the_workers_not_this_computer_s(
    slurm: Path, command: Command, tmp_path: Path
) -> None:
    words = ("sweep", suite(tmp_path), "--device", "cuda:7", "--executor", "slurm:gpus=1")
    code, out, err = command(*words)
    assert code == 0, err
    assert "4 runs: 4 submitted" in out
    assert "--device cuda:7" in Path(stand_in.submitted(slurm)[0][-1]).read_text()
    code, out, err = command(*words, "--json")
    assert {run["status"] for run in json.loads(out)["runs"]} == {"submitted"}


# -- following


def test_a_sweep_is_followed_to_its_end_with_the_same_bytes(
    slurm: Path, command: Command, tmp_path: Path
) -> None:
    stand_in.set_up(slurm, starts=True)
    words = ("sweep", suite(tmp_path), "--executor", "slurm:workers=2", "--wait")
    code, out, err = command(*words)
    assert code == 0, f"{out}\n{err}"
    assert "4 runs: 4 done" in out
    assert out.count("done: best round") == 4
    logs = list((tmp_path / "runs" / "workers").glob("*/*.log"))
    assert len(logs) == 2
    until = time.monotonic() + 60  # one of them may begin when all is done
    while not all(BEGUN.search(log.read_text()) for log in logs):  # tells lost ones from others
        assert time.monotonic() < until
        time.sleep(0.05)
    there = {path.parent.name: path.read_bytes() for path in Path("runs").glob("*/rounds.jsonl")}
    code, _, _ = command("sweep", "mini.toml", "--executor", "inline", "--runs-dir", "here")
    here = {path.parent.name: path.read_bytes() for path in Path("here").glob("*/rounds.jsonl")}
    assert len(there) == 4
    assert there == here
    assert command(*words)[0] == 0  # all is done: nothing is asked of Slurm
    assert len(stand_in.submitted(slurm)) == 1


class Play:
    """Lets something happen at each look at the queue."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *acts: Callable[[], object]) -> None:
        self.acts, real = list(acts), Slurm.standing

        def standing(slurm: Slurm, crew: Crew) -> Any:
            if self.acts:
                self.acts.pop(0)()
            return real(slurm, crew)

        monkeypatch.setattr(Slurm, "standing", standing)


def nothing() -> None:
    pass


def test_jobs_killed_before_their_first_line_are_told(
    slurm: Path, tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = prepared([tiny(seed=seed) for seed in range(3)], tmp_path / "runs")

    def end() -> None:
        (folder,) = (tmp_path / "runs" / "workers").iterdir()
        for name, log in (("100_0", "12:00:00 3 runs to do, 0 done\n"), ("100_2", "no python\n")):
            (folder / f"{name}.log").write_text(log)
        for name in stand_in.tasks(slurm):
            stand_in.change(slurm, name, state="FAILED", why="NonZeroExitCode")

    Play(monkeypatch, nothing, nothing, end)
    events: list[Event] = []
    with pytest.raises(RunError, match="all workers have ended, and none got on with a run; what"):
        executor("slurm:workers=3").execute(
            [item.job for item in planned], Settings(wait=True), events.append
        )
    assert notes(events)[-1] == "workers: 0 running" or "ended before" in notes(events)[-1]
    told = [text for text in notes(events) if "ended before the first line" in text]
    assert told == [
        "2 workers, the last of them 100_2, ended before the first line "
        "(failed, NonZeroExitCode); it said: no python"
    ]
    # the same command again tells nothing twice, and submits anew
    _, events = carry(planned, "slurm:workers=3")
    assert [text[:7] for text in notes(events)] == ["job 101"]
    for name in stand_in.tasks(slurm):
        stand_in.change(slurm, name, state="NODE_FAIL")
    _, events = carry(planned, "slurm:workers=3")  # without --wait it is told by the next command
    assert "(node_fail, Resources); it said nothing" in notes(events)[0]


def test_workers_that_got_on_and_left_are_replaced(
    slurm: Path, tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = prepared([tiny(seed=seed) for seed in range(2)], tmp_path / "runs")

    def done(item: Planned) -> Callable[[], None]:
        def act() -> None:
            api.run(item.config, runs_dir=tmp_path / "runs")
            for name in stand_in.tasks(slurm):
                stand_in.change(slurm, name, state="COMPLETED")

        return act

    Play(monkeypatch, nothing, done(planned[0]), nothing, done(planned[1]))
    outcomes, events = carry(planned, "slurm:workers=2", wait=True)
    assert [one.status for one in outcomes] == ["done", "done"]
    calls = stand_in.submitted(slurm)
    assert [next(w for w in call if w.startswith("--array")) for call in calls] == [
        "--array=0-1",
        "--array=0-0",
    ]
    ends = [event["run_id"] for event in events if event["event"] == "finished"]
    assert ends == [item.job.run_id for item in planned]
    rounds = [event["row"]["round"] for event in events if event["event"] == "round"]
    assert rounds == [0, 1, 2] * 2
    starts = [event for event in events if event["event"] == "started"]
    assert [(event["rows"], event["resumed_from_round"]) for event in starts] == [([], None)] * 2


def test_a_queue_that_does_not_answer_is_no_reason_to_leave(
    slurm: Path, tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = prepared([tiny()], tmp_path / "runs")

    def down() -> None:
        stand_in.set_up(slurm, down=True)

    def up() -> None:
        stand_in.set_up(slurm, down=False)
        api.run(planned[0].config, runs_dir=tmp_path / "runs")

    Play(monkeypatch, nothing, down, nothing, up)
    outcomes, events = carry(planned, wait=True)
    assert [one.status for one in outcomes] == ["done"]
    told = [text for text in notes(events) if "Unable to contact" in text]
    assert len(told) == 1
    assert told[0].endswith("the runs are followed meanwhile")


def test_failed_runs_stay_so_and_are_told(slurm: Path, tiny: Make, tmp_path: Path) -> None:
    planned = prepared([tiny(seed=seed) for seed in range(2)], tmp_path / "runs")
    record_failure(planned[0].job.path, "diverged")
    outcomes, events = carry(planned, "slurm:workers=2")
    assert [one.status for one in outcomes] == ["failed", "submitted"]
    assert outcomes[0].error == "diverged (`dsd-bench retry` lets it be tried again)"
    assert "--array=0-0" in stand_in.submitted(slurm)[0]
    assert {"event": "failed", "run_id": planned[0].job.run_id, "error": "diverged"} in events


# -- workers of a set of runs


def test_a_worker_takes_the_runs_that_it_is_told(
    tiny: Make, tmp_path: Path, command: Command
) -> None:
    planned = prepared([tiny(seed=seed) for seed in range(3)], tmp_path / "runs")
    ids = [item.job.run_id for item in planned]
    (tmp_path / "ids").write_text(f"{ids[2]}\n{ids[0]}\n")
    code, out, _ = command("work", "--runs", "ids")
    assert code == 0
    assert "2 runs to do" in out
    assert [finished(item.job.path) for item in planned] == [True, False, True]
    assert Pool(tmp_path / "runs", only=[ids[1]]).left == 1
    (tmp_path / "ids").write_text("\n")
    (tmp_path / "bytes").write_bytes(b"\xff")
    for file, says in (
        ("none", "cannot be read: No such file"),
        ("ids", "it lists no runs"),
        ("bytes", "it is no text"),
    ):
        code, _, err = command("work", "--runs", file)
        assert code == 2
        assert err.startswith(f"error: --runs {file}: ")
        assert says in err

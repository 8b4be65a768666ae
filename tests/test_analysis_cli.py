"""``dsd-bench analyze`` on run folders made from recorded curves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dsd_bench import configure

Command = Callable[..., tuple[int, str, str]]
RECORDED = Path(__file__).parent / "recorded"
BLANK = {
    **dict.fromkeys(("train_loss", "val_loss", "test_loss", "macs_dense", "macs_effective")),
    **{"nonzero": 0, "entropy_per_layer": None, "sparsity_per_layer": {}},
}
"""What the recorded rows leave out."""
DONE = {"status": "done", "best_round": 14, "stopped_by": "rounds", "samples": {"test": 597}}


def make(name: str, seeds: range = range(3), result: Any = DONE, **options: Any) -> list[str]:
    """Write the runs of a recorded configuration into ./runs; return their ids."""
    ids = []
    lines = [json.loads(line) for line in (RECORDED / f"{name}.jsonl").open(encoding="utf-8")]
    for seed in seeds:
        config = configure(seed=seed, **options)
        folder = Path("runs") / config.run_id
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(config.to_json()))
        rows = [BLANK | line for line in lines if line["seed"] == seed]
        (folder / "rounds.jsonl").write_text("\n".join(map(json.dumps, rows)))
        if result:
            (folder / "result.json").write_text(json.dumps({"run_id": config.run_id} | result))
        ids.append(config.run_id)
    return ids


def told(command: Command, *words: str) -> list[dict[str, Any]]:
    code, out, err = command("analyze", "--json", *words)
    assert code == 0, err
    found: list[dict[str, Any]] = json.loads(out)["configurations"]
    return found


def test_seeds_become_one_configuration_with_phases(command: Command) -> None:
    (one,) = told(command, *make("vanilla"))
    assert one["seeds"] == [0, 1, 2]
    assert one["evidence"]["verdict"] == "double descent"
    assert [phase["name"] for phase in one["phases"]] == [
        "light", "critical", "sweet", "collapsed"
    ]  # fmt: skip
    assert (one["peak"]["round"], one["peak_phase"], one["sweet_spot"]["round"]) == (
        14,
        "sweet",
        14,
    )
    assert one["dodged"] is None


def test_text_names_what_json_does(command: Command) -> None:
    code, out, _ = command("analyze", *make("vanilla"))
    assert code == 0
    for words in (
        "double descent: depth 4.9 points, more than the 4.7 that noise explains",
        "critical   sparsity 20.0 to 83.2 %  rounds 2 to 8",
        "within 1 point of dense",
        "half gone",
        "bottom is 2.1 ± 1.0 rounds before that (3 seeds)",
    ):
        assert words in out


def test_a_method_is_compared_with_its_baseline(command: Command) -> None:
    base, kd = make("vanilla"), make("kd-best", reg=["kd"])
    first, second = told(command, *kd, "--baseline", ",".join(base))
    assert first["dodged"] is None
    assert second["dodged"]["verdict"] == "dodged"
    assert first["area"]["until_density"] == second["area"]["until_density"]


def test_within_is_in_points(command: Command) -> None:
    ids = make("kd-best", reg=["kd"])
    near, far = (told(command, *ids, "--within", points)[0] for points in ("0", "5"))
    assert near["compression"]["within"] == 0
    assert far["compression"]["mean"]["round"] > near["compression"]["mean"]["round"]


def test_one_seed_says_that_it_is_one(command: Command) -> None:
    code, out, _ = command("analyze", *make("vanilla", range(1)))
    assert code == 0
    assert "one seed: how much seeds differ is not known" in out


def test_without_wrong_labels_there_is_no_memorisation(command: Command) -> None:
    (run_id,) = make("vanilla", range(1))
    path = Path("runs") / run_id / "rounds.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("\n".join(json.dumps(row | {"train_accuracy_noisy": None}) for row in rows))
    assert told(command, run_id)[0]["memorisation"] is None
    assert "no label is known to be wrong" in command("analyze", run_id)[1]


def test_without_a_test_part_validation_is_shown_but_not_judged(command: Command) -> None:
    (run_id,) = make("vanilla", range(1), DONE | {"samples": {"test": 0}})
    path = Path("runs") / run_id / "rounds.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("\n".join(json.dumps(row | {"test_accuracy": None}) for row in rows))
    (one,) = told(command, run_id)
    assert one["column"] == "val_accuracy"
    assert one["evidence"]["verdict"] == "cannot tell"


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_a_figure_is_written_and_its_bytes_repeat(command: Command, suffix: str) -> None:
    ids = make("vanilla")
    names = [f"out/{name}.{suffix}" for name in "ab"]
    for name in names:
        assert command("analyze", *ids, "--figure", name)[0] == 0
    first, second = (Path(name).read_bytes() for name in names)
    assert first == second
    assert first[:5] in (b"<?xml", b"\x89PNG\r")


def test_another_suffix_is_refused_before_anything_else(command: Command) -> None:
    code, _, err = command("analyze", "nothing", "--figure", "curve.gif")
    assert code == 2
    assert ".svg, .pdf or .png" in err


def test_unfinished_runs_are_named(command: Command) -> None:
    ids = make("vanilla", result=None)
    code, out, err = command("analyze", *ids)
    assert (code, out) == (2, "")
    assert "3 problems" in err
    assert all(run_id in err for run_id in ids)


def test_a_baseline_of_another_track_is_refused(command: Command) -> None:
    base = make("vanilla", noise="symmetric:0.2")
    code, _, err = command("analyze", *make("kd-best", reg=["kd"]), "--baseline", base[0])
    assert code == 2
    assert "another track" in err
    assert "noise" in err


def test_a_baseline_is_one_configuration(command: Command) -> None:
    base = [*make("vanilla"), *make("random", pruner="random")]
    code, _, err = command("analyze", base[0], "--baseline", ",".join(base))
    assert code == 2
    assert "2 configurations ('magnitude', 'random')" in err


def test_a_method_that_starts_anew_each_round_is_stopped_early(command: Command) -> None:
    vanilla = make("vanilla")
    for options, verdict in (
        ({"perturber": "reinit"}, "stopped early"),
        ({"perturber": "rewind"}, "stopped early"),
        ({"pruner": "gradient"}, "dodged"),
    ):
        ids = make("kd-best", **options)
        _, one = told(command, *ids, "--baseline", ",".join(vanilla))
        assert one["dodged"]["verdict"] == verdict
        assert one["fairness"]["stopped_early"] is (verdict == "stopped early")
    code, out, _ = command("analyze", *make("kd-best", perturber="rewind:step=5"))
    assert code == 0
    assert "for 50 epochs, the dense training has 200: stopped early" in " ".join(out.split())


def test_analyze_says_where_the_net_does_not_interpolate(command: Command) -> None:
    ids = make("kd-best")  # its dense nets fit 60 % of their labels
    assert told(command, *ids)[0]["fairness"]["interpolates"] is False
    _, out, _ = command("analyze", *ids)
    assert "does not interpolate" in " ".join(out.split())


def test_a_student_is_judged_by_its_teacher_s_dense_net(command: Command) -> None:
    student = make("kd-best", reg=["kd"])
    fair = told(command, *student)[0]["fairness"]
    assert (fair["fit"], fair["interpolates"]) == (None, None)
    make("vanilla")  # the teachers' folders, beside the students'
    fair = told(command, *student)[0]["fairness"]
    assert (fair["fit_of"], fair["interpolates"], fair["notes"]) == ("twin", True, [])


def test_analyze_says_how_many_seeds_would_decide(command: Command) -> None:
    (one,) = make("vanilla", range(1))
    evidence = told(command, one)[0]["evidence"]
    assert evidence["verdict"] == "cannot tell"
    assert evidence["more"]["now"] == 1
    assert 1 < evidence["more"]["likely"] <= evidence["more"]["sure"] < 10
    _, out, _ = command("analyze", one)
    likely = evidence["more"]["likely"]
    assert f"about {likely} seeds in all would decide with 80% probability" in " ".join(out.split())

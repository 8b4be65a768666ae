from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dsd_bench import RunConfig
from dsd_bench.config.layers import parse_seeds, read_layer
from dsd_bench.config.resolve import resolve
from dsd_bench.errors import UsageError

Make = Callable[..., RunConfig]


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("0-2", [0, 1, 2]), ("0,3", [0, 3]), ("5", [5]), ("1-2,7", [1, 2, 7]), ([3, 4], [3, 4])],
)
def test_seeds(text: object, seeds: list[int]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "2-0", "1,1", "0-", "-1", "1.5", "99999999999"])
def test_wrong_seeds(text: str) -> None:
    with pytest.raises(UsageError):
        parse_seeds(text)


def test_the_default_is_the_embedded_experiment() -> None:
    configs = resolve({})
    assert [config.seed for config in configs] == [0, 1, 2, 3, 4, 5]
    protocol = configs[0].protocol
    assert configs[0].noise.params == {"rate": 0.4, "validation": False}
    assert (protocol.dense_epochs, protocol.retrain_epochs, protocol.rounds) == (200, 50, 20)
    assert (protocol.lr, protocol.batch_size, protocol.weight_decay) == (0.03, 100, 1e-3)
    assert configs[0].pruner.params == {"fraction": 0.2, "scope": "global"}


def test_naming_a_default_gives_the_same_id() -> None:
    named = resolve(
        {
            "dataset": "digits:val_size=200",
            "model": "mlp:64x64",
            "noise": "symmetric:0.40",
            "pruner": "magnitude:scope=global,fraction=2e-1",
            "perturber": {"name": "none"},
            "rounds": "20",
            "lr": "0.030",
            "milestones": "0.5,0.75",
        }
    )
    assert [c.run_id for c in named] == [c.run_id for c in resolve({})]


def test_later_layers_win_option_by_option() -> None:
    config = resolve({"lr": 1.0, "rounds": 5, "seeds": "0"}, {"target_sparsity": 0.9, "epochs": 3})[
        0
    ]
    assert config.protocol.lr == 1.0
    assert (config.protocol.rounds, config.protocol.target_sparsity) == (None, 0.9)
    assert (config.protocol.dense_epochs, config.protocol.retrain_epochs) == (3, 3)


def test_one_length_overrides_epochs(tiny: Make) -> None:
    config = tiny(epochs=4, dense_epochs=7)
    assert (config.protocol.dense_epochs, config.protocol.retrain_epochs) == (7, 4)


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        resolve(
            {
                "pruner": "magnitud",
                "reg": ["kd:alpa=0.5", "l1:weight=-1"],
                "lr": "fast",
                "seeds": "x",
                "milestones": "0.9,0.1",
            }
        )
    text = str(caught.value)
    for expected in (
        "did you mean 'magnitude'?",
        "did you mean 'alpha'?",
        "weight=-1",
        "lr=fast",
        "'x' is not a seed",
        "--pruner",
    ):
        assert expected in text


def test_unknown_option_is_suggested() -> None:
    with pytest.raises(UsageError, match="did you mean 'rounds'"):
        resolve({"round": 3})


def test_rounds_and_target_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="not both"):
        resolve({"rounds": 3, "target_sparsity": 0.9})


def test_selection_on_a_part_that_is_not_held_out_is_refused(tiny: Make) -> None:
    with pytest.raises(UsageError, match="--selection test"):
        tiny(dataset="digits:val_size=0")


def test_teacher_is_the_student_without_distillation_and_stop(tiny: Make) -> None:
    student = tiny(reg=["l1", "kd:alpha=0.5", "dropout"], stop="entropy-gate")
    teacher = student.regularizers[1].teacher
    assert teacher is not None
    assert teacher.config == tiny(reg=["l1", "dropout"])
    assert teacher.run_id == teacher.config.run_id


def test_dense_and_best_come_from_one_teacher_run(tiny: Make) -> None:
    best, dense = tiny(reg="kd"), tiny(reg="kd:teacher=dense")
    assert best.regularizers[0].teacher is not None
    assert dense.regularizers[0].teacher is not None
    assert best.regularizers[0].teacher.run_id == dense.regularizers[0].teacher.run_id
    assert best.run_id != dense.run_id


def test_teacher_options_change_only_the_teacher(tiny: Make) -> None:
    student = tiny(reg="kd", teacher={"model": "mlp:hidden=16", "rounds": 1})
    teacher = student.regularizers[0].teacher
    assert teacher is not None
    assert student.model.params == {"hidden": "8"}
    assert teacher.config.model.params == {"hidden": "16"}
    assert teacher.config.protocol.rounds == 1
    assert student.run_id != tiny(reg="kd").run_id


def test_a_teacher_may_have_a_teacher(tiny: Make) -> None:
    student = tiny(reg="kd", teacher={"reg": "kd:alpha=0.1"})
    first = student.regularizers[0].teacher
    assert first is not None
    second = first.config.regularizers[0].teacher
    assert second is not None
    assert second.config == tiny()


def test_a_recipe_follows_the_model() -> None:
    configs = {
        model: resolve({"dataset": "cifar10", "model": model, "seeds": "0"})[0]
        for model in ("resnet18", "vgg-like")
    }
    assert configs["resnet18"].protocol.lr == 0.1
    assert configs["vgg-like"].protocol.lr == 0.001
    student = resolve(
        {"dataset": "cifar10", "model": "vgg-like", "reg": "kd", "teacher": {"model": "resnet18"}}
    )[0]
    teacher = student.regularizers[0].teacher
    assert teacher is not None
    assert teacher.config.protocol.lr == 0.1


def test_toml_file_and_options(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(
        'pruner = {name = "random", scope = "layer"}\nreg = ["l2:weight=0.1", "kd"]\n'
        'seeds = "4"\nepochs = 3\n[teacher]\nmodel = "mlp:hidden=16"\n'
    )
    config = resolve(read_layer(path), {"lr": "0.5"})[0]
    assert config.seed == 4
    assert config.pruner.params == {"fraction": 0.2, "scope": "layer"}
    assert [r.name for r in config.regularizers] == ["l2", "kd"]
    assert config.protocol.lr == 0.5


@pytest.mark.parametrize(
    ("text", "says"),
    [("lr = ", "Invalid value"), ("learning_rate = 1", "did you mean"), ("rounds = yes", "yes")],
)
def test_wrong_toml(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_layer(path)
    assert says in str(caught.value) or "bad.toml" in str(caught.value)


def test_config_json_gives_the_run_again(tmp_path: Path, tiny: Make) -> None:
    config = tiny(
        reg=["kd:teacher=dense", "dropout"],
        stop="patience:0.1",
        seed=3,
        data_seed=9,
        teacher={"model": "mlp:16"},
    )
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config.to_json()))
    assert [again.run_id for again in resolve(read_layer(path))] == [config.run_id]
    other = resolve(read_layer(path), {"seeds": "4"})[0]
    assert (other.seed, other.data_seed) == (4, 9)


def test_data_seed_follows_the_seed_unless_given(tiny: Make) -> None:
    assert tiny(seed=5).data_seed == 5
    assert tiny(seed=5, data_seed="1").data_seed == 1
    with pytest.raises(UsageError, match="--data-seed"):
        tiny(data_seed="x")

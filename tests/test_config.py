from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsd_bench import RunConfig, configure
from dsd_bench.config.run import canonical, digest
from dsd_bench.errors import UsageError

Make = Callable[..., RunConfig]


GOLDEN: dict[str, dict[str, Any]] = {
    "RUN_DEFAULT": {},
    "RUN_KD": {"reg": "kd"},
    "RUN_GATE": {"stop": "entropy-gate", "perturber": "rewind:step=10"},
    "RUN_CIFAR": {"dataset": "cifar10", "model": "vgg-like", "noise": "symmetric:0.2"},
}
IDS = {
    "RUN_DEFAULT": ("8ff69436e58e244d", "f5320e2bd18ef932"),
    "RUN_KD": ("16a86a2ce962e4e9", "533b10f1aa5c19b3"),
    "RUN_GATE": ("cacddcbbccee68ab", "29408efbe35e0c81"),
    "RUN_CIFAR": ("918a52bbe84059f2", "9226e2f6069284a3"),
}
"""Ids must never change without a new schema: finished runs would be lost to their owners."""


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_ids(name: str) -> None:
    config = configure(**GOLDEN[name])
    assert (config.run_id, config.curve_id) == IDS[name]


def test_a_run_of_an_earlier_rule_keeps_its_id() -> None:
    """Stop rules are in version 2 since exact ties are told from falls; the curve is the same."""
    config = configure(**GOLDEN["RUN_GATE"])
    stop = config.stop.model_copy(update={"version": 1})
    before = config.model_copy(update={"stop": stop})
    assert (before.run_id, before.curve_id) == ("fbfc0508a87447d3", IDS["RUN_GATE"][1])
    assert RunConfig.from_json(before.to_json()) == before


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"data_seed": 1},
        {"epochs": 3},
        {"lr": 0.3},
        {"retrain_lr_scale": 0.1},
        {"redense_epochs": 1},
        {"clip_norm": 1.0},
        {"schedule": "cosine"},
        {"schedule": "cosine:0.1"},
        {"precision": "bf16"},
        {"selection": "test"},
        {"pruner": "random"},
        {"pruner": "magnitude:0.3"},
        {"perturber": "reinit"},
        {"reg": ["l1"]},
        {"noise": "symmetric:0.3"},
        {"dataset": "digits:train_size=61,val_size=30"},
        {"model": "mlp:9"},
    ],
)
def test_what_changes_numbers_changes_both_ids(tiny: Make, change: dict[str, Any]) -> None:
    base, other = tiny(), tiny(**change)
    assert base.run_id != other.run_id
    assert base.curve_id != other.curve_id


@pytest.mark.parametrize(
    "change", [{"rounds": 5}, {"rounds": None, "target_sparsity": 0.9}, {"stop": "patience"}]
)
def test_ends_change_the_run_but_not_the_curve(tiny: Make, change: dict[str, Any]) -> None:
    base, other = tiny(), tiny(**change)
    assert base.run_id != other.run_id
    assert base.curve_id == other.curve_id


def test_order_of_regularizers_counts(tiny: Make) -> None:
    assert tiny(reg=["l1", "l2"]).run_id != tiny(reg=["l2", "l1"]).run_id


def test_further_metrics_are_not_hashed(tiny: Make) -> None:
    assert tiny(metric="entropy").run_id == tiny().run_id


def test_a_teacher_counts_as_its_run(tiny: Make) -> None:
    base = tiny(reg="kd")
    reg = base.regularizers[0]
    renamed = reg.model_copy(update={"params": {**reg.params, "teacher": reg.teacher.run_id}})  # type: ignore[union-attr]
    assert base.model_copy(update={"regularizers": (renamed,)}).run_id == base.run_id


def test_json_round_trip(tiny: Make) -> None:
    config = tiny(reg=["kd", "augment:cutout"], stop="entropy-gate")
    assert RunConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize("key", ["run_id", "schema", "seed"])
def test_a_changed_file_is_noticed(tiny: Make, key: str) -> None:
    value = tiny().to_json()
    value[key] = 7
    with pytest.raises(UsageError, match=r"config\.json"):
        RunConfig.from_json(value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_the_digest_does_not_see_the_order_of_keys(value: dict[str, Any]) -> None:
    backwards = dict(reversed(list(value.items())))
    assert digest(backwards) == digest(value)
    assert len(digest(value)) == 16


def test_canonical_refuses_nan() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical({"a": float("nan")})

"""What a dip, or its absence, may be called: does the net interpolate, are its trainings whole?

Sparse double descent is about networks that *interpolate*: the dense one fits its training labels,
the wrong ones too, and pruning makes it forget them. Where the dense network fits fewer, the part
of its curve before the dip is a training that was stopped early. So is each round of a method that
sets the weights back and then trains for fewer epochs than the dense training had: that alone
keeps wrong labels out. And so may be each round that takes away what was learnt and trains too
briefly to learn it again: where half of the weights no longer fit the labels that all of them fit,
nobody knows whether too few weights or too few epochs kept them out. Sparse networks that begin
anew may take longer than the dense one did, so equal epochs do not settle it.

Pure functions of configurations and rows; what a component does is asked of its registration.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dsd_bench.components import Component
from dsd_bench.stopping import below
from dsd_bench.store.checkpoint import Row

Config = Mapping[str, Any]
"""The contents of a run's ``config.json``."""

Seeds = Sequence[Sequence[Row]]
"""The rows of each seed of a configuration."""

Lookup = Callable[[str, str], Component | None]
"""Finds a component by kind and name; None where it is not installed here."""

INTERPOLATES = 0.97
"""A dense net that fits fewer of its training labels, the wrong ones included, does not
interpolate them."""

HALF = 0.5
"""Down to this density a net that interpolates is expected to go on doing so, if it is trained long
enough; too few epochs are suspected where it does not."""

_LATER = frozenset(
    (
        *("rounds", "target_sparsity", "retrain_epochs", "retrain_lr_scale"),
        *("redense_epochs", "selection"),
    )
)
"""Options of the protocol that the dense training does not depend on."""


@dataclass(frozen=True)
class Fairness:
    """What must be said beside a curve's verdict.

    Attributes:
        fit: mean train accuracy, on the given labels, of the dense nets that count; None: unknown.
        fit_of: whose they are: of the vanilla ``"twin"``, the run's ``"own"``, or None where
            neither is at hand.
        interpolates: whether ``fit`` is at least ``INTERPOLATES``; None where it is unknown.
        stopped_early: whether each round trains from weights that were set back, for fewer epochs
            than the dense training; None where the perturber does not say what it does, or there
            are ``unfit`` rounds.
        epochs: of each round's training and of the dense one.
        unfit: sparsity and mean train accuracy of the sparsest round with at least ``HALF`` of the
            weights, where the net interpolates when dense, no regularizer is there, and this one
            does not reach ``INTERPOLATES``.
    """

    fit: float | None
    fit_of: Literal["twin", "own"] | None
    interpolates: bool | None
    stopped_early: bool | None
    epochs: tuple[int, int]
    unfit: tuple[float, float] | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """Return a sentence for each thing that must be said; empty where all is well."""
        return tuple(note for note in (self._of_fit(), self._of_training()) if note)

    @property
    def mark(self) -> str:
        """Return the same in a few words, for a table's cell; empty where all is well."""
        words = []
        if self.stopped_early:
            words.append("stopped early")
        elif self.stopped_early is None:
            words.append("perhaps stopped early")
        if self.interpolates is False:
            words.append(f"dense net fits {100 * (self.fit or 0):.0f} %")
        return ", ".join(words)

    def _of_fit(self) -> str:
        if self.interpolates:
            return ""
        if self.fit is None and self.fit_of:
            return "whether the dense network interpolates is unknown: its fit was not measured"
        if self.fit is None:
            return (
                "whether the vanilla twin's dense network interpolates is unknown: no run without "
                "regularizers of the same data, model and dense training is at hand"
            )
        whose = "the vanilla twin's dense" if self.fit_of == "twin" else "the dense"
        return (
            f"{whose} network fits {100 * self.fit:.1f} % of its labels, under "
            f"{100 * INTERPOLATES:.0f}: it does not interpolate, so what comes before a dip is a "
            "training stopped early"
        )

    def _of_training(self) -> str:
        if self.stopped_early is False:
            return ""
        each, dense = self.epochs
        if not dense:
            return (
                f"each round trains for {each} epochs from weights that may have been set back, "
                "and there is no dense training to compare that with"
            )
        told = f"for {each} epochs, the dense training has {dense}"
        if self.stopped_early:
            return f"each round trains from weights that were set back {told}: stopped early"
        if self.unfit:
            sparsity, fit = self.unfit
            return (
                f"each round trains {told}: at {100 * sparsity:.0f} % sparsity it fits "
                f"{100 * fit:.1f} % of its labels, so what keeps the wrong ones out may be too few "
                "epochs, not too few weights; a larger --retrain-epochs tells"
            )
        return f"each round trains {told}, and the perturber does not say if it sets weights back"


def fairness(
    config: Config,
    rows: Seeds,
    lookup: Lookup,
    others: Iterable[tuple[Config, Seeds]] = (),
) -> Fairness:
    """Tell whether the net interpolates and whether its trainings are whole.

    The dense network of the *vanilla twin* counts: same data, noise, model and dense training, no
    regularizer; distilled or smoothed nets fit fewer labels by design. Without a twin it is the
    configuration's own dense network, unless a regularizer changes the targets.

    Args:
        config: of any of its seeds; read are ``protocol``, ``pruner``, ``perturber``,
            ``regularizers`` and what :func:`dense_key` reads.
        rows: for each seed its rows; read are ``round``, ``sparsity`` and ``train_accuracy``.
        lookup: where perturbers and regularizers are found.
        others: further configurations; those that are vanilla twins count.
    """
    fit, fit_of = _fit(config, rows, lookup, others)
    protocol = config["protocol"]
    early = stopped_early(config, lookup)
    short = None if early is not False or config["regularizers"] else unfit(rows)
    return Fairness(
        fit=fit,
        fit_of=fit_of,
        interpolates=None if fit is None else not below(fit, INTERPOLATES),
        stopped_early=None if short else early,
        epochs=(protocol["retrain_epochs"], protocol["dense_epochs"]),
        unfit=short,
    )


def unfit(rows: Seeds) -> tuple[float, float] | None:
    """Return :attr:`Fairness.unfit` of a method without regularizers.

    Args:
        rows: for each seed its rows; read are ``round``, ``sparsity`` and ``train_accuracy``.
    """
    dense = _mean_fit(rows)
    if dense is None or below(dense, INTERPOLATES):
        return None
    reached = [
        [row for row in seed if row["round"] and not below(1 - row["sparsity"], HALF)]
        for seed in rows
    ]
    last = [seed[-1] for seed in reached if seed and seed[-1].get("train_accuracy") is not None]
    if not last:
        return None
    fit = statistics.fmean(row["train_accuracy"] for row in last)
    sparsity = statistics.fmean(row["sparsity"] for row in last)
    return (sparsity, fit) if below(fit, INTERPOLATES) else None


def stopped_early(config: Config, lookup: Lookup) -> bool | None:
    """Whether the weights are set back before each round and its training is no whole one.

    A pruner at initialisation sets them back whatever the perturber does. None where that cannot be
    known: the perturber is not installed or does not declare :attr:`Component.sets_back`, and a
    round's training is shorter than the dense one; or there is no dense training (``dense_epochs``
    0) to compare the rounds' with.
    """
    protocol = config["protocol"]
    dense = protocol["dense_epochs"]
    if dense and protocol["retrain_epochs"] >= dense:
        return False
    component = lookup("perturber", config["perturber"]["name"])
    back = component.sets_back if component else None
    if config["pruner"].get("at_initialisation"):
        back = True
    return back if dense or back is False else None


def dense_key(config: Config) -> str:
    """Return a text that is equal for configurations with the same undistilled dense network.

    Read are ``dataset`` (but where it lies), ``fingerprint``, ``noise``, ``model`` and what of
    ``protocol`` the dense training depends on, ``optimizer``, ``schedule`` and
    ``weights`` where there are any; seeds are not.
    """
    dataset = config["dataset"]
    places = dataset.get("places", ())
    params = {key: value for key, value in dataset["params"].items() if key not in places}
    protocol = {key: value for key, value in config["protocol"].items() if key not in _LATER}
    told = {key: config[key] for key in ("fingerprint", "noise", "model")}
    told |= {key: config.get(key) for key in ("optimizer", "schedule")}
    if given := config.get("weights"):
        told["weights"] = [given["sha256"], given["head"]]
    told |= {"dataset": [dataset["name"], dataset["version"], params], "protocol": protocol}
    return json.dumps(told, sort_keys=True)


def _fit(
    config: Config, rows: Seeds, lookup: Lookup, others: Iterable[tuple[Config, Seeds]]
) -> tuple[float | None, Literal["twin", "own"] | None]:
    if not config["regularizers"]:
        return _mean_fit(rows), "own"
    key = dense_key(config)
    twins = [
        seed
        for other, seeds in others
        if not other["regularizers"] and dense_key(other) == key
        for seed in seeds
    ]
    fit = _mean_fit(twins)
    if fit is not None:
        return fit, "twin"
    if any(_changes_targets(part["name"], lookup) for part in config["regularizers"]):
        return None, None
    return _mean_fit(rows), "own"


def _changes_targets(name: str, lookup: Lookup) -> bool:
    """Whether a regularizer changes what is to be fitted, as one that does not say so may."""
    component = lookup("regularizer", name)
    return component is None or component.teacher or component.changes_targets is not False


def _mean_fit(seeds: Seeds) -> float | None:
    dense = [rows[0] for rows in seeds if rows and rows[0]["round"] == 0]
    fits = [row["train_accuracy"] for row in dense if row.get("train_accuracy") is not None]
    return statistics.fmean(fits) if fits else None

"""Everything that can be known of runs before the first of them begins, each thing once.

Data's sizes, components, the model in both modes, one step with the regularizers and one pruning
are tried out; no file is written, and the global generators stay as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

from torch import nn

from dsd_bench.components import option_of
from dsd_bench.config.metrics import build_metric
from dsd_bench.config.run import ComponentConfig, Layout, RegularizerConfig, RunConfig
from dsd_bench.config.training import check_schedule
from dsd_bench.config.words import build_component
from dsd_bench.environment import available_cores
from dsd_bench.environment.contained import contained
from dsd_bench.errors import DataError, UsageError, collect
from dsd_bench.experiment.assemble import (
    Measures,
    Sources,
    begin,
    build_model,
    check_selection,
    check_snapshots,
    check_updater,
    load_data,
    measures,
    named,
)
from dsd_bench.experiment.chain import check_chain
from dsd_bench.experiment.dry_round import dry_round
from dsd_bench.experiment.probe import Probed, probe_model
from dsd_bench.experiment.runner import explain
from dsd_bench.experiment.settings import Settings
from dsd_bench.metrics.prunable import find_prunable
from dsd_bench.perturbers import Perturber
from dsd_bench.plugins import catalogue
from dsd_bench.seeds import preserved_globals
from dsd_bench.training.device import ComputeContext, make_context, without_bf16
from dsd_bench.training.layout import inexact_norms, on_cpu
from dsd_bench.training.schedule import smallest_batch

T = TypeVar("T")
_NO_BF16 = (
    "--precision bf16: this CPU has no instructions for it: a step may take several times as "
    "long as in fp32"
)
_OF_ENTROPY = ("entropy", "entropy_per_layer")
_OF_VALIDATION = ("val_accuracy", "val_loss")


def check_runs(
    configs: Sequence[RunConfig], sources: Sources, settings: Settings, here: bool = True
) -> list[str]:
    """Try out what ``configs`` need and return what their users should know, a line each.

    Args:
        configs: the runs, and their teachers' runs; one of several seeds is enough.
        sources: where data lie; what is missing is downloaded if that is allowed.
        settings: how they will run.
        here: whether on this machine; else models are tried out on its CPU in fp32.

    Raises:
        UsageError: listing everything that cannot be run.
        RunError: for what nobody foresaw.
    """
    checks, problems = _Checks(sources, settings, here), list[str]()
    for config in configs:
        try:
            with contained(), preserved_globals():
                checks.check(config)
        except UsageError as error:
            problems.append(str(error))
        except Exception as error:  # a component of a plugin may raise anything
            raise explain(error, settings) from error
    collect(list(dict.fromkeys(problems)))
    return checks.notes


class _Checks:
    """The checks of several runs; each is made once for all of them."""

    def __init__(self, sources: Sources, settings: Settings, here: bool) -> None:
        self.sources, self.settings, self.here = sources, settings, here
        self.notes: list[str] = []
        self._done: dict[Hashable, Any] = {}

    def check(self, config: RunConfig) -> None:
        """Check one run.

        Raises:
            UsageError: at the first thing that is wrong.
        """
        known, context = catalogue(), self._context(config)
        for kind in ("stop", "chooser", "noise"):
            build_component(known, kind, config.chosen(kind))
        self._once(("schedule", config.model_dump_json()), lambda: check_schedule(config))
        for word in config.metrics:
            build_metric(word)
        perturber: Perturber = build_component(known, "perturber", config.perturber)
        check_chain(config, context.team.size)
        found = self._measures(config)
        check_selection(config, found.held_out)
        check_snapshots(config, perturber.snapshots(), found.train)
        updates = check_updater(config, found.train, context.team.size)
        batch = smallest_batch(found.train, config.protocol.batch_size)
        if context.team.size > batch:
            raise UsageError(
                f"--batch-size: {context.team.size} processes cannot share the last batch of an "
                f"epoch, which has {batch} images; choose another size"
            )
        made = config.model.model_dump_json(), config.weights and config.weights.model_dump_json()
        model = (*made, found.shape, found.classes, context.precision)
        layout = self._once(("layout", *model), lambda: self._layout(config, found, context))
        context.lay_out(layout)
        if context.precision == "bf16" and context.device.type == "cpu" and without_bf16():
            self._once("bf16", lambda: self.notes.append(_NO_BF16))
        if context.plan.threads > (cores := available_cores()):
            note = f"--threads {context.plan.threads}: this machine has {cores} cores to give"
            self._once("threads", lambda: self.notes.append(f"{note}: the run will be slower"))
        batch = min(batch, 2)
        probed = self._once(
            ("model", *model, batch), lambda: self._probe(config, found, context, batch)
        )
        self._columns(config, found, probed)
        method = [_without_seeds(chosen) for chosen in config.regularizers]
        method.append(config.chosen("optimizer").model_dump_json())
        method += [part.model_dump_json() for part in (config.pruner, config.updater) if part]
        self._once(
            ("method", *model, batch, *method, updates),
            lambda: self._dry_round(config, found, context, batch, updates),
        )

    def _once(self, key: Hashable, act: Callable[[], T]) -> T:
        """Return what ``act()`` gave, or raise what it raised, the first time for this key."""
        if key not in self._done:
            try:
                self._done[key] = act()
            except UsageError as error:
                self._done[key] = error
        answer = self._done[key]
        if isinstance(answer, UsageError):
            raise answer
        return answer  # type: ignore[no-any-return]

    def _context(self, config: RunConfig) -> ComputeContext:
        settings, precision = self.settings, config.protocol.precision
        if not self.here:
            return make_context("cpu", settings.threads, False, "fp32")
        how = settings.device, settings.threads, settings.deterministic, precision
        return make_context(*how, settings.layout)

    def _layout(self, config: RunConfig, found: Measures, context: ComputeContext) -> Layout:
        """Return the layout that the run has on a CPU."""
        model = build_model(
            config.model, 0, found.shape, found.classes, context, self.settings.download
        )
        context.lay_out(on_cpu(model, context.precision))
        coarse = context.plan.device != "cpu" or context.precision == "bf16"
        inexact = [] if coarse or context.plan.layout == "nchw" else inexact_norms(model)
        if inexact:
            self.notes.append(
                f"--layout nhwc: batch norms of {named(config.model)} are imprecise in it on a CPU "
                f"({inexact[0]}, {len(inexact)} in all): running variances are off by up to 1e-3; "
                "--layout auto keeps nchw here"
            )
        return context.cpu_layout

    def _measures(self, config: RunConfig) -> Measures:
        """Return the data's sizes; what is to be downloaded is, once, here."""
        if self.settings.download:
            dataset = build_component(catalogue(), "dataset", config.dataset)
            try:
                dataset.check(self.settings.data_dir, False)
            except DataError:
                load_data(config, self.sources)
        return measures(config, self.sources)

    def _probe(
        self, config: RunConfig, found: Measures, context: ComputeContext, batch: int
    ) -> Probed:
        """Try the model out, and note what is odd about it."""
        where = named(config.model)
        model = build_model(
            config.model, 0, found.shape, found.classes, context, self.settings.download
        )
        try:
            left_out = find_prunable(model, found.shape)
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from None
        begin(config, found.classes, model)
        if left_out:
            self.notes.append(f"{where}: {left_out}")
        probed = probe_model(model, where, found.shape, found.classes, context, batch)
        context.team.adapt(model)
        if not probed.rectifiers:
            self.notes.append(
                f"{where} has no units with an on/off state (ReLU and its like): its entropy will "
                "be null"
            )
        if probed.untrained:
            names, more = ", ".join(probed.untrained[:3]), len(probed.untrained) - 3
            self.notes.append(
                f"{where}: weights that are pruned but get no gradient (frozen, or unused in train "
                f"mode): {names}" + (f" and {more} more" if more > 0 else "")
            )
        return probed

    def _columns(self, config: RunConfig, found: Measures, probed: Probed) -> None:
        """Refuse a stop criterion or a chooser that reads what this run cannot give."""
        missing = dict.fromkeys(
            () if probed.rectifiers else _OF_ENTROPY,
            f"{named(config.model)} has no units with an on/off state (ReLU and its like)",
        ) | dict.fromkeys(() if found.held_out else _OF_VALIDATION, "nothing is held out for it")
        instead = {"stop": ("stop criterion", "patience"), "chooser": ("chooser", "max-drop")}
        for kind, (what, other) in instead.items():
            name = config.chosen(kind).name
            for column in catalogue().get(kind, name).component.columns:
                if column in missing:
                    instead_of_it = f"--{option_of(kind)} {other}"
                    raise UsageError(
                        f"{what} '{name}' needs '{column}', which would be null: "
                        f"{missing[column]}; use {instead_of_it}, which needs accuracies only"
                    )

    def _dry_round(
        self,
        config: RunConfig,
        found: Measures,
        context: ComputeContext,
        batch: int,
        updates: Sequence[int],
    ) -> None:
        """Let the regularizers, the pruner and the updater do their part once."""

        def build(model: ComponentConfig) -> nn.Module:
            return build_model(model.unfetched(), 0, found.shape, found.classes, context)

        shape, classes = found.shape, found.classes
        dry_round(config, named(config.model), build, shape, classes, context, batch, updates)


def _without_seeds(chosen: RegularizerConfig) -> str:
    """Return what of a regularizer matters for trying it out: of a teacher, its model."""
    teacher = chosen.teacher.config.model.model_dump_json() if chosen.teacher else ""
    params = {key: value for key, value in chosen.params.items() if key != "teacher"}
    return f"{chosen.name} {params} {teacher}"

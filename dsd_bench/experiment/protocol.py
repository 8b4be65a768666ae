"""The prune-retrain protocol, to be read beside the paper's Algorithms 1 and 2 (Appendix B, H).

    train dense                                        round 0
    until the target sparsity or the last round:
        prune, perturb, train again, evaluate          rounds 1, 2, ...
        (prune: of the network as initialised where the pruner says so, which is then trained)
        (train again: in the phases of the schedule, which may bring all weights back)
        stop if the stop criterion says so             Algorithm 2's gate is such a criterion
    return the weights that the chooser chooses        the best on the selecting part, by default

It knows no files and no screen: a :class:`~dsd_bench.store.checkpoint.CheckpointStore`
remembers, a :class:`~dsd_bench.experiment.parts.Watcher` is told. Everything random is keyed by the
round, so a run that is taken up again, or goes on from another run's rounds, does what an
uninterrupted one would have done.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from dsd_bench.errors import Interrupted, RunError
from dsd_bench.experiment.assemble import check_snapshots
from dsd_bench.experiment.ending import End, ended
from dsd_bench.experiment.keeping import chosen
from dsd_bench.experiment.measure import (
    measure,
    measure_correct,
    measure_further,
    measure_view,
    refuse_other_counts,
)
from dsd_bench.experiment.parts import Experiment, Watcher
from dsd_bench.experiment.pruning import prune, put_weights
from dsd_bench.experiment.settings import Keep
from dsd_bench.masks import Masks, NothingLeft
from dsd_bench.metrics.prunable import LeftOut, find_prunable
from dsd_bench.perturbers import PerturbView
from dsd_bench.perturbers.states import load_state
from dsd_bench.pruners import Pruned, PruneView
from dsd_bench.schedules import phases_of
from dsd_bench.seeds import seeded_globals, stream, torch_stream
from dsd_bench.stateful import give_back, part, states
from dsd_bench.store.checkpoint import (
    Checkpoint,
    CheckpointStore,
    Row,
    weights_name,
)
from dsd_bench.training.device import FIRST_NUMERICS, refuse_other_numerics
from dsd_bench.training.loop import Training
from dsd_bench.training.updating import Goal

Tensors = dict[str, Tensor]

STEPS_BETWEEN_QUESTIONS = 20
"""Steps after which processes that train together ask whether to stop; asking costs a message."""


class Run:
    """One run under way."""

    def __init__(self, experiment: Experiment, store: CheckpointStore, watcher: Watcher) -> None:
        self.experiment, self.store, self.watcher = experiment, store, watcher
        self.config, self.setup = experiment.config, experiment.setup
        self.team = experiment.setup.context.team
        self.rows: list[Row] = []
        self.plans: tuple[dict[str, Any], ...] = ()
        self.kept: list[str] = []
        self.resumed_from: int | None = None
        self.sparse: Tensors = {}
        """The sparse network's state while its pruned weights train again."""
        self.goal: Goal | None = None
        """Where the masks of a round's first phase are to end, if an updater changes them."""
        self.keep: Keep | None = None
        """Which rounds' weights stay; known when the first are to be kept."""
        self.snapshots = frozenset(experiment.perturber.snapshots())
        if self.config.pruner.at_initialisation:
            self.snapshots |= {0}

    def follow(self) -> End:
        """Carry the run to its end.

        Raises:
            Interrupted: if the watcher asked to stop; the memory holds a checkpoint.
            RunError: if the run cannot go on.
        """
        checkpoint = self._restore()
        while (end := ended(self.config, self.experiment.stop, self.rows)) is None:
            try:
                training = self._training(checkpoint)
            except NothingLeft as error:
                end = "nothing-left", str(error)
                break
            checkpoint = None
            self._train_and_evaluate(training)
        chosen_round = self.experiment.choice.of(self.rows)
        return End(chosen_round, *end, self.resumed_from, self.plans)

    # -- Algorithm 1, line by line ---------------------------------------------------------------

    def _training(self, checkpoint: Checkpoint | None) -> Training:
        """Return the next training, or the one that the checkpoint was taken in."""
        round = len(self.rows)
        if checkpoint is not None:
            self._load(checkpoint.tensors)
            if checkpoint.training:
                cursor = self._with_phase(checkpoint.cursor)
                training = self._phase(round, cursor["before"])
                training.resume(cursor, checkpoint.tensors)
                return training
        elif round == 0:
            self._initialise()
        if round > 0:
            self._prune(round)
            self._perturb(round)
        return self._phase(round)

    def _phase(self, round: int, before: Sequence[int] = ()) -> Training:
        """Return the phase of a round that follows those that took ``before`` epochs.

        Where it is dense, pruned weights train again, from zero; the next round prunes the sparse
        state unless a sparse phase follows.
        """
        phase = phases_of(self.setup.schedule, round, self.config.protocol)[len(before)]
        masks = self.masks
        if round and phase.masks == "dense":
            masks = Masks.dense(self.model)
            if not self.sparse:
                self.sparse = {k: v.clone() for k, v in self.model.state_dict().items()}
        elif self.sparse:
            self.sparse = {}
            masks.apply(self.model)
        goal = None if before else self.goal
        return Training(self.setup, self.model, masks, round, before, goal)

    def _ends_whole(self, round: int) -> bool:
        """Whether the pruned weights are back at the end of a round."""
        last = phases_of(self.setup.schedule, round, self.config.protocol)[-1]
        return round > 0 and last.masks == "dense"

    def _with_phase(self, cursor: Mapping[str, Any]) -> dict[str, Any]:
        """Return a cursor of any release; the first one's said of the phase only if it is dense."""
        first = [self.config.protocol.epochs(len(self.rows))] if self.sparse else []
        return {"before": first, **cursor}

    def _initialise(self) -> None:
        self.model, left_out = self._prunable_model()
        for text in self.experiment.begin(self.model):
            self.store.log(text)
        self.masks = Masks.dense(self.model)
        if left_out:
            self.store.log(str(left_out))  # whoever began the runs was told before

    def _prunable_model(self) -> tuple[nn.Module, LeftOut]:
        """Return the model as it is initialised, and what of it cannot be pruned."""
        model = self._build("init")
        return model, find_prunable(model, self.setup.data.shape)

    def _prune(self, round: int) -> None:
        """Line 18 of Algorithm 1; of several processes one makes the masks."""
        masks, nothing = None, None
        if self.config.pruner.at_initialisation:
            load_state(self.model, self._snapshot(0))
        try:
            masks = self._new_masks(round) if self.team.leads else None
        except NothingLeft as error:
            nothing = str(error)
        if nothing := self.team.broadcast(nothing):
            raise NothingLeft(nothing)
        if self.team.size > 1:
            masks = Masks.from_tensors(self.team.masks(masks.tensors() if masks else None))
            if self.experiment.pruning.reconstructs:
                self.team.follow(self.model.parameters())
        assert masks is not None
        masks = masks.ordered(self.model)
        if self.setup.updater is not None:
            masks, self.goal = self.setup.updater.begin(self.masks, masks)
        self.masks = masks
        self.masks.apply(self.model)

    def _new_masks(self, round: int) -> Masks:
        """Return the pruner's masks; weights that it gives with them are put into the model."""
        context, begun = self.setup.context, self.config.pruner.at_initialisation
        names: tuple[str | int, ...] = ("init", "prune") if begun else ("round", round, "prune")
        draw = torch_stream("cpu", self.config.seed, *names)
        batches = self.setup.batches(*names, "batches")
        gathered = self.setup.gathered()
        view = PruneView(self.model, self.masks, round, context.device, draw, batches, gathered)
        with seeded_globals(stream(self.config.seed, *names, "global")):
            answer = self._asked(view)
        context.settle()
        put_weights(answer.weights, self.model)
        return answer.masks

    def _asked(self, view: PruneView) -> Pruned:
        """Return the pruner's answer; what cannot be used of it names the pruner."""
        try:
            return prune(self.experiment.pruner, self.experiment.pruning, view)
        except NothingLeft:
            raise
        except RunError as error:
            raise RunError(f"pruner '{self.config.pruner.name}': {error}") from error

    def _perturb(self, round: int) -> None:
        """Line 19 of Algorithm 1."""
        view = PerturbView(
            self.model,
            self.masks,
            round,
            snapshot=self._snapshot,
            fresh=lambda: self._build("round", round, "reinit").state_dict(),
        )
        with seeded_globals(stream(self.config.seed, "round", round, "perturb", "global")):
            self.experiment.perturber.perturb(view)
        self.setup.context.settle()
        self.masks.apply(self.model)

    def _train_and_evaluate(self, training: Training) -> None:
        """Lines 20 and 21 of Algorithm 1, then make the round safe."""
        training, timing = self._train(training)
        self.rows.append(self.team.broadcast(self._row(training) if self.team.leads else None))
        row = self.rows[-1]
        self._keep_round(training.round)
        if self.sparse:
            self.model.load_state_dict(self.sparse)
            self.sparse = {}
        self._save(training, training_done=True)
        self.watcher.round(row, timing)
        stopping = self.team.broadcast(self.watcher.stopping())
        if stopping and not ended(self.config, self.experiment.stop, self.rows):
            raise Interrupted(f"stopped after round {training.round}")

    def _train(self, training: Training) -> tuple[Training, dict[str, float]]:
        """Train to the end of the round's last phase; return that and the timing."""
        pace = _Pace(self, training)
        pace.start()
        training.run(pace.after_step)
        self._follow_masks(training)
        while len(training.took) < len(training.phases):
            pace.go_on_with(training := self._phase(training.round, training.took))
            training.run(pace.after_step)
        self._note_plan(training.round)  # what did not fit, or could not be recorded, changed it
        return training, pace.timing()

    def _follow_masks(self, training: Training) -> None:
        """Take over what an updater made of the masks so far."""
        if training.goal is not None:
            self.masks = training.masks

    def _row(self, training: Training) -> dict[str, Any]:
        """Measure the network as it is."""
        self.setup.context.settle()
        view = measure_view(self.setup, self.model, self.masks, training.round)
        row = measure(view, self.experiment.measured)
        row["correct"] = measure_correct(view)
        if self.sparse:  # the network that is measured has all its weights
            row["macs_effective"] = row["macs_dense"]
        if training.took != [phase.epochs for phase in training.phases]:
            row["epochs"] = training.took
        if further := self.experiment.further:
            row["metrics"] = measure_further(view, further)
        return row

    def _snapshot(self, step: int) -> Tensors:
        """Return the state that was kept after ``step`` steps of the dense training."""
        return self._on_device(self.store.recall(f"snapshot-{step}"))

    # -- what the algorithm needs around it ------------------------------------------------------

    def _build(self, *names: str | int) -> nn.Module:
        return self.team.adapt(self.experiment.build(stream(self.config.seed, *names)))

    def _keep_round(self, round: int) -> None:
        """Keep the weights of every round, or of those that beat all rounds before them.

        Whatever rule ends the curve, the chosen round up to there is among these.
        """
        state = self.model.state_dict()
        masks = Masks.dense(self.model) if self.sparse else self.masks
        if self.keep is None:
            protocol, pruner = self.config.protocol, self.experiment.pruner
            whole = self._ends_whole(1)
            self.keep = chosen(self.experiment.keep, protocol, pruner, state, masks, whole)
        if self.keep == "all" or self.experiment.choice.holds(self.rows):
            self._keep(weights_name(round), {**state, **_prefixed("masks", masks.tensors())})

    def _needed(self) -> tuple[str, ...]:
        """Return the kept weights that the run still needs: the chosen, the dense, snapshots."""
        return self.experiment.choice.needed(self.rows, self.kept, ended=False)

    def _keep(self, name: str, tensors: Tensors) -> None:
        self.store.keep(name, tensors)
        self.kept = [*(other for other in self.kept if other != name), name]

    def snapshot(self, training: Training) -> None:
        """Keep the state after this step of the dense training if it will be gone back to."""
        if training.round == 0 and training.steps_done in self.snapshots:
            self._keep(f"snapshot-{training.steps_done}", self.model.state_dict())

    def told_to_stop(self, training: Training) -> bool:
        """Whether to stop after this step; several processes only ask each other now and then."""
        alone = self.team.size == 1
        if alone or training.steps_done % STEPS_BETWEEN_QUESTIONS == 0:
            return bool(self.team.broadcast(self.watcher.stopping()))
        return False

    def save_within(self, training: Training) -> None:
        """Make the training's present place safe."""
        self._follow_masks(training)
        self._save(training, training_done=False)

    def _save(self, training: Training, training_done: bool) -> None:
        # the next training begins with fresh optimiser and generators
        tensors = {} if training_done else training.tensors()
        tensors |= _prefixed("model", self.model.state_dict())
        tensors |= _prefixed("masks", self.masks.tensors())
        tensors |= _prefixed("sparse", self.sparse)
        tensors |= states(self.experiment.stateful)
        cursor = {} if training_done else vars(training.cursor)
        round = training.round + training_done
        self.store.save(
            Checkpoint(
                rows=tuple(self.rows),
                round=round,
                training=not training_done,
                cursor=dict(cursor),
                tensors=tensors,
                plans=self.plans,
                kept=tuple(self.kept),
                needed=self._needed(),
            )
        )

    def _restore(self) -> Checkpoint | None:
        checkpoint = self.store.restore()
        self.team.barrier()  # for all to have read it, before the next one replaces it
        if checkpoint is not None:
            self.rows = list(checkpoint.rows)
            self.plans, self.kept = checkpoint.plans, list(checkpoint.kept)
            self.resumed_from = checkpoint.round
        if not ended(self.config, self.experiment.stop, self.rows):
            refuse_other_numerics(self.plans, self.setup.context.cpu_layout)
            midway = checkpoint is not None and checkpoint.training
            self.watcher.goes_on(len(self.rows), midway)
            self._note_plan(len(self.rows))
            check_snapshots(self.config, self.snapshots, len(self.setup.data.train))
        self.watcher.begun(self.resumed_from, self.rows)
        return checkpoint

    def _note_plan(self, round: int) -> None:
        context = self.setup.context
        while context.remarks:
            self.store.log(context.remarks.pop(0))
        plan = context.plan.to_json()
        last = {"numerics": FIRST_NUMERICS, **self.plans[-1]} if self.plans else {}
        if {k: v for k, v in last.items() if k != "from_round"} != plan:
            self.plans = (*self.plans, {"from_round": round, **plan})

    def _load(self, tensors: Tensors) -> None:
        self.model, _ = self._prunable_model()
        self.model.load_state_dict(self._on_device(part(tensors, "model")))
        self.model.eval()  # as a training leaves it
        masks = Masks.from_tensors(self._on_device(part(tensors, "masks")))
        self.masks = masks.ordered(self.model)
        whole = bool(self.rows) and self._ends_whole(len(self.rows) - 1)
        refuse_other_counts(self.model, self.setup.data.shape, self.rows, whole)
        self.sparse = self._on_device(part(tensors, "sparse"))
        self.goal = Goal.from_tensors(self._on_device(part(tensors, "goal")), self.model)
        give_back(self.experiment.stateful, tensors, self.setup.context.device)

    def _on_device(self, tensors: Tensors) -> Tensors:
        return {name: tensor.to(self.setup.context.device) for name, tensor in tensors.items()}


class _Pace:
    """What happens between steps: snapshots, checkpoints, progress, stopping, timing."""

    def __init__(self, run: Run, training: Training) -> None:
        self.run, self.training = run, training
        now = time.monotonic()
        self.began, self.saved, self.told = now, now, now
        self.steps = self.told_steps = 0

    def start(self) -> None:
        """Before the first step."""
        if self.training.steps_done == 0:
            self.run.snapshot(self.training)

    def go_on_with(self, training: Training) -> None:
        """Another phase of the same round follows."""
        self.training = training

    def after_step(self, training: Training) -> None:
        """After every step; cheap unless something is due."""
        self.steps += 1
        run = self.run
        run.snapshot(training)
        now = time.monotonic()
        done = training.done
        if not done and run.told_to_stop(training):
            run.save_within(training)
            raise Interrupted(f"stopped in round {training.round}, epoch {sum(training.took)}")
        if now - self.saved > run.experiment.checkpoint_seconds and not done:
            run.save_within(training)
            self.saved = now
        if now - self.told > 0.25 or done:
            speed = (self.steps - self.told_steps) * training.batch / max(now - self.told, 1e-9)
            self.told, self.told_steps = now, self.steps
            within = training.cursor.step / training.steps_per_epoch
            epoch, epochs = sum(training.took), sum(phase.epochs for phase in training.phases)
            run.watcher.progress(training.round, epoch, epochs, speed, within)

    def timing(self) -> dict[str, float]:
        """Return what the training took, as it was run here."""
        seconds = time.monotonic() - self.began
        images = self.steps * self.training.batch
        return {"seconds": seconds, "images_per_second": images / max(seconds, 1e-9)}


def _prefixed(prefix: str, tensors: Tensors) -> Tensors:
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}

"""Runs the trainings of `train` and `ablate`, as many at once as fit, and restarts those that lose their process.

Each training is a Ray task without Ray's own retries: Ray restarts a task that its memory monitor killed without
counting that as a retry, so a task could start more often than asked for. Restarts are counted here alone.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ray

from fgcme.addresses import known_addresses
from fgcme.data import Selection
from fgcme.errors import UserError
from fgcme.files import exists, look_again, read_text
from pipelines.cluster import Progress, concurrent_slots
from pipelines.runs.corpus import with_absolute_encoder
from pipelines.runs.opening import OpenRun
from pipelines.training.failure import (
    MAX_STARTS,
    NODE_PATIENCE,
    clear_failure,
    dead_nodes,
    failure_reason,
    last_line,
    lost_machine,
    permanent_reason,
    process_died,
    record_failure,
    recorded_failure,
)
from pipelines.training.job import Job, conclude, finish_leftovers, format_result, read_result, with_run
from pipelines.training.state import STATE
from pipelines.training.worker import NODE, NOTE, train

# Reasons of failure that one line can hold.
_SHOWN_REASONS = 3
# Losses after which a training fails, whatever their cause.
_MAX_LOSSES = 100

train_task = ray.remote(max_retries=0)(train)


@dataclass(frozen=True)
class Training:
    """One training as the driver sees it.

    Attributes:
        job: what is trained; its experiment says the selection rule.
        variant: its variant in an ablation; empty in a cross-validation.
    """

    job: Job
    variant: str = ""

    @property
    def selection(self) -> Selection:
        """The rule by which its best epoch is chosen."""
        return self.job.experiment.protocol.selection

    @property
    def label(self) -> str:
        """Its variant, with a warning if its numbers are optimistic; empty in a cross-validation."""
        if not self.variant or self.selection == "dev":
            return self.variant
        return f"{self.variant} (epoch chosen on test: optimistic)"

    @property
    def title(self) -> str:
        """Its name, in messages and as its run."""
        return f"{self.label}, {self.job.title}" if self.variant else self.job.title


def run_trainings(trainings: Sequence[Training], run: OpenRun, resume: str) -> None:
    """Train those that have no result yet, as many at once as the cluster has, or will have, room for.

    Args:
        trainings: in the order in which they start, so that an interrupted ablation has complete rows of its table.
        run: the run that theirs belong to.
        resume: the option that completes the run, for messages.

    Raises:
        UserError: trainings failed (says how many, and why); all others are finished.
    """
    done = [training for training in trainings if read_result(training.job.folder) is not None]
    waiting = [training for training in trainings if read_result(training.job.folder) is None]
    finish_leftovers([training.job for training in done], run.run_id)
    # Neither folds, seeds nor variants differ in what they need.
    slots = concurrent_slots(waiting[0].job.experiment.scaling, "one training", len(waiting)) if waiting else 0
    with Progress("training", [training.variant for training in waiting], already=len(done)) as progress:
        failed = _Runner(run, slots, progress).run(waiting)
    if failed:
        reasons = Counter((training.label, recorded_failure(training.job)) for training in failed)
        shown = [
            f"{count} of {label}: {reason}" if label else str(reason)
            for (label, reason), count in reasons.most_common(_SHOWN_REASONS)
        ]
        more = [f"and {len(reasons) - _SHOWN_REASONS} other reasons"] if len(reasons) > _SHOWN_REASONS else []
        raise UserError(
            f"{len(failed)} of {len(trainings)} trainings failed ({'; '.join(shown + more)}); "
            f"complete them with {resume}"
        )


def start_training(training: Training, run: OpenRun) -> Training:
    """The training with its MLflow run, created or reopened, and without the record of an earlier failure."""
    tags = {"fgcme.variant": training.variant} if training.variant else {}
    job = replace(training.job, experiment=with_absolute_encoder(training.job.experiment))
    job = with_run(job, run.mlflow_experiment, run.run_id, training.title, tags)
    clear_failure(job)
    return replace(training, job=job)


@dataclass
class _Starts:
    """The starts of one training.

    Attributes:
        nodes: the node of each start since the last finished epoch.
        saved: the state that was saved when it last started.
        losses: how often it was lost, in all.
    """

    nodes: list[str] = field(default_factory=list)
    saved: tuple[Any, ...] = ()
    losses: int = 0


class _Runner:
    """Starts trainings, as many at once as there are slots, and counts the starts of each."""

    def __init__(self, run: OpenRun, slots: int, progress: Progress) -> None:
        self._run = run
        self._slots = slots
        self._progress = progress
        self._running: dict[Any, Training] = {}
        self._starts: defaultdict[Any, _Starts] = defaultdict(_Starts)
        self._failed: list[Training] = []

    def run(self, trainings: Iterable[Training]) -> list[Training]:
        """Train them; returns those that failed.

        If it is interrupted, what still runs is cancelled, and its MLflow runs end as KILLED.
        """
        waiting = deque(trainings)
        try:
            while waiting or self._running:
                while waiting and len(self._running) < self._slots:
                    self._start(start_training(waiting.popleft(), self._run))
                (reference,), _ = ray.wait(list(self._running), num_returns=1)
                training = self._running.pop(reference)
                try:
                    ray.get(reference)
                except ray.exceptions.RayError as error:
                    self._restart_or_fail(training, error)
                else:
                    self._conclude(training)
        finally:
            for reference, training in self._running.items():
                ray.cancel(reference, force=True)
                training.job.tracker.end_run(training.job.run, "KILLED")
        return self._failed

    def _start(self, training: Training) -> None:
        scaling, starts = training.job.experiment.scaling, self._starts[training.job.folder]
        starts.saved = _saved(training.job)
        # Delete what an earlier start has left.
        for name in (NODE, NOTE):
            (training.job.folder / name).unlink(missing_ok=True)
        task = train_task.options(
            # A task that starts workers computes nothing itself.
            num_cpus=0 if scaling.workers else scaling.cpus_per_worker,
            num_gpus=0 if scaling.workers else scaling.gpus_per_worker,
            name=training.title,
        )
        self._running[task.remote(training.job, known_addresses())] = training

    def _conclude(self, training: Training) -> None:
        result = read_result(training.job.folder)
        assert result is not None, "a training that ended well has left its result"
        conclude(training.job)
        self._print_note(training)
        line = format_result(result)
        message = f"{training.label}, {line}" if training.label else line
        self._progress.step(message, training.variant, result.seconds, others=len(self._running))

    def _restart_or_fail(self, training: Training, error: Exception) -> None:
        self._print_note(training)
        reason = permanent_reason(error)
        if reason is None and self._may_restart(training):
            self._progress.say(f"{training.title} {_loss(training.job, error)}, and resumes from its last saved epoch")
            self._start(training)
            return
        record_failure(training.job, reason or failure_reason(error))
        self._failed.append(training)
        self._progress.fail(f"{training.title} failed: {recorded_failure(training.job)}", training.variant)

    def _may_restart(self, training: Training) -> bool:
        """Whether it has saved an epoch since its start, or started less than `MAX_STARTS` times on living nodes."""
        starts = self._starts[training.job.folder]
        starts.losses += 1
        if _saved(training.job) != starts.saved:
            starts.nodes.clear()
            return starts.losses < _MAX_LOSSES
        starts.nodes.append(_node(training.job))
        if len(starts.nodes) >= MAX_STARTS:
            starts.nodes = _on_living_nodes(starts.nodes)
        return len(starts.nodes) < MAX_STARTS and starts.losses < _MAX_LOSSES

    def _print_note(self, training: Training) -> None:
        note = training.job.folder / NOTE
        if exists(note):
            self._progress.say(f"{training.title}: {read_text(note)}")
            note.unlink()


def _loss(job: Job, error: Exception) -> str:
    """What ended a start of a training, for a message."""
    if lost_machine(error, _node(job)):
        return "was lost with its machine"
    return "lost its process" if process_died(error) else f"was cut short by {last_line(error)}"


def _saved(job: Job) -> tuple[Any, ...]:
    """Identifies the state that a training has saved: the file's time, or the names of Ray Train's checkpoints."""
    state = job.folder / STATE
    look_again(job.folder)
    checkpoints = sorted(path.name for path in job.folder.glob("train/checkpoint_*"))
    return (state.stat().st_mtime_ns if state.exists() else None, *checkpoints)


def _node(job: Job) -> str:
    """The node of a training's last start; empty if it was lost before it named one."""
    path = job.folder / NODE
    return read_text(path) if exists(path) else ""


def _on_living_nodes(nodes: list[str]) -> list[str]:
    """Those of the nodes that are alive; waits until one of them is known to be dead, or Ray had time to notice."""
    deadline = time.monotonic() + NODE_PATIENCE
    while True:
        dead = dead_nodes()
        alone = len(ray.nodes()) == 1  # type: ignore[no-untyped-call]
        if dead & set(nodes) or alone or time.monotonic() > deadline:
            return [node for node in nodes if node not in dead]
        time.sleep(0.5)

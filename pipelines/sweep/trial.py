"""One trial of a sweep: the experiment with a drawn configuration, trained on all tuning folds in step.

What a trial needs to resume lies in its own folder, in the storage that all nodes share, and not in Ray Tune's
checkpoints: a killed sweep may only know of one that was deleted since. So a trial resumes from its last saved epoch
wherever it is started again: in another process, on another node, in a resumed sweep.
"""

from __future__ import annotations

import faulthandler
import functools
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import ray
import torch
from ray import tune

from fgcme.data import SpeechCorpus, open_fold
from fgcme.errors import UserError
from fgcme.experiment import Experiment, TuneSettings, apply_configuration
from fgcme.files import write_text
from fgcme.model import encoder_of
from fgcme.training.learning import Epoch, FoldTrainer, Workers
from pipelines.sweep.search import PROPOSED, settings_of
from pipelines.sweep.trial_folder import FAILURE, NOTE, TrialContext, TrialFolder
from pipelines.training.failure import MAX_STARTS, disk_full, last_line, permanent_reason
from pipelines.training.state import STATE, load_checkpoint, load_state, report_with_state, save_state
from pipelines.training.worker import in_workers, place

T = TypeVar("T")

# A trial may spend this share of its time on saving its state.
_MAX_SAVING_SHARE = 0.05
# Before the first state is saved nobody knows how long that takes; this is assumed.
_EXPECTED_SAVING_SECONDS = 0.1


def train_trial(configuration: dict[str, Any], context: TrialContext) -> None:
    """Train a configuration, and report every epoch to Ray Tune.

    A trial that cannot be trained, because it diverges, hangs or does not fit into memory, reports its failure and
    ends, since it would fail again. After a killed process or a lost node Ray Tune starts the trial again, until it
    was started a few times without an epoch in between.

    Args:
        configuration: dotted settings, the trial's number and when it was proposed.
        context: what all trials of the sweep share.
    """
    folder = context.folder_of(tune.get_context().get_trial_id(), configuration)
    if (last := folder.read_last_report()) is not None:
        # The driver was killed before it knew of this end.
        for report in _kept_reports(folder, context, last):
            tune.report(report)
        return
    settings = settings_of(configuration)
    folder.path.mkdir(parents=True, exist_ok=True)
    if ray.is_initialized():
        folder.node_file.write_text(ray.get_runtime_context().get_node_id(), encoding="utf-8")
    if not folder.configuration.exists():
        write_text(folder.configuration, json.dumps(settings))
    in_process = context.experiment.scaling.workers <= 1

    def train() -> None:
        experiment = apply_configuration(context.experiment, settings)
        proposed_at = configuration.get(PROPOSED)
        if in_process:
            numbers = {name: value for name, value in settings.items() if isinstance(value, int | float)}
            _train_in_process(experiment, context, folder, proposed_at, numbers)
        else:
            # Imported here only: most sweeps run without Ray Train.
            from ray.tune.integration.ray_train import TuneReportCallback

            reporting = TuneReportCallback()  # type: ignore[no-untyped-call]
            config = {"experiment": experiment, "context": context, "folder": folder, "proposed_at": proposed_at}
            in_workers(_train_in_worker, config, experiment.scaling, folder.path, [reporting])

    # Several workers count starts themselves, because Ray Train restarts them without this function.
    starts = folder.count_start() if in_process else 1
    train_or_report_failure(train, folder, context.experiment.tune, starts, tune.report)


def _kept_reports(folder: TrialFolder, context: TrialContext, last: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What a trial that starts again reports before anything else.

    The driver of a resumed sweep may know of none of these epochs, and a scheduler of successive halving compares all.
    Others would take each report for a new one.

    Args:
        folder: of the trial.
        context: of the sweep.
        last: the report of the last epoch that is not trained again, or the failure.
    """
    if context.is_population or context.experiment.tune.scheduler == "hyperband":
        return [last]
    return [report for report in folder.reports() if FAILURE in last or report["epoch"] < last["epoch"]] + [last]


def train_or_report_failure(
    train: Callable[[], None],
    folder: TrialFolder,
    settings: TuneSettings,
    starts: int,
    report: Callable[[dict[str, Any]], object],
) -> None:
    """Train, and report an error that would happen again as the trial's failure.

    Args:
        train: trains the trial.
        folder: of the trial.
        settings: of the sweep.
        starts: of the trial since it last made progress, with this one.
        report: sends a report to Ray.

    Raises:
        Exception: an error that may not happen again.
    """
    try:
        if folder.has_hung():
            raise UserError(
                f"an epoch took longer than tune.epoch_minutes={settings.epoch_minutes:g}: see {folder.stack_file()}"
            )
        if starts > MAX_STARTS:
            raise UserError(f"its process died {MAX_STARTS} times without an epoch in between: is it out of memory?")
        train()
    except Exception as error:
        if disk_full(error):
            # The trial is not to blame, however often this happens.
            folder.made_progress()
            raise
        reason = permanent_reason(error) or (last_line(error) if starts == MAX_STARTS else None)
        if reason is None:
            raise
        # Report the worst objective so the search avoids this region, and epoch 0 so no scheduler ranks others
        # against it.
        failed = {"objective": 0.0, "epoch": 0, FAILURE: reason}
        report(failed | ({} if settings.cost == "none" else {"cost": math.inf}))


class _StateSaver:
    """Keeps a trial's reports, and saves its state after so many of its epochs that saving takes little time.

    Args:
        folder: of the trial.
        always: save after every epoch, however long that takes.
    """

    def __init__(self, folder: TrialFolder, always: bool) -> None:
        self._folder = folder
        self._always = always
        self._saved_at = time.monotonic()
        self._duration = _EXPECTED_SAVING_SECONDS
        self._failing = False

    def save(self, report: Mapping[str, Any], state: Callable[[], Mapping[str, Any]], last: bool) -> str | None:
        """Save the state if it is time to; returns a note for the user when the disk begins to refuse it.

        Args:
            report: of the epoch.
            state: makes the state; called only if it is saved.
            last: whether this epoch is the trial's last: nothing resumes from its state.
        """
        started = time.monotonic()
        try:
            self._folder.add_report(report)
            if not self._always and (last or self._duration >= _MAX_SAVING_SHARE * (started - self._saved_at)):
                return None
            save_state(state(), self._folder.state)
            self._folder.made_progress()
        except OSError as error:
            known, self._failing = self._failing, True
            message = f"its state cannot be saved ({error}): it trains on, and tries again after each epoch"
            return None if known else message
        self._saved_at = time.monotonic()
        self._duration = self._saved_at - started
        self._failing = False
        return None


def _train_in_process(
    experiment: Experiment,
    context: TrialContext,
    folder: TrialFolder,
    proposed_at: float | None,
    numbers: Mapping[str, float],
) -> None:
    """Train in this process, from the last saved state on.

    Args:
        experiment: with the trial's settings.
        context: of the sweep.
        folder: of the trial.
        proposed_at: when the trial was proposed, in seconds since 1970.
        numbers: those of its settings that are numbers; members of a population report them, because they change.
    """
    workers = Workers(device=torch.device("cuda" if experiment.scaling.gpus_per_worker else "cpu"))
    source = _copied_state() if context.is_population else folder.state
    last = load_state(source)
    note = None if last is not None or not source.exists() else f"{source.name} cannot be read: it starts over"
    if last is not None and not context.is_population:
        # The trial may have been killed before the driver received these reports.
        for report in _kept_reports(folder, context, last["report"]):
            tune.report(report)
    # Hyperband pauses trials after any epoch.
    saver = _StateSaver(folder, always=experiment.tune.scheduler == "hyperband")
    for report, state in _watched_epochs(experiment, context, folder, proposed_at, workers, last):
        if note is not None:
            report, note = report | {NOTE: note}, None
        if context.is_population:
            report = {**report, **numbers}
            folder.add_report(report)
            with tempfile.TemporaryDirectory() as checkpoint:
                save_state(state(), Path(checkpoint) / STATE)
                tune.report(report, checkpoint=tune.Checkpoint.from_directory(checkpoint))
            folder.made_progress()
            continue
        is_last = report["epoch"] == experiment.training.epochs
        if (problem := saver.save(report, state, is_last)) is not None:
            report = report | {NOTE: problem}
        # Ray Tune ends a trial that says so at once; otherwise it would ask it for one more report.
        tune.report(report | ({"done": True} if is_last else {}))


def _train_in_worker(config: dict[str, Any]) -> None:
    """What each of several workers of a trial does, under Ray Train, which keeps the states as its checkpoints."""
    import ray.train

    experiment, folder = config["experiment"], config["folder"]
    workers = place(experiment)

    def train() -> None:
        for report, state in _watched_epochs(**config, workers=workers, last=load_checkpoint()):
            if workers.rank == 0:
                folder.add_report(report)
            report_with_state(report, state(), workers.rank)
            if workers.rank == 0:
                folder.made_progress()

    starts = max(workers.gather(folder.count_start() if workers.rank == 0 else 0))
    train_or_report_failure(train, folder, experiment.tune, starts, ray.train.report)


def _watched_epochs(
    experiment: Experiment,
    context: TrialContext,
    folder: TrialFolder,
    proposed_at: float | None,
    workers: Workers,
    last: Mapping[str, Any] | None,
) -> Iterator[tuple[dict[str, Any], Callable[[], dict[str, Any]]]]:
    """The report of each epoch and what makes the state after it; ends this process if an epoch takes too long."""
    torch.set_num_threads(max(1, int(experiment.scaling.cpus_per_worker)))
    epochs = _train_epochs(experiment, context, proposed_at, workers, last)
    return exit_if_too_slow(epochs, folder.stack_file(workers.rank), 60 * experiment.tune.epoch_minutes)


def _train_epochs(
    experiment: Experiment,
    context: TrialContext,
    proposed_at: float | None,
    workers: Workers,
    last: Mapping[str, Any] | None,
) -> Iterator[tuple[dict[str, Any], Callable[[], dict[str, Any]]]]:
    settings = experiment.tune
    trainers = _make_trainers(experiment, context, workers, last)
    objectives: list[float] = list(last["objectives"]) if last else [-math.inf] * len(trainers)
    started = time.monotonic()
    waited = None if last or proposed_at is None else time.time() - proposed_at
    for epochs in zip(*(trainer.epochs() for trainer in trainers), strict=True):
        for position, epoch in enumerate(epochs):
            if epoch.best:
                objectives[position] = epoch.metrics[f"dev/{settings.objective}"]
        report = _make_report(epochs, objectives, settings.planned_folds) | {"seconds": time.monotonic() - started}
        if settings.cost != "none":
            report["cost"] = _measure_cost(trainers[0], settings.cost)
        if waited is not None:
            report["seconds_to_first_step"], waited = waited, None
        yield report, functools.partial(_make_state, report, epochs, objectives)
        started = time.monotonic()


def _make_state(report: Mapping[str, Any], epochs: tuple[Epoch, ...], objectives: list[float]) -> dict[str, Any]:
    """What a trial resumes from after these epochs of its folds. Call it before the next epoch."""
    return {"report": report, "states": [epoch.state() for epoch in epochs], "objectives": objectives}


def exit_if_too_slow(steps: Iterator[T], stack_file: Path, seconds: float) -> Iterator[T]:
    """Pass steps on, and end this process, whatever it is doing, if computing one takes too long.

    The time that the caller spends between two steps does not count.

    Args:
        steps: computed one by one.
        stack_file: where the process's stack is written before it ends.
        seconds: that a step may take.
    """
    with stack_file.open("w") as file:
        while True:
            faulthandler.dump_traceback_later(seconds, exit=True, file=file)
            try:
                step = next(steps)
            except StopIteration:
                return
            finally:
                faulthandler.cancel_dump_traceback_later()
            yield step


def _make_trainers(
    experiment: Experiment, context: TrialContext, workers: Workers, last: Mapping[str, Any] | None
) -> list[FoldTrainer]:
    """A trainer for each tuning fold, from its last state on."""
    corpus = _open_corpus(context.corpus_folder)
    encoder = encoder_of(experiment.model, experiment.prepare.features)
    trainers = []
    for position, fold in enumerate(experiment.tune.planned_folds):
        _, loaders = open_fold(corpus, context.corpus_hash, experiment, fold, "dev", "sweep")
        seed, state = experiment.training.seeds[0], last["states"][position] if last else None
        trainers.append(FoldTrainer(loaders, experiment.model, experiment.training, seed, workers, state, encoder))
    return trainers


def _make_report(epochs: tuple[Epoch, ...], objectives: list[float], folds: list[int]) -> dict[str, Any]:
    """Metrics averaged over the folds, the objective of each fold, and their mean."""
    report: dict[str, Any] = {
        name: sum(epoch.metrics[name] for epoch in epochs) / len(epochs) for name in epochs[0].metrics
    }
    report |= {f"dev/objective/fold-{fold}": value for fold, value in zip(folds, objectives, strict=True)}
    return report | {
        "objective": sum(objectives) / len(objectives),
        "epoch": epochs[0].number,
    }


def _measure_cost(trainer: FoldTrainer, kind: str) -> float:
    """Parameters of the model, or milliseconds for a dev utterance (the median of three passes)."""
    if kind == "parameters":
        return float(sum(parameter.numel() for parameter in trainer.model.parameters()))
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        trainer.evaluate(trainer.loaders.dev)
        seconds.append(time.perf_counter() - started)
    return 1000 * statistics.median(seconds) / len(trainer.loaders.dev.labels)


def _copied_state() -> Path:
    """The state that population-based training hands to a trial: its own, or that of a better one."""
    checkpoint = tune.get_checkpoint()
    return Path(checkpoint.to_directory()) / STATE if checkpoint is not None else Path("nowhere")


@functools.lru_cache(maxsize=2)
def _open_corpus(folder: Path) -> SpeechCorpus:
    """A prepared corpus, mapped once in a process that runs many trials."""
    return SpeechCorpus(folder)

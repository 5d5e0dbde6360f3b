"""One trial of a sweep: an experiment with a drawn configuration, trained on the tuning folds in step.

A trial keeps all it needs to go on in a folder of its own, in the storage that all nodes share, and nothing in Ray
Tune's checkpoints: a sweep that is killed remembers one that was replaced since, and could not go on. So it goes on
from its last epoch wherever it is started again: in another process, on another node, by a resumed sweep.
"""

from __future__ import annotations

import faulthandler
import functools
import json
import math
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import ray.train
import ray.train.torch
import torch
from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback

from fgcme.data import SpeechCorpus, open_fold
from fgcme.errors import UserError
from fgcme.experiment import Experiment, TuneSettings, apply_configuration
from fgcme.files import write_text
from fgcme.training.learning import Epoch, FoldTrainer, Workers
from pipelines.sweep.search import NUMBER, PROPOSED, settings_of
from pipelines.training.failure import disk_full, last_line, permanent_reason
from pipelines.training.state import load_checkpoint, load_state, report_with_state, save_state
from pipelines.training.worker import in_workers, place

T = TypeVar("T")

# So often may a trial be started without getting anywhere: whatever ends it then is its own doing.
_STARTS = 3
# The share of the time that may go into saving where a trial is.
_SAVING = 0.05
# The metric of a report that says why a trial cannot be trained.
FAILURE = "failure"
# The metric of a report that has something to say to the user.
NOTE = "note"


@dataclass(frozen=True)
class TrialFolder:
    """What a trial keeps in a folder of its own.

    Attributes:
        folder: named by the trial.
    """

    folder: Path

    @property
    def run(self) -> Path:
        """The id of its MLflow run."""
        return self.folder / "run"

    @property
    def run_open_marker(self) -> Path:
        """There as long as its MLflow run has not been ended."""
        return self.folder / "open"

    @property
    def state(self) -> Path:
        """Everything needed to go on after its last epoch."""
        return self.folder / "state.pt"

    @property
    def start_counter(self) -> Path:
        """A byte for each time that it was started since it last got anywhere."""
        return self.folder / "starts"

    @property
    def last(self) -> Path:
        """The last report of a trial that has ended, which is all that is needed of it then."""
        return self.folder / "last.json"

    def hang(self, rank: int = 0) -> Path:
        """Where one of its processes was when it was found hanging; empty or missing if it never was."""
        return self.folder / f"hang-{rank}"

    def hung(self) -> bool:
        """Whether one of its processes was found hanging."""
        return any(path.stat().st_size for path in self.folder.glob("hang-*"))

    def start(self) -> int:
        """Count a start; returns how many there were since it last got anywhere."""
        with self.start_counter.open("ab") as file:
            file.write(b".")
            return file.tell()

    def made_progress(self) -> None:
        """Say that it got somewhere: what ended it before is not counted any more."""
        self.start_counter.unlink(missing_ok=True)

    def ended(self) -> dict[str, Any] | None:
        """Its last report, or None if it has not ended, or left none that can be read."""
        try:
            report: dict[str, Any] = json.loads(self.last.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return report

    def end(self, report: Mapping[str, Any]) -> None:
        """Say that it has ended, and drop what it would have needed to go on."""
        write_text(self.last, json.dumps(dict(report)))
        nothing = [path for path in self.folder.glob("hang-*") if not path.stat().st_size]
        for path in (self.state, self.start_counter, *nothing):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.folder / "train", ignore_errors=True)

    def delete(self) -> None:
        """Drop all of it."""
        shutil.rmtree(self.folder)


@dataclass(frozen=True)
class TrialContext:
    """What all trials of a sweep have in common.

    Attributes:
        experiment: what their configurations change.
        corpus, corpus_hash: folder of the prepared corpus, and the state of it that is meant.
        folder: of the trials' own folders.
    """

    experiment: Experiment
    corpus: Path
    corpus_hash: str
    folder: Path

    @property
    def is_population(self) -> bool:
        """Whether trials are a population, of which those that do well are copied and changed as they train."""
        return self.experiment.tune.scheduler == "pbt"

    def folder_of(self, trial_id: str, configuration: Mapping[str, Any]) -> TrialFolder:
        """Where a trial keeps its things: by its number, which a search that was killed gives out again.

        Population-based training copies configurations, numbers and all, from trial to trial.
        """
        name = trial_id if self.is_population else configuration[NUMBER]
        return TrialFolder(self.folder / str(name))


def trial(configuration: dict[str, Any], sweep: TrialContext) -> None:
    """Train a configuration, and report every epoch to Ray Tune.

    A trial that cannot be trained, because it diverges, does not fit into memory or hangs, reports its failure and
    ends: it would fail again. Whatever else ends it, a killed process or a lost node, is Ray Tune's to repeat, until it
    has got nowhere a few times in a row.
    """
    kept = sweep.folder_of(tune.get_context().get_trial_id(), configuration)
    if (last := kept.ended()) is not None:
        # It had ended when the sweep was killed, which had not heard of it yet.
        tune.report(last)
        return
    kept.folder.mkdir(parents=True, exist_ok=True)
    alone = sweep.experiment.scaling.workers <= 1

    def train() -> None:
        experiment = apply_configuration(sweep.experiment, settings_of(configuration))
        proposed = configuration.get(PROPOSED)
        config: dict[str, Any] = {"experiment": experiment, "sweep": sweep, "kept": kept, "proposed": proposed}
        if alone:
            _in_process(**config)
        else:
            reporting = TuneReportCallback()  # type: ignore[no-untyped-call]
            in_workers(_in_worker, config, experiment.scaling, kept.folder, [reporting])

    # Several workers count for themselves: Ray Train starts them again on its own.
    _attempt(train, kept, sweep.experiment.tune, kept.start() if alone else 1, tune.report)


def _attempt(
    train: Callable[[], None],
    kept: TrialFolder,
    settings: TuneSettings,
    starts: int,
    report: Callable[[dict[str, Any]], object],
) -> None:
    """Train, and report what would go wrong again as the trial's failure.

    Args:
        train: does it.
        kept: what the trial keeps.
        settings: of the sweep.
        starts: how often the trial was started, this time too, since it last got anywhere.
        report: to Ray.

    Raises:
        Exception: what may go well another time.
    """
    try:
        if kept.hung():
            raise UserError(
                f"an epoch took longer than tune.epoch_minutes={settings.epoch_minutes:g}: see {kept.hang()}"
            )
        if starts > _STARTS:
            raise UserError(f"its process died {_STARTS} times without an epoch in between: is it out of memory?")
        train()
    except Exception as error:
        if disk_full(error):
            # Nothing of the trial's own, however often.
            kept.made_progress()
            raise
        reason = permanent_reason(error) or (last_line(error) if starts == _STARTS else None)
        if reason is None:
            raise
        # The worst there is: a search that is told nothing would look there again. And of no epoch, lest a scheduler
        # compare others with it.
        failed = {"objective": 0.0, "epoch": 0, FAILURE: reason}
        report(failed | ({} if settings.cost == "none" else {"cost": math.inf}))


def _in_process(experiment: Experiment, sweep: TrialContext, kept: TrialFolder, proposed: float | None) -> None:
    """Train in this process, from where it last saved its state."""
    workers = Workers(device=torch.device("cuda" if experiment.scaling.gpus_per_worker else "cpu"))
    source = _copied_state() if sweep.is_population else kept.state
    last = load_state(source)
    note = None if last is not None or not source.exists() else f"{source.name} cannot be read: it begins anew"
    if last is not None and not sweep.is_population:
        # It may have been killed before this was heard.
        tune.report(last["report"])
    saved, took, full = time.monotonic(), 0.0, False
    for report, state in _epochs(experiment, sweep, kept, proposed, workers, last):
        if note is not None:
            report, note = report | {NOTE: note}, None
        if sweep.is_population:
            with tempfile.TemporaryDirectory() as folder:
                torch.save(state, Path(folder) / "state.pt")
                tune.report(report, checkpoint=tune.Checkpoint.from_directory(folder))
            kept.made_progress()
            continue
        # A slow disk is not to slow the training down; Hyperband sends trials to sleep after any epoch.
        asleep = experiment.tune.scheduler == "hyperband"
        if asleep or took < _SAVING * (time.monotonic() - saved):
            begun = time.monotonic()
            try:
                save_state(state, kept.state)
                kept.made_progress()
                saved = time.monotonic()
                took, full = saved - begun, False
            except OSError as error:
                if not full:
                    told = f"its state cannot be kept ({error}): it goes on, and tries again after each epoch"
                    report = report | {NOTE: told}
                full = True
        tune.report(report)


def _in_worker(config: dict[str, Any]) -> None:
    """What each worker of a trial of several does, under Ray Train, which keeps the states as its checkpoints."""
    experiment, kept = config["experiment"], config["kept"]
    workers = place(experiment)

    def train() -> None:
        for report, state in _epochs(**config, workers=workers, last=load_checkpoint()):
            report_with_state(report, state, workers.rank)
            if workers.rank == 0:
                kept.made_progress()

    starts = max(workers.gather(kept.start() if workers.rank == 0 else 0))
    _attempt(train, kept, experiment.tune, starts, ray.train.report)


def _epochs(
    experiment: Experiment,
    sweep: TrialContext,
    kept: TrialFolder,
    proposed: float | None,
    workers: Workers,
    last: Mapping[str, Any] | None,
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The report of each epoch, and the state to go on from; a process that is too long about one is ended."""
    torch.set_num_threads(max(1, int(experiment.scaling.cpus_per_worker)))
    epochs = _trained(experiment, sweep, proposed, workers, last)
    return _watched(epochs, kept.hang(workers.rank), 60 * experiment.tune.epoch_minutes)


def _trained(
    experiment: Experiment,
    sweep: TrialContext,
    proposed: float | None,
    workers: Workers,
    last: Mapping[str, Any] | None,
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    settings = experiment.tune
    fits = _fits(experiment, sweep, workers, last)
    objectives: list[float] = list(last["objectives"]) if last else [-math.inf] * len(fits)
    started, first = time.monotonic(), None if last or proposed is None else time.time() - proposed
    for epochs in zip(*(fit.epochs() for fit in fits), strict=True):
        for position, epoch in enumerate(epochs):
            if epoch.best:
                objectives[position] = epoch.metrics[f"dev/{settings.objective}"]
        report = _report(epochs, objectives, settings.folds) | {"seconds": time.monotonic() - started}
        if settings.cost != "none":
            report["cost"] = _cost(fits, settings.cost)
        if first is not None:
            report["seconds_to_first_step"], first = first, None
        states = [epoch.state() for epoch in epochs]
        yield report, {"report": report, "states": states, "objectives": objectives}
        started = time.monotonic()


def _watched(steps: Iterator[T], path: Path, seconds: float) -> Iterator[T]:
    """The same steps; this process is ended, from outside of Python, if one of them takes longer than so many seconds.

    What is done with a step is not counted.

    Args:
        steps: what is to be done.
        path: where this process's stack is written then.
        seconds: patience.
    """
    with path.open("w") as file:
        while True:
            faulthandler.dump_traceback_later(seconds, exit=True, file=file)
            try:
                step = next(steps)
            except StopIteration:
                return
            finally:
                faulthandler.cancel_dump_traceback_later()
            yield step


def _fits(
    experiment: Experiment, sweep: TrialContext, workers: Workers, last: Mapping[str, Any] | None
) -> list[FoldTrainer]:
    corpus = _corpus(sweep.corpus)
    fits = []
    for position, fold in enumerate(experiment.tune.folds):
        _, parts = open_fold(corpus, sweep.corpus_hash, experiment, fold, "dev", "sweep")
        seed, state = experiment.training.seeds[0], last["states"][position] if last else None
        fits.append(FoldTrainer(parts, experiment.model, experiment.training, seed, workers, state))
    return fits


def _report(epochs: tuple[Epoch, ...], objectives: list[float], folds: list[int]) -> dict[str, Any]:
    """Means over the folds, and the objective of each fold beside their mean."""
    report: dict[str, Any] = {
        name: sum(epoch.metrics[name] for epoch in epochs) / len(epochs) for name in epochs[0].metrics
    }
    report |= {f"dev/objective/fold-{fold}": value for fold, value in zip(folds, objectives, strict=True)}
    return report | {
        "objective": sum(objectives) / len(objectives),
        "epoch": epochs[0].number,
    }


def _cost(fits: list[FoldTrainer], kind: str) -> float:
    """Parameters of the model, or milliseconds that it needs for a dev utterance (the median of three passes)."""
    if kind == "parameters":
        return float(sum(parameter.numel() for parameter in fits[0].model.parameters()))
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        fits[0].evaluate(fits[0].loaders.dev)
        seconds.append(time.perf_counter() - started)
    return 1000 * statistics.median(seconds) / len(fits[0].loaders.dev.labels)


def _copied_state() -> Path:
    """The state that population-based training hands a trial: its own, or that of a better one."""
    checkpoint = tune.get_checkpoint()
    return Path(checkpoint.to_directory()) / "state.pt" if checkpoint is not None else Path("nowhere")


@functools.lru_cache(maxsize=2)
def _corpus(folder: Path) -> SpeechCorpus:
    """Mapped once in a process that runs many trials."""
    return SpeechCorpus(folder)

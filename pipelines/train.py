"""Train: cross-validation over folds and seeds, each training a Ray Train job.

The driver makes the MLflow runs and hands their ids out. Each (fold, seed) is one Ray task; it trains in its own
process, or, with `scaling.workers`, starts that many Ray Train workers. What is finished is kept in the storage folder:
a training that is resumed does only what is left.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray
import ray.train
import ray.train.torch
import torch
import torch.distributed

from fgcme import experiment as experiments
from fgcme import fitted
from fgcme.crossvalidation import Summary, predictions_table, summarise
from fgcme.dataset import SpeechCorpus
from fgcme.errors import UserError
from fgcme.experiment import Experiment
from fgcme.learning import Fit, Workers, divide
from fgcme.protocol import Assignment, Protocol, assign, resolve, split
from fgcme.report.confusion import confusion_figure
from fgcme.tracking import Tracker, prepare_store, provenance, resolve_uri
from pipelines import engine, prepare
from pipelines.progress import Progress
from pipelines.storage import writable


@dataclass(frozen=True)
class Job:
    """One training: everything that a worker on any machine needs to know.

    Attributes:
        experiment: what is trained.
        corpus: folder of the prepared corpus.
        fold, seed: which of the trainings.
        run: the MLflow run that it reports to.
        tracking_uri, artifacts: where that run lives.
        folder: where its checkpoints and its result are kept.
    """

    experiment: Experiment
    corpus: Path
    fold: int
    seed: int
    run: str
    tracking_uri: str
    artifacts: Path
    folder: Path


@dataclass(frozen=True)
class Result:
    """What one training gave.

    Attributes:
        fold, seed: which of the trainings.
        best_epoch: whose weights were kept.
        epochs: epochs that were run.
        dev, test: metrics of those weights.
        seconds: wall time.
    """

    fold: int
    seed: int
    best_epoch: int
    epochs: int
    dev: dict[str, float]
    test: dict[str, float]
    seconds: float


def run(experiment: Experiment, folds: Sequence[int] | None = None, resume: str | None = None) -> str:
    """Cross-validate an experiment and record it.

    Args:
        experiment: what to train.
        folds: only these; all of the protocol's by default.
        resume: a run that was interrupted, to be completed.

    Returns:
        The id of the MLflow run.

    Raises:
        UserError: the corpus is not prepared or does not fit the protocol, or Ray has less than one training needs.
    """
    storage = writable(experiment)
    corpus_folder = prepare.locate(experiment)
    corpus = SpeechCorpus(corpus_folder)
    protocol = resolve(experiment.protocol, experiment.corpus.kind)
    assignment = assign(protocol, corpus.members, experiment.protocol.allow_missing)
    chosen = list(range(assignment.fold_count)) if folds is None else list(folds)
    for fold in chosen:
        split(assignment, fold)
    uri = resolve_uri(experiment.tracking.uri)
    prepare_store(uri)
    tracker = Tracker(uri, storage / "artifacts")
    if resume is None:
        study = tracker.experiment(experiment.name)
        parent = tracker.start(
            study,
            f"{experiment.name} train",
            tags=run_tags(experiment, corpus, assignment) | {"fgcme.kind": "cross_validation"},
            parameters=experiment.flat(),
        )
        tracker.text(parent, experiment.to_yaml(), "experiment.yaml")
    else:
        parent, study = _reopen(tracker, resume, experiment)
    folder = storage / "runs" / parent
    jobs = [
        Job(experiment, corpus_folder, fold, seed, "", uri, storage / "artifacts", folder / f"fold-{fold}-seed-{seed}")
        for seed in experiment.training.seeds
        for fold in chosen
    ]
    _describe(experiment, protocol, corpus, assignment, jobs)
    with tracker.ending(parent), engine.session():
        results = _train_all(jobs, tracker, study, parent)
        predictions = pa.concat_tables(pq.read_table(job.folder / "predictions.parquet") for job in jobs)
        summary = summarise(predictions, protocol.classes)
        complete = set(chosen) == set(range(assignment.fold_count))
        _record(tracker, parent, summary, predictions, protocol, complete)
    _conclude(experiment, protocol, summary, predictions, results, parent, complete)
    return parent


@ray.remote(max_retries=3)
def train_fold(job: Job) -> Result:
    """One training, start to end, in this task's process or in Ray Train workers that it starts."""
    # Ray Train's own default of 2 s lets a restarted worker group begin one checkpoint too early.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    scaling = job.experiment.scaling
    trainer = ray.train.torch.TorchTrainer(
        train_worker,
        train_loop_config={"job": job},
        scaling_config=ray.train.ScalingConfig(
            num_workers=scaling.workers,
            use_gpu=scaling.gpus_per_worker > 0,
            resources_per_worker={"CPU": scaling.cpus_per_worker}
            | ({"GPU": scaling.gpus_per_worker} if scaling.gpus_per_worker else {}),
        ),
        run_config=ray.train.RunConfig(
            name="train",
            storage_path=str(job.folder),
            failure_config=ray.train.FailureConfig(max_failures=3),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
        ),
    )
    trainer.fit()
    return Result(**json.loads((job.folder / "result.json").read_text(encoding="utf-8")))


def train_worker(config: dict[str, Any]) -> None:
    """What every worker of a training does; alone, or as one of several."""
    job: Job = config["job"]
    started = time.monotonic()
    experiment = job.experiment
    torch.set_num_threads(max(1, int(experiment.scaling.cpus_per_worker)))
    workers = _place(experiment)
    corpus = SpeechCorpus(job.corpus)
    protocol = resolve(experiment.protocol, experiment.corpus.kind)
    assignment = assign(protocol, corpus.members, experiment.protocol.allow_missing)
    parts = divide(
        corpus,
        split(assignment, job.fold, experiment.protocol.selection),
        assignment.labels,
        protocol.classes,
        experiment.model,
        experiment.training,
    )
    tracker = Tracker(job.tracking_uri, job.artifacts)
    fit = Fit(parts, experiment.model, experiment.training, job.seed, workers, _last_state(job))
    for epoch in fit.epochs():
        if workers.rank == 0:
            tracker.log(job.run, epoch.metrics, epoch.number)
        _keep(job, epoch.state(), epoch.metrics, workers)
    best_epoch = fit.restore_best()
    dev, test = fit.evaluate(parts.dev), fit.evaluate(parts.test)
    if workers.rank != 0:
        return
    result = Result(
        job.fold,
        job.seed,
        best_epoch,
        experiment.training.epochs,
        dev.metrics(),
        test.metrics(),
        time.monotonic() - started,
    )
    utterances = parts.test.utterances
    predictions = predictions_table(
        [corpus.members.ids[index] for index in utterances],
        [corpus.members.speakers[index] for index in utterances],
        test.labels,
        test.logits,
        protocol.classes,
        job.fold,
        job.seed,
    )
    pq.write_table(predictions, job.folder / "predictions.parquet")
    _publish(job, fit, parts.vocabulary.words, parts.frame_size, protocol, result, tracker)
    # Last of all: a training is finished when its result is there.
    _write(job.folder / "result.json", json.dumps(asdict(result), indent=2))


def _place(experiment: Experiment) -> Workers:
    context = ray.train.get_context()
    if experiment.scaling.workers == 0:
        return Workers(device=torch.device("cuda" if experiment.scaling.gpus_per_worker else "cpu"))

    def gather(value: Any) -> list[Any]:
        if context.get_world_size() == 1:
            return [value]
        everyone: list[Any] = [None] * context.get_world_size()
        torch.distributed.all_gather_object(everyone, value)
        return everyone

    return Workers(
        rank=context.get_world_rank(),
        count=context.get_world_size(),
        device=ray.train.torch.get_device(),
        wrap=lambda model: ray.train.torch.prepare_model(model),
        gather=gather,
    )


def _last_state(job: Job) -> dict[str, Any] | None:
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            return _load_state(Path(folder) / "state.pt")
    path = job.folder / "state.pt"
    return _load_state(path) if path.exists() else None


def _load_state(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _keep(job: Job, state: dict[str, Any], metrics: dict[str, float], workers: Workers) -> None:
    """Make the epoch's state a checkpoint: Ray Train's, or a file of our own in process, where Ray Train keeps none."""
    if job.experiment.scaling.workers == 0:
        torch.save(state, job.folder / "state.pt.partial")
        (job.folder / "state.pt.partial").replace(job.folder / "state.pt")
        return
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = None
        if workers.rank == 0:
            torch.save(state, Path(folder) / "state.pt")
            checkpoint = ray.train.Checkpoint.from_directory(folder)
        ray.train.report(metrics, checkpoint=checkpoint)


def _publish(
    job: Job, fit: Fit, words: list[str], frame_size: int, protocol: Protocol, result: Result, tracker: Tracker
) -> None:
    experiment = job.experiment
    # Where the word vectors lay is nobody's business any more: they are among the weights.
    semantic = experiment.model.semantic.model_copy(update={"vectors": None})
    card = fitted.Card(
        model=experiment.model.model_copy(update={"semantic": semantic}),
        prepare=experiment.prepare,
        classes=protocol.classes,
        words=words,
        frame_size=frame_size,
        frame_limit=experiment.training.frame_limit,
        origin={
            "corpus": experiment.corpus.kind,
            "protocol": protocol.name,
            "selection": experiment.protocol.selection,
            "fold": job.fold,
            "seed": job.seed,
        },
    )
    with tempfile.TemporaryDirectory() as folder:
        fitted.save(Path(folder), fit.model, card)
        tracker.artifact(job.run, Path(folder), "model")
    tracker.artifact(job.run, job.folder / "predictions.parquet")
    final = {f"best/dev/{name}": value for name, value in result.dev.items()}
    final |= {f"test/{name}": value for name, value in result.test.items()}
    tracker.log(job.run, final | {"best/epoch": result.best_epoch, "seconds": result.seconds}, result.best_epoch)


def _train_all(jobs: list[Job], tracker: Tracker, study: str, parent: str) -> list[Result]:
    results = [_finished(job) for job in jobs]
    waiting = [job for job, result in zip(jobs, results, strict=True) if result is None]
    done = [result for result in results if result is not None]
    if not waiting:
        return done
    scaling = waiting[0].experiment.scaling
    at_once = _at_once(waiting[0].experiment)
    progress = Progress(len(jobs), "training", already=len(done))
    running: dict[Any, Job] = {}
    failed: list[str] = []
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                job = _with_run(waiting.pop(0), tracker, study, parent)
                # With workers of its own a training's task computes nothing itself.
                task = train_fold.options(
                    num_cpus=0 if scaling.workers else scaling.cpus_per_worker,
                    num_gpus=0 if scaling.workers else scaling.gpus_per_worker,
                    name=f"fold {job.fold}, seed {job.seed}",
                )
                running[task.remote(job)] = job
            finished, _ = ray.wait(list(running), num_returns=1)
            job = running.pop(finished[0])
            try:
                result: Result = ray.get(finished[0])
            except ray.exceptions.RayError as error:
                tracker.finish(job.run, "FAILED")
                failed.append(f"fold {job.fold}, seed {job.seed}: {_cause(error)}")
                progress.say(failed[-1])
                continue
            _clean(job)
            tracker.finish(job.run, "FINISHED")
            done.append(result)
            progress.step(
                f"fold {result.fold}, seed {result.seed}: best epoch {result.best_epoch} of {result.epochs}, "
                f"dev UA {100 * result.dev['ua']:.1f}, test UA {100 * result.test['ua']:.1f}, "
                f"WA {100 * result.test['wa']:.1f}"
            )
    finally:
        for reference, job in running.items():
            ray.cancel(reference, force=True)
            tracker.finish(job.run, "KILLED")
    if failed:
        raise UserError(
            f"{len(failed)} of {len(jobs)} trainings failed ({failed[0]}); complete them with --resume {parent}"
        )
    return sorted(done, key=lambda result: (result.seed, result.fold))


def _finished(job: Job) -> Result | None:
    path = job.folder / "result.json"
    return Result(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def _with_run(job: Job, tracker: Tracker, study: str, parent: str) -> Job:
    """The job with its MLflow run: a new one, or the one that an interrupted training left."""
    job.folder.mkdir(parents=True, exist_ok=True)
    marker = job.folder / "run"
    if marker.exists():
        run_id = marker.read_text(encoding="utf-8")
        tracker.reopen(run_id)
    else:
        run_id = tracker.start(
            study,
            f"fold {job.fold}, seed {job.seed}",
            parent=parent,
            tags={
                "fgcme.kind": "fold",
                "fgcme.fold": str(job.fold),
                "fgcme.seed": str(job.seed),
                "fgcme.protocol": job.experiment.protocol.name,
                "fgcme.selection": job.experiment.protocol.selection,
            },
            parameters={"fold": job.fold, "seed": job.seed},
        )
        _write(marker, run_id)
    return Job(**{**vars(job), "run": run_id})


def _at_once(experiment: Experiment) -> int:
    scaling = experiment.scaling
    size = max(scaling.workers, 1)
    cpus, gpus = size * scaling.cpus_per_worker, size * scaling.gpus_per_worker
    engine.require(cpus, gpus, "one training")
    has = engine.resources()
    fitting = int(has["CPU"] // cpus)
    if gpus:
        fitting = min(fitting, int(has["GPU"] // gpus))
    return min(max(fitting, 1), scaling.parallel or fitting or 1)


def _clean(job: Job) -> None:
    shutil.rmtree(job.folder / "train", ignore_errors=True)
    (job.folder / "state.pt").unlink(missing_ok=True)


def _cause(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__


def _write(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def run_tags(experiment: Experiment, corpus: SpeechCorpus, assignment: Assignment) -> dict[str, str]:
    """What a run of MLflow must say of where its numbers come from."""
    tags = provenance() | {
        "fgcme.corpus": corpus.description.corpus,
        "fgcme.corpus_hash": corpus.description.corpus_hash,
        "fgcme.protocol": experiment.protocol.name,
        "fgcme.selection": experiment.protocol.selection,
    }
    if experiment.protocol.tuned_on:
        tags["fgcme.tuned_on"] = ", ".join(experiment.protocol.tuned_on)
    if assignment.mismatches:
        tags["fgcme.allow_missing"] = "; ".join(assignment.mismatches)
    return tags


def _reopen(tracker: Tracker, resume: str, experiment: Experiment) -> tuple[str, str]:
    found = tracker.find(resume)
    if found.data.tags.get("fgcme.kind") != "cross_validation":
        raise UserError(f"{resume}: not a run of `fgcme train`")
    recorded = experiments.parse(tracker.yaml(found.info.run_id, "experiment.yaml"), source=f"run {resume}")
    # How a training is spread over machines does not decide its result; everything else must be as it was.
    irrelevant = ("scaling.", "tracking.", "storage.", "tune.")
    now = experiment.flat()
    changed = [
        key for key, value in recorded.flat().items() if not key.startswith(irrelevant) and now.get(key) != value
    ]
    if changed:
        raise UserError(f"run {resume} was started with another {', '.join(changed)}; resume it with the same settings")
    tracker.reopen(found.info.run_id)
    return found.info.run_id, found.info.experiment_id


def _describe(
    experiment: Experiment, protocol: Protocol, corpus: SpeechCorpus, assignment: Assignment, jobs: list[Job]
) -> None:
    taking_part = int((assignment.folds >= 0).sum())
    folds = len({job.fold for job in jobs})
    print(
        f"{protocol.name}: {taking_part} of {len(corpus)} utterances, {len(protocol.classes)} classes; "
        f"{folds} folds x {len(experiment.training.seeds)} seeds"
    )
    for reason, count in assignment.left_out.items():
        print(f"  left out: {count} x {reason}")
    for mismatch in assignment.mismatches:
        print(f"  allowed: {mismatch}")


def _record(
    tracker: Tracker, parent: str, summary: Summary, predictions: pa.Table, protocol: Protocol, complete: bool
) -> None:
    # Some folds alone are no cross-validation: their mean must not be taken for one.
    if complete:
        metrics = {f"test/{name}": value for name, value in summary.mean.items()}
        metrics |= {f"test/{name}_deviation": value for name, value in summary.deviation.items()}
        tracker.log(parent, metrics, 0)
    tracker.figure(parent, confusion_figure(summary.matrix, protocol.classes), "confusion.png")
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(predictions, Path(folder) / "predictions.parquet")
        tracker.artifact(parent, Path(folder) / "predictions.parquet")


def _conclude(
    experiment: Experiment,
    protocol: Protocol,
    summary: Summary,
    predictions: pa.Table,
    results: list[Result],
    parent: str,
    complete: bool,
) -> None:
    rule = (
        "dev (honest)"
        if experiment.protocol.selection == "dev"
        else "TEST (optimistic: epochs chosen on the test part)"
    )
    seeds = len(summary.by_seed)

    def line(of: Summary) -> str:
        return ", ".join(
            f"{title} {100 * of.mean[name]:.1f} ± {100 * of.deviation[name]:.1f}"
            for title, name in (("WA", "wa"), ("UA", "ua"), ("macro-F1", "macro_f1"))
        )

    print(
        f"\n{protocol.name}, selection {rule}{'' if complete else ', not all folds'}, {seeds} seed(s), "
        "mean ± deviation in per cent:"
    )
    print(f"  {line(summary)}  ({summary.utterances} utterances a seed)")
    if experiment.protocol.tuned_on:
        print("  optimistic: this configuration was chosen on speakers that are test speakers here; without them:")
        print(f"  {line(summarise(predictions, protocol.classes, experiment.protocol.tuned_on))}")
    print(f"  {len(results)} trainings, {sum(result.seconds for result in results):.0f} s of training time")
    print(f"\nrun {parent}; next: fgcme register {parent} --name fgcme-{experiment.name} --alias champion")

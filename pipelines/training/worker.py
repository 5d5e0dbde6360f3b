"""One training of one fold, in a task's own process or in Ray Train workers that the task starts."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray
import torch
import torch.distributed

from fgcme.addresses import known_addresses, learn_addresses
from fgcme.data import Assignment, SpeechCorpus, make_fold_loaders, open_fold
from fgcme.evaluation.agreement import with_votes
from fgcme.evaluation.cross_validation import predictions_table
from fgcme.evaluation.ratings import ratings_table, with_ratings
from fgcme.experiment import Experiment, ScalingSettings
from fgcme.files import write_text
from fgcme.model import EncoderTop, encoder_of
from fgcme.serving import fitted
from fgcme.training.average_word import set_average_word
from fgcme.training.evaluation import Evaluation
from fgcme.training.learning import Epoch, FoldTrainer, Workers
from pipelines.runs import records
from pipelines.training.job import Job, Result
from pipelines.training.state import STATE, load_checkpoint, load_state, report_with_state, save_state

# Files in a training's folder: the node of its last start, and a note for the user about that start.
NODE, NOTE = "node", "note"


def train(job: Job, addresses: Mapping[str, str]) -> None:
    """Train in this process or, if `scaling.workers` is set, in Ray Train workers.

    Args:
        job: the training.
        addresses: what the driver knows of addresses whose passwords are hidden (`fgcme.addresses`).
    """
    learn_addresses(addresses)
    if ray.is_initialized():
        write_text(job.folder / NODE, ray.get_runtime_context().get_node_id())
    if not job.experiment.scaling.workers:
        train_worker({"job": job})
        return
    in_workers(train_worker, {"job": job}, job.experiment.scaling, job.folder)


def in_workers(
    loop: Callable[[dict[str, Any]], None],
    config: dict[str, Any],
    scaling: ScalingSettings,
    folder: Path,
    callbacks: Sequence[Any] = (),
) -> None:
    """Run a training loop in Ray Train workers, from the last checkpoint in the folder if there is one.

    Args:
        loop: what each worker does.
        config: the loop's argument.
        scaling: how many workers, and what each of them needs.
        folder: keeps the checkpoints, under `train`.
        callbacks: of Ray Train.
    """
    # Imported here only: it takes a process seconds, and most trainings run without it.
    import ray.train.torch

    addresses = known_addresses()

    def loop_with_addresses(config: dict[str, Any]) -> None:
        # They are no part of the configuration, which Ray keeps and shows.
        learn_addresses(addresses)
        loop(config)

    # With Ray Train's default of 2 s, restarted workers repeat an epoch.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    ray.train.torch.TorchTrainer(
        loop_with_addresses,
        train_loop_config=config,
        scaling_config=ray.train.ScalingConfig(
            num_workers=scaling.workers,
            use_gpu=scaling.gpus_per_worker > 0,
            resources_per_worker={"CPU": scaling.cpus_per_worker}
            | ({"GPU": scaling.gpus_per_worker} if scaling.gpus_per_worker else {}),
        ),
        run_config=ray.train.RunConfig(
            name="train",
            storage_path=str(folder),
            callbacks=list(callbacks),
            failure_config=ray.train.FailureConfig(max_failures=3),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
        ),
    ).fit()


def train_worker(config: dict[str, Any]) -> None:
    """Train as the only process, or as one of several workers.

    Args:
        config: `job`, the training's `Job`; Ray Train passes a dictionary.
    """
    job: Job = config["job"]
    started = time.monotonic()
    experiment = job.experiment
    torch.set_num_threads(max(1, int(experiment.scaling.cpus_per_worker)))
    workers = place(experiment)
    corpus = SpeechCorpus(job.corpus)
    assignment, loaders = open_fold(
        corpus, job.corpus_hash, experiment, job.fold, experiment.protocol.selection, "training"
    )
    state = _last_state(job)
    # Seconds before a restart; states of older versions lack them.
    earlier = 0.0 if state is None else state.get("seconds", 0.0)

    def elapsed() -> float:
        return earlier + time.monotonic() - started

    def keep(epoch: Epoch) -> None:
        if workers.rank == 0:
            job.tracker.log_metrics(job.run, epoch.metrics, epoch.number)
        _save(job, {**epoch.state(), "seconds": elapsed()}, epoch.metrics, workers)

    encoder = encoder_of(experiment.model, experiment.prepare.features)
    trainer = FoldTrainer(loaders, experiment.model, experiment.training, job.seed, workers, state, encoder)
    if job.epochs:
        trainer.train(job.epochs, keep)
        result, test = Result(job.fold, job.seed, job.epochs, job.epochs, {}, {}, elapsed()), None
    else:
        for epoch in trainer.epochs():
            keep(epoch)
        best_epoch, dev = trainer.restore_best(), trainer.evaluate(loaders.dev).metrics()
        if experiment.training.refit:
            trainer = _refit(job, corpus, assignment, workers, best_epoch, encoder)
        test = trainer.answer(trainer.loaders.test)
        epochs = experiment.training.epochs
        result = Result(job.fold, job.seed, best_epoch, epochs, dev, test.metrics(), elapsed())
    if workers.rank == 0:
        predictions = None if test is None else _predictions(result, trainer, corpus, assignment, test)
        _record(job, trainer, assignment, predictions, result, encoder)
        # Written last: a training with a result is finished.
        write_text(job.folder / "result.json", json.dumps(asdict(result), indent=2))


def _refit(
    job: Job,
    corpus: SpeechCorpus,
    assignment: Assignment,
    workers: Workers,
    epochs: int,
    encoder: EncoderTop | None,
) -> FoldTrainer:
    """The fold trained anew on train and dev part together, for as many epochs as dev has chosen.

    It saves no state: a training that is interrupted here starts this part over.
    """
    experiment = job.experiment
    model, training, selection = experiment.model, experiment.training, experiment.protocol.selection
    loaders = make_fold_loaders(corpus, assignment, job.fold, selection, model, training, refit=True)
    trainer = FoldTrainer(loaders, model, training, job.seed, workers, encoder=encoder)
    trainer.train(epochs)
    return trainer


def place(experiment: Experiment) -> Workers:
    """The workers of a training as this process sees them: its rank, their number, its device and how to gather."""
    if experiment.scaling.workers == 0:
        return Workers(device=torch.device("cuda" if experiment.scaling.gpus_per_worker else "cpu"))
    import ray.train.torch

    context = ray.train.get_context()

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
        # Every parameter gets a gradient, and buffers are the same in all workers.
        wrap=lambda model: ray.train.torch.prepare_model(model, parallel_strategy_kwargs={"broadcast_buffers": False}),
        gather=gather,
    )


def _last_state(job: Job) -> dict[str, Any] | None:
    if job.experiment.scaling.workers:
        return load_checkpoint()
    state = load_state(job.folder / STATE)
    if state is None and (job.folder / STATE).exists():
        write_text(job.folder / NOTE, f"{STATE} cannot be read: it starts over")
    return state


def _save(job: Job, state: dict[str, Any], metrics: dict[str, float], workers: Workers) -> None:
    """Save the epoch's state: with workers as Ray Train's checkpoint, alone in a file."""
    if job.experiment.scaling.workers:
        report_with_state(metrics, state, workers.rank)
    else:
        save_state(state, job.folder / STATE)


def _predictions(
    result: Result, trainer: FoldTrainer, corpus: SpeechCorpus, assignment: Assignment, test: Evaluation
) -> pa.Table:
    """The predictions of a fold's test part, as a table."""
    assert result.fold is not None, "who trains on everybody predicts nobody"
    tested = trainer.loaders.test.utterances
    ids, speakers = ([column[index] for index in tested] for column in (corpus.table.ids, corpus.table.speakers))
    if test.tasks.classes:
        classes = assignment.protocol.classes
        table = predictions_table(ids, speakers, test.labels, test.logits, classes, result.fold, result.seed)
        if test.votes is not None and test.votes.shape[1]:
            table = with_votes(table, test.votes)
    else:
        table = ratings_table(ids, speakers, result.fold, result.seed)
    return with_ratings(table, test.true_ratings, test.answered_ratings)


def _record(
    job: Job,
    trainer: FoldTrainer,
    assignment: Assignment,
    predictions: pa.Table | None,
    result: Result,
    encoder: EncoderTop | None,
) -> None:
    """Record the model, its test predictions if there are any, and its final metrics with the run."""
    experiment = job.experiment
    # Drop the path of the word vectors: they are among the weights.
    semantic = experiment.model.semantic.model_copy(update={"vectors": None})
    spec = fitted.ModelSpec(
        model=experiment.model.model_copy(update={"semantic": semantic}),
        prepare=experiment.prepare,
        classes=assignment.protocol.classes,
        words=trainer.loaders.vocabulary.words,
        given_words=trainer.loaders.vocabulary.given,
        word_feature_size=trainer.loaders.word_feature_size,
        word_layers=trainer.loaders.word_layers,
        frame_size=trainer.loaders.frame_size,
        layers=trainer.loaders.layers,
        encoder=encoder,
        frame_limit=experiment.training.frame_limit,
        blank=experiment.training.loss == "ctc",
        modality_dropout=experiment.training.augmentation.modality_dropout > 0,
        dimensions={name: list(scale) for name, scale in assignment.protocol.dimensions.items()},
        origin={
            "corpus": experiment.corpus.kind,
            "protocol": records.protocol_label(experiment),
            "selection": experiment.protocol.selection,
            "fold": "none" if job.fold is None else job.fold,
            "seed": job.seed,
            "refit": experiment.training.refit,
        },
    )
    set_average_word(trainer.model, trainer.loaders.train, trainer.workers.device)
    with tempfile.TemporaryDirectory() as folder:
        fitted.save(Path(folder), trainer.model, spec)
        job.tracker.log_artifact(job.run, Path(folder), "model")
    if predictions is not None:
        pq.write_table(predictions, job.folder / "predictions.parquet")
        job.tracker.log_artifact(job.run, job.folder / "predictions.parquet")
    metrics = {f"best/dev/{name}": value for name, value in result.dev.items()}
    metrics |= {f"test/{name}": value for name, value in result.test.items()}
    metrics |= {"best/epoch": result.best_epoch, "seconds": result.seconds}
    job.tracker.log_metrics(job.run, metrics, result.best_epoch)

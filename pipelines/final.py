"""Final: what a cross-validation measured is trained once more a seed, on all speakers, to be used.

No speaker is left to choose the number of epochs or to test on. A finished cross-validation of the same settings on the
same corpus chooses the epochs, and its result is the estimate of these models, which the run carries as such: an honest
one, of models that heard fewer speakers.
"""

from __future__ import annotations

from fgcme.data import Tasks
from fgcme.errors import UserError
from fgcme.evaluation.summary import main_measures
from fgcme.experiment import Experiment
from fgcme.report.formatting import count
from fgcme.report.headline import headline
from fgcme.tracking import Tracker
from pipelines import train
from pipelines.runs import records
from pipelines.runs.corpus import corpus_in_use, load_assigned_corpus
from pipelines.runs.opening import RunRequest, interrupted_run, open_run, training_session
from pipelines.training.cross_validated import CrossValidated, find_cross_validation
from pipelines.training.job import CROSS_VALIDATION_TAG, EPOCHS_TAG, FINAL, Job, read_result
from pipelines.training.runner import Training, run_trainings

_FOLDER = "final"
_UNTESTED = "no test part: trained on all speakers; metrics are the cross-validation's"


def run(experiment: Experiment, cross_validation: str = "latest", resume: str | None = None) -> str:
    """Train an experiment on all its labelled utterances, once a seed, and record it.

    Args:
        experiment: what to train.
        cross_validation: id or name of the finished run that has chosen the epochs, or `latest`; of a run that is
            resumed, the one that it began with.
        resume: id or name of an interrupted run to complete, or `latest`.

    Returns:
        The id of the MLflow run.

    Raises:
        UserError: see `pipelines.train.run` and `find_cross_validation`; or a run that is resumed began with another
            cross-validation.
    """
    with corpus_in_use(experiment):
        corpus_folder, corpus, assignment = load_assigned_corpus(experiment)
        with training_session(experiment) as (storage, tracker):
            resumed = None if resume is None else interrupted_run(tracker, experiment, resume, storage / _FOLDER, FINAL)
            if resumed is not None:
                records.require_unchanged(tracker, resumed, experiment, corpus)
                cross_validation = _same_cross_validation(tracker, resumed, cross_validation)
            chosen = find_cross_validation(tracker, experiment, corpus, cross_validation, storage / train.FOLDER)
            request = RunRequest(
                kind=FINAL,
                title=f"{experiment.name} final",
                folder=storage / _FOLDER,
                experiment=experiment,
                corpus=corpus,
                assignment=assignment,
                tags={
                    CROSS_VALIDATION_TAG: chosen.run,
                    EPOCHS_TAG: str(chosen.epochs),
                    "fgcme.tested": _UNTESTED,
                },
                documents={"experiment.yaml": experiment.to_yaml()},
            )
            plan = f"all speakers x {count(len(experiment.training.seeds), 'seed')}, {_epochs(chosen)}"
            with open_run(tracker, request, resumed) as opened:
                print("\n".join(records.describe_participants(experiment, corpus, assignment, plan)))
                tracker.log_metrics(opened.run_id, _estimate(chosen), 0)
                corpus_hash, epochs = corpus.description.corpus_hash, chosen.epochs
                folders = {seed: opened.folder / f"seed-{seed}" for seed in experiment.training.seeds}
                jobs = [
                    Job(experiment, corpus_folder, corpus_hash, None, seed, folder, tracker, run="", epochs=epochs)
                    for seed, folder in folders.items()
                ]
                run_trainings([Training(job) for job in jobs], opened, f"--final --resume {opened.run_id}")
    _print_result(experiment, chosen, jobs, opened.run_id, assignment.protocol.tasks)
    return opened.run_id


def _same_cross_validation(tracker: Tracker, resumed: str, asked: str) -> str:
    """The id of the cross-validation that a resumed run began with.

    Raises:
        UserError: another one is asked for.
    """
    began_with: str = tracker.find_run(resumed).data.tags[CROSS_VALIDATION_TAG]
    if asked != "latest" and tracker.find_run(asked).info.run_id != began_with:
        raise UserError(f"run {resumed} began with cross-validation {began_with}: resume it with --final alone")
    return began_with


def _epochs(chosen: CrossValidated) -> str:
    fewest, most = min(chosen.best_epochs), max(chosen.best_epochs)
    return (
        f"{count(chosen.epochs, 'epoch')} (the median of the {len(chosen.best_epochs)} best ones of cross-validation "
        f"{chosen.run}, {fewest} to {most})"
    )


def _estimate(chosen: CrossValidated) -> dict[str, float]:
    """The metrics of the cross-validation under names that nobody takes for a test of these models."""
    return {f"cross_validation_{name}": value for name, value in chosen.metrics.items()}


def _print_result(experiment: Experiment, chosen: CrossValidated, jobs: list[Job], run: str, tasks: Tasks) -> None:
    several = len(jobs) > 1

    def metrics(part: str) -> str:
        mean, deviation = (
            {
                name: chosen.metrics[f"{part}/{name}{suffix}"]
                for name in [*main_measures(tasks), "macro_f1"]
                if f"{part}/{name}{suffix}" in chosen.metrics
            }
            for suffix in ("", "_deviation")
        )
        return headline(mean, deviation if several else None)

    print(
        f"\n{records.protocol_label(experiment)}, no test part; the estimate is that of cross-validation {chosen.run}, "
        f"selection {records.rule_text(experiment.protocol.selection)}{', in per cent' if tasks.classes else ''}:"
    )
    print(f"  {metrics('test')}")
    if experiment.protocol.tuned_on:
        print(records.UNTUNED_NOTE)
        print(f"  {metrics('test_untuned') or 'no speaker is left'}")
    seconds = sum(result.seconds for job in jobs if (result := read_result(job.folder)) is not None)
    print(f"  {count(len(jobs), 'training')}, {seconds:.0f} s of training time")
    print(f"\nrun {run}; next: fgcme register {run} --name fgcme-{experiment.name} --alias champion")

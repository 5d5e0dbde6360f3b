"""The MLflow run in which a verb records its work: created or resumed, by one driver at a time."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fgcme.data import Assignment, SpeechCorpus
from fgcme.errors import UserError
from fgcme.experiment import Experiment
from fgcme.files import locked
from fgcme.tracking import LOCAL_ID_TAG, RunDataset, Tracker
from pipelines.cluster import LOCK, driver_lock, ray_session, require_slot, writable_folder
from pipelines.runs import records

# Tag and file that lead to a run whose driver was killed before it made the run's folder.
_MARK = "fgcme.mark"
_BEGINNING = "beginning"


@dataclass(frozen=True)
class RunRequest:
    """What a verb records with its run.

    Attributes:
        kind: `cross_validation`, `final_training`, `ablation` or `sweep`: the run's tag `fgcme.kind`.
        title: name of the run.
        folder: parent of the run folders of this kind and title.
        experiment: what is run; its settings become the run's parameters.
        corpus: the prepared corpus.
        assignment: its protocol applied to it.
        tags: of a new run, besides those that every run has.
        resumed_tags: tags that are set when the run is resumed.
        documents: artifacts, name -> text.
        changeable: settings that may differ when the run is resumed, and so are no parameters.
    """

    kind: str
    title: str
    folder: Path
    experiment: Experiment
    corpus: SpeechCorpus
    assignment: Assignment
    tags: Mapping[str, str] = field(default_factory=dict)
    resumed_tags: Mapping[str, str] = field(default_factory=dict)
    documents: Mapping[str, str] = field(default_factory=dict)
    changeable: tuple[str, ...] = ()


@dataclass(frozen=True)
class OpenRun:
    """A run that this driver works on.

    Attributes:
        run_id: its id in MLflow.
        mlflow_experiment: id of its MLflow experiment.
        folder: where it keeps its files.
        resumed: whether it existed before.
    """

    run_id: str
    mlflow_experiment: str
    folder: Path
    resumed: bool


@contextmanager
def open_run(tracker: Tracker, request: RunRequest, resumed: str | None = None) -> Iterator[OpenRun]:
    """Open a run for the length of a `with` block, which ends it: FINISHED, FAILED or KILLED.

    Args:
        tracker: where it is recorded.
        request: what to record with it.
        resumed: id of the run to resume; None creates one.

    Raises:
        UserError: another driver works on this run, or its folder cannot be written to.
    """
    mlflow_experiment = tracker.get_or_create_experiment(request.experiment.name)
    run_id = _create(tracker, request, mlflow_experiment) if resumed is None else resumed
    folder = request.folder / run_id
    with driver_lock(folder, f"{request.kind.replace('_', '-')} {run_id}"):
        if resumed is not None:
            records.delete_unstarted(tracker, run_id, folder)
            tracker.reopen_run(run_id)
            if request.resumed_tags:
                tracker.set_tags(run_id, request.resumed_tags)
        with tracker.closing_run(run_id):
            tracker.log_dataset(
                run_id,
                RunDataset(
                    name=request.corpus.description.corpus,
                    digest=request.corpus.description.corpus_hash,
                    folder=str(request.corpus.folder.absolute()),
                    use="training",
                    protocol=request.experiment.protocol.name,
                ),
            )
            for name, text in request.documents.items():
                tracker.log_text(run_id, text, name)
            yield OpenRun(run_id, mlflow_experiment, folder, resumed is not None)


@contextmanager
def training_session(experiment: Experiment) -> Iterator[tuple[Path, Tracker]]:
    """Ray, with room for one training; the storage folder of an experiment, and the store of its runs.

    Raises:
        UserError: Ray can never give what one training needs, or folder or store cannot be used.
    """
    with ray_session():
        require_slot(experiment.scaling, "one training")
        storage = writable_folder(experiment)
        yield storage, records.open_store(experiment, storage)


def latest_run(folder: Path, noun: str, is_wanted: Callable[[str], bool] = lambda run: True) -> str:
    """The id of the run that was opened last from this storage folder, whatever else its store holds.

    Args:
        folder: parent of the run folders, as in `RunRequest`.
        noun: what such a run is called in messages, such as `sweep`.
        is_wanted: whether a run may be taken, by its id.

    Raises:
        UserError: there is none.
    """
    latest = next(filter(is_wanted, opened_runs(folder)), None)
    if latest is None:
        raise UserError(f"{folder}: no {noun} to resume; start one without --resume")
    return latest


def opened_runs(folder: Path) -> list[str]:
    """The ids of the runs in this storage folder, those that were opened last first."""

    def opened_at(run: Path) -> float:
        lock = run / LOCK
        return (lock if lock.exists() else run).stat().st_mtime

    runs = sorted((path for path in folder.glob("*") if path.is_dir()), key=opened_at, reverse=True)
    return [run.name for run in runs]


def interrupted_run(tracker: Tracker, experiment: Experiment, resume: str, folder: Path, kind: str) -> str:
    """The id of the run to resume that a user means, the one after which its folder is named.

    Args:
        tracker: where it is recorded.
        experiment: what is trained.
        resume: its id, its name or `latest`: of the runs of this experiment in this folder.
        folder: parent of the run folders.
        kind: see `RunRequest`.

    Raises:
        UserError: there is no such run, or it is of another kind.
    """
    noun = kind.replace("_", "-")
    if resume == "latest":
        mlflow_experiment = tracker.get_or_create_experiment(experiment.name)
        return latest_run(
            folder,
            f"{noun} of {experiment.name}",
            lambda run: bool(tracker.find_run(run).info.experiment_id == mlflow_experiment),
        )
    found = tracker.find_run(resume)
    if found.data.tags.get("fgcme.kind") != kind:
        raise UserError(f"--resume {resume}: is no {noun}; give the id of one")
    # A run that began while the server was away has its local id there.
    local_id = found.data.tags.get(LOCAL_ID_TAG, "")
    return local_id if (folder / local_id / LOCK).exists() else str(found.info.run_id)


def _create(tracker: Tracker, request: RunRequest, mlflow_experiment: str) -> str:
    """Create the run, then its folder; if the driver is killed in between, the next one finds the run by its mark."""
    request.folder.mkdir(parents=True, exist_ok=True)
    with locked(request.folder / _BEGINNING) as marked:
        marked.seek(0)
        if mark := marked.read().decode():
            _end_unopened(tracker, request.folder, mlflow_experiment, mark)
        mark = uuid.uuid4().hex
        marked.truncate(0)
        marked.write(mark.encode())
        tags = records.run_tags(request.experiment, request.corpus, request.assignment)
        settings = request.experiment.flat()
        run_id = tracker.create_run(
            mlflow_experiment,
            request.title,
            tags=tags | {"fgcme.kind": request.kind} | dict(request.tags) | {_MARK: mark},
            parameters={name: value for name, value in settings.items() if name not in request.changeable},
        )
        (request.folder / run_id).mkdir()
        (request.folder / run_id / LOCK).touch()
    return run_id


def _end_unopened(tracker: Tracker, folder: Path, mlflow_experiment: str, mark: str) -> None:
    """End the run with this mark if its driver was killed before it made the run's folder."""
    for run in tracker.client.search_runs([mlflow_experiment], f"tags.`{_MARK}` = '{mark}'"):
        names = (run.info.run_id, run.data.tags.get(LOCAL_ID_TAG, run.info.run_id))
        if not any((folder / name / LOCK).exists() for name in names):
            tracker.end_run(run.info.run_id, "KILLED")

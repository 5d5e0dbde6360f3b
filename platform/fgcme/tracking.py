"""MLflow tracking: one owner for each run.

The driver prepares the store once, makes every run and hands run ids out; a worker logs to the id it was given. Nothing
here relies on MLflow's notion of an active run, so any number of runs may be open in one process.
"""

from __future__ import annotations

import fcntl
import functools
import logging
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from fgcme.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient
    from mlflow.entities import Run

Status = Literal["FINISHED", "FAILED", "KILLED"]

# MLflow's limits.
_PARAMETERS_PER_BATCH = 100
_METRICS_PER_BATCH = 1000
_PARAMETER_LENGTH = 6000
_TAG_LENGTH = 8000

_SQLITE = "sqlite:///"
_PREFIX_LENGTH = 6
_RUN_ID_LENGTH = 32
# A first answer is worth 4 s and one more try; once a server has answered, MLflow's own patience holds: a server that
# restarts must not end a training.
_FIRST_CONTACT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "4"}
_PACKAGES = ("fgcme", "torch", "torchaudio", "ray", "mlflow", "optuna", "transformers", "numpy", "pocketsphinx")


def resolve_uri(uri: str | None) -> str:
    """Where runs are recorded: the setting, else `MLFLOW_TRACKING_URI`, else `mlflow.db` in the working directory.

    A relative SQLite path becomes absolute, because workers run in other folders; other addresses stay as they are.

    >>> resolve_uri("https://mlflow.example.org")
    'https://mlflow.example.org'
    >>> resolve_uri("sqlite:////data/mlflow.db")
    'sqlite:////data/mlflow.db'
    """
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}mlflow.db"
    path = _sqlite_path(uri)
    if path is None or path.is_absolute():
        return uri
    _, question, options = uri.partition("?")
    return f"{_SQLITE}{path.absolute()}{question}{options}"


def prepare_store(uri: str) -> None:
    """Make a store ready for many writers; the driver calls it once, before anything runs in parallel.

    A SQLite database that is not there yet is created with its tables, because processes that open a fresh file at once
    would break it. A server is asked whether it answers.

    Args:
        uri: as `resolve_uri` gives it.

    Raises:
        UserError: the database cannot be made or used, or the server does not answer within about ten seconds.
    """
    path = _sqlite_path(uri)
    if path is None:
        _contact(uri)
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Two drivers may start at once.
        with path.with_name(f"{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _contact(uri)
    except OSError as error:
        raise UserError(f"{uri}: the database cannot be made here ({error.strerror}); set tracking.uri") from None


def require_store(uri: str) -> None:
    """Check that a store is there, for commands that only read what others have recorded.

    Args:
        uri: as `resolve_uri` gives it.

    Raises:
        UserError: there is no such database, or the server does not answer within about ten seconds.
    """
    path = _sqlite_path(uri)
    if path is not None and not path.is_file():
        raise UserError(f"{path}: no MLflow database here; go to the folder that has it, or set MLFLOW_TRACKING_URI")
    _contact(uri)


@dataclass(frozen=True)
class Tracker:
    """The runs of one store. Cheap to make and to pickle: the connection is opened when first used.

    Attributes:
        uri: as `resolve_uri` gives it; `prepare_store` or `require_store` has seen it.
        artifacts: folder for the artifacts of experiments that this tracker makes in a local SQLite store; a server
            keeps them where it was told to.
    """

    uri: str
    artifacts: Path | None = None

    @property
    def client(self) -> MlflowClient:
        """MLflow's own client of this store."""
        return _client(self.uri)

    def experiment(self, name: str) -> str:
        """The id of the experiment of this name, made if need be.

        Raises:
            UserError: it was deleted, or the store refuses the name.
        """
        from mlflow.exceptions import MlflowException

        found = self.client.get_experiment_by_name(name)
        if found is None:
            try:
                made: str = self.client.create_experiment(name, artifact_location=self._artifact_location(name))
                return made
            except MlflowException as error:
                # Somebody else may have made it in between.
                found = self.client.get_experiment_by_name(name)
                if found is None:
                    raise UserError(f"MLflow experiment {name!r}: {cause(error)}") from None
        if found.lifecycle_stage != "active":
            raise UserError(
                f"MLflow experiment {name!r} was deleted: bring it back with "
                f"`mlflow experiments restore --experiment-id {found.experiment_id}`, or choose another name"
            )
        return str(found.experiment_id)

    def start(
        self,
        experiment: str,
        name: str,
        parent: str | None = None,
        tags: Mapping[str, str] | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> str:
        """Make a run.

        Args:
            experiment: id of the experiment.
            name: of the run.
            parent: id of the run that it belongs to.
            tags: of the run.
            parameters: by dotted name; values are written as text and cut at MLflow's limit.

        Returns:
            The run's id.
        """
        from mlflow.entities import Param

        all_tags = {key: str(value)[:_TAG_LENGTH] for key, value in (tags or {}).items()}
        if parent is not None:
            all_tags["mlflow.parentRunId"] = parent
        run_id: str = self.client.create_run(experiment, tags=all_tags, run_name=name).info.run_id
        listed = [Param(key, str(value)[:_PARAMETER_LENGTH]) for key, value in (parameters or {}).items()]
        for first in range(0, len(listed), _PARAMETERS_PER_BATCH):
            self.client.log_batch(run_id, params=listed[first : first + _PARAMETERS_PER_BATCH])
        return run_id

    def reopen(self, run_id: str) -> None:
        """Say that a run goes on."""
        self.client.update_run(run_id, status="RUNNING")

    def finish(self, run_id: str, status: Status) -> None:
        """Say that a run has ended, and how."""
        self.client.set_terminated(run_id, status)

    @contextmanager
    def ending(self, run_id: str) -> Iterator[None]:
        """End a run as the block ends: FINISHED; FAILED by an exception; KILLED by Ctrl-C or by leaving the program.

        A SIGTERM ends a program without a word unless the program turns it into `SystemExit`.
        """
        try:
            yield
        except (KeyboardInterrupt, SystemExit):
            self.finish(run_id, "KILLED")
            raise
        except BaseException:
            self.finish(run_id, "FAILED")
            raise
        self.finish(run_id, "FINISHED")

    def log(self, run_id: str, metrics: Mapping[str, float], step: int) -> None:
        """Log metrics of one step, in one batch."""
        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        listed = [Metric(key, float(value), now, step) for key, value in metrics.items()]
        for first in range(0, len(listed), _METRICS_PER_BATCH):
            self.client.log_batch(run_id, metrics=listed[first : first + _METRICS_PER_BATCH])

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of a run."""
        from mlflow.entities import RunTag

        self.client.log_batch(run_id, tags=[RunTag(key, str(value)[:_TAG_LENGTH]) for key, value in tags.items()])

    def artifact(self, run_id: str, path: Path, folder: str | None = None) -> None:
        """Keep a file, or whatever a folder holds, with a run.

        Args:
            run_id: the run.
            path: the file or folder.
            folder: of the run's artifacts, to put it into.
        """
        if path.is_dir():
            self.client.log_artifacts(run_id, str(path), folder)
        else:
            self.client.log_artifact(run_id, str(path), folder)

    def text(self, run_id: str, text: str, name: str) -> None:
        """Keep a text with a run, as the artifact `name`."""
        self.client.log_text(run_id, text, name)

    def figure(self, run_id: str, figure: Figure, name: str) -> None:
        """Keep a picture with a run, as the artifact `name`; its ending says the format."""
        self.client.log_figure(run_id, figure, name)

    def find(self, run: str) -> Run:
        """The run that a user means: an id, six or more characters that one id begins with, a name, or `latest`.

        `latest` is the newest run that belongs to no other one.

        Raises:
            UserError: there is no such run, or more than one.
        """
        if run == "latest":
            found = self._search("tags.`mlflow.parentRunId` IS NULL", 1)
            if not found:
                raise UserError(f"no runs are recorded at {self.uri}; make one with `fgcme train`")
            return found[0]
        if re.fullmatch(rf"[0-9a-f]{{{_PREFIX_LENGTH},{_RUN_ID_LENGTH}}}", run):
            found = self._search(f"attributes.run_id LIKE '{run}%'", 5)
            if found:
                return _only(found, f"run ids begin with {run!r}")
        quote = '"' if "'" in run else "'"
        found = [] if '"' in run and "'" in run else self._search(f"attributes.run_name = {quote}{run}{quote}", 5)
        if not found:
            raise UserError(
                f"run {run!r} is not recorded at {self.uri}; give its id, the id's first {_PREFIX_LENGTH} or more "
                "characters, its name, or `latest`"
            )
        return _only(found, f"runs are called {run!r}")

    def children(self, run_id: str) -> list[Run]:
        """The runs that belong to a run, in the order in which they were started."""
        return self._search(f"tags.`mlflow.parentRunId` = '{run_id}'", None)[::-1]

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """All (step, value) of a metric, by step, in the order in which they were logged."""
        values = self.client.get_metric_history(run_id, metric)
        return [(int(value.step), float(value.value)) for value in sorted(values, key=lambda value: int(value.step))]

    def holds(self, run_id: str, path: str) -> bool:
        """Whether a run has an artifact at this path."""
        folder = path.rpartition("/")[0] or None
        return any(entry.path == path for entry in self.client.list_artifacts(run_id, folder))

    def fetch(self, run_id: str, path: str, destination: Path) -> Path:
        """Copy an artifact of a run, a file or a folder, into a folder that is there; returns where it is then.

        Raises:
            UserError: the run has no such artifact.
        """
        from mlflow.exceptions import MlflowException

        try:
            return Path(self.client.download_artifacts(run_id, path, str(destination)))
        except (MlflowException, OSError) as error:
            raise UserError(f"run {run_id} has no artifact {path!r} ({cause(error)})") from None

    def yaml(self, run_id: str, path: str) -> Any:
        """What a YAML artifact of a run says.

        Raises:
            UserError: the run has no such artifact, or it is not YAML.
        """
        with tempfile.TemporaryDirectory() as folder:
            try:
                return yaml.safe_load(self.fetch(run_id, path, Path(folder)).read_text(encoding="utf-8"))
            except (UnicodeDecodeError, yaml.YAMLError) as error:
                raise UserError(f"run {run_id}: artifact {path!r} is not YAML ({cause(error)})") from None

    def _artifact_location(self, name: str) -> str | None:
        if self.artifacts is None or not self.uri.startswith("sqlite:"):
            return None
        return (self.artifacts.absolute() / re.sub(r"[^\w.-]+", "-", name)).as_uri()

    def _search(self, condition: str, limit: int | None) -> list[Run]:
        """Runs that meet a condition, in all experiments, newest first."""
        experiments = [experiment.experiment_id for experiment in self.client.search_experiments()]
        runs: list[Run] = []
        token = None
        while experiments and (limit is None or len(runs) < limit):
            page = self.client.search_runs(
                experiments,
                condition,
                max_results=limit or 1000,
                order_by=["attributes.start_time DESC"],
                page_token=token,
            )
            runs += page
            token = page.token
            if not token:
                break
        return runs


def provenance() -> dict[str, str]:
    """Tags that say which code made a run: the git commit and the versions of packages; nothing of host or user.

    `fgcme.commit` ends in `-dirty` when files differ from the commit, and is `unknown` outside a git checkout.
    """
    versions = {}
    for package in _PACKAGES:
        try:
            versions[f"fgcme.version.{package}"] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[f"fgcme.version.{package}"] = "not installed"
    return {"fgcme.commit": _commit(Path(__file__).parent)} | versions


def _commit(folder: Path) -> str:
    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
        except OSError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # An installed copy may lie within somebody else's repository.
    if git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return "unknown"
    commit = git("rev-parse", "HEAD")
    if commit is None:
        return "unknown"
    return f"{commit}-dirty" if git("status", "--porcelain", "--untracked-files=no") else commit


def _sqlite_path(uri: str) -> Path | None:
    if not uri.startswith(_SQLITE):
        return None
    path = uri.removeprefix(_SQLITE).partition("?")[0]
    return None if path in ("", ":memory:") else Path(path)


@functools.cache
def _client(uri: str) -> MlflowClient:
    quieten()
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def quieten() -> None:
    """Keep MLflow from sending statistics and from chatting; to be called before it is imported. What is set stays."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    # A lock file of the user's own project, in the working directory, is not the model's.
    os.environ.setdefault("MLFLOW_UV_AUTO_DETECT", "false")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _contact(uri: str) -> None:
    """Ask the store for something small; for SQLite this creates the tables where there are none."""
    quieten()
    before = {key: os.environ.get(key) for key in _FIRST_CONTACT}
    os.environ.update(_FIRST_CONTACT)
    try:
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            _client(uri).search_experiments(max_results=1)
        except (MlflowException, SQLAlchemyError, OSError, ImportError) as error:
            raise UserError(_explain(uri, error)) from None
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


def _explain(uri: str, error: Exception) -> str:
    if "out-of-date database schema" in str(error):
        return f"{uri}: made by another version of MLflow; back it up and run `mlflow db upgrade {uri}`"
    if uri.startswith("http"):
        return f"{uri}: the MLflow server does not answer ({cause(error)}); start it, or set MLFLOW_TRACKING_URI"
    return f"{uri}: cannot be used as an MLflow store ({cause(error)}); set MLFLOW_TRACKING_URI"


def cause(error: Exception) -> str:
    """What an error of MLflow comes down to, on one line.

    >>> cause(
    ...     OSError("HTTPConnectionPool(...): Max retries exceeded (Caused by ...: [Errno 111] Connection refused'))")
    ... )
    'connection refused'
    """
    text = " ".join(str(error).split())
    if refused := re.search(r"\[Errno -?\d+\] ([\w ]+)", text):
        return refused[1].lower()
    if "timed out" in text:
        return "no answer in time"
    if status := re.search(r"error code (\d{3}) != 200", text):
        return f"HTTP status {status[1]}"
    sentence = text.partition(". ")[0]
    return sentence if len(sentence) <= 200 else f"{sentence[:200]}..."


def _only(runs: list[Run], what: str) -> Run:
    if len(runs) > 1:
        ids = ", ".join(run.info.run_id for run in runs[:4])
        raise UserError(f"{len(runs)} or more {what}; give one id ({ids}{', ...' if len(runs) > 4 else ''})")
    return runs[0]

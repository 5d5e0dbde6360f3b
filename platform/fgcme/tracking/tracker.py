"""MLflow tracking: one owner for each run.

The driver prepares the store once, makes every run and hands run ids out; a worker logs to the id it was given. Nothing
here relies on MLflow's notion of an active run, so any number of runs may be open in one process. With an outbox, work
goes on while the store is away, and nothing of its record is lost.
"""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import yaml

from fgcme.errors import UserError
from fgcme.tracking.outbox import Entry, outbox_for
from fgcme.tracking.relay import LOCAL_ID_TAG, LOCAL_PREFIX, OutboxRelay, apply_entry, print_notice, resolve_run_id
from fgcme.tracking.store import (
    SQLITE,
    explain,
    is_deleted,
    is_permanent,
    mlflow_client,
    retry_briefly,
    sqlite_lock,
    sqlite_path,
    wait_while_alive,
    why_unavailable,
)
from fgcme.tracking.store import mlflow_message as mlflow_message

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient
    from mlflow.entities import Run

Status = Literal["FINISHED", "FAILED", "KILLED"]

T = TypeVar("T")

# MLflow's limits.
_PARAMETER_LENGTH = 6000
_TAG_LENGTH = 8000

_PREFIX_LENGTH = 6
_RUN_ID_LENGTH = 32
_PACKAGES = ("fgcme", "torch", "torchaudio", "ray", "mlflow", "optuna", "transformers", "numpy", "pocketsphinx")


def resolve_uri(uri: str | None) -> str:
    """Where runs are recorded: the setting, else `MLFLOW_TRACKING_URI`, else `mlflow.db` in the working directory.

    A relative SQLite path becomes absolute, because workers run in other folders; other addresses stay as they are.

    >>> resolve_uri("https://mlflow.example.org")
    'https://mlflow.example.org'
    >>> resolve_uri("sqlite:////data/mlflow.db")
    'sqlite:////data/mlflow.db'
    """
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}mlflow.db"
    path = sqlite_path(uri)
    if path is None or path.is_absolute():
        return uri
    _, question, options = uri.partition("?")
    return f"{SQLITE}{path.absolute()}{question}{options}"


def prepare_store(uri: str) -> None:
    """Make a store ready for many writers; the driver calls it once, before anything runs in parallel.

    A SQLite database that is not there yet is created with its tables, because processes that open a fresh file at once
    would break it. A server is asked whether it answers.

    Args:
        uri: as `resolve_uri` gives it.

    Raises:
        UserError: the database cannot be made or used, or the server does not answer within about ten seconds.
    """
    path = sqlite_path(uri)
    if path is None:
        _require(uri)
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Two drivers may start at once.
        with sqlite_lock(uri):
            _require(uri)
    except OSError as error:
        raise UserError(f"{uri}: the database cannot be made here ({error.strerror}); set tracking.uri") from None


def require_store(uri: str) -> None:
    """Check that a store is there, for commands that only read what others have recorded.

    Args:
        uri: as `resolve_uri` gives it.

    Raises:
        UserError: there is no such database, or the server does not answer within about ten seconds.
    """
    path = sqlite_path(uri)
    if path is not None and not path.is_file():
        raise UserError(f"{path}: no MLflow database here; go to the folder that has it, or set MLFLOW_TRACKING_URI")
    _require(uri)


@dataclass(frozen=True)
class Tracker:
    """The runs of one store. Cheap to make and to pickle: the connection is opened when first used.

    Attributes:
        uri: as `resolve_uri` gives it; `prepare_store` or `require_store` has seen it.
        artifacts: folder for the artifacts of experiments that this tracker makes in a local SQLite store; a server
            keeps them where it was told to.
        outbox: folder that all nodes share, where writes wait while the store does not answer. Without one they fail.
    """

    uri: str
    artifacts: Path | None = None
    outbox: Path | None = None

    @property
    def client(self) -> MlflowClient:
        """MLflow's own client of this store."""
        return mlflow_client(self.uri)

    def get_or_create_experiment(self, name: str) -> str:
        """The id of the experiment of this name, made if need be.

        Raises:
            UserError: it was deleted, the store refuses the name, or does not answer.
        """
        from mlflow.exceptions import MlflowException

        def find_or_make() -> tuple[str, str]:
            found = self.client.get_experiment_by_name(name)
            if found is None:
                try:
                    return self.client.create_experiment(
                        name, artifact_location=self._artifact_location(name)
                    ), "active"
                except MlflowException as error:
                    # Somebody else may have made it in between.
                    found = self.client.get_experiment_by_name(name)
                    if found is None:
                        raise UserError(f"MLflow experiment {name!r}: {mlflow_message(error)}") from None
            return str(found.experiment_id), str(found.lifecycle_stage)

        experiment, stage = self._ask(find_or_make)
        if stage != "active":
            raise UserError(
                f"MLflow experiment {name!r} was deleted: bring it back with "
                f"`mlflow experiments restore --experiment-id {experiment}`, or choose another name"
            )
        return experiment

    def create_run(
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
            The run's id; while the store is away a local one, which all methods of a tracker understand for good, in
            any process.
        """
        run_id = self._write(
            f"{LOCAL_PREFIX}{uuid.uuid4().hex}",
            {
                "kind": "start",
                "experiment": experiment,
                "name": name,
                "parent": parent,
                "tags": {key: str(value)[:_TAG_LENGTH] for key, value in (tags or {}).items()},
                "time": _now(),
            },
        )
        if parameters:
            listed = {key: str(value)[:_PARAMETER_LENGTH] for key, value in parameters.items()}
            self._write(run_id, {"kind": "parameters", "parameters": listed})
        return run_id

    def reopen_run(self, run_id: str) -> None:
        """Say that a run goes on."""
        self._write(run_id, {"kind": "running"})

    def end_run(self, run_id: str, status: Status) -> None:
        """Say that a run has ended, and how."""
        self._write(run_id, {"kind": "ended", "status": status, "time": _now()})

    def delete_run(self, run_id: str) -> None:
        """Delete a run."""
        run = self._resolve(run_id)
        self._ask(lambda: self.client.delete_run(run))

    @contextmanager
    def closing_run(self, run_id: str) -> Iterator[None]:
        """End a run as the block ends: FINISHED; FAILED by an exception; KILLED by Ctrl-C or by leaving the program.

        For the driver: what other processes leave in the outbox meanwhile is sent from here, and it is here that the
        user hears of a store that is away.

        A SIGTERM ends a program without a word unless the program turns it into `SystemExit`.
        """
        if self.outbox:
            _courier(self.uri, self.outbox).watch()
        try:
            yield
        except (KeyboardInterrupt, SystemExit):
            self.end_run(run_id, "KILLED")
            raise
        except BaseException:
            self.end_run(run_id, "FAILED")
            raise
        else:
            self.end_run(run_id, "FINISHED")
        finally:
            if self.outbox:
                _courier(self.uri, self.outbox).unwatch()
            self.flush_outbox()

    def flush_outbox(self) -> None:
        """Send all that waits in the outbox; if some of it cannot be sent, tell the user where it is."""
        if self.outbox is None:
            return
        outbox = outbox_for(self.outbox, self.uri)
        if not outbox.pending_runs():
            return
        sent = _courier(self.uri, self.outbox).send_pending(wait=True)
        for sentence in sent.refused:
            print_notice(sentence)
        if left := outbox.pending_runs():
            reason = sent.problem or f"{self.uri}: {next(iter(sent.stuck.values()), 'the store is busy')}"
            print_notice(
                f"{reason}. {outbox.count_pending()} writes of {len(left)} runs are kept in {self.outbox}; "
                f"send them with `fgcme sync --storage {self.outbox.parent}`"
            )

    def log_metrics(self, run_id: str, metrics: Mapping[str, float], step: int) -> None:
        """Log metrics of one step, in one batch.

        Args:
            run_id: the run.
            metrics: by name.
            step: such as the epoch.
        """
        measured = _now()
        listed = [[key, float(value), measured, step] for key, value in metrics.items()]
        if listed:
            self._write(run_id, {"kind": "metrics", "metrics": listed})

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of a run."""
        self._write(run_id, {"kind": "tags", "tags": {key: str(value)[:_TAG_LENGTH] for key, value in tags.items()}})

    def log_artifact(self, run_id: str, path: Path, folder: str | None = None) -> None:
        """Keep a file, or whatever a folder holds, with a run.

        Args:
            run_id: the run.
            path: the file or folder.
            folder: of the run's artifacts, to put it into.

        Raises:
            FileNotFoundError: there is no such file or folder.
        """
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file or folder")
        self._write(run_id, {"kind": "artifact", "path": str(path.absolute()), "folder": folder})

    def log_text(self, run_id: str, text: str, name: str) -> None:
        """Keep a text with a run, as the artifact `name`."""
        self._written(run_id, name, lambda path: path.write_text(text, encoding="utf-8"))

    def log_figure(self, run_id: str, figure: Figure, name: str) -> None:
        """Keep a picture with a run, as the artifact `name`; its ending says the format."""
        self._written(run_id, name, lambda path: figure.savefig(path))

    def find_run(self, run: str) -> Run:
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
        if run.startswith(LOCAL_PREFIX):
            found = self._search(f"tags.`{LOCAL_ID_TAG}` = '{run}'", 1) if re.fullmatch(r"[\w-]+", run) else []
            if not found:
                raise UserError(f"run {run!r} is not recorded at {self.uri} yet; send what waits with `fgcme sync`")
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

    def child_runs(self, run_id: str) -> list[Run]:
        """The runs that belong to a run, in the order in which they were started."""
        return self._search(f"tags.`mlflow.parentRunId` = '{self._resolve(run_id)}'", None)[::-1]

    def metric_history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """All (step, value) of a metric, by step, in the order in which they were logged."""
        run = self._resolve(run_id)
        values = self._ask(lambda: self.client.get_metric_history(run, metric))
        return [(int(value.step), float(value.value)) for value in sorted(values, key=lambda value: int(value.step))]

    def has_artifact(self, run_id: str, path: str) -> bool:
        """Whether a run has an artifact at this path."""
        run, folder = self._resolve(run_id), path.rpartition("/")[0] or None
        return any(entry.path == path for entry in self._ask(lambda: self.client.list_artifacts(run, folder)))

    def download_artifact(self, run_id: str, path: str, destination: Path) -> Path:
        """Copy an artifact of a run, a file or a folder, into a folder that is there; returns where it is then.

        Raises:
            UserError: the run has no such artifact, or the store does not answer.
        """
        from mlflow.exceptions import MlflowException

        run = self._resolve(run_id)
        try:
            return Path(self.client.download_artifacts(run, path, str(destination)))
        except (MlflowException, OSError) as error:
            _require(self.uri)
            raise UserError(f"run {run_id} has no artifact {path!r} ({mlflow_message(error)})") from None

    def load_yaml(self, run_id: str, path: str) -> Any:
        """What a YAML artifact of a run says.

        Raises:
            UserError: the run has no such artifact, or it is not YAML.
        """
        with tempfile.TemporaryDirectory() as folder:
            try:
                return yaml.safe_load(self.download_artifact(run_id, path, Path(folder)).read_text(encoding="utf-8"))
            except (UnicodeDecodeError, yaml.YAMLError) as error:
                raise UserError(f"run {run_id}: artifact {path!r} is not YAML ({mlflow_message(error)})") from None

    def load_json(self, run_id: str, path: str) -> Any:
        """What a JSON artifact of a run says; not by way of YAML, for which 1e-05 is no number.

        Raises:
            UserError: the run has no such artifact, or it is not JSON.
        """
        with tempfile.TemporaryDirectory() as folder:
            try:
                return json.loads(self.download_artifact(run_id, path, Path(folder)).read_text(encoding="utf-8"))
            except ValueError as error:
                raise UserError(f"run {run_id}: artifact {path!r} is not JSON ({mlflow_message(error)})") from None

    def _artifact_location(self, name: str) -> str | None:
        if self.artifacts is None or not self.uri.startswith("sqlite:"):
            return None
        return (self.artifacts.absolute() / re.sub(r"[^\w.-]+", "-", name)).as_uri()

    def _search(self, condition: str, limit: int | None) -> list[Run]:
        """Runs that meet a condition, in all experiments, newest first."""

        def search() -> list[Run]:
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

        return self._ask(search)

    def _resolve(self, run_id: str) -> str:
        """The id by which the store knows a run."""
        if not run_id.startswith(LOCAL_PREFIX):
            return run_id
        outbox = outbox_for(self.outbox, self.uri) if self.outbox else None
        return self._ask(lambda: resolve_run_id(self.client, run_id, outbox))

    def _write(self, run_id: str, entry: Entry) -> str:
        """Write to a run; returns the id by which it goes then.

        A run that somebody has deleted in MLflow's pages stops no work: it is said once, and nothing more is recorded.
        """
        try:
            if self.outbox:
                return _courier(self.uri, self.outbox).write(run_id, entry)
            return self._within_reason(lambda: apply_entry(self.client, run_id, entry))
        except Exception as error:
            if entry["kind"] == "start" or not is_deleted(error):
                raise
            _say_deleted(run_id)
            return run_id

    def _written(self, run_id: str, name: str, write: Callable[[Path], object]) -> None:
        """Keep what `write` writes to a path as the artifact `name`, which may lie in a folder."""
        folder, _, file = name.rpartition("/")
        with tempfile.TemporaryDirectory() as scratch:
            write(Path(scratch) / file)
            self.log_artifact(run_id, Path(scratch) / file, folder or None)

    def _ask(self, call: Callable[[], T]) -> T:
        """What a call that may be made twice gives."""
        return self._within_reason(lambda: retry_briefly(call))

    def _within_reason(self, call: Callable[[], T]) -> T:
        """What a call gives, as long as the store answers.

        Raises:
            UserError: it does not.
        """
        try:
            return wait_while_alive(self.uri, call)
        except Exception as error:
            if is_permanent(error):
                raise
            raise UserError(explain(self.uri, error)) from None


def _now() -> int:
    """Milliseconds, as MLflow counts them."""
    return time.time_ns() // 1_000_000


@functools.cache
def _say_deleted(run_id: str) -> None:
    """Once for each run in a process."""
    print_notice(f"run {run_id} was deleted in MLflow: the work goes on, and nothing more of it is recorded")


@functools.cache
def code_version_tags() -> Mapping[str, str]:
    """Tags that say which code made a run: the git commit and the versions of packages; nothing of host or user.

    `fgcme.commit` ends in `-dirty` when files differ from the commit, and is `unknown` outside a git checkout.
    """
    versions = {}
    for package in _PACKAGES:
        try:
            versions[f"fgcme.version.{package}"] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[f"fgcme.version.{package}"] = "not installed"
    return MappingProxyType({"fgcme.commit": _commit(Path(__file__).parent)} | versions)


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


@functools.cache
def _courier(uri: str, outbox: Path) -> OutboxRelay:
    """One for the process."""
    return OutboxRelay(outbox_for(outbox, uri))


def _require(uri: str) -> None:
    if found := why_unavailable(uri):
        raise UserError(found)


def _only(runs: list[Run], what: str) -> Run:
    if len(runs) > 1:
        ids = ", ".join(run.info.run_id for run in runs[:4])
        raise UserError(f"{len(runs)} or more {what}; give one id ({ids}{', ...' if len(runs) > 4 else ''})")
    return runs[0]

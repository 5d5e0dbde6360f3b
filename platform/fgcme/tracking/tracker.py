"""Recording of runs in MLflow.

The driver prepares the store once, creates every run and hands out run ids; a worker logs to the id it was given.
MLflow's active run is never used, so one process may have any number of runs open. With an outbox, work goes on while
the store is away, and no write is lost.
"""

from __future__ import annotations

import functools
import re
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fgcme.errors import UnfinishedError, UserError
from fgcme.tracking.dataset import RunDataset
from fgcme.tracking.entries import LOCAL_PREFIX, apply_entry
from fgcme.tracking.failures import is_deleted, mlflow_message
from fgcme.tracking.outbox import Entry, outbox_for
from fgcme.tracking.relay import OutboxRelay, print_notice
from fgcme.tracking.run_reader import RunReader
from fgcme.tracking.store import call_store, query_store

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Status = Literal["FINISHED", "FAILED", "KILLED"]

# MLflow's limits, in characters.
_MAX_PARAMETER_LENGTH = 6000
_MAX_TAG_LENGTH = 8000
# As many does it take in one request.
_MAX_METRICS = 1000


@dataclass(frozen=True)
class Tracker(RunReader):
    """Records runs in one store, and reads them. Cheap to create and to pickle: it connects when it is first used.

    Without an outbox, a write fails while the store is away.

    Attributes:
        artifacts: folder for the artifacts of experiments that this tracker creates in a SQLite store; a server has
            its own place for them.
    """

    artifacts: Path | None = field(default=None, kw_only=True)

    def get_or_create_experiment(self, name: str) -> str:
        """The id of the MLflow experiment with this name.

        Raises:
            UserError: it was deleted, the store refuses the name, or does not answer.
        """
        from mlflow.exceptions import MlflowException

        def get_or_create() -> tuple[str, str]:
            found = self.client.get_experiment_by_name(name)
            if found is None:
                try:
                    location = self._artifact_location(name)
                    return self.client.create_experiment(name, artifact_location=location), "active"
                except MlflowException as error:
                    # Another driver may have created it in between.
                    found = self.client.get_experiment_by_name(name)
                    if found is None:
                        raise UserError(f"MLflow experiment {name!r}: {mlflow_message(error)}") from None
            return str(found.experiment_id), str(found.lifecycle_stage)

        experiment, stage = query_store(self.uri, get_or_create)
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
        """Create a run.

        Args:
            experiment: id of the MLflow experiment.
            name: of the run.
            parent: id of the run above it.
            tags: of the run.
            parameters: by dotted name; values become text, cut at MLflow's limit.

        Returns:
            The run's id; while the store is away a local id, which all methods accept in any process, even later.

        Raises:
            UnfinishedError: the experiment was deleted.
        """
        run_id = self._write(
            f"{LOCAL_PREFIX}{uuid.uuid4().hex}",
            {
                "kind": "start",
                "experiment": experiment,
                "name": name,
                "parent": parent,
                "tags": _tag_texts(tags or {}),
                "time": _now(),
            },
        )
        if parameters:
            texts = {key: str(value)[:_MAX_PARAMETER_LENGTH] for key, value in parameters.items()}
            self._write(run_id, {"kind": "parameters", "parameters": texts})
        return run_id

    def reopen_run(self, run_id: str) -> None:
        """Set a run's status to RUNNING again."""
        self._write(run_id, {"kind": "running"})

    def end_run(self, run_id: str, status: Status) -> None:
        """Set a run's final status and the time of its end."""
        self._write(run_id, {"kind": "ended", "status": status, "time": _now()})

    def delete_run(self, run_id: str) -> None:
        """Move a run to MLflow's trash."""
        run = self._resolve(run_id)
        query_store(self.uri, lambda: self.client.delete_run(run))

    @contextmanager
    def closing_run(self, run_id: str) -> Iterator[None]:
        """End a run with the block: FINISHED, FAILED after an exception, KILLED after Ctrl-C or `SystemExit`.

        For the driver: meanwhile it sends what other processes put into the outbox, and tells the user if the store is
        away. SIGTERM ends a program without an exception, unless the program turns it into `SystemExit`.
        """
        if self.outbox:
            _relay(self.uri, self.outbox).watch()
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
                _relay(self.uri, self.outbox).unwatch()
            self.flush_outbox()

    def flush_outbox(self) -> None:
        """Send all pending writes; tell the user where those are that cannot be sent."""
        if self.outbox is None:
            return
        outbox = outbox_for(self.outbox, self.uri)
        if not outbox.pending_runs():
            return
        report = _relay(self.uri, self.outbox).send_pending(wait=True)
        for sentence in report.refused:
            print_notice(sentence)
        if left := outbox.pending_runs():
            reason = report.problem or f"{self.uri}: {next(iter(report.stuck.values()), 'the store is busy')}"
            print_notice(
                f"{reason}. {outbox.count_pending()} writes of {len(left)} runs are kept in {self.outbox}; "
                f"send them with `fgcme sync --storage {self.outbox.parent}`"
            )

    def log_metrics(self, run_id: str, metrics: Mapping[str, float], step: int) -> None:
        """Log metrics of one step, in one request.

        Args:
            run_id: the run.
            metrics: by name.
            step: such as the epoch.
        """
        self.log_history(run_id, {step: metrics})

    def log_history(self, run_id: str, history: Mapping[int, Mapping[str, float]]) -> None:
        """Log metrics of several steps, in as few requests as MLflow allows.

        Args:
            run_id: the run.
            history: step -> metrics by name.
        """
        now = _now()
        entries = [
            [key, float(value), now, step] for step, metrics in history.items() for key, value in metrics.items()
        ]
        for start in range(0, len(entries), _MAX_METRICS):
            self._write(run_id, {"kind": "metrics", "metrics": entries[start : start + _MAX_METRICS]})

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of a run; values are cut at MLflow's limit."""
        self._write(run_id, {"kind": "tags", "tags": _tag_texts(tags)})

    def log_dataset(self, run_id: str, dataset: RunDataset) -> None:
        """Record the data that a run uses as its input."""
        self._write(run_id, {"kind": "dataset", "dataset": dataset.to_entry()})

    def log_artifact(self, run_id: str, path: Path, folder: str | None = None) -> None:
        """Store a file, or the content of a folder, as artifacts of a run.

        Args:
            run_id: the run.
            path: the file or folder.
            folder: among the run's artifacts, to store it in.

        Raises:
            FileNotFoundError: there is no such file or folder.
        """
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file or folder")
        self._write(run_id, {"kind": "artifact", "path": str(path.absolute()), "folder": folder})

    def log_text(self, run_id: str, text: str, name: str) -> None:
        """Store a text as an artifact of a run.

        Args:
            run_id: the run.
            text: the content.
            name: path of the artifact.
        """
        self._log_written(run_id, name, lambda path: path.write_text(text, encoding="utf-8"))

    def log_figure(self, run_id: str, figure: Figure, name: str) -> None:
        """Store a figure as an artifact of a run.

        Args:
            run_id: the run.
            figure: of Matplotlib.
            name: path of the artifact; its suffix decides the format.
        """
        self._log_written(run_id, name, lambda path: figure.savefig(path))

    def _artifact_location(self, name: str) -> str | None:
        if self.artifacts is None or not self.uri.startswith("sqlite:"):
            return None
        return (self.artifacts.absolute() / re.sub(r"[^\w.-]+", "-", name)).as_uri()

    def _write(self, run_id: str, entry: Entry) -> str:
        """Write to a run; returns its id, which is the store's if the entry created it.

        A run that somebody deleted in MLflow stops no work: the user is told once, and the write is dropped.
        """
        try:
            if self.outbox:
                return _relay(self.uri, self.outbox).write(run_id, entry)
            return call_store(self.uri, lambda: apply_entry(self.client, run_id, entry))
        except Exception as error:
            if not is_deleted(error):
                raise
            if entry["kind"] == "start":
                raise UnfinishedError(
                    f"MLflow experiment {entry['experiment']} was deleted: bring it back in MLflow's pages or "
                    f"with `mlflow experiments restore --experiment-id {entry['experiment']}`"
                ) from None
            _notify_deleted(run_id)
            return run_id

    def _log_written(self, run_id: str, name: str, write: Callable[[Path], object]) -> None:
        """Store what `write` writes to a path as the artifact `name`."""
        folder, _, file = name.rpartition("/")
        with tempfile.TemporaryDirectory() as scratch:
            write(Path(scratch) / file)
            self.log_artifact(run_id, Path(scratch) / file, folder or None)


def _tag_texts(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: str(value)[:_MAX_TAG_LENGTH] for key, value in tags.items()}


def _now() -> int:
    """Milliseconds, as MLflow counts time."""
    return time.time_ns() // 1_000_000


@functools.cache
def _notify_deleted(run_id: str) -> None:
    """Tell the user once for each run and process."""
    print_notice(f"run {run_id} was deleted in MLflow: the work goes on, and nothing more of it is recorded")


@functools.cache
def _relay(uri: str, outbox: Path) -> OutboxRelay:
    """The one relay of this process to a store."""
    return OutboxRelay(outbox_for(outbox, uri))

"""What is recorded of runs: finding them, their metrics and their artifacts."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from fgcme.errors import UserError
from fgcme.tracking.entries import LOCAL_ID_TAG, LOCAL_PREFIX, resolve_run_id
from fgcme.tracking.failures import is_deleted, mlflow_message
from fgcme.tracking.outbox import outbox_for
from fgcme.tracking.store import experiment_ids, mlflow_client, pages, query_store, require_available

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

# Fewer characters of a run's id are taken for a name.
_PREFIX_LENGTH = 6
_RUN_ID_LENGTH = 32
# Runs of other programs in the same store have no such tag.
_IS_OURS = f"tags.`{LOCAL_ID_TAG}` IS NOT NULL"
_NEWEST_FIRST = "attributes.start_time DESC"


@dataclass(frozen=True)
class RunReader:
    """Reads the runs of one store. Cheap to create and to pickle: it connects when it is first used.

    All methods take the id of a run, or the local id it had while the store was away.

    Attributes:
        uri: as `resolve_uri` returns it, of a store that `prepare_store` or `require_store` has checked.
        outbox: folder that all nodes share, where writes wait while the store is away.
    """

    uri: str
    outbox: Path | None = field(default=None, kw_only=True)

    @property
    def client(self) -> MlflowClient:
        """MLflow's own client of this store."""
        return mlflow_client(self.uri)

    def find_run(self, run: str) -> Run:
        """The run that a user means.

        Args:
            run: an id, or of a run of this program the id's first six or more characters, its name, or `latest`: the
                newest one without a parent.

        Raises:
            UserError: there is no such run, or more than one, or it was deleted.
        """
        if run == "latest":
            found = self.find_runs("tags.`mlflow.parentRunId` IS NULL", 1)
            if not found:
                raise UserError(f"no runs are recorded at {self.uri}; make one with `fgcme train`")
            return found[0]
        if run.startswith(LOCAL_PREFIX):
            found = self.find_runs(f"tags.`{LOCAL_ID_TAG}` = '{run}'", 1) if re.fullmatch(r"[\w-]+", run) else []
            if not found:
                raise UserError(f"run {run!r} is not recorded at {self.uri} yet; send what waits with `fgcme sync`")
            return found[0]
        if re.fullmatch(rf"[0-9a-f]{{{_RUN_ID_LENGTH}}}", run) and (exact := self._get_run(run)):
            return exact
        if re.fullmatch(rf"[0-9a-f]{{{_PREFIX_LENGTH},{_RUN_ID_LENGTH}}}", run):
            found = self.find_runs(f"attributes.run_id LIKE '{run}%'", 5)
            if found:
                return _single(found, f"run ids begin with {run!r}")
        quote = '"' if "'" in run else "'"
        found = [] if '"' in run and "'" in run else self.find_runs(f"attributes.run_name = {quote}{run}{quote}", 5)
        if not found:
            raise UserError(
                f"run {run!r} is not recorded at {self.uri}; give its id, the id's first {_PREFIX_LENGTH} or more "
                "characters, its name, or `latest`"
            )
        return _single(found, f"runs are called {run!r}")

    def find_runs(self, condition: str, limit: int) -> list[Run]:
        """The newest runs of this program that meet a condition, in all experiments; runs of others are passed over.

        Args:
            condition: in MLflow's language.
            limit: how many.
        """

        def search() -> list[Run]:
            runs: list[Run] = []
            for experiments in experiment_ids(self.client):
                runs += self.client.search_runs(
                    experiments, f"{_IS_OURS} AND {condition}", max_results=limit, order_by=[_NEWEST_FIRST]
                )
            return sorted(runs, key=lambda run: -run.info.start_time)[:limit]

        return query_store(self.uri, search)

    def child_runs(self, run_id: str) -> list[Run]:
        """The runs below a run, oldest first; they are in its experiment."""
        parent = self._resolve(run_id)

        def search() -> list[Run]:
            experiments = [self.client.get_run(parent).info.experiment_id]
            condition = f"tags.`mlflow.parentRunId` = '{parent}'"
            found = pages(
                lambda token: self.client.search_runs(
                    experiments, condition, order_by=[_NEWEST_FIRST], page_token=token
                )
            )
            return [run for page in found for run in page]

        return query_store(self.uri, search)[::-1]

    def metric_history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """All (step, value) of a metric, sorted by step; values of one step in the order in which they were logged."""
        run = self._resolve(run_id)
        values = query_store(self.uri, lambda: self.client.get_metric_history(run, metric))
        return [(int(value.step), float(value.value)) for value in sorted(values, key=lambda value: int(value.step))]

    def has_artifact(self, run_id: str, path: str) -> bool:
        """Whether a run has an artifact at this path."""
        run, folder = self._resolve(run_id), path.rpartition("/")[0] or None
        entries = query_store(self.uri, lambda: self.client.list_artifacts(run, folder))
        return any(entry.path == path for entry in entries)

    def download_artifact(self, run_id: str, path: str, destination: Path) -> Path:
        """Copy an artifact of a run, a file or a folder.

        Args:
            run_id: the run.
            path: of the artifact.
            destination: an existing folder to copy it into.

        Returns:
            Where the copy is.

        Raises:
            UserError: the run has no such artifact, or the store does not answer.
        """
        from mlflow.exceptions import MlflowException

        run = self._resolve(run_id)
        try:
            return Path(self.client.download_artifacts(run, path, str(destination)))
        except (MlflowException, OSError) as error:
            require_available(self.uri)
            raise UserError(f"run {run_id} has no artifact {path!r} ({mlflow_message(error)})") from None

    def load_yaml(self, run_id: str, path: str) -> Any:
        """The content of a YAML artifact.

        Raises:
            UserError: the run has no such artifact, or it is not YAML.
        """
        return self._load(run_id, path, yaml.safe_load, "YAML")

    def load_json(self, run_id: str, path: str) -> Any:
        """The content of a JSON artifact, which `load_yaml` would not do for: to YAML, 1e-05 is text.

        Raises:
            UserError: the run has no such artifact, or it is not JSON.
        """
        return self._load(run_id, path, json.loads, "JSON")

    def _load(self, run_id: str, path: str, parse: Callable[[str], Any], language: str) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            file = self.download_artifact(run_id, path, Path(folder))
            try:
                return parse(file.read_text(encoding="utf-8"))
            # PyYAML lets a ValueError through for a date such as 2024-13-01.
            except (ValueError, yaml.YAMLError) as error:
                message = f"run {run_id}: artifact {path!r} is not {language} ({mlflow_message(error)})"
                raise UserError(message) from None

    def _resolve(self, run_id: str) -> str:
        """The id by which the store knows a run."""
        if not run_id.startswith(LOCAL_PREFIX):
            return run_id
        outbox = outbox_for(self.outbox, self.uri) if self.outbox else None
        return query_store(self.uri, lambda: resolve_run_id(self.client, run_id, outbox))

    def _get_run(self, run_id: str) -> Run | None:
        """The run with this id, whoever made it; None if there is none.

        Raises:
            UserError: it was deleted.
        """
        from mlflow.exceptions import MlflowException

        try:
            run = query_store(self.uri, lambda: self.client.get_run(run_id))
        except MlflowException as error:
            if is_deleted(error):
                return None
            raise
        if run.info.lifecycle_stage != "active":
            experiment = query_store(self.uri, lambda: self.client.get_experiment(run.info.experiment_id))
            way_back = f"runs restore --run-id {run_id}"
            if experiment.lifecycle_stage != "active":
                way_back = f"experiments restore --experiment-id {experiment.experiment_id}"
            raise UserError(
                f"run {run_id} was deleted in MLflow at {self.uri}: bring it back in MLflow's pages or with "
                f"`mlflow {way_back}`"
            )
        return run


def _single(runs: list[Run], what: str) -> Run:
    if len(runs) > 1:
        ids = ", ".join(run.info.run_id for run in runs[:4])
        raise UserError(f"{len(runs)} or more {what}; give one id ({ids}{', ...' if len(runs) > 4 else ''})")
    return runs[0]

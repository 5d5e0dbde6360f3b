"""Entries: writes to a run as JSON values, applied to a store now or after they waited in an outbox.

Every entry may be applied twice without harm: MLflow drops a metric of the same step, time and value; parameters, tags
and states are overwritten; artifacts are replaced; a dataset is an input once; a run is created only if none has its
local id.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fgcme.errors import UserError
from fgcme.tracking.dataset import RunDataset, dataset_input
from fgcme.tracking.outbox import Entry, Outbox
from fgcme.tracking.store import experiment_ids, sqlite_lock

if TYPE_CHECKING:
    from mlflow import MlflowClient

# Every run has a local id, so it is found even if the server's reply to its creation was lost.
LOCAL_PREFIX = "local-"
LOCAL_ID_TAG = "fgcme.local_id"

# Kinds of entries that MLflow takes in one request; `batch` is several of them.
_BATCHES = ("metrics", "parameters", "tags", "batch")


def apply_entry(client: MlflowClient, run: str, entry: Entry, outbox: Outbox | None = None) -> str:
    """Write an entry to the store at once.

    Args:
        client: of the store.
        run: id of the run; the local id of one that the entry creates.
        entry: what to write.
        outbox: knows the ids of runs that were created, and holds files that were copied.

    Returns:
        The id of the run.

    Raises:
        Exception: what MLflow raises.
    """
    with sqlite_lock(client.tracking_uri):
        if entry["kind"] == "start":
            return _create_run(client, run, entry, outbox)
        run = resolve_run_id(client, run, outbox)
        _update_run(client, run, entry, outbox)
        return run


def merge_entries(entries: Iterable[Entry]) -> Iterator[tuple[Entry, list[Entry]]]:
    """Entries of a run, in order, with those that one request can write merged; each with what it is merged from."""
    for batch, group in itertools.groupby(entries, key=lambda entry: entry["kind"] in _BATCHES):
        if batch:
            parts = list(group)
            yield _merge(parts), parts
        else:
            yield from ((entry, [entry]) for entry in group)


def resolve_run_id(client: MlflowClient, run: str, outbox: Outbox | None = None) -> str:
    """The id by which the store knows a run.

    Args:
        client: of the store.
        run: the store's id, which is returned as it is, or a local id.
        outbox: remembers the ids that a search of the store has found.

    Raises:
        UserError: the store has no run with this local id.
    """
    if not run.startswith(LOCAL_PREFIX):
        return run
    if outbox and (known := outbox.run_id(run)):
        return known
    searched = (find_by_local_id(client, run, experiments) for experiments in experiment_ids(client))
    if (found := next(filter(None, searched), None)) is None:
        raise UserError(f"run {run} is not recorded; if it waits in an outbox, `fgcme sync` sends it")
    if outbox:
        outbox.save_run_id(run, found)
    return found


def find_by_local_id(client: MlflowClient, local_id: str, experiments: Sequence[str]) -> str | None:
    """The store's id of the run with a local id; None if it was never created.

    Args:
        client: of the store.
        local_id: see `LOCAL_ID_TAG`.
        experiments: ids of the experiments to search.
    """
    if not experiments:
        return None
    runs = client.search_runs(list(experiments), f"tags.`{LOCAL_ID_TAG}` = '{local_id}'", max_results=1)
    return str(runs[0].info.run_id) if runs else None


def _merge(entries: Sequence[Entry]) -> Entry:
    merged: Entry = {"kind": "batch", "metrics": [], "parameters": {}, "tags": {}}
    for entry in entries:
        merged["metrics"] += entry.get("metrics", [])
        merged["parameters"] |= entry.get("parameters", {})
        merged["tags"] |= entry.get("tags", {})
    return merged


def _create_run(client: MlflowClient, local_id: str, entry: Entry, outbox: Outbox | None) -> str:
    tags = {**entry["tags"], LOCAL_ID_TAG: local_id}
    if entry["parent"] is not None:
        try:
            tags["mlflow.parentRunId"] = resolve_run_id(client, entry["parent"], outbox)
        except UserError:
            # The store refused the parent; its child runs are recorded all the same.
            tags["mlflow.parentRunId"] = entry["parent"]
    created = client.create_run(entry["experiment"], entry["time"], tags, entry["name"])
    return str(created.info.run_id)


def _update_run(client: MlflowClient, run: str, entry: Entry, outbox: Outbox | None) -> None:
    from mlflow.entities import Metric, Param, RunTag

    match entry["kind"]:
        case kind if kind in _BATCHES:
            client.log_batch(
                run,
                [Metric(*metric) for metric in entry.get("metrics", [])],
                [Param(*pair) for pair in entry.get("parameters", {}).items()],
                [RunTag(*pair) for pair in entry.get("tags", {}).items()],
            )
        case "dataset":
            client.log_inputs(run, [dataset_input(RunDataset(**entry["dataset"]))])
        case "running":
            client.update_run(run, status="RUNNING")
        case "ended":
            client.set_terminated(run, entry["status"], entry["time"])
        case "artifact":
            path = outbox.copied_file(entry["kept"]) if outbox and "kept" in entry else Path(entry["path"])
            if path.is_dir():
                client.log_artifacts(run, str(path), entry["folder"])
            else:
                client.log_artifact(run, str(path), entry["folder"])
        case kind:
            raise UserError(f"entries of kind {kind!r} cannot be sent")

"""Carries writes to a store of MLflow runs: at once while it answers, by way of an outbox while it does not.

Every write may be made twice without harm: metrics of the same step, time and value are one for MLflow; parameters,
tags and states are set to what they are; artifacts are replaced; and a run is made only where none has its local id.
"""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fgcme.errors import UserError, without_passwords
from fgcme.tracking.outbox import Entry, Outbox
from fgcme.tracking.store import (
    PATIENCE_SECONDS,
    is_permanent,
    mlflow_client,
    mlflow_message,
    retry_briefly,
    sqlite_lock,
    wait_while_alive,
    why_unavailable,
    with_timeout,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

# Every run carries an id of our own, by which it is found although nobody heard that it was made. A run that could not
# be made yet goes by it.
LOCAL_PREFIX = "local-"
LOCAL_ID_TAG = "fgcme.local_id"

_INTERVAL_SECONDS = 3.0
# How long a server that answers again may be busy with requests whose senders have given up.
_SETTLING_SECONDS = 5.0


@dataclass
class SendReport:
    """What came of an attempt to send all that waits.

    Attributes:
        runs, writes: what was sent.
        refused: what the store will never take, a sentence each; it is set aside in the outbox.
        stuck: runs that wait on although the store answers, and why.
        problem: why the store does not answer; None if it does.
    """

    runs: set[str] = field(default_factory=set)
    writes: int = 0
    refused: list[str] = field(default_factory=list)
    stuck: dict[str, str] = field(default_factory=dict)
    problem: str | None = None


class OutboxRelay:
    """What one process sends to one store.

    A write that cannot be made is put into the outbox, and so is all that follows of the same run until everything is
    sent, which a thread in the background tries every few seconds. A store that is known to be away is not asked by
    writes: a training waits for it a few seconds once, and from then on for a line on disk.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._uri = outbox.address
        self._away = False
        self._watching = False
        self._told = False
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def write(self, run: str, entry: Entry) -> str:
        """Write to a run, now or later.

        Returns:
            The id by which the run goes: another than before if this made the run.

        Raises:
            Exception: the store refuses the write, and would at any other time.
        """
        if not self._outbox.has_pending(run):
            run = self._outbox.run_id(run) or run
        if self._away or any(self._outbox.has_pending(needed) for needed in (run, entry.get("parent")) if needed):
            return self._put(run, entry)
        try:
            # Whether a run was made can't be known at once, if no answer came.
            return (
                self._straight(run, entry)
                if entry["kind"] == "start"
                else retry_briefly(lambda: self._straight(run, entry))
            )
        except Exception as error:
            if is_permanent(error):
                raise
            self._away = True
            if entry["kind"] == "start" and mlflow_message(error) != "connection refused":
                self._outbox.save_run_id(run, None)
            return self._put(run, entry)

    def watch(self) -> None:
        """Until `unwatch`: send what any process leaves in the outbox, and tell the user if the store is away."""
        self._watching = True
        self._carry_on()

    def unwatch(self) -> None:
        """End what `watch` began."""
        self._watching = False

    def send_pending(self, wait: bool) -> SendReport:
        """Send all that waits, of all processes.

        Args:
            wait: for another process that is sending; otherwise everything is left to it.
        """
        sent = SendReport(problem=why_unavailable(self._uri))
        if sent.problem is None:
            with self._outbox.sending_lock(wait) as alone:
                delivery = _Delivery(self._outbox, sent)
                for run in self._outbox.pending_runs() if alone else []:
                    if not delivery.deliver(run):
                        break
        self._away = bool(sent.problem or sent.stuck)
        return sent

    def _straight(self, run: str, entry: Entry) -> str:
        # Made here, since the first import of MLflow takes its time.
        store = mlflow_client(self._uri)
        if "path" in entry:
            # A large file takes long, a server that is away for ever.
            return wait_while_alive(self._uri, lambda: apply_entry(store, run, entry, self._outbox))
        return with_timeout(PATIENCE_SECONDS, lambda: apply_entry(store, run, entry, self._outbox))

    def _put(self, run: str, entry: Entry) -> str:
        if "path" in entry:
            # The file may be gone or changed when its turn comes.
            entry = {key: value for key, value in entry.items() if key != "path"} | {
                "kept": self._outbox.copy_file(Path(entry["path"]))
            }
        self._outbox.append(run, entry)
        self._carry_on()
        return run

    def _carry_on(self) -> None:
        with self._lock:
            # A forked process has the object, not the thread.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._carry, daemon=True)
                self._thread.start()

    def _carry(self) -> None:
        while True:
            time.sleep(_INTERVAL_SECONDS)
            if self._outbox.pending_runs():
                sent = self.send_pending(wait=False)
                if sent.problem and self._watching and not self._told:
                    self._told = True
                    print_notice(
                        f"{sent.problem}. The work goes on: what cannot be recorded is kept in "
                        f"{self._outbox.folder.parent} and sent later, by `fgcme sync` if need be"
                    )
                for sentence in sent.refused:
                    print_notice(sentence)
                continue
            self._told = self._away = False
            with self._lock:
                if not self._watching and not self._outbox.pending_runs():
                    self._thread = None
                    return


class _Delivery:
    """All that waits in an outbox, sent by the one process that may."""

    def __init__(self, outbox: Outbox, sent: SendReport) -> None:
        self._outbox = outbox
        self._sent = sent
        self._since = time.monotonic()
        self._store = mlflow_client(outbox.address)

    def deliver(self, run: str) -> bool:
        """Send what waits of a run; returns whether the store still answers."""
        try:
            self._outbox.drain(run, lambda entries: self._send(run, entries))
        except Exception as error:
            if is_permanent(error):
                raise
            self._sent.problem = why_unavailable(self._outbox.address)
            if self._sent.problem:
                return False
            self._sent.stuck[run] = mlflow_message(error)
        return True

    def _send(self, run: str, entries: list[Entry]) -> None:
        for group in _grouped(entries):
            try:
                self._make(run, _joined(group))
            except Exception as error:
                if not is_permanent(error):
                    raise
                for entry in group:
                    self._make_or_set_aside(run, entry)
            self._sent.runs.add(run)
            self._sent.writes += len(group)

    def _make(self, run: str, entry: Entry) -> None:
        if entry["kind"] == "start":
            self._start(run, entry)
        else:
            wait_while_alive(self._outbox.address, lambda: apply_entry(self._store, run, entry, self._outbox))

    def _start(self, run: str, entry: Entry) -> None:
        if self._outbox.run_id(run):
            return
        parent = entry["parent"]
        if parent and self._outbox.has_pending(parent):
            self._outbox.drain(parent, lambda entries: self._send(parent, entries))
        if self._outbox.was_requested(run):
            # A request on which its sender gave up may be answered only now.
            time.sleep(max(0.0, _SETTLING_SECONDS - (time.monotonic() - self._since)))
        self._outbox.save_run_id(run, None)

        def start() -> str:
            found = find_by_local_id(self._store, run, [entry["experiment"]])
            return found or apply_entry(self._store, run, entry, self._outbox)

        self._outbox.save_run_id(run, wait_while_alive(self._outbox.address, start))

    def _make_or_set_aside(self, run: str, entry: Entry) -> None:
        try:
            self._make(run, entry)
        except Exception as error:
            if not is_permanent(error):
                raise
            self._outbox.reject(run, entry, mlflow_message(error))
            self._sent.writes -= 1
            self._sent.refused.append(
                f"run {run}: MLflow refuses {entry['kind']} ({mlflow_message(error)}); "
                f"kept in {self._outbox.rejected_file}"
            )


def apply_entry(store: MlflowClient, run: str, entry: Entry, outbox: Outbox | None = None) -> str:
    """Do what an entry says, at once.

    Returns:
        The id of the run.

    Raises:
        Exception: whatever MLflow raises.
    """
    with sqlite_lock(store.tracking_uri):
        if entry["kind"] == "start":
            return _start(store, run, entry, outbox)
        run = resolve_run_id(store, run, outbox)
        _add(store, run, entry, outbox)
        return run


def resolve_run_id(store: MlflowClient, run: str, outbox: Outbox | None = None) -> str:
    """The id that the store has given to a run.

    Raises:
        UserError: it goes by a local id, and the store has no such run.
    """
    if not run.startswith(LOCAL_PREFIX):
        return run
    if outbox and (known := outbox.run_id(run)):
        return known
    found = find_by_local_id(store, run, [each.experiment_id for each in store.search_experiments()])
    if found is None:
        raise UserError(f"run {run} is not recorded; if it waits in an outbox, `fgcme sync` sends it")
    if outbox:
        outbox.save_run_id(run, found)
    return found


def find_by_local_id(store: MlflowClient, local: str, experiments: list[str]) -> str | None:
    """The id of the run with a local id, if it was made."""
    found = store.search_runs(experiments, f"tags.`{LOCAL_ID_TAG}` = '{local}'", max_results=1) if experiments else []
    return str(found[0].info.run_id) if found else None


def print_notice(sentence: str) -> None:
    """Tell the user something that is no result."""
    print(f"fgcme: {without_passwords(sentence)}", file=sys.stderr, flush=True)


def _start(store: MlflowClient, local: str, entry: Entry, outbox: Outbox | None) -> str:
    tags = {**entry["tags"], LOCAL_ID_TAG: local}
    if entry["parent"] is not None:
        try:
            tags["mlflow.parentRunId"] = resolve_run_id(store, entry["parent"], outbox)
        except UserError:
            # Refused, and set aside: what belonged to it is recorded all the same.
            tags["mlflow.parentRunId"] = entry["parent"]
    made = store.create_run(entry["experiment"], entry["time"], tags, entry["name"])
    return str(made.info.run_id)


def _add(store: MlflowClient, run: str, entry: Entry, outbox: Outbox | None) -> None:
    from mlflow.entities import Metric, Param, RunTag

    match entry["kind"]:
        case "metrics":
            store.log_batch(run, metrics=[Metric(*metric) for metric in entry["metrics"]])
        case "parameters":
            store.log_batch(run, params=[Param(*pair) for pair in entry["parameters"].items()])
        case "tags":
            store.log_batch(run, tags=[RunTag(*pair) for pair in entry["tags"].items()])
        case "running":
            store.update_run(run, status="RUNNING")
        case "ended":
            store.set_terminated(run, entry["status"], entry["time"])
        case "artifact":
            path = outbox.copied_file(entry["kept"]) if outbox and "kept" in entry else Path(entry["path"])
            if path.is_dir():
                store.log_artifacts(run, str(path), entry["folder"])
            else:
                store.log_artifact(run, str(path), entry["folder"])


def _grouped(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Metrics that follow each other belong together, everything else is alone."""
    for metrics, group in itertools.groupby(entries, key=lambda entry: entry["kind"] == "metrics"):
        if metrics:
            yield list(group)
        else:
            yield from ([entry] for entry in group)


def _joined(group: list[Entry]) -> Entry:
    if len(group) == 1:
        return group[0]
    return {"kind": "metrics", "metrics": [metric for entry in group for metric in entry["metrics"]]}

"""The way of a process's writes to a store: direct while it answers, through an outbox while it does not."""

from __future__ import annotations

import functools
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from fgcme.addresses import without_passwords
from fgcme.tracking.entries import LOCAL_PREFIX, apply_entry, find_by_local_id, merge_entries
from fgcme.tracking.failures import is_permanent, mlflow_message
from fgcme.tracking.outbox import Entry, Outbox
from fgcme.tracking.retrying import retry_briefly, wait_while_alive, with_timeout
from fgcme.tracking.store import mlflow_client, ping, why_unavailable

_INTERVAL_SECONDS = 3.0
# A server that is back may still work on requests whose senders have given up.
_SETTLING_SECONDS = 5.0


@dataclass
class SendReport:
    """The result of an attempt to send all pending entries.

    Attributes:
        runs, writes: what was sent.
        refused: a sentence for each entry that the store will never accept; it is set aside in the outbox.
        stuck: runs whose entries stay pending although the store answers, and why.
        problem: why the store does not answer; None if it does.
    """

    runs: set[str] = field(default_factory=set)
    writes: int = 0
    refused: list[str] = field(default_factory=list)
    stuck: dict[str, str] = field(default_factory=dict)
    problem: str | None = None


class OutboxRelay:
    """Writes of one process to one store.

    A write that fails goes into the outbox, and so do all later ones of the same run until everything is sent; a thread
    in the background tries that every few seconds. While the store is known to be away, writes go straight to the
    outbox: a training waits for the store a few seconds once, and then only for a line on disk.

    Args:
        outbox: of the store.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._uri = outbox.address
        self._away = False
        self._watching = False
        self._notified = False
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def write(self, run: str, entry: Entry) -> str:
        """Write to a run, now or later.

        Args:
            run: id of the run; the local id of one that the entry creates.
            entry: what to write.

        Returns:
            The id of the run; the store's id if the entry created it there.

        Raises:
            Exception: the store refuses the write, and would at any other time.
        """
        is_start = entry["kind"] == "start"
        needed = entry["parent"] if is_start else run
        if self._away or (needed and self._must_wait(needed)):
            return self._enqueue(run, entry)
        run = self._outbox.run_id(run) or run
        try:
            # Without an answer, nobody knows whether the run was created: don't retry.
            if is_start:
                return self._write_directly(run, entry)
            return retry_briefly(lambda: self._write_directly(run, entry))
        except Exception as error:
            if is_permanent(error):
                raise
            self._away = True
            if is_start and mlflow_message(error) != "connection refused":
                self._outbox.mark_requested(run)
            return self._enqueue(run, entry)

    def watch(self) -> None:
        """Until `unwatch`: send what any process puts into the outbox, and tell the user if the store is away."""
        self._watching = True
        self._start_sending()

    def unwatch(self) -> None:
        """Undo `watch`; this process's own entries are still sent."""
        self._watching = False

    def send_pending(self, wait: bool) -> SendReport:
        """Send the pending entries of all processes.

        Args:
            wait: if another process is sending, wait for it; otherwise leave everything to it.

        Returns:
            What this call sent and could not send; nothing if it left the sending to another process.
        """
        report = SendReport(problem=why_unavailable(self._uri))
        # Runs of which nothing is pending are written to directly while those of the others are sent.
        self._away = report.problem is not None
        try:
            if not self._away:
                self._send_pending(report, wait)
        except OSError as error:
            report.problem = f"{self._outbox.folder}: {error.strerror or error}"
        self._away = bool(report.problem or report.stuck)
        return report

    def _send_pending(self, report: SendReport, wait: bool) -> None:
        with self._outbox.sending_lock(wait) as acquired:
            sender = _Sender(self._outbox, report)
            for run in self._outbox.pending_runs() if acquired else []:
                if not sender.send_run(run):
                    break

    def _must_wait(self, run: str) -> bool:
        """Whether a write to a run waits for earlier ones, of which the first creates the run."""
        if self._outbox.has_pending(run):
            return True
        # Another machine keeps what creates it, or knows its id, and this one sees neither yet.
        return run.startswith(LOCAL_PREFIX) and self._outbox.run_id(run) is None

    def _write_directly(self, run: str, entry: Entry) -> str:
        # Created outside the timeout: the first import of MLflow takes seconds.
        client = mlflow_client(self._uri)
        if "path" in entry:
            # An upload may take long, as long as the server answers others.
            return wait_while_alive(
                lambda: apply_entry(client, run, entry, self._outbox), functools.partial(ping, self._uri)
            )
        return with_timeout(lambda: apply_entry(client, run, entry, self._outbox))

    def _enqueue(self, run: str, entry: Entry) -> str:
        if "path" in entry:
            # The file may be changed or deleted before it is sent.
            copy = self._outbox.copy_file(Path(entry["path"]))
            entry = {key: value for key, value in entry.items() if key != "path"} | {"kept": copy}
        self._outbox.append(run, entry)
        self._start_sending()
        return run

    def _start_sending(self) -> None:
        with self._lock:
            # A forked process inherits the object without its thread.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._send_repeatedly, daemon=True)
                self._thread.start()

    def _send_repeatedly(self) -> None:
        report = SendReport()
        while True:
            # What was added while the last was sent follows at once.
            if not report.writes or report.problem or report.stuck:
                time.sleep(_INTERVAL_SECONDS)
            if self._outbox.pending_runs():
                report = self.send_pending(wait=False)
                self._notify(report)
                continue
            report = SendReport()
            self._notified = self._away = False
            with self._lock:
                if not self._watching and not self._outbox.pending_runs():
                    self._thread = None
                    return

    def _notify(self, report: SendReport) -> None:
        if report.problem and self._watching and not self._notified:
            self._notified = True
            print_notice(
                f"{report.problem}. The work goes on: what cannot be recorded is kept in "
                f"{self._outbox.folder.parent} and sent later, by `fgcme sync` if need be"
            )
        for sentence in report.refused:
            print_notice(sentence)


class _Sender:
    """Sends pending entries, for the one process that holds the outbox's `sending_lock`."""

    def __init__(self, outbox: Outbox, report: SendReport) -> None:
        self._outbox = outbox
        self._report = report
        self._started = time.monotonic()
        self._client = mlflow_client(outbox.address)
        self._ping = functools.partial(ping, outbox.address)

    def send_run(self, run: str) -> bool:
        """Send the pending entries of a run; returns whether the store still answers."""
        try:
            self._outbox.drain(run, lambda entries: self._send(run, entries))
        except Exception as error:
            if is_permanent(error):
                raise
            self._report.problem = why_unavailable(self._outbox.address)
            if self._report.problem:
                return False
            self._report.stuck[run] = mlflow_message(error)
        return True

    def _send(self, run: str, entries: list[Entry]) -> None:
        for merged, parts in merge_entries(entries):
            try:
                self._apply(run, merged)
            except Exception as error:
                if not is_permanent(error):
                    raise
                for entry in parts:
                    self._apply_or_set_aside(run, entry)
            self._report.runs.add(run)
            self._report.writes += len(parts)

    def _apply(self, run: str, entry: Entry) -> None:
        if entry["kind"] == "start":
            self._create_run(run, entry)
        else:
            wait_while_alive(lambda: apply_entry(self._client, run, entry, self._outbox), self._ping)

    def _create_run(self, local_id: str, entry: Entry) -> None:
        if self._outbox.run_id(local_id):
            return
        parent = entry["parent"]
        if parent and self._outbox.has_pending(parent):
            self._outbox.drain(parent, lambda entries: self._send(parent, entries))
        if not self._outbox.mark_requested(local_id):
            # The server may only now create a run whose sender has given up.
            time.sleep(max(0.0, _SETTLING_SECONDS - (time.monotonic() - self._started)))

        def find_or_create() -> str:
            found = find_by_local_id(self._client, local_id, [entry["experiment"]])
            return found or apply_entry(self._client, local_id, entry, self._outbox)

        self._outbox.save_run_id(local_id, wait_while_alive(find_or_create, self._ping))

    def _apply_or_set_aside(self, run: str, entry: Entry) -> None:
        try:
            self._apply(run, entry)
        except Exception as error:
            if not is_permanent(error):
                raise
            self._outbox.set_aside(run, entry, mlflow_message(error))
            self._report.writes -= 1
            self._report.refused.append(
                f"run {run}: MLflow refuses {entry['kind']} ({mlflow_message(error)}); "
                f"kept in {self._outbox.refused_file}"
            )


def print_notice(sentence: str) -> None:
    """Tell the user something on standard error, without passwords."""
    print(f"fgcme: {without_passwords(sentence)}", file=sys.stderr, flush=True)

"""Sync: sends to MLflow what could not be recorded while its server was away."""

from __future__ import annotations

from pathlib import Path

from fgcme.addresses import without_passwords
from fgcme.errors import UserError
from fgcme.tracking import Outbox, OutboxRelay, find_outboxes
from pipelines.runs.records import OUTBOX_FOLDER


def run(storage: Path) -> int:
    """Send all pending writes in a storage folder, each to its store.

    Safe at any time: while trainings run, and several at once, since only one process sends at a time.

    Args:
        storage: the folder of the results (`storage.path`).

    Returns:
        The exit status: 0, or 1 as long as there is a file of refused writes.

    Raises:
        UserError: there is no such folder, or not all could be sent; the rest stays pending.
    """
    if not storage.is_dir():
        raise UserError(f"{storage}: no such folder; give the folder of the results (storage.path) with --storage")
    outboxes = find_outboxes(storage / OUTBOX_FOLDER)
    pending = [outbox for outbox in outboxes if outbox.pending_runs()]
    if not pending:
        print(f"{storage}: nothing waits to be sent")
    problems = [sentence for outbox in pending if (sentence := _send(outbox))]
    if problems:
        raise UserError("; ".join(problems))
    refused = [outbox.refused_file for outbox in outboxes if outbox.refused_file.exists()]
    for path in refused:
        print(f"MLflow refused some writes: see {path} for the reasons, and delete it when you have dealt with them")
    return 1 if refused else 0


def _send(outbox: Outbox) -> str | None:
    """Send the pending writes to one store; returns a sentence if some are left."""
    report = OutboxRelay(outbox).send_pending(wait=True)
    if report.writes:
        address = without_passwords(outbox.address)
        print(f"{address}: sent {report.writes} writes of {len(report.runs)} runs", flush=True)
    for sentence in report.refused:
        print(without_passwords(sentence))
    left = outbox.pending_runs()
    if not left:
        return None
    reason = report.problem or f"{outbox.address}: run {left[0]} cannot be sent ({report.stuck.get(left[0], 'busy')})"
    return (
        f"{reason}. Nothing is lost: {outbox.count_pending()} writes of {len(left)} runs wait in {outbox.folder}; "
        "run `fgcme sync` again later"
    )

"""Sync: sends what the store of runs could not take while it was away."""

from __future__ import annotations

from pathlib import Path

from fgcme.errors import UserError, without_passwords
from fgcme.tracking import Outbox, OutboxRelay, find_outboxes
from pipelines.runs.records import OUTBOX_FOLDER


def run(storage: Path) -> int:
    """Send all that waits in a storage folder, each to the store that it was meant for.

    May be run at any time, by several at once, and while trainings go on: what one sends no other sends again.

    Args:
        storage: the folder that results go to (`storage.path`).

    Returns:
        The exit status: 0, or 1 if a store has refused something, now or before.

    Raises:
        UserError: a store does not answer, or not for all of it; what waits waits on.
    """
    if not storage.is_dir():
        raise UserError(f"{storage}: no such folder; name the one that results go to with --storage")
    found = find_outboxes(storage / OUTBOX_FOLDER)
    waiting = [outbox for outbox in found if outbox.pending_runs()]
    if not waiting:
        print(f"{storage}: nothing waits to be sent")
    left = [sentence for outbox in waiting if (sentence := _send(outbox))]
    if left:
        raise UserError("; ".join(left))
    refused = [outbox.rejected_file for outbox in found if outbox.rejected_file.exists()]
    for path in refused:
        print(f"what was refused, and why, is in {path}; remove it when it is dealt with")
    return 1 if refused else 0


def _send(outbox: Outbox) -> str | None:
    """Send what waits for one store; returns what is left, and why, if anything is."""
    sent = OutboxRelay(outbox).send_pending(wait=True)
    if sent.writes:
        print(f"{without_passwords(outbox.address)}: {sent.writes} writes of {len(sent.runs)} runs sent", flush=True)
    for sentence in sent.rejected:
        print(without_passwords(sentence))
    left = outbox.pending_runs()
    if not left:
        return None
    reason = sent.problem or f"{outbox.address}: run {left[0]} cannot be sent ({sent.stuck.get(left[0], 'busy')})"
    return f"{reason}. Nothing is lost: {outbox.count_pending()} writes of {len(left)} runs wait in {outbox.folder}"

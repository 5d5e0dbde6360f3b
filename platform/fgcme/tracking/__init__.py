"""MLflow runs, written at once or once their server is back."""

from fgcme.tracking.outbox import Outbox, outboxes
from fgcme.tracking.relay import LOCAL_TAG, OutboxRelay
from fgcme.tracking.store import is_permanent, sqlite_path
from fgcme.tracking.tracker import Tracker, prepare_store, provenance, require_store, resolve_uri

__all__ = [
    "LOCAL_TAG",
    "Outbox",
    "OutboxRelay",
    "Tracker",
    "is_permanent",
    "outboxes",
    "prepare_store",
    "provenance",
    "require_store",
    "resolve_uri",
    "sqlite_path",
]

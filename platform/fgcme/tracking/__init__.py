"""MLflow runs, written at once or once their server is back."""

from fgcme.tracking.outbox import Outbox, find_outboxes
from fgcme.tracking.relay import LOCAL_ID_TAG, OutboxRelay
from fgcme.tracking.store import is_permanent, sqlite_path
from fgcme.tracking.tracker import Tracker, code_version_tags, prepare_store, require_store, resolve_uri

__all__ = [
    "LOCAL_ID_TAG",
    "Outbox",
    "OutboxRelay",
    "Tracker",
    "code_version_tags",
    "find_outboxes",
    "is_permanent",
    "prepare_store",
    "require_store",
    "resolve_uri",
    "sqlite_path",
]

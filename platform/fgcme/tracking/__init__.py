"""MLflow runs, written at once or once their server is back."""

from fgcme.tracking.code_version import code_version_tags
from fgcme.tracking.dataset import RunDataset, dataset_input
from fgcme.tracking.entries import LOCAL_ID_TAG
from fgcme.tracking.failures import is_permanent, mlflow_message
from fgcme.tracking.outbox import Outbox, find_outboxes, outbox_for
from fgcme.tracking.relay import OutboxRelay
from fgcme.tracking.run_reader import RunReader
from fgcme.tracking.store import prepare_store, require_store, resolve_uri, sqlite_path
from fgcme.tracking.tracker import Tracker

__all__ = [
    "LOCAL_ID_TAG",
    "Outbox",
    "OutboxRelay",
    "RunDataset",
    "RunReader",
    "Tracker",
    "code_version_tags",
    "dataset_input",
    "find_outboxes",
    "is_permanent",
    "mlflow_message",
    "outbox_for",
    "prepare_store",
    "require_store",
    "resolve_uri",
    "sqlite_path",
]

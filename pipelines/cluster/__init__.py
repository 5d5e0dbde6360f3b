"""The machines: Ray, its capacity, the shared folder, one driver at a time, progress in a terminal."""

from pipelines.cluster.capacity import (
    capacity,
    cluster_resources,
    concurrent_slots,
    require_capacity,
)
from pipelines.cluster.lock import LOCK, changing, driver_lock, reading
from pipelines.cluster.progress import Progress, clock
from pipelines.cluster.session import ray_session
from pipelines.cluster.storage import storage_folder, writable_folder

__all__ = [
    "LOCK",
    "Progress",
    "capacity",
    "changing",
    "clock",
    "cluster_resources",
    "concurrent_slots",
    "driver_lock",
    "ray_session",
    "reading",
    "require_capacity",
    "storage_folder",
    "writable_folder",
]

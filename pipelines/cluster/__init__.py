"""The machines: Ray, its capacity, the shared folder, one driver at a time, blocks of rows, progress in a terminal."""

from pipelines.cluster.blocks import map_blocks
from pipelines.cluster.capacity import cluster_resources, require_capacity
from pipelines.cluster.growing import cluster_grows
from pipelines.cluster.lock import LOCK, changing, driver_lock, reading
from pipelines.cluster.progress import Progress, clock
from pipelines.cluster.session import ray_session
from pipelines.cluster.slots import can_have_slot, concurrent_slots, free_slots, require_slot
from pipelines.cluster.storage import storage_folder, writable_folder

__all__ = [
    "LOCK",
    "Progress",
    "can_have_slot",
    "changing",
    "clock",
    "cluster_grows",
    "cluster_resources",
    "concurrent_slots",
    "driver_lock",
    "free_slots",
    "map_blocks",
    "ray_session",
    "reading",
    "require_capacity",
    "require_slot",
    "storage_folder",
    "writable_folder",
]

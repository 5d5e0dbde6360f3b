"""The machines: Ray, its capacity, the shared folder, progress shown in a terminal."""

from pipelines.cluster.progress import Progress, clock
from pipelines.cluster.session import capacity, cluster_resources, ray_session, require_capacity
from pipelines.cluster.storage import storage_folder, writable_folder

__all__ = [
    "Progress",
    "capacity",
    "clock",
    "cluster_resources",
    "ray_session",
    "require_capacity",
    "storage_folder",
    "writable_folder",
]

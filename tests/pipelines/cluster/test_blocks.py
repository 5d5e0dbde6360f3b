"""Blocks of rows on Ray Data."""

from __future__ import annotations

import errno

from ray.exceptions import RayTaskError

from fgcme.errors import UserError
from pipelines.cluster.blocks import find_user_error


def test_a_user_error_of_a_task_is_one_line_and_other_errors_are_raised() -> None:
    def failed(cause: Exception) -> RayTaskError:
        return RayTaskError("prepare_block", "a traceback", cause)

    found = find_user_error(failed(UserError("prepare.alignment.folder: no such folder\nRay's advice")))
    assert str(found) == "prepare.alignment.folder: no such folder"
    full = OSError(errno.ENOSPC, "No space left on device", "storage/a.parquet")
    assert str(find_user_error(failed(full))).startswith("storage/a.parquet: No space left on device; make room")
    assert find_user_error(failed(ValueError("a bug"))) is None
    assert find_user_error(RuntimeError("not of a task")) is None

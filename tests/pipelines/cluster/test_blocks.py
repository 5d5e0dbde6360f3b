"""Blocks of rows on Ray Data."""

from __future__ import annotations

import errno
import os

import pyarrow as pa
import pytest
from ray.exceptions import RayTaskError

from fgcme.errors import UserError
from pipelines.cluster.blocks import find_user_error, run_on_disk


def test_a_user_error_of_a_task_is_one_line_and_other_errors_are_raised() -> None:
    def failed(cause: Exception) -> RayTaskError:
        return RayTaskError("prepare_block", "a traceback", cause)

    found = find_user_error(failed(UserError("prepare.alignment.folder: no such folder\nRay's advice")))
    assert str(found) == "prepare.alignment.folder: no such folder"
    assert find_user_error(failed(ValueError("a bug"))) is None
    assert find_user_error(RuntimeError("not of a task")) is None


def test_a_disk_that_refuses_is_a_user_error_of_the_task_and_other_errors_stay() -> None:
    def write(block: pa.Table, code: int) -> pa.Table:
        raise OSError(code, os.strerror(code), "storage/a.parquet")

    block = pa.table({"id": ["a"]})
    with pytest.raises(UserError, match=r"^storage/a\.parquet: No space left on device; make room on its disk"):
        run_on_disk(write, block, code=errno.ENOSPC)
    with pytest.raises(FileNotFoundError):
        run_on_disk(write, block, code=errno.ENOENT)
    assert run_on_disk(lambda block, name: block.select([name]), block, name="id") == block

"""The folder of many answers knows what is done, and says what was not answered."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from fgcme.corpora.contract import Rejection
from fgcme.errors import UserError
from pipelines.predicting import folder as answers


def rejection(name: str) -> Rejection:
    return Rejection(name, f"{name}.wav", "read", "silent", "it is silent")


def test_a_folder_goes_on_with_the_same_settings_only(tmp_path: Path) -> None:
    answers.claim(tmp_path, {"model": "a", "longest": None})
    answers.claim(tmp_path, {"model": "a", "longest": None})
    with pytest.raises(UserError, match="holds answers with another longest, model; give another --output"):
        answers.claim(tmp_path, {"model": "b", "longest": 3.0})
    (tmp_path / "settings.json").unlink()
    (tmp_path / "answers").mkdir()
    with pytest.raises(UserError, match=r"without their settings\.json"):
        answers.claim(tmp_path, {})


def test_what_has_answers_is_done_and_what_was_rejected_as_a_whole_is_tried_again(tmp_path: Path) -> None:
    done = pa.table({"begin": [0.0, 2.0], "end": [1.5, 3.0], "key": ["done", "done"]})
    answers.write_part(tmp_path, "answers", "part-1", done)
    rejected = answers.rejected_table([rejection("part of it"), rejection("whole")], ["done", "not"])
    answers.write_part(tmp_path, "rejected", "part-1", rejected)
    assert answers.summarise(tmp_path) == answers.Summary(2, 2.5, Counter(silent=2))
    for _ in range(2):
        assert answers.take_up(tmp_path) == {"done"}
        assert answers.summarise(tmp_path) == answers.Summary(2, 2.5, Counter(silent=1))
    with (tmp_path / "rejected.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file)) == [vars(rejection("part of it"))]

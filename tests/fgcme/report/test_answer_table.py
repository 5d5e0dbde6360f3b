"""Answers as rows of Parquet hold what JSON lines hold."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq

from fgcme.data import Tasks
from fgcme.report.answer_table import answer_schema, answer_table
from fgcme.report.predictions import Answer, to_json
from fgcme.serving.prediction import Prediction
from fgcme.serving.unheard import Unheard


def test_rows_hold_what_json_lines_hold(tmp_path: Path) -> None:
    with_words = Prediction(
        label="calm",
        probabilities={"calm": 0.75, "happy": 0.25},
        words=["the", "door"],
        begin=[0.2, 0.5],
        end=[0.5, 1.1],
        contributions=[1.25, None],
        base=-0.11,
        alignment="sphinx",
        text="the door",
        words_from="given",
        unheard=Unheard(1.0, 0.5, ("door",), ("the",)),
    )
    without = Prediction("happy", {"calm": 0.25, "happy": 0.75}, [], [], [], [], None, "none")
    answers = [Answer("a.wav", 0.0, 1.5, with_words), Answer("b.wav", 3.0, 4.0, without)]
    table = answer_table(answers, Tasks(["calm", "happy"]), {"key": ["x", "y"]})
    pq.write_table(table, tmp_path / "a.parquet")
    rows = pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert [row.pop("key") for row in rows] == ["x", "y"]
    assert rows == [json.loads(to_json(answer)) for answer in answers]
    assert answer_schema(Tasks(["calm", "happy"])).names == list(rows[0])

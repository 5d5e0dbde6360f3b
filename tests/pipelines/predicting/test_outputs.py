"""Answers are printed, or written where they belong."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from fgcme.data import Tasks
from fgcme.report.predictions import Answer
from fgcme.serving.prediction import Prediction
from pipelines.predicting import outputs
from pipelines.predicting.outputs import open_output, textgrid_path
from pipelines.predicting.sources import Source

PREDICTION = Prediction("calm", {"calm": 0.75, "happy": 0.25}, ["door"], [0.2], [0.5], [], None, "sphinx")


def answers_of(number: int) -> list[Answer]:
    return [Answer(f"{number}.wav", begin, begin + 1.0, PREDICTION) for begin in (0.0, 2.0)]


def test_csv_has_one_header_for_all_recordings(capsys: pytest.CaptureFixture[str]) -> None:
    with open_output("csv", None, Tasks(["calm", "happy"])) as write:
        for number in range(2):
            write(Source(f"{number}.wav", f"{number}.wav"), answers_of(number))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 2 * 2 * 2 and [line.startswith("audio,") for line in lines].count(True) == 1


def test_a_parquet_file_is_whole_or_not_there_and_written_bit_by_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "_ROWS", 3)
    path = tmp_path / "a.parquet"
    with open_output("table", path, Tasks(["calm", "happy"])) as write:
        for number in range(5):
            write(Source(f"{number}.wav", f"{number}.wav"), answers_of(number))
        assert not path.exists()
    assert pq.read_table(path)["audio"].to_pylist() == [f"{number // 2}.wav" for number in range(10)]
    assert pq.ParquetFile(path).num_row_groups == 3
    with pytest.raises(KeyError), open_output("table", tmp_path / "b.parquet", Tasks(["calm"])) as write:
        raise KeyError
    assert [file.name for file in tmp_path.iterdir()] == ["a.parquet"]


def test_textgrids_lie_as_the_recordings_do(tmp_path: Path) -> None:
    assert textgrid_path(tmp_path, Source("x/sub/a.wav", "sub/a.wav")) == tmp_path / "sub" / "a.TextGrid"
    # None is written outside the folder.
    assert textgrid_path(tmp_path, Source("/x/a.wav", "../../a.wav")) == tmp_path / "a.TextGrid"
    assert textgrid_path(tmp_path, Source("/x/a.wav", "/x/a.wav")) == tmp_path / "a.TextGrid"

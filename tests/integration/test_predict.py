"""A folder of recordings on Ray: answered once, rejected with reasons, and gone on with where it stopped."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines.predict import predict
from tests.fitted_model import save_fitted, write_audio

pytestmark = pytest.mark.integration


def test_a_folder_is_answered_by_several_processes_and_what_is_done_is_not_done_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = str(save_fitted(tmp_path / "model", modality_dropout=True))
    (tmp_path / "in").mkdir()
    for number in range(20):
        write_audio(tmp_path / "in" / f"{number:02}.wav", seed=number)
    (tmp_path / "in" / "bad.wav").write_text("no sound")
    (tmp_path / "in" / "00.txt").write_text("the dogs")
    out = tmp_path / "out"
    assert predict(model, [tmp_path / "in"], destination=out, workers=2) == 1
    printed = capfd.readouterr()
    assert "20 answers for 0.01 hours of speech" in printed.out and "1 not answered (1 unreadable)" in printed.out
    rows = sorted(pq.read_table(out / "answers").to_pylist(), key=lambda row: row["audio"])
    assert [Path(row["audio"]).name for row in rows] == [f"{number:02}.wav" for number in range(20)]
    assert [row["words_from"] for row in rows] == ["given in 00.txt", *["none"] * 19]
    with (out / "rejected.csv").open(encoding="utf-8", newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == ["bad.wav"]
    # The same answers as one by one.
    assert predict(model, [tmp_path / "in" / "07.wav"], output="json") == 0
    alone = json.loads(capfd.readouterr().out)
    assert rows[7]["probabilities"] == alone["probabilities"]
    # Neither the model nor a lock stays; a part that is lost is made again, and nothing else.
    assert not (out / "model").exists()
    parts = {path: path.stat().st_mtime_ns for path in (out / "answers").iterdir()}
    lost = min(parts)
    lost.unlink()
    shutil.copy(tmp_path / "in" / "07.wav", tmp_path / "in" / "bad.wav")
    assert predict(model, [tmp_path / "in"], destination=out) == 0
    assert "are there already" in capfd.readouterr().out
    assert len(pq.read_table(out / "answers")) == 21
    assert all(path.stat().st_mtime_ns == before for path, before in parts.items() if path != lost)

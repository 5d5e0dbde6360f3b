"""What a worker does with a block of recordings; `tests/integration/test_predict.py` runs it on Ray."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.predicting import runner
from pipelines.predicting.runner import AnswerTask, answer_block
from pipelines.predicting.sources import Source
from tests.fitted_model import save_fitted, write_audio


def test_a_block_is_answered_into_parts_with_few_answers_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_WAITING", 2)
    for number in range(3):
        write_audio(tmp_path / f"{number}.wav", seed=number)
    sources = [Source(str(tmp_path / name), name) for name in ("0.wav", "gone.wav", "1.wav", "2.wav")]
    block = pa.Table.from_pylist([vars(source) for source in sources], schema=runner._SOURCE)
    task = AnswerTask(save_fitted(tmp_path / "model", modality_dropout=True), None, "en", None)
    for _ in range(2):
        outcome = answer_block(block, task, tmp_path)
        assert outcome["answered"].to_pylist() == [True, False, True, True]
        parts = sorted((tmp_path / "answers").iterdir())
        rows = [row for part in parts for row in pq.read_table(part).to_pylist()]
        # The same block done twice writes the same parts.
        assert len(parts) == 2 and sorted(Path(row["audio"]).name for row in rows) == ["0.wav", "1.wav", "2.wav"]
        assert {row["key"] for row in rows} == {source.key for source in sources if source.name != "gone.wav"}
        (part,) = (tmp_path / "rejected").iterdir()
        assert pq.read_table(part)["reason"].to_pylist() == ["missing"]


def test_settings_name_the_model_by_its_content(tmp_path: Path) -> None:
    folders = [save_fitted(tmp_path / name, fold=fold) for name, fold in (("a", 0), ("b", 0), ("c", 1))]
    first, same, other = (AnswerTask(folder, None, "en", None).settings["model"] for folder in folders)
    assert first == same != other

"""A registered model is exported with its card, and what cannot be is refused before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from fgcme.errors import UserError
from fgcme.export.onnx_file import Comparison
from fgcme.tracking import Tracker
from pipelines.export import describe_comparison, export
from pipelines.predict import predict
from pipelines.register import register
from tests.fitted_model import save_fitted, write_audio
from tests.store import record_cross_validation


def test_a_registered_model_becomes_a_folder_that_predict_answers_from(
    tracker: Tracker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parent, _ = record_cross_validation(tracker, tmp_path, [0.5])
    register(parent, "exported", "champion", tracker.uri)
    export("models:/exported@champion", tmp_path / "hub", tmp_path / "model.onnx", tracker.uri)
    printed = capsys.readouterr().out
    assert "model.safetensors" in printed and "over 200 random utterances" in printed
    assert (tmp_path / "model.onnx").is_file()
    assert "# exported" in (tmp_path / "hub" / "README.md").read_text()
    recording = write_audio(tmp_path / "a.wav")
    answers = []
    for address in ("models:/exported@champion", str(tmp_path / "hub")):
        assert predict(address, [recording], ["the dogs"], "json", tracking_uri=tracker.uri) == 0
        answers.append(capsys.readouterr().out)
    assert answers[0] == answers[1]
    # A folder for the hub has its card with it.
    export(str(tmp_path / "hub"), tmp_path / "again")


def test_a_model_without_a_card_is_none_for_the_hub(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no model card, which the hub wants: register its run"):
        export(str(save_fitted(tmp_path / "fitted")), tmp_path / "hub")
    assert not (tmp_path / "hub").exists()


def test_where_to_has_to_be_said_and_be_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to export to: give --hub-folder FOLDER, --onnx FILE"):
        export("models:/exported/1")
    with pytest.raises(UserError, match="there is no folder"):
        export("models:/exported/1", onnx=tmp_path / "nowhere" / "model.onnx")


def test_sizes_and_times_stand_side_by_side() -> None:
    lines = describe_comparison(Comparison(200, 2.5e-6, {"torch": 0.002, "onnxruntime": 0.0005}, 1_500_000), 2_000_000)
    assert lines[1:3] == ["  torch           2.00 MB    2.00 ms", "  onnxruntime     1.50 MB    0.50 ms"]
    assert lines[3].endswith("over 200 random utterances; the largest difference of a logit is 2.5e-06")

"""The demo: all stages in order, on a corpus small enough for a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines import demo
from tests.store import make_tracker


@pytest.mark.integration
@pytest.mark.slow
def test_the_demo_runs_from_synthesis_to_a_registered_model_and_a_prediction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.chdir(tmp_path)
    tracker = make_tracker(tmp_path)
    demo.run(["corpus.utterances=32", "training.epochs=1", f"tracking.uri={tracker.uri}"])
    champion = tracker.client.get_model_version_by_alias(demo.NAME, demo.ALIAS)
    assert int(champion.version) == 1
    printed = capsys.readouterr().out
    assert "aligned: 32 sphinx" in printed
    assert "words given, aligned by sphinx" in printed
    assert f"--backend-store-uri {tracker.uri}" in printed
    assert {path.name for path in tmp_path.iterdir()} <= {"storage", "mlflow.db", "artifacts", "mlflow.db.lock"}

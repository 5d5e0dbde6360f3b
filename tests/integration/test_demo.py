"""The demo: every stage after the other, on a corpus small enough for a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from fgcme.tracking import Tracker
from pipelines import demo
from tests.store import make_tracker

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_session")]


def test_the_demo_runs_from_synthesis_to_a_prediction_and_again_to_a_second_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tracker: Tracker = make_tracker(tmp_path)
    small = ["corpus.utterances=64", "training.epochs=1", "model.fusion.hidden=64", f"tracking.uri={tracker.uri}"]
    for version in ("1", "2"):
        demo.run(small)
        champion = tracker.client.get_model_version_by_alias(demo.NAME, demo.ALIAS)
        assert champion.version == version
    printed = capsys.readouterr().out
    assert "aligned: 64 sphinx" in printed
    assert printed.count("words aligned by sphinx") == 2
    assert f"--backend-store-uri {tracker.uri}" in printed
    assert {path.name for path in tmp_path.iterdir()} <= {"storage", "mlflow.db", "artifacts", "mlflow.db.lock"}

from pathlib import Path

import pytest

from pipelines import doctor


def test_the_doctor_finds_everything_that_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    assert doctor.run() == 0
    text = capsys.readouterr().out
    for name in ("python", "torch", "ray", "aligner", "speech", "tracking"):
        assert f"ok       {name}" in text


def test_the_doctor_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/file/mlflow.db")
    assert doctor.run() == 1
    assert "missing  tracking" in capsys.readouterr().out

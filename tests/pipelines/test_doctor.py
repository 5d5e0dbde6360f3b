from pathlib import Path

import pytest

from pipelines import doctor


def test_the_doctor_finds_everything_that_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert doctor.run() == 0
    assert not list(tmp_path.iterdir())
    text = capsys.readouterr().out
    for name in ("python", "torch", "ray", "aligner", "speech", "tracking"):
        assert f"ok       {name}" in text


def test_the_doctor_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert doctor.run() == 1
    assert "missing  tracking" in capsys.readouterr().out


def test_the_doctor_shows_no_password(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_AUTH", "")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:sec/ret@127.0.0.1:9/")
    assert doctor.run() == 1
    printed = capsys.readouterr().out
    assert "http://me:...@127.0.0.1:9: the MLflow server does not answer" in printed and "ret@" not in printed

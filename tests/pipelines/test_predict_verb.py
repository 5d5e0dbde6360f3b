"""What is typed behind `fgcme predict`, as its function gets it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines import cli, predict


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        ([], {}),
        (["--transcribe"], {"transcribe": "sphinx"}),
        (
            ["--transcribe", "openai/whisper-base", "--language", "de"],
            {"transcribe": "openai/whisper-base", "language": "de"},
        ),
        (["--longest", "5", "--workers", "3"], {"longest": 5.0, "workers": 3}),
    ],
)
def test_what_is_typed_arrives(monkeypatch: pytest.MonkeyPatch, words: list[str], changed: dict[str, object]) -> None:
    calls: list[tuple[tuple[object, ...], dict[str, object]]] = []
    monkeypatch.setattr(predict, "predict", lambda *some, **named: calls.append((some, named)) or 0)
    assert cli.main(["predict", "models:/m@a", "a.wav", "in", "--text", "-no", "--output", "out", *words]) == 0
    expected = {"transcribe": None, "language": "en", "longest": None, "workers": None} | changed
    assert calls == [(("models:/m@a", [Path("a.wav"), Path("in")], ["-no"], "table", Path("out")), expected)]

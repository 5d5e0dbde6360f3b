import pytest

from pipelines.progress import Progress


def test_each_step_says_what_is_done_and_how_long_the_rest_takes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([100.0, 110.0, 120.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    progress = Progress(4, "training", already=1)
    progress.step("fold 1")
    progress.step("fold 2")
    assert capsys.readouterr().out.splitlines() == [
        "1 of 4 trainings are there already",
        "fold 1  [2/4, 00:20 left]",
        "fold 2  [3/4, 00:10 left]",
    ]

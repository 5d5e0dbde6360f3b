import pytest

from pipelines.cluster import Progress


@pytest.fixture
def _ten_seconds_between_two_looks_at_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100, 200, 10))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))


@pytest.mark.usefixtures("_ten_seconds_between_two_looks_at_the_clock")
def test_each_step_says_what_is_done_what_runs_and_how_long_the_rest_takes(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress("training", ["fold"] * 3, already=1)
    progress.step("fold 1", "fold", 8, beside=1)
    progress.step("fold 2", "fold", 8, beside=1)
    progress.step("fold 3", "fold", 8, beside=0)
    assert capsys.readouterr().out.splitlines() == [
        "1 of 4 trainings are there already",
        "fold 1  [2/4, 2 running, 00:20 left]",
        "fold 2  [3/4, 1 running, 00:10 left]",
        "fold 3  [4/4, 00:00 left]",
    ]


@pytest.mark.usefixtures("_ten_seconds_between_two_looks_at_the_clock")
def test_what_takes_longer_counts_for_more_of_the_time_to_go(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress("training", ["short", "short", "long", "long"])
    # Nothing is known of the long ones yet: they count as the short ones do.
    progress.step("one", "short", 2, beside=0)
    progress.step("two", "long", 8, beside=0)
    assert capsys.readouterr().out.splitlines() == [
        "one  [1/4, 1 running, 00:30 left]",
        "two  [2/4, 1 running, 00:20 left]",
    ]
    progress.step("three", "short", 2, beside=0)
    assert "[3/4, 1 running, 00:20 left]" in capsys.readouterr().out


@pytest.mark.usefixtures("_ten_seconds_between_two_looks_at_the_clock")
def test_what_failed_is_counted_and_takes_no_time(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress("training", ["fold"] * 3)
    progress.fail("fold 0 failed: no memory", "fold")
    progress.step("fold 1", "fold", 8, beside=0)
    assert capsys.readouterr().out.splitlines() == [
        "fold 0 failed: no memory",
        "fold 1  [1/3, 1 running, 1 failed, 00:10 left]",
    ]

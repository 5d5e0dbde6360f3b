"""Progress as others see it: plain lines in a pipe, a live line on a terminal."""

import os
import pty
import subprocess
import sys

import pytest

from pipelines.cluster import Progress


@pytest.fixture
def _ten_seconds_between_two_looks_at_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100, 200, 10))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))


@pytest.mark.usefixtures("_ten_seconds_between_two_looks_at_the_clock")
def test_each_step_says_what_is_done_what_runs_and_how_long_the_rest_takes(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress("training", ["fold"] * 3, already=1)
    progress.step("fold 1", "fold", 8, others=1)
    progress.step("fold 2", "fold", 8, others=1)
    progress.step("fold 3", "fold", 8, others=0)
    assert capsys.readouterr().out.splitlines() == [
        "1 of 4 trainings are there already",
        "fold 1  [2/4, 2 running, 00:20 left]",
        "fold 2  [3/4, 1 running, 00:10 left]",
        "fold 3  [4/4, 00:00 left]",
    ]


@pytest.mark.usefixtures("_ten_seconds_between_two_looks_at_the_clock")
def test_the_time_left_counts_each_kind_of_work_by_its_own_pace(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress("training", ["short", "short", "long", "long"])
    # Long ones are not timed yet, and count as the short ones do.
    progress.step("one", "short", 2, others=0)
    progress.step("two", "long", 8, others=0)
    assert capsys.readouterr().out.splitlines() == [
        "one  [1/4, 1 running, 00:30 left]",
        "two  [2/4, 1 running, 00:20 left]",
    ]
    progress.step("three", "short", 2, others=0)
    assert "[3/4, 1 running, 00:20 left]" in capsys.readouterr().out


@pytest.mark.usefixtures("_ten_seconds_between_two_looks_at_the_clock")
def test_failed_work_is_counted_but_not_timed(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress("training", ["fold"] * 3)
    progress.fail("fold 0 failed: no memory", "fold")
    progress.step("fold 1", "fold", 8, others=0)
    assert capsys.readouterr().out.splitlines() == [
        "fold 0 failed: no memory",
        "fold 1  [1/3, 1 running, 1 failed, 00:10 left]",
    ]


@pytest.mark.usefixtures("_ten_seconds_between_two_looks_at_the_clock")
def test_counted_work_is_a_plain_line_on_standard_error_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("utterance", {"utterance": 96}, failed_word="rejected") as progress:
        progress.advance("utterance", done=32, failed=0)
        progress.advance("utterance", done=32, failed=2)
        progress.advance("utterance", done=32, failed=0)
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [
        "utterances 32/96",
        "utterances 64/96, 2 rejected, 00:10 left",
        "utterances 96/96, 2 rejected, 00:00 left",
    ]
    assert printed.out == ""


def test_counted_work_prints_no_line_for_every_step_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("utterance", {"utterance": 1000}) as progress:
        for _ in range(1000):
            progress.advance("utterance", done=1, failed=0)
    assert [line.partition(",")[0] for line in capsys.readouterr().err.splitlines()] == ["utterances 1000/1000"]


def test_progress_that_is_not_verbose_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("utterance", {"utterance": 1}, already=1, verbose=False) as progress:
        progress.advance("utterance", done=1, failed=0)
    assert capsys.readouterr() == ("", "")


_INTERRUPTED = """
from pipelines.cluster import Progress
with Progress("training", ["fold"] * 3) as progress:
    progress.step("fold 0: UAR 0.5", "fold", 60, others=1)
    raise KeyboardInterrupt
"""


def on_terminal(code: str) -> tuple[str, str, int]:
    """What a program writes to standard output, a pipe, and to standard error, a terminal; and its status."""
    terminal, stderr = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=stderr, env=environment, text=True, check=False
    )
    os.close(stderr)
    shown = b""
    # Reading from a terminal that is closed on the other side is an error.
    try:
        while block := os.read(terminal, 65_536):
            shown += block
    except OSError:
        os.close(terminal)
    return done.stdout, shown.decode(), done.returncode


def test_a_terminal_shows_a_live_line_and_an_interrupted_one_has_its_cursor_back() -> None:
    printed, shown, status = on_terminal(_INTERRUPTED)
    assert status != 0
    assert printed == "fold 0: UAR 0.5\n", "results stay on standard output, without the state that the live line shows"
    assert "trainings" in shown
    assert "1/3, 2 running" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l"), "the cursor is shown again"


_PICKLED = """
import pickle
from pipelines.cluster import Progress
with Progress("training", ["fold"]) as progress:
    copy = pickle.loads(pickle.dumps(progress))
copy.fail("fold 0 failed: no memory", "fold")
"""


def test_a_pickled_copy_goes_without_the_live_line() -> None:
    printed, _, status = on_terminal(_PICKLED)
    assert (printed, status) == ("fold 0 failed: no memory\n", 0)

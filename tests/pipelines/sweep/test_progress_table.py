"""How far a sweep is, counted and shown."""

from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from pipelines.sweep.progress_table import ProgressTable, SweepProgress, TrialProgress, progress_table

TRIALS = [
    TrialProgress("0", "ended", 6, 0.5),
    TrialProgress("1", "stopped", 2, 0.7),
    TrialProgress("2", "failed", 3, 0.9),
    TrialProgress("3", "running", 4, 0.7),
    TrialProgress("4", "waiting", 0, None),
]


def test_trials_are_counted_by_their_state() -> None:
    progress = SweepProgress(8, TRIALS, seconds=30)
    assert (progress.ended, progress.count("running"), progress.count("waiting")) == (3, 1, 1)


def test_the_best_trial_is_the_first_of_equals_and_never_a_failed_one() -> None:
    assert SweepProgress(8, TRIALS, seconds=30).best == TRIALS[1]
    assert SweepProgress(8, TRIALS[2:3], seconds=30).best is None
    assert SweepProgress(8, [], seconds=0).summary().startswith("no result yet")


def test_the_time_left_follows_from_the_trials_that_ended_since_the_sweep_was_resumed() -> None:
    # Two of the three had ended before: one trial took 30 s, and five are left.
    assert SweepProgress(8, TRIALS, seconds=30, ended_before=2).seconds_left == pytest.approx(150)
    assert math.isinf(SweepProgress(8, TRIALS, seconds=30, ended_before=3).seconds_left)
    assert SweepProgress(8, TRIALS, seconds=30, ended_before=3).fraction() == "[3/8]"
    assert SweepProgress(3, TRIALS[:3], seconds=30).fraction() == "[3/3]"


def test_the_table_shows_the_trials_that_run_and_the_sweep_below() -> None:
    shown = io.StringIO()
    Console(file=shown, width=120).print(progress_table(SweepProgress(8, TRIALS, seconds=30), epochs=6))
    text = shown.getvalue()
    assert "4 of 6" in text and "0.7000" in text
    assert "1 running · 1 stopped early · 1 failed" in text
    assert "6 of 6" not in text


def test_without_a_terminal_lines_are_printed_instead_of_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    table = ProgressTable(epochs=6)
    table.update(SweepProgress(8, TRIALS, seconds=30))
    table.say("trial 0: dev score 0.5")
    table.close()
    assert capsys.readouterr().out == "trial 0: dev score 0.5\n"

"""How far a sweep is, counted and shown."""

from __future__ import annotations

import io
import math
from typing import Any

import pytest
from rich.console import Console

from pipelines.sweep.progress_table import ProgressTable, SweepProgress, Tally, TrialProgress, progress_table

RUNNING = [TrialProgress("3", 4, 0.7)]


def tally(*ended: tuple[str, float, Any]) -> Tally:
    """Of trials with these names, objectives and ends."""
    counts = Tally()
    for name, objective, end in ended:
        counts.report(name, objective)
        counts.end(name, end)
    return counts


@pytest.fixture
def three() -> Tally:
    return tally(("0", 0.5, "ended"), ("1", 0.7, "stopped"), ("2", 0.9, "failed"))


def test_trials_are_counted_by_how_they_ended_and_each_once(three: Tally) -> None:
    # As when a resumed sweep starts a trial again that had ended.
    three.end("0", "ended")
    three.end("1", "failed")
    assert (three.ended, three.count("ended"), three.count("stopped"), three.count("failed")) == (3, 1, 0, 2)


def test_the_best_trial_is_the_first_of_equals_and_never_a_failed_one(three: Tally) -> None:
    three.report("3", 0.7)
    assert three.best == ("1", 0.7)
    three.end("1", "failed")
    three.report("1", 0.95)
    assert three.best == ("3", 0.7)
    assert tally(("2", 0.9, "failed")).best is None
    assert SweepProgress(8, Tally(), [], seconds=0).summary().startswith("no result yet")


def test_the_time_left_follows_from_the_trials_that_ended_since_the_sweep_was_resumed(three: Tally) -> None:
    # Two of the three had ended before: one trial took 30 s, and five are left.
    assert SweepProgress(8, three, RUNNING, seconds=30, ended_before=2).seconds_left == pytest.approx(150)
    assert math.isinf(SweepProgress(8, three, RUNNING, seconds=30, ended_before=3).seconds_left)
    assert SweepProgress(8, three, RUNNING, seconds=30, ended_before=3).fraction() == "[3/8]"
    assert SweepProgress(3, three, [], seconds=30).fraction() == "[3/3]"


def test_the_table_shows_the_trials_that_run_and_the_sweep_below(three: Tally) -> None:
    shown = io.StringIO()
    Console(file=shown, width=120).print(progress_table(SweepProgress(8, three, RUNNING, seconds=30), epochs=6))
    text = shown.getvalue()
    assert "4 of 6" in text and "0.7000" in text
    assert "1 running · 1 stopped early · 1 failed" in text


def test_without_a_terminal_lines_are_printed_instead_of_a_table(
    three: Tally, capsys: pytest.CaptureFixture[str]
) -> None:
    table = ProgressTable(epochs=6)
    table.update(SweepProgress(8, three, RUNNING, seconds=30))
    table.say("trial 0: dev score 0.5")
    table.close()
    assert capsys.readouterr().out == "trial 0: dev score 0.5\n"

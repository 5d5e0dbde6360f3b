"""How a sweep is doing, counted and shown."""

from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from pipelines.sweep.progress_table import ProgressTable, Row, SweepProgress, table

ROWS = [
    Row("0", "ended", 6, 0.5),
    Row("1", "stopped", 2, 0.7),
    Row("2", "failed", 3, 0.9),
    Row("3", "running", 4, 0.7),
    Row("4", "waiting", 0, None),
]


def test_trials_are_counted_by_how_they_stand() -> None:
    summary = SweepProgress(8, ROWS, seconds=30)
    assert (summary.ended, summary.count("running"), summary.count("waiting")) == (3, 1, 1)


def test_the_best_is_the_first_of_equals_and_none_that_failed() -> None:
    assert SweepProgress(8, ROWS, seconds=30).best == ROWS[1]
    assert SweepProgress(8, ROWS[2:3], seconds=30).best is None
    assert SweepProgress(8, [], seconds=0).sentence().startswith("no result yet")


def test_the_time_left_is_judged_by_what_ended_since_this_driver_began() -> None:
    # Two of the three had ended before: one trial took 30 s, and five are left.
    assert SweepProgress(8, ROWS, seconds=30, before=2).left == pytest.approx(150)
    assert math.isinf(SweepProgress(8, ROWS, seconds=30, before=3).left)
    assert SweepProgress(8, ROWS, seconds=30, before=3).progress() == "[3/8]"
    assert SweepProgress(3, ROWS[:3], seconds=30).progress() == "[3/3]"


def test_the_table_has_the_trials_that_run_and_the_sweep_below() -> None:
    shown = io.StringIO()
    Console(file=shown, width=120).print(table(SweepProgress(8, ROWS, seconds=30), epochs=6))
    text = shown.getvalue()
    assert "4 of 6" in text and "0.7000" in text
    assert "1 running · 1 stopped early · 1 failed" in text
    assert "6 of 6" not in text


def test_away_from_a_terminal_there_are_lines_and_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    board = ProgressTable(epochs=6)
    board.show(SweepProgress(8, ROWS, seconds=30))
    board.say("trial 0: dev score 0.5")
    board.close()
    assert capsys.readouterr().out == "trial 0: dev score 0.5\n"

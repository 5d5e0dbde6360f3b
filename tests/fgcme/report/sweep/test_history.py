from __future__ import annotations

import numpy as np
import pytest

from fgcme.report.sweep.history import describe_history, history_figure
from fgcme.report.theme import DARK
from tests.fgcme.report.sweep.sample_sweep import mixed, sweep, trial


def test_the_line_is_the_best_so_far_and_every_trial_has_its_mark() -> None:
    made = mixed()
    lines = {line.get_label(): line for line in history_figure(made, DARK).axes[0].get_lines()}
    scores = [np.nan if each.score is None else 100 * each.score for each in made.trials]
    assert list(lines["best so far"].get_ydata()) == pytest.approx(list(np.fmax.accumulate(scores)))
    assert set(lines) == {"best so far", "finished", "stopped early", "running", "interrupted", "failed"}
    assert list(lines["failed"].get_xdata()) == [10]
    assert lines["failed"].get_ydata()[0] < np.nanmin(scores)
    assert list(lines["finished"].get_xdata()) == [4, 5, 6, 7, 8, 9]
    assert len({line.get_marker() for name, line in lines.items() if name != "best so far"}) == 5


def test_one_trial_and_equal_scores_can_be_drawn() -> None:
    for made in (sweep(trial(0, 0.5)), sweep(trial(0, 0.5), trial(1, 0.5)), sweep(trial(0, 0.0))):
        low, high = history_figure(made, DARK).axes[0].get_ylim()
        assert low < high


def test_the_description_names_the_best() -> None:
    made = sweep(trial(0, 0.3), trial(1, None, state="failed"), trial(2, 0.52), trial(3, 0.4))
    text = describe_history(made)
    assert text.startswith("4 trials: 3 finished, 1 failed. The first score is 30.0 %, the best 52.0 %, by trial 2,")
    assert "number 3 in the order" in text
    assert "half of the scores lie below 40.0 %" in text

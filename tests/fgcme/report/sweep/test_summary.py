from __future__ import annotations

from fgcme.report.sweep.importances import importances
from fgcme.report.sweep.summary import caveats, summarise_sweep
from tests.fgcme.report.sweep.sample_sweep import mixed, sweep, telling, trial

OTHER = {"model.pooling.kind": "mean", "model.fusion.hidden": 64, "training.gradient_clip": None}


def said(*trials: object) -> str:
    made = sweep(*trials)  # type: ignore[arg-type]
    return " ".join(summarise_sweep(made, importances(made)))


def test_the_best_is_told_with_what_it_is_worth_and_beside_the_experiment() -> None:
    text = said(trial(0, 0.4), trial(1, 0.5, OTHER))
    assert "The best of 2 trials with a score, trial 1, has a dev score of 50.0 % (0.9 WA + 0.1 UA), optimistic" in text
    assert "The experiment as it was has 40.0 % (trial 0), 10.0 points less." in text
    assert "38 trials of 40 had not begun." in text


def test_where_nothing_is_better_than_the_experiment_that_is_said() -> None:
    assert "That is the experiment as it was: no trial is better." in said(trial(0, 0.5), trial(1, 0.4, OTHER))


def test_where_no_trial_has_a_score_that_is_said() -> None:
    assert said(trial(0, None, state="failed")).startswith("No trial has a score.")


def test_failures_are_told_with_their_reasons_and_the_front_with_its_cheapest() -> None:
    made = mixed()
    text = " ".join(summarise_sweep(made, importances(made)))
    assert "1 trial failed: <b>out of memory</b>." in text
    assert "beaten by no other in both score and parameters of the model; the cheapest" in text


def test_what_decided_is_told() -> None:
    made = telling()
    assert "What decided beyond chance which trials were good: model.pooling.kind (" in " ".join(
        summarise_sweep(made, importances(made))
    )


def test_every_score_is_called_a_dev_score_and_the_honest_number_is_named() -> None:
    text = " ".join(caveats(telling()))
    assert "All scores are dev scores: 0.9 WA + 0.1 UA on the dev parts of folds 0 and 2" in text
    assert "No trial has seen a test part." in text
    assert "The honest number is what fgcme train best.yaml measures" in text

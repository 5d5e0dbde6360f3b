from __future__ import annotations

from fgcme.report.sweep.importances import importances
from fgcme.report.sweep.summary import caveats, summarise_sweep
from tests.fgcme.report.sweep.sample_sweep import mixed, sweep, telling, trial

OTHER = {"model.pooling.kind": "mean", "model.fusion.hidden": 64, "training.gradient_clip": None}


def said(*trials: object) -> str:
    made = sweep(*trials)  # type: ignore[arg-type]
    return " ".join(summarise_sweep(made, importances(made)))


def test_the_best_trial_is_reported_with_its_score_beside_the_experiment_s() -> None:
    text = said(trial(0, 0.4), trial(1, 0.5, OTHER))
    assert "The best of 2 trials with a score, trial 1, has a dev score of 50.0 % (0.9 WA + 0.1 UA), optimistic" in text
    assert "The experiment's own settings reach 40.0 % (trial 0), 10.0 points less." in text
    assert "38 trials of 40 had not started." in text


def test_a_sweep_that_does_not_beat_the_experiment_is_reported_as_such() -> None:
    assert "It has the experiment's own settings: no other trial is better." in said(
        trial(0, 0.5), trial(1, 0.4, OTHER)
    )


def test_a_sweep_without_a_score_is_reported_as_such() -> None:
    assert said(trial(0, None, state="failed")).startswith("No trial has a score.")


def test_failures_are_reported_with_reasons_and_the_front_with_its_cheapest_trial() -> None:
    made = mixed()
    text = " ".join(summarise_sweep(made, importances(made)))
    assert "1 trial failed: <b>out of memory</b>." in text
    assert "beaten by no other in both score and parameters of the model; the cheapest" in text


def test_the_most_important_parameters_are_reported() -> None:
    made = telling()
    assert "Parameters that mattered beyond chance: model.pooling.kind (" in " ".join(
        summarise_sweep(made, importances(made))
    )


def test_scores_are_called_dev_scores_and_the_unbiased_number_is_named() -> None:
    text = " ".join(caveats(telling()))
    assert "All scores are dev scores: 0.9 WA + 0.1 UA on the dev parts of folds 0 and 2" in text
    assert "No trial has seen a test part." in text
    assert "The honest number is what fgcme train best.yaml measures" in text

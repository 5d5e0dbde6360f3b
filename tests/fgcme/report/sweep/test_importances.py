from __future__ import annotations

from dataclasses import replace

import optuna
import pytest

from fgcme.report.sweep.importances import Importances, describe_importances, importances, importances_figure
from fgcme.report.sweep.trials import SweepData
from fgcme.report.theme import LIGHT
from tests.fgcme.report.sweep.sample_sweep import sweep, telling, trial


@pytest.fixture(scope="module")
def found() -> Importances:
    made = importances(telling())
    assert isinstance(made, Importances)
    return made


def test_only_a_parameter_that_decides_the_score_exceeds_chance(found: Importances) -> None:
    assert list(found.shares)[:2] == ["model.pooling.kind", "model.pooling.temperature"]
    assert sum(found.shares.values()) == pytest.approx(1)
    assert "model.pooling.kind" in found.beyond_chance
    assert not {"model.fusion.hidden", "training.gradient_clip"} & set(found.beyond_chance)


def test_a_conditional_parameter_is_judged_within_the_trials_that_drew_it(found: Importances) -> None:
    assert found.drawn["model.pooling.temperature"] == 13
    assert found.drawn["model.pooling.kind"] == found.trials == 40
    assert found.best == 10


def test_trials_without_a_score_take_no_part(found: Importances) -> None:
    made = telling()
    failed = [replace(each, score=None, state="failed") for each in made.trials]
    more = importances(replace(made, trials=[*made.trials, *failed]))  # type: ignore[arg-type]
    assert more == found


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (sweep(), "0 of 0 trials have a score"),
        (sweep(trial(0, 0.5)), "1 of 1 trial has a score, and fewer than 10 say nothing"),
        (sweep(*(trial(index, None, state="failed") for index in range(12))), "0 of 12 trials have a score"),
        (sweep(*(trial(index, 0.25) for index in range(12))), "so many trials have the same score"),
        (sweep(*(trial(index, index / 100) for index in range(12))), "differ in no parameter"),
    ],
)
def test_importances_that_cannot_be_computed_give_the_reason(made: SweepData, sentence: str) -> None:
    found = importances(made)
    assert isinstance(found, str)
    assert sentence in found


def test_a_parameter_that_no_leading_trial_drew_has_no_importance() -> None:
    lse = {"model.pooling.kind": "mean"}
    trials = [trial(index, 0.9, lse) for index in range(8)]
    trials += [trial(8 + index, 0.1, lse | {"model.pooling.temperature": 1.0 + index}) for index in range(8)]
    found = importances(sweep(*trials))
    assert isinstance(found, str)
    assert "drawn by enough of the best trials" in found


def test_the_figure_and_its_description_hold_the_same_shares(found: Importances) -> None:
    axes = importances_figure(found, "heading", LIGHT).axes[0]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([100 * share for share in found.shares.values()])
    assert [label.get_text() for label in axes.get_yticklabels()][1] == "model.pooling.temperature (13 trials)"
    text = describe_importances(found)
    assert "the best 10 of 40 trials" in text
    assert "Beyond chance: model.pooling.kind" in text


def test_the_level_of_optuna_s_log_is_restored(capfd: pytest.CaptureFixture[str]) -> None:
    before = optuna.logging.get_verbosity()
    importances(telling(12))
    assert optuna.logging.get_verbosity() == before
    assert "study" not in capfd.readouterr().err

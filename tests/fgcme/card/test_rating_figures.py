"""The figures of a card about ratings, and what the card says of them."""

from dataclasses import replace

import numpy as np
from huggingface_hub import ModelCard

from fgcme.card import Measured, card_figures, model_card, rating_figures
from fgcme.data import Tasks
from fgcme.evaluation.agreement import with_votes
from fgcme.evaluation.ratings import summarise_ratings
from tests.fgcme.card.test_figures import CLASSES
from tests.fgcme.card.test_figures import predictions as predictions_of_classes
from tests.fgcme.card.test_page import SUBJECT
from tests.fgcme.evaluation.test_ratings import predictions

TASKS = Tasks([], {"valence": (1, 5)})
SUBJECT_OF_RATINGS = replace(SUBJECT, tasks=TASKS)


def sex(speaker: str) -> str | None:
    return {"s0": "female", "s1": "female", "s2": "male"}.get(speaker)


def test_everybody_each_sex_and_each_speaker_have_figures_of_their_own() -> None:
    table = predictions(seeds=2)
    figures = rating_figures(table, TASKS, sex)
    assert (figures.scales, figures.seeds, figures.folds) == ({"valence": "1 to 5"}, [0, 1], 3)
    assert figures.everybody.summary == summarise_ratings(table, ["valence"])
    assert [(group.name, group.speakers, group.utterances) for group in figures.by_sex] == [
        ("female", 2, 20),
        ("male", 1, 10),
    ]
    others = [f"s{number}" for number in range(2, 6)]
    women = summarise_ratings(table, ["valence"], without_speakers=others)
    assert figures.by_sex[0].summary == women
    assert [group.name for group in figures.by_speaker] == [f"s{number}" for number in range(6)]
    assert figures.by_speaker[0].summary.metrics["ccc"].interval is None


def test_a_card_of_ratings_says_scales_intervals_and_groups_and_nothing_of_classes() -> None:
    figures = rating_figures(predictions(), TASKS, sex)
    card = model_card(SUBJECT_OF_RATINGS, Measured(ratings=figures))
    metrics = figures.everybody.summary.metrics
    ccc, rmse = metrics["ccc_valence"], metrics["rmse_valence"]
    assert ccc.interval is not None and rmse.interval is not None
    said = f"| valence | 1 to 5 | 54 | {ccc.mean:.3f} ({ccc.interval.low:.3f} to {ccc.interval.high:.3f}) |"
    assert said in card and f"| {rmse.mean:.3f} ({rmse.interval.low:.3f} to" in card
    assert "The ratings are valence from 1 to 5" in card and "print(answer.ratings)" in card
    assert "how the people who rated\nits corpus would have rated" in card
    assert "| female speakers |" in card and "| s5 | 10 |" in card and "6 speakers, 2 female and 1 male" in card
    for of_classes in ("UA", "Calibration", "By class", "labelled"):
        assert of_classes not in card
    results = {result.metric_name: result for result in ModelCard(card).data.eval_results}
    assert results["CCC of valence"].metric_value == round(ccc.mean, 4)
    assert set(results) == {"mean CCC", "CCC of valence", "Pearson correlation of valence", "RMSE of valence"}


def test_a_card_of_both_tasks_has_the_figures_of_both_and_the_agreement_of_raters() -> None:
    table = with_votes(predictions_of_classes(), np.tile([[3, 1], [0, 4]], (30, 1)))
    measured = Measured(card_figures(table, CLASSES), rating_figures(predictions(), TASKS))
    card = model_card(replace(SUBJECT, tasks=Tasks(CLASSES, TASKS.dimensions)), measured)
    assert "### Calibration" in card and "### Ratings" in card and "labelled and rated" in card
    assert "print(answer.label, answer.probabilities, answer.contributions, answer.ratings)" in card
    agreement = measured.figures and measured.figures.agreement
    assert agreement is not None
    assert f"{agreement.labels} labels of single raters" in card
    assert f"| a rater | {100 * agreement.human['ua']:.1f} |" in card
    assert "Agreement of people" not in model_card(SUBJECT, Measured(card_figures(predictions_of_classes(), CLASSES)))

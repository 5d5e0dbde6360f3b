"""The figures of a card are those of the cross-validation, of everybody and of each group of speakers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from fgcme.card import Figures, card_figures
from fgcme.evaluation.comparison import compare_variants
from fgcme.evaluation.cross_validation import predictions_table

CLASSES = ["calm", "angry"]
# Right answers of ten of each class: of each speaker, calm and angry.
RIGHT = {"anna": (10, 8), "bert": (6, 4), "carl": (2, 10)}


def predictions(seeds: int = 1) -> pa.Table:
    tables = []
    for fold, (speaker, right) in enumerate(RIGHT.items()):
        labels = np.repeat([0, 1], 10)
        hit = np.concatenate([np.arange(10) < count for count in right])
        said = np.where(hit, labels, 1 - labels)
        ids = [f"{speaker}-{number}" for number in range(20)]
        # An answer has 0.9 of probability.
        logits = np.log(np.where(np.eye(2)[said] > 0, 0.9, 0.1))
        for seed in range(seeds):
            tables.append(predictions_table(ids, [speaker] * 20, labels, logits, CLASSES, fold, seed))
    return pa.concat_tables(tables)


@pytest.fixture(scope="module")
def figures() -> Figures:
    return card_figures(predictions(), CLASSES, {"anna": "female", "bert": "male", "carl": "male"}.get)


def test_everybody_has_the_recalls_and_the_intervals_of_the_comparison(figures: Figures) -> None:
    everybody = figures.everybody
    assert everybody.recalls.tolist() == pytest.approx([18 / 30, 22 / 30])
    assert everybody.metrics["ua"].value == pytest.approx(40 / 60)
    expected = compare_variants({"x": predictions()}, "x", CLASSES).estimates["x"]["ua"].interval
    assert everybody.metrics["ua"].interval == expected
    assert (everybody.speakers, everybody.utterances, figures.support) == (3, 60, [30, 30])
    assert (figures.folds, figures.seeds) == (3, [0])


def test_groups_are_counted_apart_and_one_speaker_has_no_interval(figures: Figures) -> None:
    women, men = figures.by_sex
    assert (women.name, women.speakers, women.metrics["wa"].interval) == ("female", 1, None)
    assert men.recalls.tolist() == pytest.approx([8 / 20, 14 / 20])
    assert men.metrics["ua"].interval is not None
    assert [group.metrics["wa"].value for group in figures.by_speaker] == pytest.approx([0.9, 0.5, 0.6])


def test_a_class_says_what_it_is_taken_for(figures: Figures) -> None:
    assert figures.confused == [("angry", pytest.approx(12 / 30)), ("calm", pytest.approx(8 / 30))]


def test_answers_of_all_seeds_are_calibrated_together_and_utterances_counted_once() -> None:
    figures = card_figures(predictions(seeds=2), CLASSES)
    assert figures.calibration.error == pytest.approx(0.9 - 40 / 60, abs=1e-6)
    assert sum(each.count for each in figures.calibration.bins) == 120
    assert (figures.everybody.utterances, figures.support, figures.by_sex) == (60, [30, 30], [])

"""The metrics of all tasks of a cross-validation together."""

import numpy as np
import pytest

from fgcme.data import Tasks
from fgcme.evaluation.cross_validation import predictions_table, summarise
from fgcme.evaluation.ratings import summarise_ratings, with_ratings
from fgcme.evaluation.summary import summarise_tasks

TASKS = Tasks(["calm", "angry"], {"valence": (1, 5)})


def test_metrics_of_both_tasks_are_those_of_each() -> None:
    generator = np.random.default_rng(0)
    ids, speakers = [f"u{n}" for n in range(8)], ["a", "a", "b", "b"] * 2
    table = predictions_table(ids, speakers, np.arange(8) % 2, generator.normal(size=(8, 2)), TASKS.classes, 0, 0)
    ratings = generator.uniform(1, 5, 8)
    table = with_ratings(table, {"valence": ratings}, {"valence": ratings + 0.1})
    found = summarise_tasks(table, TASKS)
    expected = summarise_ratings(table, TASKS.dimensions).metrics
    assert found.mean == summarise(table, TASKS.classes).mean | {name: each.mean for name, each in expected.items()}
    assert set(found.deviation) == set(found.mean) and set(found.deviation.values()) == {0.0}
    assert (found.utterances, found.seeds) == (8, 1)
    alone = summarise_tasks(table, Tasks(TASKS.classes), ["a"])
    assert alone.ratings is None and alone.utterances == 4
    assert alone.mean == pytest.approx(summarise(table, TASKS.classes, ["a"]).mean)


def test_where_no_speaker_is_left_nothing_is_measured() -> None:
    table = predictions_table(["u"], ["a"], np.zeros(1, int), np.zeros((1, 2)), TASKS.classes, 0, 0)
    table = with_ratings(table, {"valence": np.ones(1)}, {"valence": np.ones(1)})
    assert summarise_tasks(table, TASKS, ["a"]).utterances == 0

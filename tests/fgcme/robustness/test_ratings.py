"""Answers of ratings under several conditions are compared by their concordance; what is not answered counts."""

import pyarrow as pa
import pytest

from fgcme.data import Tasks
from fgcme.evaluation.ratings import summarise_ratings
from fgcme.robustness import CLEAN, rating_cells, robustness_schema, summarise_rating_conditions
from tests.fgcme.evaluation.test_ratings import predictions

TASKS = Tasks([], {"valence": (1, 5)})


def rows(condition: str, noise: float, unanswered: int = 0) -> list[dict[str, object]]:
    found = []
    for number, row in enumerate(predictions(noise=noise).to_pylist()):
        kept = {key: row[key] for key in ("id", "speaker", "fold", "seed")}
        ratings = None if number < unanswered else {"valence": row["valence_predicted"]}
        found.append(kept | {"condition": condition} | rating_cells(row, ratings, TASKS))
    return found


def test_the_loss_is_the_concordance_as_recorded_less_that_of_the_condition() -> None:
    every = [*rows("noise", 1.0), *rows(CLEAN, 0.3)]
    table = pa.Table.from_pylist(every, robustness_schema(TASKS))
    clean, noisy = summarise_rating_conditions(table, TASKS)
    expected = summarise_ratings(predictions(noise=0.3), ["valence"]).metrics["ccc"]
    assert (clean.name, clean.loss, clean.unanswered) == (CLEAN, 0, 0) and clean.ccc == expected
    assert noisy.loss == pytest.approx(clean.ccc.mean - noisy.ccc.mean)
    assert noisy.loss_interval.low < noisy.loss < noisy.loss_interval.high and noisy.loss > 0.02


def test_what_is_not_answered_is_counted_and_taken_for_the_middle_of_the_scale() -> None:
    every = [*rows(CLEAN, 0.1), *rows("mute", 0.1, unanswered=60)]
    table = pa.Table.from_pylist(every, robustness_schema(TASKS))
    _, mute = summarise_rating_conditions(table, TASKS)
    # Where every answer is the same, none says anything.
    assert (mute.unanswered, mute.ccc.mean) == (60, 0)


def test_the_columns_are_those_of_the_tasks() -> None:
    of_ratings = ["id", "speaker", "fold", "seed", "condition", "valence", "valence_predicted"]
    assert robustness_schema(TASKS).names == of_ratings
    both = robustness_schema(Tasks(["calm"], TASKS.dimensions)).names
    assert both[:7] == ["id", "speaker", "label", "prediction", "probabilities", "fold", "seed"]
    assert both[7:] == of_ratings[4:]

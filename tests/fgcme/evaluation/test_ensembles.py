"""Out-of-fold answers of ensembles: of classes, of ratings, and of both at once."""

import numpy as np
import pyarrow as pa
import pytest

from fgcme.data import Tasks
from fgcme.evaluation.agreement import VOTES, with_votes
from fgcme.evaluation.cross_validation import predictions_table
from fgcme.evaluation.ensembles import average_answers
from fgcme.evaluation.ratings import ratings_table, with_ratings

SCALE = {"valence": (1, 5)}
RATED = {0: [2.0, float("nan")], 1: [2.0, float("nan")]}
SAID = {0: [1.0, 4.0], 1: [2.0, 5.0]}
LOGITS = {0: [[2.0, 0.0], [0.0, 1.0]], 1: [[0.0, 3.0], [0.0, 0.5]]}


def test_ratings_alone_are_averaged_over_the_seeds_and_keep_their_fold() -> None:
    tables = []
    for seed in (0, 1):
        table = ratings_table(["u1", "u0"], ["s", "t"], 4, seed)
        tables.append(with_ratings(table, {"valence": np.array(RATED[seed])}, {"valence": np.array(SAID[seed])}))
    averaged = average_answers(pa.concat_tables(tables), Tasks([], SCALE))
    assert averaged.schema == tables[0].schema
    assert averaged["id"].to_pylist() == ["u0", "u1"] and averaged["speaker"].to_pylist() == ["t", "s"]
    assert (averaged["fold"].to_pylist(), averaged["seed"].to_pylist()) == ([4, 4], [0, 0])
    assert averaged["valence"].to_pylist() == [None, 2.0]
    assert averaged["valence_predicted"].to_pylist() == [4.5, 1.5]


def test_classes_beside_ratings_are_averaged_too_and_raters_labels_are_kept() -> None:
    tables = []
    for seed in (0, 1):
        table = predictions_table(
            ["u1", "u0"], ["s", "t"], np.array([1, 0]), np.array(LOGITS[seed]), ["a", "b"], 4, seed
        )
        table = with_votes(table, np.array([[1, 2], [3, 0]]))
        tables.append(with_ratings(table, {"valence": np.array(RATED[seed])}, {"valence": np.array(SAID[seed])}))
    averaged = average_answers(pa.concat_tables(tables), Tasks(["a", "b"], SCALE))
    assert averaged.schema == tables[0].schema
    assert averaged["prediction"].to_pylist() == ["b", "b"]
    shares = np.exp([0.0, 0.75]) / np.exp([0.0, 0.75]).sum()
    assert averaged["probabilities"].to_pylist()[0] == pytest.approx(shares, rel=1e-5)
    assert averaged[VOTES].to_pylist() == [[3, 0], [1, 2]]
    assert averaged["valence_predicted"].to_pylist() == [4.5, 1.5]

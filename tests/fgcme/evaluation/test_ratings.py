"""Answers of ratings in predictions: their columns, and their metrics over folds, seeds and speakers."""

import numpy as np
import pyarrow as pa
import pytest

from fgcme.errors import UserError
from fgcme.evaluation.concordance import measure_ratings
from fgcme.evaluation.cross_validation import PREDICTIONS
from fgcme.evaluation.ratings import RatingsBySeed, ratings_table, read_ratings, summarise_ratings, with_ratings

NAN = float("nan")
SPEAKERS = 6


def predictions(seeds: int = 1, noise: float = 0.3, each: int = 10) -> pa.Table:
    """Answers for speakers in three folds; the first utterance of each is not rated."""
    tables = []
    for fold in range(3):
        speakers = [speaker for speaker in range(SPEAKERS) if speaker % 3 == fold]
        ids = [f"s{speaker}-{take}" for speaker in speakers for take in range(each)]
        ratings = np.random.default_rng(fold).uniform(1, 5, len(ids))
        ratings[::each] = NAN
        for seed in range(seeds):
            errors = np.random.default_rng([fold, seed]).normal(0, noise, len(ids))
            answered = np.nan_to_num(ratings, nan=3) + errors
            table = ratings_table(ids, [name.split("-")[0] for name in ids], fold, seed)
            tables.append(with_ratings(table, {"valence": ratings}, {"valence": answered}))
    return pa.concat_tables(tables)


def test_columns_of_ratings_stand_in_for_those_of_classes() -> None:
    table = predictions()
    assert table.column_names == ["id", "speaker", "fold", "seed", "valence", "valence_predicted"]
    assert table.schema.field("fold") == PREDICTIONS.field("fold")
    assert table["valence"].null_count == SPEAKERS
    ratings, answered = read_ratings(table, ["valence"])
    assert np.isnan(ratings["valence"]).sum() == SPEAKERS
    assert not np.isnan(answered["valence"]).any()


def test_metrics_are_of_all_folds_together_once_a_seed() -> None:
    table = predictions(seeds=2)
    found = summarise_ratings(table, ["valence"])
    of_seeds = []
    for seed in range(2):
        own = table.filter(pa.compute.equal(table["seed"], seed))
        of_seeds.append(measure_ratings(*read_ratings(own, ["valence"])))
    for name, estimate in found.metrics.items():
        values = [each[name] for each in of_seeds]
        assert estimate.mean == pytest.approx(np.mean(values))
        assert estimate.deviation == pytest.approx(np.std(values, ddof=1))
        assert estimate.interval is not None
        assert estimate.interval.low < estimate.mean < estimate.interval.high
    assert found.counts == {"valence": SPEAKERS * 9}
    assert (found.utterances, found.speakers, list(found.by_fold)) == (60, SPEAKERS, [0, 1, 2])
    own = table.filter(pa.compute.equal(table["fold"], 1))
    assert found.by_fold[1] == pytest.approx(summarise_ratings(own, ["valence"]).metrics["ccc"].mean)


def test_an_interval_is_narrower_with_answers_that_vary_less_from_speaker_to_speaker() -> None:
    def width(noise: float) -> float:
        interval = summarise_ratings(predictions(noise=noise), ["valence"]).metrics["ccc"].interval
        assert interval is not None and -1 <= interval.low <= interval.high <= 1
        return interval.high - interval.low

    assert width(0.1) < width(1.0) / 5


def test_one_speaker_has_no_interval() -> None:
    others = [f"s{speaker}" for speaker in range(1, SPEAKERS)]
    found = summarise_ratings(predictions(), ["valence"], without_speakers=others)
    assert (found.speakers, found.utterances, found.metrics["ccc"].interval) == (1, 10, None)


def test_a_seed_that_does_not_answer_everybody_is_refused() -> None:
    with pytest.raises(UserError, match="own: not every one of 60 utterances is answered once by each of 2 seeds"):
        RatingsBySeed.of(predictions(seeds=2).slice(1), ["valence"], "own")

"""Out-of-fold answers of ensembles, of all their tasks: the models of a fold's seeds answer together."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from fgcme.data import Tasks
from fgcme.evaluation.agreement import VOTES
from fgcme.evaluation.cross_validation import average_seeds
from fgcme.evaluation.ratings import RatingsBySeed, ratings_table, with_ratings


def average_answers(predictions: pa.Table, tasks: Tasks) -> pa.Table:
    """For each utterance the mean of its logits and of its ratings over the seeds, as one seed, 0, sorted by id.

    Args:
        predictions: all folds and seeds, schema `fgcme.evaluation.cross_validation.PREDICTIONS` with the columns of
            `fgcme.evaluation.ratings`.
        tasks: that were learnt.

    Raises:
        UserError: ratings were learnt, and a seed does not answer every utterance once.
    """
    of_each = predictions.take(np.unique(np.array(predictions["id"].to_pylist()), return_index=True)[1])
    if tasks.classes:
        table = average_seeds(predictions, tasks.classes)
    else:
        table = ratings_table(of_each["id"].to_pylist(), of_each["speaker"].to_pylist(), fold=0, seed=0)
        place = table.schema.get_field_index("fold")
        table = table.set_column(place, table.schema.field(place), of_each["fold"])
    if VOTES in predictions.column_names:
        table = table.append_column(predictions.schema.field(VOTES), of_each[VOTES])
    if not tasks.dimensions:
        return table
    by_seed = RatingsBySeed.of(predictions, tasks.dimensions)
    return with_ratings(table, by_seed.ratings, {name: each.mean(0) for name, each in by_seed.answered.items()})

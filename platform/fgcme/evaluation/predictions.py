"""Predictions of one variant over all folds and seeds, as arrays; and the check that two variants can be paired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fgcme.errors import UserError


@dataclass(frozen=True)
class PredictionsBySeed:
    """Predictions of one variant, over all folds and seeds.

    Attributes:
        ids: [B] ids of the utterances, sorted.
        speakers: [B] speaker of each.
        folds: [B] fold in whose test part each is.
        labels: [B] class indices.
        seeds: [R] seeds, sorted.
        predictions: [R, B] class indices.
    """

    ids: np.ndarray
    speakers: np.ndarray
    folds: np.ndarray
    labels: np.ndarray
    seeds: np.ndarray
    predictions: np.ndarray

    @classmethod
    def of(cls, name: str, predictions: pa.Table, classes: Sequence[str]) -> PredictionsBySeed:
        """Arrange the predictions of a variant by seed and utterance.

        Args:
            name: the variant, for error messages.
            predictions: all folds and seeds, schema `fgcme.evaluation.cross_validation.PREDICTIONS`, in any order.
            classes: class names.

        Raises:
            UserError: there is no prediction, a class is not one of `classes`, a seed does not predict every utterance
                once, or an utterance has another label, speaker or fold under another seed.
        """
        if not predictions.num_rows:
            raise UserError(f"variant {name}: there is no prediction; train it first")
        ids, utterance = np.unique(np.array(predictions["id"].to_pylist()), return_inverse=True)
        seeds, seed = np.unique(predictions["seed"].to_numpy(), return_inverse=True)
        times_predicted = np.zeros((len(seeds), len(ids)), int)
        np.add.at(times_predicted, (seed, utterance), 1)
        if wrong := int((times_predicted != 1).any(0).sum()):
            raise UserError(
                f"variant {name}: {wrong} of {len(ids)} utterances are not predicted once by each of its {len(seeds)} "
                "seeds; train all its folds with all seeds"
            )

        def by_seed(values: np.ndarray) -> np.ndarray:
            arranged = np.empty(times_predicted.shape, values.dtype)
            arranged[seed, utterance] = values
            return arranged

        def class_index(column: str) -> np.ndarray:
            index = pc.index_in(predictions[column], value_set=pa.array(classes, pa.string()))
            if index.null_count:
                raise UserError(
                    f"variant {name}: {index.null_count} values of `{column}` are none of the classes "
                    f"{', '.join(classes)}; compare variants of one protocol"
                )
            return by_seed(index.to_numpy())

        labels = class_index("label")
        speakers = by_seed(np.array(predictions["speaker"].to_pylist()))
        folds = by_seed(predictions["fold"].to_numpy())
        for what, values in (("label", labels), ("speaker", speakers), ("fold", folds)):
            if wrong := int((values != values[0]).any(0).sum()):
                raise UserError(
                    f"variant {name}: the {what} of {wrong} utterances differs from seed to seed; train it anew on one "
                    "prepared corpus"
                )
        return cls(ids, speakers[0], folds[0], labels[0], seeds, class_index("prediction"))


def require_same_test_data(
    name: str, variant: PredictionsBySeed, reference_name: str, reference: PredictionsBySeed
) -> None:
    """Check that two variants predict the same utterances with the same seeds, so that they can be paired.

    Args:
        name: of the variant, for error messages.
        variant: its predictions.
        reference_name: of the reference, for error messages.
        reference: its predictions.

    Raises:
        UserError: they differ in seeds, utterances, labels, speakers or folds.
    """
    if not np.array_equal(variant.seeds, reference.seeds):
        raise UserError(
            f"variant {name}: its seeds are {variant.seeds.tolist()}, those of {reference_name} "
            f"{reference.seeds.tolist()}; train both with the same seeds"
        )
    if differing := len(np.setxor1d(variant.ids, reference.ids)):
        raise UserError(
            f"variant {name}: {differing} utterances are only in it or only in {reference_name}; train both with one "
            "protocol on one prepared corpus"
        )
    for what in ("labels", "speakers", "folds"):
        if differing := int((getattr(variant, what) != getattr(reference, what)).sum()):
            raise UserError(
                f"variant {name}: the {what} of {differing} utterances are not those of {reference_name}; train both "
                "with one protocol on one prepared corpus"
            )

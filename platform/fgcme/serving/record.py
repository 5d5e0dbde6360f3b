"""An answer as nested values, and the columns that a served model says it has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fgcme.data import Tasks
from fgcme.serving.needs import Needs
from fgcme.serving.prediction import Prediction

if TYPE_CHECKING:
    from mlflow.models import ModelSignature


def to_record(prediction: Prediction) -> dict[str, Any]:
    """A prediction as nested values, ready for JSON; the columns that `model_signature` declares.

    A model of ratings alone answers without `label` and `probabilities`, one of classes alone without `ratings`.
    Without contributions those of the words are None, and so is the base; of a word that was not heard it is None.
    """
    contributions: Sequence[float | None] = prediction.contributions or [None] * len(prediction.words)
    of_class = {"label": prediction.label, "probabilities": prediction.probabilities}
    return {
        **(of_class if prediction.probabilities else {}),
        **({"ratings": prediction.ratings} if prediction.ratings else {}),
        "base": prediction.base,
        "alignment": prediction.alignment,
        "text": prediction.text,
        "words_from": prediction.words_from,
        "unheard": {
            "seconds": prediction.unheard.seconds,
            "words": list(prediction.unheard.words),
            "unknown_words": list(prediction.unheard.unknown_words),
        },
        "notes": prediction.unheard.notes,
        "words": [
            {"word": word, "begin": begin, "end": end, "contribution": contribution}
            for word, begin, end, contribution in zip(
                prediction.words, prediction.begin, prediction.end, contributions, strict=True
            )
        ],
    }


def model_signature(needs: Needs, tasks: Tasks | None = None) -> ModelSignature:
    """The input and output columns of a served model, one row an utterance.

    Inputs are `audio`, the bytes of a sound file, and `text`, the transcript; outputs are those of `to_record`.

    Args:
        needs: what the model has to be given.
        tasks: what it answers; by default classes alone.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Array, Map, Object, Property

    by_name = Map(DataType.double)
    answers = [ColSpec(DataType.string, "label"), ColSpec(by_name, "probabilities")]
    if tasks is not None and tasks.dimensions:
        answers = [*(answers if tasks.classes else []), ColSpec(by_name, "ratings")]
    word = Object(
        [
            Property("word", DataType.string),
            Property("begin", DataType.double),
            Property("end", DataType.double),
            Property("contribution", DataType.double, required=False),
        ]
    )
    unheard = Object(
        [
            Property("seconds", DataType.double),
            Property("words", Array(DataType.string)),
            Property("unknown_words", Array(DataType.string)),
        ]
    )
    return ModelSignature(
        inputs=Schema(
            [
                ColSpec(DataType.binary, "audio", required=needs.sound),
                ColSpec(DataType.string, "text", required=needs.text),
            ]
        ),
        outputs=Schema(
            [
                *answers,
                ColSpec(DataType.double, "base", required=False),
                ColSpec(DataType.string, "alignment"),
                ColSpec(DataType.string, "text"),
                ColSpec(DataType.string, "words_from"),
                ColSpec(unheard, "unheard"),
                ColSpec(Array(DataType.string), "notes"),
                ColSpec(Array(word), "words"),
            ]
        ),
    )

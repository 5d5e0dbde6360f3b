"""The model as MLflow serves it: MLflow stores this file and runs it to load the model."""

from __future__ import annotations

import base64
import binascii
import io
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from fgcme import audio
from fgcme.alignment import AlignmentError
from fgcme.audio import AudioError
from fgcme.errors import DataError
from fgcme.serving.classifier import FITTED_ARTIFACT, Classifier
from fgcme.serving.record import to_record

SECONDS = 60.0
"""What lasts longer is refused before it is decoded: a row is one utterance, and a small file may hold hours."""

# What MLflow makes of null in `inputs`.
_NULL = "None"


class ServedModel(PythonModel):
    """Rows of `audio` (bytes of a sound file) and `text` in, rows of `fgcme.serving.record.to_record` out.

    Over HTTP `audio` is base64. MLflow decodes it in `dataframe_split` and `dataframe_records`, but not in `inputs`.
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Load the model, its aligner and its features, once for all requests."""
        self._classifier = Classifier(Path(context.artifacts[FITTED_ARTIFACT]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Classify each row.

        Args:
            context: of MLflow; not used.
            model_input: the rows.
            params: of MLflow; not used.

        Raises:
            MlflowException: rows cannot be classified; gives the number of each, from 0, and the reason.
        """
        records, errors = [], []
        sounds, texts = (
            model_input[name] if name in model_input else [None] * len(model_input) for name in ("audio", "text")
        )
        for number, (sound, text) in enumerate(zip(sounds, texts, strict=True)):
            try:
                records.append(self._classify(sound, text))
            except DataError as error:
                errors.append(f"row {number}: {error.message}")
        if errors:
            raise MlflowException("; ".join(errors), error_code=INVALID_PARAMETER_VALUE)
        # As objects, so that the base of an answer that has none stays None beside numbers.
        return pd.DataFrame(records, dtype=object)

    def _classify(self, sound: Any, text: Any) -> dict[str, Any]:
        heard, known = isinstance(sound, bytes | bytearray), isinstance(text, str)
        needs = self._classifier.needs
        if not heard and (needs.sound or not known):
            raise AudioError("missing", "`audio` is missing; send the bytes of a sound file")
        if not known and needs.text:
            raise AlignmentError("no_words", "`text` is missing; send what is said")
        if known and text == _NULL:
            raise AlignmentError("no_words", "`text` is `None`, as MLflow writes null in `inputs`; leave the text out")
        samples = audio.read(io.BytesIO(_decoded(sound)), limit=SECONDS) if heard else None
        return to_record(self._classifier.predict(samples, text if known else None))


def _decoded(sound: bytes | bytearray) -> bytes:
    """The bytes of a sound file; they may still be in base64, of whose characters alone no sound file consists."""
    try:
        return base64.b64decode(sound, validate=True)
    except binascii.Error:
        return bytes(sound)


set_model(ServedModel())

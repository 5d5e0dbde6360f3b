"""The data that a run used, as MLflow records it: as an input, by name and digest."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

Use = Literal["training", "evaluation"]


@dataclass(frozen=True)
class RunDataset:
    """A prepared corpus, as an input of a run.

    Attributes:
        name: of the corpus.
        digest: of what the prepared corpus holds, its `corpus_hash`; at most 36 characters.
        folder: where it lies.
        use: what the run did with it.
        protocol: that was applied to it.
    """

    name: str
    digest: str
    folder: str
    use: Use
    protocol: str

    def to_entry(self) -> dict[str, str]:
        """As the values of an entry of an outbox."""
        return asdict(self)


def dataset_input(dataset: RunDataset) -> DatasetInput:
    """A prepared corpus as MLflow takes it."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source = json.dumps({"uri": Path(dataset.folder).as_uri()}) if Path(dataset.folder).is_absolute() else "{}"
    entity = Dataset(dataset.name, dataset.digest, "local", source, profile=json.dumps({"protocol": dataset.protocol}))
    return DatasetInput(entity, [InputTag("mlflow.data.context", dataset.use)])

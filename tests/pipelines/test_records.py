from pathlib import Path

import pytest

from fgcme.dataset import SpeechCorpus
from fgcme.protocol import apply
from pipelines import records
from tests import small_corpus


@pytest.mark.parametrize("modalities", ["both", "semantic"])
@pytest.mark.parametrize("normalisation", ["none", "train", "utterance", "speaker"])
def test_a_protocol_is_named_with_what_a_result_owes_to_more_than_it_allows(
    tmp_path: Path, normalisation: str, modalities: str
) -> None:
    corpus = SpeechCorpus(small_corpus.write(tmp_path / "corpus"))
    experiment = small_corpus.experiment(model={"acoustic": {"normalisation": normalisation}, "modalities": modalities})
    assignment = apply(experiment.protocol, "demo", corpus.members)
    # A model that hears nothing owes nothing to what it could have heard.
    owes = normalisation == "speaker" and modalities == "both"
    expected = "demo/4class, speaker-normalised (uses unlabelled test audio)" if owes else "demo/4class"
    assert records.protocol(experiment) == expected
    assert records.tags(experiment, corpus, assignment)["fgcme.protocol"] == expected

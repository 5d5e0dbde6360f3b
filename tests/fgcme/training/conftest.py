"""The corpora that tests of trainings share."""

from collections.abc import Iterator

import pytest

from fgcme.data import SpeechCorpus
from tests import small_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SpeechCorpus]:
    yield SpeechCorpus(small_corpus.write(tmp_path_factory.mktemp("prepared") / "corpus", each=16))


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> SpeechCorpus:
    """The corpus of `corpus`, each utterance at three speeds."""
    folder = tmp_path_factory.mktemp("prepared") / "copied"
    return SpeechCorpus(small_corpus.write(folder, each=16, copies=[0.9, 1.1]))

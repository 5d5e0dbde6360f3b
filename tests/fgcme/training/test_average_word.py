"""A trained model keeps the mean of the fused features of its training part's words."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fgcme.data import SpeechCorpus
from fgcme.training.average_word import set_average_word
from fgcme.training.learning import FoldTrainer
from tests import small_corpus
from tests.fold_training import SMALL, fit


def trained(corpus: SpeechCorpus, model: dict[str, object]) -> FoldTrainer:
    training = fit(corpus, small_corpus.experiment(model={**SMALL, **model}, training={"batch_size": 7}))
    set_average_word(training.model, training.loaders.train, training.workers.device)
    return training


@pytest.mark.parametrize("spoken", ["corpus", "copied"])
@pytest.mark.parametrize("model", [{}, {"kind": "can"}, {"modalities": "semantic"}], ids=str)
def test_it_is_the_mean_over_all_words_of_all_recordings_of_the_training_part(
    request: pytest.FixtureRequest, spoken: str, model: dict[str, object]
) -> None:
    training = trained(request.getfixturevalue(spoken), model)
    train, network = training.loaders.train, training.model
    with torch.no_grad():
        words = [network.fuse(train.batch(np.array([place]))).features for place in range(len(train.inputs))]
    assert network.average_word is not None
    torch.testing.assert_close(network.average_word, torch.cat(words).mean(0), rtol=0, atol=1e-5)
    assert network.average_word.abs().max() > 1e-3


def test_a_model_that_does_not_go_by_words_has_none(corpus: SpeechCorpus) -> None:
    assert trained(corpus, {"kind": "late_fusion"}).model.average_word is None

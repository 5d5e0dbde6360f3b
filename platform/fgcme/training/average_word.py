"""The average word of a training part, from which the contributions of words are counted (`model.contribution`)."""

from __future__ import annotations

import torch

from fgcme.data import RaggedLoader
from fgcme.model import Network


@torch.no_grad()
def set_average_word(model: Network, train: RaggedLoader, device: torch.device) -> None:
    """Give a model that goes by words the mean of the fused features of all words of its training part.

    Args:
        model: trained, on the device; one that does not go by words stays as it is.
        train: the training part, which is heard as in an evaluation, all recordings of an utterance alike.
        device: where the model computes.
    """
    if not model.goes_by_words:
        return
    model.eval()
    total, count = torch.zeros((), dtype=torch.float64, device=device), 0
    for positions in train.plan(seed=None):
        features = model.fuse(train.batch(positions).to(device)).features
        # A sum over a whole corpus in single precision would lose digits.
        total = total + features.double().sum(0)
        count += len(features)
    model.average_word = (total / count).float()

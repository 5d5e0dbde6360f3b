"""A model with its parts' stand-ins is a copy: the model itself stays as it is. What it computes: `test_graph`."""

from __future__ import annotations

import torch

from fgcme.export.one_utterance import OnePooling, count_of, numbers_of, stand_ins
from fgcme.model.pooling import Pooling
from tests.fgcme.export.fitted_variants import fitted_variant


def test_the_model_itself_stays_as_it_is() -> None:
    network, _ = fitted_variant("recommended")
    before = [type(part) for part in network.modules()]
    copied = stand_ins(network)
    assert [type(part) for part in network.modules()] == before
    poolings = [part for part in copied.modules() if isinstance(part, Pooling)]
    assert len(poolings) == len([part for part in copied.modules() if isinstance(part, OnePooling)]) == 3


def test_rows_are_counted_and_numbered_whatever_they_hold() -> None:
    assert (count_of(torch.zeros(3)).tolist(), count_of(torch.full((2, 4), torch.nan)).tolist()) == ([3], [2])
    assert numbers_of(torch.tensor([7, 7, 7])).tolist() == numbers_of(torch.zeros(3, 2)).tolist() == [0, 1, 2]

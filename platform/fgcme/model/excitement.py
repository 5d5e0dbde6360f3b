"""Cross-modality excitement: one modality recalibrates the other, value by value (Li et al., Interspeech 2021).

With z the features to excite and s the driver's signal, W d + b of the other side's features d or E[w] of a word w:

    gate            z * sigmoid(s)            the paper's figure
    residual_gate   z + z * sigmoid(s)        the run scripts of the published code
    additive        z + s                     also in the published code
    none            z

The published code drives the semantic side by acoustic features and, in all of its forms, the acoustic side by words,
E[w]; the figure shows the words' features there. The variants `published` and `figure` are the one and the other.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from fgcme.model.encoders import WordTable

Form = Literal["none", "gate", "residual_gate", "additive"]


class Excitement(nn.Module):
    """Excite features of one modality by a driver from the other.

    Args:
        form: see the module's table.
        driver: from features of the other side or word indices to a signal of the excited features' size; None with
            `none`.

    Raises:
        ValueError: a form lacks its driver, or `none` has one.
    """

    def __init__(self, form: Form, driver: nn.Module | None) -> None:
        super().__init__()
        if (form == "none") != (driver is None):
            raise ValueError("a driver goes with every form but `none`")
        self.form = form
        self.driver = driver

    def forward(self, features: Tensor, source: Tensor) -> Tensor:
        """Excite features, [W, D] -> [W, D].

        Args:
            features: [W, D] what is recalibrated.
            source: the driver's input, [W, values] features or [W] word indices.
        """
        if self.driver is None:
            return features
        signal: Tensor = self.driver(source)
        if self.form == "additive":
            return features + signal
        excited = features * torch.sigmoid(signal)
        return features + excited if self.form == "residual_gate" else excited


def feature_driver(source: int, size: int, reduction_ratio: int = 1) -> nn.Module:
    """Make a module from features to a signal: one linear map (the paper), or two with a bottleneck between.

    The bottleneck is that of squeeze-and-excitation (Hu, Shen and Sun, CVPR 2018).

    Args:
        source: values of the driving features.
        size: values of the signal, D.
        reduction_ratio: D over the values of the bottleneck; 1 for the one linear map.
    """
    if reduction_ratio == 1:
        return nn.Linear(source, size)
    bottleneck = max(size // reduction_ratio, 1)
    return nn.Sequential(nn.Linear(source, bottleneck), nn.ReLU(), nn.Linear(bottleneck, size))


def word_driver(vocabulary_size: int, size: int, reduction_ratio: int = 1) -> nn.Module:
    """Make a module from word indices to a signal: an embedding table, or a narrower one and a linear map.

    The table is not the one of the semantic encoder. The published code has it at full width.

    Args:
        vocabulary_size: rows of the table, the padding and unknown rows included.
        size: values of the signal, D.
        reduction_ratio: D over the values of the table; 1 for the table alone.
    """
    if reduction_ratio == 1:
        return WordTable(vocabulary_size, size)
    # No ReLU between: negative entries of the table would get no gradient.
    bottleneck = max(size // reduction_ratio, 1)
    return nn.Sequential(WordTable(vocabulary_size, bottleneck), nn.Linear(bottleneck, size))

"""Cross-modality excitement: one modality recalibrates the other, channel by channel.

With z the features to excite and s = W d + b the signal from the driver d:

    gate            z * sigmoid(s)            the paper's figure
    residual_gate   z + z * sigmoid(s)        the published code's run scripts
    additive        z + s                     found in the published code
    none            z
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from fgcme.model.encoders import word_table

Form = Literal["none", "gate", "residual_gate", "additive"]


class Excitement(nn.Module):
    """Excite features of one modality by a driver from the other.

    Args:
        form: see the module's table.
        driver: a module from whatever drives (features or word indices) to a signal of the features' size.
    """

    def __init__(self, form: Form, driver: nn.Module | None) -> None:
        super().__init__()
        if (form == "none") != (driver is None):
            raise ValueError("a driver goes with every form but `none`")
        self.form = form
        self.driver = driver

    def forward(self, features: Tensor, source: Tensor) -> tuple[Tensor, Tensor | None]:
        """Excite.

        Args:
            features: [W, D] what is recalibrated.
            source: what the driver takes, [W, S] features or [W] word indices.

        Returns:
            [W, D] excited features, and the [W, D] gate in (0, 1), or None for a form without gate.
        """
        if self.driver is None:
            return features, None
        signal = self.driver(source)
        if self.form == "additive":
            return features + signal, None
        gate = torch.sigmoid(signal)
        excited = features * gate
        return (features + excited if self.form == "residual_gate" else excited), gate


def feature_driver(source: int, size: int, reduction_ratio: int = 1) -> nn.Module:
    """From features to a signal: one linear map, the paper's, or a narrow layer between two.

    The narrow layer is the bottleneck of squeeze-and-excitation (Hu, Shen and Sun, CVPR 2018).

    Args:
        source: values of the driving features.
        size: values of the signal.
        reduction_ratio: times that the layer between is narrower than the signal; 1 for the one linear map.
    """
    if reduction_ratio == 1:
        return nn.Linear(source, size)
    narrow = max(size // reduction_ratio, 1)
    return nn.Sequential(nn.Linear(source, narrow), nn.ReLU(), nn.Linear(narrow, size))


def word_driver(vocabulary_size: int, size: int, reduction_ratio: int = 1) -> nn.Module:
    """From word indices to a signal: a table of its own (the published code), or a narrow table and a linear map.

    Args:
        vocabulary_size: rows of the table, the padding and unknown rows included.
        size: values of the signal.
        reduction_ratio: times that the table is narrower than the signal; 1 for the one table.
    """
    if reduction_ratio == 1:
        return word_table(vocabulary_size, size)
    # No rectifier between: it would hold the negative entries of a table where they start.
    narrow = max(size // reduction_ratio, 1)
    return nn.Sequential(word_table(vocabulary_size, narrow), nn.Linear(narrow, size))

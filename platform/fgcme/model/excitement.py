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

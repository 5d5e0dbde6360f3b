"""Small models with random weights of every named variant, and utterances of any size for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fgcme.data import Tasks
from fgcme.experiment import ModelSettings, PrepareSettings, variants
from fgcme.experiment.variants import merge
from fgcme.model import Network, build_model
from fgcme.serving.fitted import ModelSpec

CLASSES = ["angry", "calm", "happy"]
TASKS = Tasks(CLASSES)
WORDS = [f"word{number}" for number in range(12)]
FRAME_SIZE = 8
_SMALL: dict[str, Any] = {
    "acoustic": {"channels": [6, 5], "kernels": [3, 2]},
    "semantic": {"embedding": 7},
    "fusion": {"hidden": 4},
    "baseline": {"hidden": 4, "heads": 2, "positions": 5, "stack": 3},
}


def fitted_variant(
    name: str, seed: int = 0, blank: bool = False, tasks: Tasks = TASKS, **changes: Any
) -> tuple[Network, ModelSpec]:
    """A small model of a named variant, as one that was fitted; its frames are standardised.

    Args:
        name: of the variant.
        seed: of its weights.
        blank: whether it is as if trained by CTC.
        tasks: that it answers.
        changes: to the settings of the variant's model.
    """
    content: dict[str, Any] = {}
    merge(content, _SMALL)
    merge(content, variants.find_variant(name)["model"])
    merge(content, changes)
    settings = ModelSettings.model_validate(content)
    torch.manual_seed(seed)
    words = WORDS[seed : seed + 8]
    network = build_model(settings, FRAME_SIZE, len(words) + 2, tasks.size, blank)
    network.standardise.set_statistics(torch.randn(FRAME_SIZE), torch.rand(FRAME_SIZE) + 0.5)
    for parameter in network.parameters():
        # Queries, gates and unknown words start from zero, where they would hide a mistake.
        parameter.data += 0.3 * torch.randn_like(parameter)
    spec = ModelSpec(
        model=settings,
        prepare=PrepareSettings(),
        classes=[*tasks.classes],
        dimensions={name: [*scale] for name, scale in tasks.dimensions.items()},
        words=words,
        frame_size=FRAME_SIZE,
        frame_limit=3000,
        origin={},
        blank=blank,
    )
    return network.eval(), spec


def generator() -> np.random.Generator:
    """Of the tests' utterances."""
    return np.random.default_rng(0)

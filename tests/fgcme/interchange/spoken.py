"""The odd utterances with files that are there."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from fgcme.interchange import PreparedUtterance
from tests.odd_utterances import ODD


def with_files(folder: Path) -> list[PreparedUtterance]:
    """Write noise of the right length for each file, one of them with two channels, and one of 20 seconds."""
    for name in {utterance.audio for utterance in ODD}:
        path = folder / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        seconds = 20 if "long" in name else 1.5
        shape = (int(8000 * seconds), 2 if "take" in name else 1)
        soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, shape), 8000)
    return [replace(utterance, audio=f"{folder}{utterance.audio}") for utterance in ODD]

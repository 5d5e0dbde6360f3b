"""FG-CME, its variants and baselines, in PyTorch, over ragged batches.

Only the baselines that learn the alignment pad, within one product of words and frames (`word_acoustics`).
"""

from fgcme.model.build import build_model, encoder_of
from fgcme.model.contribution import Contributions, contributions, why_none
from fgcme.model.encoders import StandardisePooled, WordEmbedding
from fgcme.model.network import FineGrainedExcitement, FusedWords, Network, Output
from fgcme.model.trained_layers import EncoderTop, TrainedLayers

__all__ = [
    "Contributions",
    "EncoderTop",
    "FineGrainedExcitement",
    "FusedWords",
    "Network",
    "Output",
    "StandardisePooled",
    "TrainedLayers",
    "WordEmbedding",
    "build_model",
    "contributions",
    "encoder_of",
    "why_none",
]

"""FG-CME, its variants and baselines, in PyTorch, over ragged batches.

Only the baselines that learn the alignment pad, within one product of words and frames (`word_acoustics`).
"""

from fgcme.model.baselines import LinearProbe
from fgcme.model.build import build_model
from fgcme.model.encoders import WordEmbedding
from fgcme.model.network import FineGrainedExcitement, Network, Output

__all__ = ["FineGrainedExcitement", "LinearProbe", "Network", "Output", "WordEmbedding", "build_model"]

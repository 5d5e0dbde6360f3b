"""FG-CME, its variants and baselines, in PyTorch, over ragged batches.

Only the baselines that learn the alignment pad, within one product of words and frames (`word_acoustics`).
"""

from fgcme.model.build import build_model
from fgcme.model.encoders import StandardisePooled, WordEmbedding
from fgcme.model.network import FineGrainedExcitement, Network, Output

__all__ = ["FineGrainedExcitement", "Network", "Output", "StandardisePooled", "WordEmbedding", "build_model"]

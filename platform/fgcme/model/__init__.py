"""FG-CME, its variants and baselines, in PyTorch, over ragged batches: padded only where words have to find frames."""

from fgcme.model.build import build_model
from fgcme.model.encoders import WordEmbedding
from fgcme.model.network import FineGrainedExcitement, Network, Output

__all__ = ["FineGrainedExcitement", "Network", "Output", "WordEmbedding", "build_model"]

"""FG-CME, its variants and baselines, in PyTorch, over ragged batches: padded only where words have to find frames."""

from fgcme.model.batch import Batch, Mixture, Ranges, Reading, Reads, collate, plan
from fgcme.model.build import build, reading
from fgcme.model.encoders import WordEmbedding
from fgcme.model.network import FineGrainedExcitement, Network, Output

__all__ = [
    "Batch",
    "FineGrainedExcitement",
    "Mixture",
    "Network",
    "Output",
    "Ranges",
    "Reading",
    "Reads",
    "WordEmbedding",
    "build",
    "collate",
    "plan",
    "reading",
]

"""FG-CME and its parts, in PyTorch, over ragged batches: no padding, no word-by-frame mask."""

from fgcme.model.batch import Batch, Reads, collate, plan_reads
from fgcme.model.build import build
from fgcme.model.network import FineGrainedExcitement, Output

__all__ = ["Batch", "FineGrainedExcitement", "Output", "Reads", "build", "collate", "plan_reads"]

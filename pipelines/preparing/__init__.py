"""Preparing a corpus: which utterances, in which blocks, by which tasks on Ray Data, and the summary at the end."""

from pipelines.preparing.block import PrepareTask, make_blocks, prepare_block
from pipelines.preparing.runner import prepare_on_ray
from pipelines.preparing.sources import find_alignments, find_unreachable, hash_sources, select_alignments
from pipelines.preparing.summary import PreparedSummary

__all__ = [
    "PrepareTask",
    "PreparedSummary",
    "find_alignments",
    "find_unreachable",
    "hash_sources",
    "make_blocks",
    "prepare_block",
    "prepare_on_ray",
    "select_alignments",
]

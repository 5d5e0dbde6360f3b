"""Preparing a corpus: which utterances, in which blocks, by which tasks on Ray Data, and the summary at the end."""

from pipelines.preparing.block import (
    PrepareTask,
    block_size,
    feature_arguments,
    make_blocks,
    prepare_block,
    text_arguments,
)
from pipelines.preparing.file_hashes import FileHashes
from pipelines.preparing.runner import prepare_on_ray
from pipelines.preparing.sources import FindAlignment, alignment_finder, hash_sources, locate
from pipelines.preparing.summary import PreparedSummary

__all__ = [
    "FileHashes",
    "FindAlignment",
    "PrepareTask",
    "PreparedSummary",
    "alignment_finder",
    "block_size",
    "feature_arguments",
    "hash_sources",
    "locate",
    "make_blocks",
    "prepare_block",
    "prepare_on_ray",
    "text_arguments",
]

"""The prepared corpus: Parquet of features, words and their spans, and how one utterance becomes a row of it."""

from fgcme.prepared.corpus import (
    REJECTED,
    UTTERANCES,
    Description,
    alignments,
    clear_rejected,
    corpus_hash,
    parts,
    prune,
    read_description,
    rejected_table,
    rejection_lines,
    rejections,
    sources,
    utterance_table,
    write_part,
)

__all__ = [
    "REJECTED",
    "UTTERANCES",
    "Description",
    "alignments",
    "clear_rejected",
    "corpus_hash",
    "parts",
    "prune",
    "read_description",
    "rejected_table",
    "rejection_lines",
    "rejections",
    "sources",
    "utterance_table",
    "write_part",
]

"""The prepared corpus: Parquet of features, words and their spans, and how one utterance becomes a row of it."""

from fgcme.prepared.corpus import (
    REJECTED,
    UTTERANCES,
    CorpusDescription,
    corpus_hash,
    count_alignments,
    count_rejections,
    delete_rejected,
    prune,
    read_description,
    read_parts,
    rejected_table,
    rejection_lines,
    source_hashes,
    utterance_table,
    write_part,
)

__all__ = [
    "REJECTED",
    "UTTERANCES",
    "CorpusDescription",
    "corpus_hash",
    "count_alignments",
    "count_rejections",
    "delete_rejected",
    "prune",
    "read_description",
    "read_parts",
    "rejected_table",
    "rejection_lines",
    "source_hashes",
    "utterance_table",
    "write_part",
]

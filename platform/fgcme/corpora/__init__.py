"""Corpora: one module each, one contract for all. A corpus finds its utterances; it never opens their audio."""

from fgcme.corpora.contract import Corpus, Counts, Download, Listing, Rejection, Utterance, WordTime

__all__ = ["Corpus", "Counts", "Download", "Listing", "Rejection", "Utterance", "WordTime"]

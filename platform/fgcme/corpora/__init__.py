"""Corpora: one module each, one contract for all. A corpus finds its utterances; it never opens their audio."""

from fgcme.corpora.contract import Corpus, Listing, Rejection, Utterance

__all__ = ["Corpus", "Listing", "Rejection", "Utterance"]

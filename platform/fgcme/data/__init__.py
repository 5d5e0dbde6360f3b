"""From a prepared corpus to batches: protocol, folds, what a model hears, augmentation."""

from fgcme.data.assignment import Assignment, Selection, apply_protocol, assign_folds, split_fold
from fgcme.data.batch import (
    Batch,
    Mixture,
    Ranges,
    collate,
    layout_frames,
    lookahead,
    ranges_from_counts,
    segment_positions,
)
from fgcme.data.columns import encode
from fgcme.data.dataset import UNKNOWN, SpeechCorpus, Vocabulary
from fgcme.data.fold import FoldLoaders, make_fold_loaders, open_fold
from fgcme.data.hearing import has_acoustics, has_words, reads_test_audio, scheme_of
from fgcme.data.loader import RaggedLoader
from fgcme.data.missing import Missing
from fgcme.data.protocol import MismatchError, resolve_protocol
from fgcme.data.targets import Tasks

__all__ = [
    "UNKNOWN",
    "Assignment",
    "Batch",
    "FoldLoaders",
    "MismatchError",
    "Missing",
    "Mixture",
    "RaggedLoader",
    "Ranges",
    "Selection",
    "SpeechCorpus",
    "Tasks",
    "Vocabulary",
    "apply_protocol",
    "assign_folds",
    "collate",
    "encode",
    "has_acoustics",
    "has_words",
    "layout_frames",
    "lookahead",
    "make_fold_loaders",
    "open_fold",
    "ranges_from_counts",
    "reads_test_audio",
    "resolve_protocol",
    "scheme_of",
    "segment_positions",
    "split_fold",
]

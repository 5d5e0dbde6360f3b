"""Who takes part: the prepared corpus of an experiment, with its protocol applied."""

from __future__ import annotations

from pathlib import Path

from fgcme import prepared
from fgcme.data import Assignment, MismatchError, SpeechCorpus, apply_protocol
from fgcme.errors import UserError
from fgcme.experiment import Experiment
from pipelines import prepare


def load_assigned_corpus(experiment: Experiment) -> tuple[Path, SpeechCorpus, Assignment]:
    """The folder of the prepared corpus, the corpus, and the protocol applied to it.

    Raises:
        UserError: the corpus is not prepared, or does not fit the protocol; what most of it was lost by is named then.
    """
    folder = prepare.locate(experiment)
    corpus = SpeechCorpus(folder)
    try:
        return folder, corpus, apply_protocol(experiment.protocol, experiment.corpus.kind, corpus.members)
    except MismatchError as mismatch:
        lost = next(prepared.rejection_lines(folder), None)
        raise UserError(f"{mismatch}; {lost}" if lost else str(mismatch)) from None

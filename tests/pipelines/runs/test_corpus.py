"""Who takes part, what is said of whoever does not, and what a corpus was lost by."""

from __future__ import annotations

from pathlib import Path

import pytest

from fgcme import prepared
from fgcme.corpora.contract import Rejection
from fgcme.errors import UserError
from fgcme.experiment import Experiment
from pipelines.runs import records
from pipelines.runs.corpus import load_assigned_corpus
from tests import small_corpus


def experiment(folder: Path, **protocol: object) -> Experiment:
    return small_corpus.experiment(prepare={"folder": str(folder)}, protocol=protocol)


def test_a_corpus_that_does_not_fit_names_what_most_of_it_was_lost_by(tmp_path: Path) -> None:
    folder = small_corpus.write(tmp_path / "corpus")
    wanted = experiment(folder, name="mine", labels={"happy": "happy", "bored": "bored"}, folds=4)
    with pytest.raises(UserError, match=r"no utterance of class bored; .*protocol\.allow_missing=true$"):
        load_assigned_corpus(wanted)
    evaluation = "Session2/dialog/EmoEvaluation/Ses02F_impro01.txt"
    lost = [
        Rejection(f"{evaluation}:15", evaluation, "list", "bad_line", f"{evaluation}: line 15 is damaged: `[6.29`"),
        *(Rejection(name, "x.wav", "list", "no_label", f"{evaluation} has no label for {name}") for name in "ab"),
    ]
    prepared.write_part(folder, "rejected", "listing", prepared.rejected_table(lost))
    with pytest.raises(UserError, match=f"class bored; .*; not prepared: 2 x no_label, .*{evaluation}") as refused:
        load_assigned_corpus(wanted)
    assert "\n" not in str(refused.value)


def test_two_corpora_mixed_up_show_in_what_is_left_out_and_in_what_had_to_be_allowed(tmp_path: Path) -> None:
    # The protocol is of a corpus that knows two of the emotions; the other two, and half of the speakers, are foreign.
    folder = small_corpus.write(tmp_path / "corpus", speakers=8, each=8)
    wanted = experiment(
        folder,
        name="mine",
        labels={"neutral": "neutral", "happy": "happy", "bored": "bored"},
        folds=[["s0"], ["s1"], ["s2", "absent"]],
    )
    with pytest.raises(UserError, match="no utterance of speaker absent; no utterance of class bored"):
        load_assigned_corpus(wanted)
    allowing = wanted.model_copy(update={"protocol": wanted.protocol.model_copy(update={"allow_missing": True})})
    _, corpus, assignment = load_assigned_corpus(allowing)
    first, *others = records.describe_participants(allowing, corpus, assignment, "3 folds x 1 seeds")
    assert first == "mine: 12 of 64 utterances, 3 classes; 3 folds x 1 seeds"
    assert others == [
        "  left out: 16 x label sad",
        "  left out: 16 x label angry",
        *(f"  left out: 4 x speaker s{number} in no fold" for number in range(3, 8)),
        "  allowed: no utterance of speaker absent",
        "  allowed: no utterance of class bored",
    ]

"""SAVEE: what the generic tests of all corpora do not say of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fgcme.corpora.savee import CORPUS
from fgcme.errors import UserError


def test_a_copy_in_folders_and_a_flat_one_list_the_same(tmp_path: Path) -> None:
    listed = []
    for layout, name in (("folders", "DC/sa03.wav"), ("flat", "ALL/DC_sa03.wav")):
        path = tmp_path / layout / name
        path.parent.mkdir(parents=True)
        path.touch()
        (tmp_path / layout / "sentences.csv").write_text("code,text\nsa03,say it\n")
        (utterance,) = CORPUS.find(tmp_path / layout).utterances
        listed.append((utterance.id, utterance.raw_label, utterance.speaker, utterance.text))
    assert listed == [("DC_sa03", "sa", "DC", "say it")] * 2


def test_without_its_sentences_the_refusal_says_what_to_write(tmp_path: Path) -> None:
    (tmp_path / "DC").mkdir()
    (tmp_path / "DC" / "a01.wav").touch()
    with pytest.raises(UserError, match=r"sentences\.csv: no such file; SAVEE comes without .* columns code and text"):
        CORPUS.find(tmp_path)

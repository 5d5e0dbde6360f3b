"""EMO-DB is listed from its file names, and from the times of words where the copy has them."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from fgcme.corpora.emodb import CORPUS, SENTENCES, find, parse_name
from fgcme.data.protocol import named_protocols
from fgcme.errors import UserError


@pytest.mark.parametrize(
    ("stem", "why"),
    [
        ("03a01F", "as in 03a01Fa"),
        ("03a01Fa copy", "as in 03a01Fa"),
        ("04a01Fa", "speaker 04 is not one of 03, 08"),
        ("03a03Fa", "sentence a03"),
        ("03a01Xa", "emotion X"),
    ],
)
def test_a_name_of_something_else_is_refused_with_the_reason(stem: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_name(stem)


def test_a_name_gives_speaker_sentence_and_emotion(tmp_path: Path) -> None:
    (tmp_path / "wav").mkdir()
    (tmp_path / "wav" / "16b10Lb.wav").touch()
    (utterance,) = find(tmp_path).utterances
    assert (utterance.id, utterance.audio) == ("16b10Lb", "wav/16b10Lb.wav")
    assert (utterance.speaker, utterance.dialog, utterance.raw_label) == ("16", "b10", "L")
    assert (utterance.text, utterance.alignment) == (SENTENCES["b10"], None)


def test_utterances_with_times_of_their_words_have_an_alignment_of_the_corpus(tmp_path: Path) -> None:
    for name in ("03a01Fa", "03a01Wa"):
        (tmp_path / f"{name}.flac").touch()
    (tmp_path / "words.json").write_text(json.dumps({"03a01Wa": []}))
    listing = find(tmp_path)
    assert [each.alignment for each in listing.utterances] == [None, "words.json"]
    assert [rejection.audio for rejection in listing.rejections] == ["words.json"]
    (tmp_path / "words.json").write_text("{")
    with pytest.raises(UserError, match=r"words\.json: cannot be read as times of words"):
        find(tmp_path)


def test_a_root_without_the_corpus_is_refused_with_how_to_get_it(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match=r"emodb\.bilderbar\.info.*--root or in EMODB_ROOT"):
            find(root)


@pytest.mark.skipif("EMODB_ROOT" not in os.environ, reason="EMODB_ROOT is not set")
def test_the_real_corpus_has_the_counts_of_its_protocol() -> None:
    utterances = CORPUS.find(Path(os.environ["EMODB_ROOT"])).utterances
    assert len(utterances) == 535
    protocol = named_protocols()["emodb/7class-speaker"]
    labels = Counter(protocol.labels[utterance.raw_label] for utterance in utterances)
    assert labels == protocol.expected
    assert len({utterance.speaker for utterance in utterances}) == 10

"""A corpus as an audformat database: the package itself reads it, and so does the corpus of that name."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from fgcme.corpora.audformat import find
from fgcme.interchange import Told
from fgcme.interchange.audformat import SAME_PLACE, SAME_WORD, write
from tests.odd_utterances import ABOUT, ODD, as_listed

audformat = pytest.importorskip("audformat")


def test_audformat_reads_the_tables_with_all_their_values(tmp_path: Path) -> None:
    write(ODD, tmp_path, ABOUT, Told())
    database = audformat.Database.load(str(tmp_path))
    assert (database.name, database.languages, database.license) == ("manifest", ["deu"], "CC-BY 4.0")
    assert database.meta["prepared_corpus"] == ABOUT.corpus_hash
    assert database.schemes["speaker"].labels["01"] == {"gender": "female"}
    assert database.schemes["speaker"].labels["Jörg, 07"] == {}
    frame = database["utterances"].get()
    assert list(frame.index.get_level_values("file")) == [utterance.audio for utterance in ODD]
    assert list(frame.index.get_level_values("end").total_seconds()) == [utterance.end for utterance in ODD]
    for column, attribute in (("id", "id"), ("emotion", "label"), ("transcription", "text"), ("speaker", "speaker")):
        assert list(frame[column]) == [getattr(utterance, attribute) for utterance in ODD]
    assert frame["arousal"].tolist()[0] == 3.25 and pd.isna(frame["arousal"].tolist()[1])
    words = database["words"].get()
    assert list(words["word"]) == [word.text for utterance in ODD for word in utterance.words]
    assert words.index[-1] == ("/data/long.wav", pd.Timedelta(milliseconds=12955), pd.Timedelta(milliseconds=13575))


def test_the_corpus_lists_the_same_utterances_with_their_words(tmp_path: Path) -> None:
    write(ODD, tmp_path, ABOUT, Told())
    listing = find(tmp_path)
    assert listing.rejections == []
    assert listing.utterances == [as_listed(utterance) for utterance in ODD]


def test_what_has_the_place_of_another_is_left_out_and_told(tmp_path: Path) -> None:
    told = Told()
    # The third begins with the other two, and ends later.
    longer = replace(ODD[0], id="longer", duration=1.6)
    write([ODD[0], replace(ODD[0], id="again"), longer], tmp_path, ABOUT, told)
    assert told.counts == {SAME_PLACE: 1, SAME_WORD: 3} and told.examples[SAME_PLACE] == "again"
    database = audformat.Database.load(str(tmp_path))
    assert list(database["utterances"].get()["id"]) == ["plain", "longer"] and len(database["words"]) == 3


def test_a_corpus_of_a_language_that_audformat_does_not_know_is_written_without_it(tmp_path: Path) -> None:
    for language in ("any", "of birds"):
        write(ODD[-1:], tmp_path, replace(ABOUT, language=language), Told())
        database = audformat.Database.load(str(tmp_path))
        assert database.languages == [] and len(database["words"]) == 0

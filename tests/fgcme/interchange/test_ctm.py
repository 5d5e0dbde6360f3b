"""A CTM of a corpus: read again by the importer, it has the same words at the same places."""

from pathlib import Path

import numpy as np

from fgcme import alignment
from fgcme.interchange import Told
from fgcme.interchange.ctm import WORDLESS, write
from tests.odd_utterances import ABOUT, ODD, words_and_frames


def test_each_word_is_a_line(tmp_path: Path) -> None:
    told = Told()
    write(ODD, tmp_path, ABOUT, told)
    lines = (tmp_path / "words.ctm").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "plain 1 0.100 0.320 kids"
    assert [len(line.split(" ")) for line in lines] == [5] * 12
    assert told.counts == {WORDLESS: 1}


def test_the_importer_reads_the_same_words_and_frames(tmp_path: Path) -> None:
    write(ODD, tmp_path, ABOUT, Told())
    aligner = alignment.build("imported", folder=str(tmp_path))
    for utterance in ODD[:-1]:
        found = aligner.align(utterance.id, np.zeros(24_000, np.float32), "")
        assert (found.words, found.begin, found.end) == words_and_frames(utterance)

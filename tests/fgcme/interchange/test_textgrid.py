"""TextGrids of a corpus: read again by the importer, they are the same words at the same places."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from fgcme import alignment
from fgcme.alignment.text_grid import read_text_grid
from fgcme.interchange import Told
from fgcme.interchange.textgrid import LONG, SEGMENTS, write
from tests.odd_utterances import ABOUT, ODD, words_and_frames


def test_each_utterance_is_a_file_with_tiers_of_words_text_label_and_speaker(tmp_path: Path) -> None:
    told = Told()
    write(ODD, tmp_path, ABOUT, told)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.TextGrid")) == sorted(
        f"{utterance.id}.TextGrid" for utterance in ODD
    )
    for utterance in ODD:
        text = (tmp_path / f"{utterance.id}.TextGrid").read_text(encoding="utf-8")
        for tier, expected in (("text", utterance.text), ("label", utterance.label), ("speaker", utterance.speaker)):
            (interval,) = read_text_grid(text, tier)
            assert interval[:3] == (expected, 0, 1.5)
    assert told.counts == {SEGMENTS: 2}


def test_the_importer_reads_the_same_words_and_frames(tmp_path: Path) -> None:
    write(ODD, tmp_path, ABOUT, Told())
    aligner = alignment.build("imported", folder=str(tmp_path))
    for utterance in ODD[:-1]:
        found = aligner.align(utterance.id, np.zeros(24_000, np.float32), "")
        assert (found.words, found.begin, found.end) == words_and_frames(utterance)


def test_an_id_that_no_file_can_have_costs_its_utterance_alone_and_none_leaves_the_folder(tmp_path: Path) -> None:
    told = Told()
    ids = ["../../up", "/root", "x" * 300, ".hidden"]
    write([replace(ODD[0], id=each) for each in ids], tmp_path / "out", ABOUT, told)
    assert told.counts == {LONG: 1}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert len(list((tmp_path / "out").rglob("*.TextGrid"))) == 3

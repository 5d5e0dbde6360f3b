"""EmoTale: what the generic tests of all corpora do not say of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fgcme.corpora.emotale import DANISH, ENGLISH
from fgcme.errors import UserError
from tests.small_corpora import TREES


def test_ratings_are_the_mean_of_the_annotators_who_gave_one(tmp_path: Path) -> None:
    TREES["emotale_danish"].write(tmp_path)
    found = {each.id: (each.valence, each.arousal, each.dominance) for each in DANISH.find(tmp_path).utterances}
    assert found["DK_004_A_5"] == (2.0, 4.5, 4.5)
    assert found["DK_004_H_5"] == (None, None, None)


def test_without_annotations_nobody_rated(tmp_path: Path) -> None:
    TREES["emotale_english"].write(tmp_path)
    (tmp_path / "annotations.csv").unlink()
    assert {each.valence for each in ENGLISH.find(tmp_path).utterances} == {None}


def test_a_rating_that_is_no_number_is_refused_with_its_line(tmp_path: Path) -> None:
    TREES["emotale_danish"].write(tmp_path)
    (tmp_path / "annotations.csv").write_text("file,a1_A\nDK_004_A_5.wav,high\n")
    with pytest.raises(UserError, match=r"annotations\.csv: line 2: .*'high'"):
        DANISH.find(tmp_path)

"""CREMA-D: what the generic tests of all corpora do not say of it."""

from __future__ import annotations

from pathlib import Path

from fgcme.corpora.cremad import CORPUS
from tests.small_corpora import CREMAD


def test_the_act_is_the_level_and_the_dialog_the_sentence(tmp_path: Path) -> None:
    CREMAD.write(tmp_path)
    found = {each.id: (each.act, each.dialog, each.session) for each in CORPUS.find(tmp_path).utterances}
    assert found["1091_IEO_SAD_HI"] == ("high", "IEO", None)
    assert found["1091_IEO_NEU_XX"] == found["1091_IEO_NEU_XX"] == ("unspecified", "IEO", None)
    # The one file whose level is a letter short.
    assert found["1040_ITH_SAD_X"] == ("unspecified", "ITH", None)

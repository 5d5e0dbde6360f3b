"""ESD: what the generic tests of all corpora do not say of it."""

from __future__ import annotations

from pathlib import Path

from fgcme.corpora.esd import ENGLISH
from tests.small_corpora import TREES


def test_the_session_is_the_makers_part_and_the_dialog_the_sentence_whatever_the_emotion(tmp_path: Path) -> None:
    TREES["esd_english"].write(tmp_path)
    found = {each.id: (each.session, each.dialog) for each in ENGLISH.find(tmp_path).utterances}
    assert found["0011_000001"] == found["0011_000351"] == found["0011_001401"] == ("evaluation", "sentence-001")
    assert found["0015_000702"] == ("test", "sentence-002")
    # A copy without the folders of the parts.
    assert found["0020_000003"] == (None, "sentence-003")

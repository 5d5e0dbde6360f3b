"""What an utterance is prepared from, and when that counts as changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fgcme.corpora.contract import Utterance
from fgcme.errors import UserError
from pipelines.preparing import select_alignments, source_hash
from tests import small_corpus

TEXT = "kids are talking by the door"


def test_a_source_hash_changes_with_the_corpus_s_data_and_with_the_files(tmp_path: Path) -> None:
    utterance = Utterance("one", "one.wav", TEXT, "sad", "01")
    missing = source_hash(utterance, tmp_path)
    (tmp_path / "one.wav").write_bytes(b"1234")
    present = source_hash(utterance, tmp_path)
    relabelled = source_hash(replace(utterance, raw_label="happy"), tmp_path)
    (tmp_path / "one.wav").write_bytes(b"12345")
    longer = source_hash(utterance, tmp_path)
    aligned = replace(utterance, alignment="one.wdseg")
    without_its_alignment = source_hash(aligned, tmp_path)
    (tmp_path / "one.wdseg").write_text("SFrm")
    hashes = {missing, present, relabelled, longer, without_its_alignment, source_hash(aligned, tmp_path)}
    assert len(hashes) == 6


def test_alignments_of_the_corpus_are_used_only_where_the_settings_ask_for_them() -> None:
    aligned = Utterance("one", "one.wav", TEXT, "sad", "01", alignment="one.wdseg")
    unaligned = Utterance("two", "two.wav", TEXT, "sad", "01")
    corpus = small_corpus.experiment(prepare={"alignment": {"method": "corpus"}})
    assert select_alignments(corpus, [aligned, unaligned]) == [aligned, unaligned]
    sphinx = small_corpus.experiment()
    assert select_alignments(sphinx, [aligned, unaligned]) == [replace(aligned, alignment=None), unaligned]
    with pytest.raises(UserError, match=r"this copy of demo has no alignments of its own; set .*method=sphinx"):
        select_alignments(corpus, [unaligned])

"""The summary of a preparation, as numbers and as lines for a person."""

from __future__ import annotations

from pathlib import Path

from fgcme.corpora.contract import Rejection
from pipelines.preparing import PreparedSummary

SILENT = [Rejection(name, f"{name}.wav", "read", "silent", f"{name}.wav is digital silence") for name in ("a", "b")]
MISSING = Rejection("c", "c.wav", "read", "missing", "c.wav does not exist")
VIDEO = Rejection("d.mp4", "d.mp4", "list", "not_of_corpus", "only .wav and .flac files are recordings")


def test_the_summary_of_a_clean_preparation_has_three_lines() -> None:
    summary = PreparedSummary(Path("prepared/x"), 6, 6, {"sphinx": 6}, [], seconds=1.25)
    assert list(summary.lines()) == [
        "prepared corpus: prepared/x",
        "utterances: 6 (6 prepared now; 1.2 s)",
        "aligned: 6 sphinx",
    ]


def test_what_is_odd_and_was_taken_is_counted() -> None:
    oddities = {"resampled from another rate": 6, "clipped when it was recorded": 2}
    summary = PreparedSummary(Path("prepared/x"), 6, 6, {"sphinx": 6}, [], seconds=1.25, oddities=oddities)
    assert list(summary.lines())[3] == (
        "taken all the same: 6 resampled from another rate; 2 clipped when it was recorded"
    )


def test_files_outside_the_corpus_do_not_count_as_rejected_utterances() -> None:
    rejections = [*SILENT, MISSING, VIDEO]
    summary = PreparedSummary(Path("prepared/x"), 9, 4, {"sphinx": 8, "uniform": 1}, rejections, seconds=1.0)
    assert (summary.rejected, summary.left_out) == ([*SILENT, MISSING], [VIDEO])
    assert summary.rejected_share == 0.25
    assert list(summary.lines())[1:] == [
        "utterances: 9 (4 prepared now, 5 before; 1.0 s)",
        "aligned: 8 sphinx, 1 uniform",
        "rejected: 3 (25.0%), listed in prepared/x/rejected (Parquet)",
        "  silent: 2, such as a: a.wav is digital silence",
        "  missing: 1, such as c: c.wav does not exist",
        "left out: 1 (duplicates or files outside the corpus), such as d.mp4",
    ]


def test_utterances_whose_audio_cannot_be_reached_are_counted_with_examples() -> None:
    audio = [f"{name}.wav" for name in "abc"]
    summary = PreparedSummary(Path("prepared/x"), 6, 2, {"sphinx": 6}, [], seconds=1.25, kept=4, kept_examples=audio)
    assert list(summary.lines())[1:] == [
        "utterances: 6 (2 prepared now, 4 before; 1.2 s)",
        "4 utterances kept whose audio or imported alignment cannot be reached: a.wav, b.wav, c.wav",
        "aligned: 6 sphinx",
    ]


def test_copies_are_told_beside_the_utterances_and_not_counted() -> None:
    summary = PreparedSummary(Path("prepared/x"), 1440, 1440, {"sphinx": 1440}, [], seconds=1.25, copies=[0.9, 1.1])
    assert list(summary.lines())[1] == "utterances: 1440, each at 3 speeds (1440 prepared now; 1.2 s)"


def test_words_that_the_text_encoder_cannot_read_are_counted() -> None:
    summary = PreparedSummary(Path("prepared/x"), 6, 6, {"sphinx": 6}, [], seconds=1.0, empty_words=2, cut_words=7)
    assert list(summary.lines())[2] == (
        "words that the text encoder says nothing of: 2 without a piece of its vocabulary, 7 beyond the length that it "
        "reads"
    )

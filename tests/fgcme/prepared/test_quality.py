"""The alignments of a prepared corpus, told by method, with the utterances to look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fgcme import prepared

ROW = {
    "audio": "a.wav",
    "audio_sha256": "h",
    "duration": 1.0,
    "start": 0.0,
    "raw_label": "happy",
    "text": "yes",
    "words": ["yes"],
    "begin": np.array([0], np.int32),
    "end": np.array([3], np.int32),
    "frames": np.zeros(6, np.float32),
    "frame_count": 3,
    "frame_size": 2,
    "clipped": 0,
    "oddities": [],
    "source_hash": "s",
}
NOTHING = ("speaker", "session", "dialog", "act", "valence", "arousal", "dominance", "speech_begin", "speech_end")


def write(folder: Path, *rows: tuple[str, str, float, float, float]) -> None:
    columns = ("id", "alignment", "alignment_score", "duration_deviation", "signal_to_noise")
    table = [{**ROW, **dict.fromkeys(NOTHING), **dict(zip(columns, row, strict=True))} for row in rows]
    prepared.write_part(folder, "utterances", rows[0][0], prepared.utterance_table(table))


def test_each_method_is_told_by_its_median_and_its_worst_utterances(tmp_path: Path) -> None:
    nan = float("nan")
    write(tmp_path, ("a", "sphinx", -2, 0.4, 20), ("b", "sphinx", -6, 0.3, nan), ("c", "uniform", nan, 0.5, 10))
    write(tmp_path, ("d", "sphinx", -3, 1.5, 5))
    assert list(prepared.quality_lines(tmp_path, worst=2)) == [
        "sphinx: score -3, lowest b (-6), d (-3)",
        "sphinx: unevenness of words 0.4, highest d (1.5), a (0.4)",
        "sphinx: signal to noise 12 dB, lowest d (5), a (20)",
        "uniform: unevenness of words 0.5, highest c (0.5)",
        "uniform: signal to noise 10 dB, lowest c (10)",
    ]


def test_rows_of_older_versions_and_no_rows_say_nothing(tmp_path: Path) -> None:
    assert list(prepared.quality_lines(tmp_path)) == []

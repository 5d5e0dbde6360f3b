"""What a model reads of utterances that lack their words or their sound."""

from __future__ import annotations

import numpy as np
import pytest

from fgcme.data.batch import SegmentScheme, layout_frames
from fgcme.data.dataset import UNKNOWN
from fgcme.data.missing import draw_dropped, draw_missing, without_sound, without_words
from fgcme.experiment import AugmentationSettings


def test_utterances_lose_words_and_sound_equally_often_and_as_often_as_the_settings_say() -> None:
    generator = np.random.default_rng(0)
    drawn = [draw_missing(AugmentationSettings(modality_dropout=0.4), generator) for _ in range(5000)]
    shares = {missing: drawn.count(missing) / 5000 for missing in ("words", "sound", None)}
    assert shares == pytest.approx({"words": 0.2, "sound": 0.2, None: 0.6}, abs=0.02)
    assert {draw_missing(AugmentationSettings(modality_dropout=1.0), generator) for _ in range(50)} == {
        "words",
        "sound",
    }
    assert {draw_missing(AugmentationSettings(), generator) for _ in range(50)} == {None}


def test_words_are_dropped_as_often_as_the_settings_say() -> None:
    dropped = draw_dropped(AugmentationSettings(word_dropout=0.3), 4000, np.random.default_rng(0))
    assert dropped.mean() == pytest.approx(0.3, abs=0.03)
    assert not draw_dropped(AugmentationSettings(), 4000, np.random.default_rng(0)).any()


def test_without_words_the_speech_is_cut_into_even_parts_of_a_word_s_length() -> None:
    layout, words = without_words(SegmentScheme("words"), frame_count=200, speech=(40, 129))
    expected = layout_frames(SegmentScheme("words"), np.array([40, 69, 99]), np.array([69, 99, 129]), 200)
    assert words.tolist() == [UNKNOWN] * 3
    for mine, theirs in ((layout.runs, expected.runs), (layout.begin, expected.begin), (layout.end, expected.end)):
        np.testing.assert_array_equal(mine, theirs)


def test_frames_that_are_further_apart_make_no_longer_words() -> None:
    assert [len(without_words(SegmentScheme("words"), 200, (40, 130), step)[1]) for step in (160, 320)] == [3, 6]


@pytest.mark.parametrize(("speech", "count"), [((10, 12), 1), ((10, 70), 2), ((10, 500), 3), ((150, 160), 1)])
def test_without_words_there_is_at_least_one_part_and_none_beyond_the_cut(speech: tuple[int, int], count: int) -> None:
    layout, words = without_words(SegmentScheme("words", 2), frame_count=100, speech=speech)
    assert len(words) == len(layout.begin) == count
    assert (layout.end > layout.begin).all()


@pytest.mark.parametrize(("segments", "parts"), [("recording", 1), ("speech", 1), ("even", 2), ("random", 2)])
def test_a_model_without_alignment_reads_the_same_segments_without_words(segments: str, parts: int) -> None:
    scheme = SegmentScheme(segments)  # type: ignore[arg-type]
    layout, words = without_words(scheme, 100, (20, 80), generator=np.random.default_rng(0))
    assert len(words) == 2 and len(layout.begin) == parts


def test_without_sound_no_word_has_a_frame() -> None:
    for segments in ("words", "even_speech"):
        layout = without_sound(SegmentScheme(segments, 6, 3), words=4)  # type: ignore[arg-type]
        assert len(layout.begin) == 4 and layout.length == 0
        assert (layout.end == layout.begin).all()

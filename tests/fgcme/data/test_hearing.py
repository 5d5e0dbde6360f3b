"""What a model hears of an utterance follows from its settings."""

from __future__ import annotations

import pytest

from fgcme.data.batch import SegmentScheme
from fgcme.data.front_end import FrontEnd
from fgcme.data.hearing import front_end_of, has_acoustics, has_words, reads_test_audio, scheme_of
from fgcme.experiment import ModelSettings


def model(**settings: object) -> ModelSettings:
    return ModelSettings.model_validate(settings)


@pytest.mark.parametrize(
    ("settings", "scheme"),
    [
        ({}, SegmentScheme("words", lookahead=6)),
        ({"acoustic": {"kernels": [3, 3, 1]}, "pooling": {"margin": 4}}, SegmentScheme("words", lookahead=4, margin=4)),
        ({"pooling": {"segments": "even"}}, SegmentScheme("even", lookahead=6)),
        ({"pooling": {"segments": "recording"}}, SegmentScheme("recording", lookahead=6)),
        ({"pooling": {"segments": "random", "margin": 2}}, SegmentScheme("random", lookahead=6, margin=2)),
        ({"pooling": {"segments": "speech", "kind": "lse"}}, SegmentScheme("speech", lookahead=6)),
        ({"pooling": {"overall": "speech"}}, SegmentScheme("words", lookahead=6, overall="speech")),
        ({"pooling": {"overall": "speech"}, "kind": "can"}, SegmentScheme("words", lookahead=6)),
        ({"kind": "can", "pooling": {"segments": "even"}}, SegmentScheme("even", lookahead=6)),
        ({"kind": "framewise_text"}, SegmentScheme("words", overall="recording")),
        ({"modalities": "semantic"}, SegmentScheme("none")),
        ({"kind": "semantic_lstm"}, SegmentScheme("none")),
        ({"kind": "acoustic_lstm"}, SegmentScheme("recording")),
        ({"acoustic": {"trained_layers": 1}}, SegmentScheme("words", lookahead=6, whole=True)),
        ({"acoustic": {"trained_layers": 1}, "kind": "late_fusion"}, SegmentScheme("recording", whole=True)),
        (
            {"acoustic": {"trained_layers": 1}, "kind": "framewise_text"},
            SegmentScheme("words", 0, 0, "recording", True),
        ),
        ({"acoustic": {"trained_layers": 1}, "modalities": "semantic"}, SegmentScheme("none")),
    ],
)
def test_settings_decide_which_frames_a_model_reads(settings: dict[str, object], scheme: SegmentScheme) -> None:
    assert scheme_of(model(**settings)) == scheme


@pytest.mark.parametrize("kind", ["fgcme", "pooled_statistics"])
@pytest.mark.parametrize(
    ("modalities", "acoustics", "words"), [("both", True, True), ("acoustic", True, False), ("semantic", False, True)]
)
def test_one_modality_alone_leaves_the_other_out(kind: str, modalities: str, acoustics: bool, words: bool) -> None:
    settings = model(kind=kind, modalities=modalities)
    assert (has_acoustics(settings), has_words(settings)) == (acoustics, words)


@pytest.mark.parametrize(
    ("kind", "acoustics", "words"),
    [("acoustic_lstm", True, False), ("linear_probe", True, False), ("semantic_lstm", False, True)],
)
@pytest.mark.parametrize("modalities", ["both", "acoustic", "semantic"])
def test_kinds_of_one_modality_have_no_other(kind: str, acoustics: bool, words: bool, modalities: str) -> None:
    settings = model(kind=kind, modalities=modalities)
    assert (has_acoustics(settings), has_words(settings)) == (acoustics, words)


def test_only_normalising_by_speaker_reads_test_audio() -> None:
    by_speaker = {"acoustic": {"normalisation": "speaker"}}
    assert reads_test_audio(model(**by_speaker))
    assert reads_test_audio(model(pooling={"normalisation": "speaker"}))
    assert not reads_test_audio(model(pooling={"normalisation": "train"}))
    assert not reads_test_audio(model(**by_speaker, modalities="semantic"))
    assert not any(reads_test_audio(model(acoustic={"normalisation": kind})) for kind in ("none", "train", "utterance"))


def test_the_front_end_follows_from_the_settings() -> None:
    settings = model(acoustic={"input": "mfcc", "deltas": 2, "normalisation": "utterance"}).acoustic
    assert front_end_of(settings) == FrontEnd("mfcc", 2, "utterance")

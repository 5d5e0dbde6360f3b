"""What a model does not hear of an utterance, or does not know, is said beside its answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fgcme import alignment, audio, features
from fgcme.prepared.utterance import AnalysedSpeech, hear, place_words
from fgcme.serving import fitted
from fgcme.serving.classifier import Classifier
from fgcme.serving.prediction import predict
from fgcme.serving.unheard import find_unheard
from tests.fitted_model import save_fitted, write_audio
from tests.text_encoder import save_text_encoder


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> audio.Samples:
    """Of 2.5 s."""
    return audio.read(write_audio(tmp_path_factory.mktemp("audio") / "a.wav", seconds=2.5))


def speech_of(samples: audio.Samples, text: str) -> AnalysedSpeech:
    return place_words(
        hear(samples, features.build_extractor("log_mel", 20)), samples, text, alignment.build("uniform")
    )


def test_sound_beyond_the_limit_and_the_words_in_it_are_said(tmp_path: Path, samples: audio.Samples) -> None:
    _, spec = fitted.load(save_fitted(tmp_path, frame_limit=150))
    speech = speech_of(samples, "dogs are sitting by the door")._replace(
        begin=np.array([10, 50, 100, 149, 150, 200], np.int32), end=np.array([50, 100, 149, 150, 200, 240], np.int32)
    )
    unheard = find_unheard([spec], speech)
    assert (unheard.limit, unheard.words) == (1.5, ("the", "door"))
    # 2.5 s are 248 whole windows.
    assert unheard.seconds == pytest.approx(0.98)
    assert unheard.notes == ["0.98 s after 1.5 s were not heard, and 2 words in them: the, door"]


def test_words_that_were_not_heard_contribute_nothing_and_the_sum_is_still_that_of_the_answer(
    tmp_path: Path, samples: audio.Samples
) -> None:
    text = "dogs are sitting by the door"
    answer = Classifier(save_fitted(tmp_path, frame_limit=100)).predict(samples, text)
    heard = [number is not None for number in answer.contributions]
    assert heard == [begin < 1 for begin in answer.begin] and heard.count(False) == len(answer.unheard.words) >= 2
    probability = answer.probabilities[answer.label]
    assert answer.log_odds == pytest.approx(np.log(probability / (1 - probability)), abs=0.05)


def test_a_model_that_reads_no_sound_misses_none(tmp_path: Path, samples: audio.Samples) -> None:
    answer = Classifier(save_fitted(tmp_path, kind="semantic_lstm", frame_limit=100)).predict(samples, "dogs are")
    assert answer.unheard.notes == []


@pytest.mark.parametrize(("kind", "unknown"), [("fgcme", ("kids", "bark")), ("acoustic_lstm", ())])
def test_words_that_a_model_reads_and_does_not_know_are_listed_once(
    tmp_path: Path, samples: audio.Samples, kind: str, unknown: tuple[str, ...]
) -> None:
    _, spec = fitted.load(save_fitted(tmp_path, kind=kind))
    unheard = find_unheard([spec], speech_of(samples, "kids kids bark by the door"))
    assert unheard.unknown_words == unknown


def test_a_word_is_unknown_where_one_of_several_models_does_not_know_it(tmp_path: Path, samples: audio.Samples) -> None:
    _, spec = fitted.load(save_fitted(tmp_path))
    other = fitted.ModelSpec(**{**vars(spec), "words": ["dogs", "kids"]})
    assert find_unheard([spec, other], speech_of(samples, "dogs and the kids")).unknown_words == ("and", "kids", "the")


def test_with_a_text_encoder_words_of_which_it_says_nothing_are_unknown(tmp_path: Path, samples: audio.Samples) -> None:
    encoder = save_text_encoder(tmp_path / "encoder")
    member = fitted.load(save_fitted(tmp_path / "model", text_encoder=encoder))
    speech = speech_of(samples, "kids are here")
    encoded = np.ones((3, 32), np.float16)
    encoded[1] = 0
    assert predict([member], speech._replace(word_features=encoded)).unheard.unknown_words == ("are",)


def test_words_that_had_to_be_spread_evenly_are_said_unless_the_model_learnt_them_so(
    tmp_path: Path, samples: audio.Samples
) -> None:
    _, spread = fitted.load(save_fitted(tmp_path / "uniform"))
    _, aligned = fitted.load(save_fitted(tmp_path / "sphinx", method="sphinx"))
    speech = speech_of(samples, "by the door")
    assert find_unheard([spread], speech).notes == []
    assert find_unheard([aligned], speech).notes == [
        "the words could not be aligned with the sound, and were spread evenly over the speech"
    ]

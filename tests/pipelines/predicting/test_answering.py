"""The answers for one recording, whole or cut, and what is said of what cannot be answered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from fgcme import audio
from fgcme.corpora.contract import Rejection
from fgcme.report.predictions import Answer
from fgcme.serving.classifier import Classifier
from pipelines.predicting.answering import answer_recording
from pipelines.predicting.sources import Source
from tests.fitted_model import save_fitted, write_audio


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return Classifier(save_fitted(tmp_path_factory.mktemp("model"), modality_dropout=True))


def test_a_short_recording_has_the_answer_of_the_classifier_and_says_where_its_text_was_given(
    classifier: Classifier, tmp_path: Path
) -> None:
    path = write_audio(tmp_path / "a.wav")
    (tmp_path / "a.txt").write_text("The dogs!")
    (answer,) = answer_recording(classifier, Source(str(path), "a.wav"))
    assert isinstance(answer, Answer) and (answer.begin, answer.end) == (0.0, 1.0)
    assert (answer.prediction.text, answer.prediction.words_from) == ("The dogs!", "given in a.txt")
    assert answer.prediction.probabilities == classifier.predict(audio.read(path), "The dogs!").probabilities


def test_a_long_recording_has_an_answer_for_each_utterance_as_if_it_were_a_file(
    classifier: Classifier, tmp_path: Path
) -> None:
    samples = audio.read(write_audio(tmp_path / "part.wav"))
    pause = np.zeros(16_000, np.float32)
    soundfile.write(tmp_path / "a.wav", np.concatenate([samples, pause, samples]), 16_000)
    source = Source(str(tmp_path / "a.wav"), "a.wav")
    assert len(list(answer_recording(classifier, source))) == 1
    first, second = answer_recording(classifier, source, longest=2)
    assert isinstance(first, Answer) and isinstance(second, Answer)
    assert first.begin == 0 and first.end == pytest.approx(1.2, abs=0.05)
    assert second.begin == pytest.approx(1.8, abs=0.1) and second.end == pytest.approx(3.0, abs=0.05)
    part = audio.read(tmp_path / "a.wav", first.begin, first.end)
    assert first.prediction.probabilities == classifier.predict(part, None).probabilities


def test_what_cannot_be_answered_says_why_and_names_the_file(classifier: Classifier, tmp_path: Path) -> None:
    quiet = tmp_path / "quiet.wav"
    soundfile.write(quiet, np.zeros(16_000, np.float32), 16_000)
    path = str(write_audio(tmp_path / "a.wav"))
    for source, reason in (
        (Source(str(quiet), "quiet.wav"), "silent"),
        (Source(str(tmp_path / "gone.wav"), "gone.wav"), "missing"),
        (Source(path, "a.wav", "..."), "no_words"),
        (Source(path, "a.wav", start=5.0, end=6.0), "bad_segment"),
    ):
        (rejection,) = answer_recording(classifier, source)
        assert isinstance(rejection, Rejection) and rejection.reason == reason
        assert source.audio in rejection.message and rejection.message.count(source.audio) == 1

"""A question is read strictly, and its answer is what the classifier says."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from fgcme import audio
from fgcme.report.predictions import Answer, to_textgrid
from fgcme.server.limits import Limits, RefusalError
from fgcme.server.question import Answered, Question, answer, parse
from fgcme.serving.classifier import Classifier
from fgcme.serving.record import to_record
from tests.fitted_model import save_fitted, write_audio
from tests.served import question


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_audio(tmp_path_factory.mktemp("recording") / "a.wav")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return Classifier(save_fitted(tmp_path_factory.mktemp("fitted"), modality_dropout=True))


def refusal(body: bytes, limits: Limits | None = None) -> RefusalError:
    with pytest.raises(RefusalError) as refused:
        parse(body, limits or Limits())
    return refused.value


def test_an_answer_is_the_classifier_s_to_the_last_bit(classifier: Classifier, recording: Path) -> None:
    asked = parse(question(recording, "dogs are"), Limits())
    samples = audio.read(recording)
    expected = classifier.predict(samples, "dogs are")
    told = json.loads(answer(classifier, asked, "json", Limits()))
    assert told == {"duration": 1.0, **to_record(expected)}
    Answered.model_validate(told, strict=True)
    grid = answer(classifier, asked, "textgrid", Limits())
    assert grid == to_textgrid([Answer("", 0.0, 1.0, expected)], 1.0) + "\n"


def test_a_model_that_does_without_is_asked_with_sound_or_text_alone(classifier: Classifier, recording: Path) -> None:
    heard = json.loads(answer(classifier, parse(question(recording, None), Limits()), "json", Limits()))
    said = json.loads(answer(classifier, parse(question(None, "dogs are"), Limits()), "json", Limits()))
    assert (heard["text"], heard["words"], heard["base"]) == (None, [], None)
    assert said["duration"] is None and len(said["words"]) == 2
    with pytest.raises(RefusalError, match="a TextGrid is of sound"):
        answer(classifier, Question(text="dogs"), "textgrid", Limits())


@pytest.mark.parametrize("part", [b"[],", b'{"a":1},', b"0,", b"["])
def test_a_body_of_millions_of_parts_is_refused_before_it_is_read(part: bytes) -> None:
    body = b'{"audio": [' + part * (4 << 20)
    began = time.process_time()
    assert refusal(body).detail == "the body has more parts than a question: it has `audio` and `text`"
    # To read it would take seconds.
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    "body, status, says",
    [
        (b"{", 400, "the body is no JSON: EOF"),
        (b"[" * 500, 400, "the body is no JSON: recursion limit"),
        (b"[]", 422, "the body is no question: "),
        (b"{}", 422, "neither `audio` nor `text` is given"),
        (b'{"audio": null}', 422, "neither `audio` nor `text` is given"),
        (b'{"text": "a", "words": []}', 422, "`words` is no part of a question; it has `audio` and `text`"),
        (b'{"text": 7}', 422, "`text`: Input should be a valid string"),
        (b'{"text": "aaaaaa"}', 422, "`text` has 6 characters, and 5 are allowed"),
    ],
)
def test_what_is_no_question_is_refused_with_what_is_wrong(body: bytes, status: int, says: str) -> None:
    refused = refusal(body, Limits(text=5))
    assert refused.status == status
    assert refused.detail.startswith(says)


@pytest.mark.parametrize(
    "encoded, reason",
    [("?", "not_base64"), ("YQ", "not_base64"), ("Y Q==", "not_base64"), ("ü", "not_base64"), ("", "empty")],
)
def test_sound_that_cannot_be_decoded_is_refused(classifier: Classifier, encoded: str, reason: str) -> None:
    with pytest.raises(RefusalError) as refused:
        answer(classifier, Question(audio=encoded, text="dogs"), "json", Limits())
    assert (refused.value.status, refused.value.reason) == (422, reason)


def test_sound_beyond_the_limit_is_refused(classifier: Classifier, recording: Path) -> None:
    with pytest.raises(RefusalError, match=r"lasts 1.0 s, and 0.5 s are allowed"):
        answer(classifier, parse(question(recording, "dogs"), Limits()), "json", Limits(seconds=0.5))

"""What a client asks, and its answer: the documents that the server's description shows, read and written."""

from __future__ import annotations

import binascii
import io
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fgcme import audio
from fgcme.audio import SAMPLE_RATE, AudioError
from fgcme.errors import DataError
from fgcme.recognition import Recogniser
from fgcme.report.predictions import Answer, to_textgrid
from fgcme.server.limits import Limits, RefusalError
from fgcme.serving.classifier import Classifier
from fgcme.serving.record import to_record

Format = Literal["json", "textgrid"]

# Signs of JSON besides those in a text, which a question that is slightly wrong may have.
_PARTS = 1_000


class Question(BaseModel):
    """One utterance to classify."""

    model_config = ConfigDict(extra="forbid", strict=True)

    audio: str | None = Field(
        None, description="a sound file in base64: WAV, FLAC, Ogg, MP3 or another format that libsndfile reads"
    )
    text: str | None = Field(
        None, description="what is said in it; without it a server that was started to transcribe recognises it"
    )


class Word(BaseModel):
    """A word, when it is said, and what it contributes to the answer."""

    word: str
    begin: float = Field(description="seconds")
    end: float = Field(description="seconds")
    contribution: float | None = Field(description="in log-odds of the label; null where the model has none")


class Missed(BaseModel):
    """What the model did not hear, or does not know."""

    seconds: float = Field(description="of sound beyond what it hears")
    words: list[str] = Field(description="in that")
    unknown_words: list[str] = Field(description="that are not in its vocabulary")


class Answered(BaseModel):
    """The emotion of an utterance, and where it comes from."""

    text: str | None = Field(description="what is said, as the model was told by somebody; null if it was not")
    duration: float | None = Field(description="of the sound, in seconds; null without sound")
    label: str | None = Field(None, description="the most probable class; left out where ratings alone are answered")
    probabilities: dict[str, float] | None = Field(None, description="left out where ratings alone are answered")
    ratings: dict[str, float] | None = Field(
        None, description="valence and others, on the scales of the corpus; left out where classes alone are answered"
    )
    base: float | None = Field(
        description="log-odds of the label without what the words add; the contributions and it add up to the answer's"
    )
    alignment: str = Field(description="how the words were found in the sound")
    words_from: str = Field(description="`given`, `recognised by` a recogniser, or `none`")
    unheard: Missed
    notes: list[str] = Field(description="what was not heard or is not known, in sentences")
    words: list[Word]


class Refused(BaseModel):
    """Why a request is not answered."""

    detail: str = Field(description="a sentence for a person")
    reason: str = Field(description="a short code for a program")


def parse(body: bytes | bytearray, limits: Limits) -> Question:
    """The question in the body of a request.

    Raises:
        RefusalError: it is no JSON, or no question, or its text is too long.
    """
    # A list of millions would take seconds and hundreds of megabytes to read. Base64 has none of these, a text a few.
    if sum(body.count(sign) for sign in b",:[{") > limits.text + _PARTS:
        raise RefusalError(422, "no_question", "the body has more parts than a question: it has `audio` and `text`")
    try:
        question = Question.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            raise RefusalError(400, "not_json", f"the body is no JSON: {first['ctx']['error']}") from None
        raise RefusalError(422, "no_question", _say(first["type"], first["loc"], first["msg"])) from None
    if question.audio is None and question.text is None:
        raise RefusalError(422, "no_question", "neither `audio` nor `text` is given")
    if question.text is not None and len(question.text) > limits.text:
        raise RefusalError(
            422,
            "long_text",
            f"`text` has {len(question.text)} characters, and {limits.text} are allowed; ask for one utterance",
        )
    return question


def _say(kind: str, place: tuple[int | str, ...], message: str) -> str:
    name = ".".join(map(str, place))
    if kind == "extra_forbidden":
        return f"`{name[:80]}` is no part of a question; it has `audio` and `text`"
    return f"`{name}`: {message}" if place else f"the body is no question: {message}"


def answer(
    classifier: Classifier, question: Question, form: Format, limits: Limits, recogniser: Recogniser | None = None
) -> str:
    """Answer a question, in JSON as `Answered` or as a TextGrid.

    Args:
        classifier: answers.
        question: as `parse` returns it.
        form: of the answer.
        limits: that hold for its sound.
        recogniser: writes down what is said where the question does not say it.

    Raises:
        RefusalError: the sound or the text cannot be used, or the model needs what is not given.
    """
    try:
        samples = None if question.audio is None else _decode(question.audio, limits)
        prediction = classifier.predict(samples, question.text, recogniser)
    except DataError as error:
        raise RefusalError(422, error.reason, error.message) from None
    duration = None if samples is None else len(samples) / SAMPLE_RATE
    if form == "json":
        answered = {**to_record(prediction), "text": prediction.text or None, "duration": duration}
        return Answered.model_validate(answered).model_dump_json(exclude_unset=True)
    if duration is None:
        raise RefusalError(422, "missing", "a TextGrid is of sound, and there is no `audio`")
    return to_textgrid([Answer("", 0.0, duration, prediction)], duration) + "\n"


def _decode(encoded: str, limits: Limits) -> audio.Samples:
    try:
        sound = binascii.a2b_base64(encoded, strict_mode=True)
    except ValueError as error:
        # The message of `binascii.Error`, or that of a string that is not ASCII.
        raise AudioError("not_base64", f"`audio` is not in base64 ({str(error).lower()})") from None
    return audio.read(io.BytesIO(sound), limit=limits.seconds)

"""The server's addresses, asked over HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import soundfile

from fgcme import audio
from fgcme.recognition import Recogniser, build
from fgcme.server.limits import Limits
from fgcme.serving.classifier import Classifier
from fgcme.serving.prediction import Prediction
from tests.fitted_model import CLASSES, save_fitted, write_audio
from tests.served import get, question, request, served
from tests.speech import say


class Patient(Classifier):
    """Answers when it is let go."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.begun, self.go = threading.Semaphore(0), threading.Event()

    def predict(
        self, samples: audio.Samples | None, text: str | None, recogniser: Recogniser | None = None
    ) -> Prediction:
        self.begun.release()
        assert self.go.wait(30)
        return super().predict(samples, text, recogniser)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_fitted(tmp_path_factory.mktemp("fitted"))


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("recordings")
    return [write_audio(folder / f"{seed}.wav", seed=seed) for seed in range(4)]


@pytest.fixture(scope="module")
def port(folder: Path) -> Iterator[int]:
    with served(Classifier(folder)) as number:
        yield number


def test_many_clients_get_to_the_last_bit_what_one_gets(port: int, folder: Path, recordings: list[Path]) -> None:
    text = "dogs are sitting by the door"
    bodies = [question(path, text) for path in recordings]
    expected = [request(port, body).body for body in bodies]
    with ThreadPoolExecutor(16) as clients:
        replies = list(clients.map(lambda number: request(port, bodies[number % 4]), range(48)))
    for number, reply in enumerate(replies):
        assert reply.status == 200, reply.body
        assert reply.body == expected[number % 4]
    predicted = Classifier(folder).predict(audio.read(recordings[0]), text)
    assert json.loads(expected[0])["probabilities"] == predicted.probabilities


def test_too_many_questions_are_told_to_come_again_and_the_server_goes_on(folder: Path, recordings: list[Path]) -> None:
    classifier, body = Patient(folder), question(recordings[0], "dogs")
    with served(classifier, Limits(workers=1, waiting=1)) as port, ThreadPoolExecutor(2) as clients:
        first = clients.submit(request, port, body)
        assert classifier.begun.acquire(timeout=30)
        second = clients.submit(request, port, body)
        while b"fgcme_questions_inside 2.0" not in get(port, "/metrics").body:
            pass
        reply = request(port, body)
        assert (reply.status, reply.headers["retry-after"], reply.json["reason"]) == (503, "1", "busy")
        assert get(port, "/health").status == 200
        classifier.go.set()
        assert [first.result().status, second.result().status] == [200, 200]
        counted = get(port, "/metrics").body
        assert b'fgcme_questions_total{status="503"} 1.0' in counted
        assert b"fgcme_bytes_held 0.0" in counted


def test_nobody_waits_for_ever_for_an_answer(folder: Path, recordings: list[Path]) -> None:
    classifier = Patient(folder)
    with served(classifier, Limits(computing=0.1)) as port:
        reply = request(port, question(recordings[0], "dogs"))
        assert (reply.status, reply.json["reason"]) == (504, "slow")
        classifier.go.set()
        assert request(port, question(recordings[0], "dogs")).status == 200


def test_bodies_that_together_hold_too_much_are_told_to_come_again(folder: Path, recordings: list[Path]) -> None:
    body = question(recordings[0], "dogs")
    with served(Classifier(folder), Limits(held=len(body) - 1)) as port:
        reply = request(port, body)
        assert (reply.status, reply.json["reason"]) == (503, "busy")
        assert request(port, b"{}").status == 422


def test_health_names_the_model_and_what_it_needs(port: int) -> None:
    health = get(port, "/health").json
    assert (health["status"], health["model"], health["classes"]) == ("ok", "small", CLASSES)
    assert (health["needs"], health["transcribes"]) == (["audio", "text"], None)
    assert health["limits"]["seconds"] == 60


def test_what_nobody_says_is_recognised_and_the_answer_says_by_whom(folder: Path, tmp_path: Path) -> None:
    path, said = tmp_path / "said.wav", "we walked slowly along the river"
    soundfile.write(path, say(said)[0], audio.SAMPLE_RATE)
    sphinx = build("sphinx")
    heard = sphinx.recognise(audio.read(path))
    assert heard
    with served(Classifier(folder), recogniser=sphinx) as port:
        health = get(port, "/health").json
        assert (health["needs"], health["transcribes"]) == (["audio"], "sphinx")
        with ThreadPoolExecutor(4) as clients:
            replies = list(clients.map(lambda _: request(port, question(path, None)).json, range(4)))
        corrected = request(port, question(path, said)).json
        # A recogniser hears no sound that is not there, and limits hold as ever.
        assert request(port, question(None, said)).json["reason"] == "missing"
    assert all(reply == replies[0] for reply in replies)
    assert (replies[0]["text"], replies[0]["words_from"]) == (heard, "recognised by sphinx")
    assert (corrected["text"], corrected["words_from"]) == (said, "given")
    expected = Classifier(folder).predict(audio.read(path), heard).probabilities
    assert replies[0]["probabilities"] == expected


def test_a_recogniser_that_takes_too_long_is_not_waited_for(folder: Path, recordings: list[Path]) -> None:
    class Slow:
        name = "slow"
        go = threading.Event()

        def recognise(self, samples: audio.Samples) -> str:
            assert self.go.wait(30)
            return "dogs"

    with served(Classifier(folder), Limits(computing=0.3), Slow()) as port:
        reply = request(port, question(recordings[0], None))
        assert (reply.status, reply.json["reason"]) == (504, "slow")
        Slow.go.set()
        assert request(port, question(recordings[0], None)).json["words_from"] == "recognised by slow"


def test_the_description_is_one_of_what_is_taken_and_answered(port: int) -> None:
    description = get(port, "/openapi.json").json
    asked = description["paths"]["/predict"]["post"]
    body = asked["requestBody"]["content"]["application/json"]
    assert set(body["schema"]["properties"]) == {"audio", "text"}
    answered = description["components"]["schemas"]["Answered"]["properties"]
    for example in body["examples"].values():
        reply = request(port, json.dumps(example["value"]).encode())
        assert reply.status == 200, reply.body
        # A model of classes alone.
        assert set(reply.json) == set(answered) - {"ratings"}
    assert {"400", "413", "422", "503"} <= set(asked["responses"])


def test_pages_that_would_load_from_elsewhere_are_not_there(port: int) -> None:
    for path in ("/docs", "/redoc", "/../../etc/passwd", "/static/x"):
        reply = get(port, path)
        assert reply.status == 404 and "POST /predict" in reply.json["detail"]


def test_every_answer_keeps_browsers_from_other_uses_of_it(port: int) -> None:
    for reply in (get(port, "/health"), get(port, "/nowhere"), request(port, b"{")):
        assert reply.headers["content-security-policy"].startswith("default-src 'none'")
        assert reply.headers["cross-origin-resource-policy"] == "same-origin"
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in reply.headers
    shown = get(port, "/")
    assert "script-src 'sha256-" in shown.headers["content-security-policy"]
    assert b"<title>" in shown.body

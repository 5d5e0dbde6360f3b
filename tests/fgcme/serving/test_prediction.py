"""One answer of one model or several, and what its words contribute."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from fgcme import alignment, audio, features
from fgcme.experiment import ModelSettings, PrepareSettings
from fgcme.model import build_model
from fgcme.model.contribution import log_odds
from fgcme.prepared.utterance import AnalysedSpeech, Copy, hear, place_words
from fgcme.serving import ensemble, fitted
from fgcme.serving.prediction import Prediction, predict
from tests.fitted_model import save_fitted, write_audio


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> AnalysedSpeech:
    samples = audio.read(write_audio(tmp_path_factory.mktemp("speech") / "a.wav"))
    aligner, extractor = alignment.build("uniform"), features.build_extractor("log_mel", 20)
    analysed = place_words(hear(samples, extractor), samples, "dogs are sitting by the door", aligner)
    copies = tuple(Copy(speed, extractor([audio.at_speed(samples, speed)])[0].values) for speed in (0.9, 1.1))
    return analysed._replace(copies=copies)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two models."""
    for number in range(2):
        save_fitted(ensemble.member_folder(tmp_path, number), fold=number)
    return tmp_path


def test_an_answer_is_the_same_to_the_last_bit_whatever_the_number_of_threads(
    tmp_path: Path, speech: AnalysedSpeech
) -> None:
    # Of the published sizes: products of small matrices are not shared among threads.
    settings, prepare = ModelSettings(), PrepareSettings()
    model = build_model(settings, 20, vocabulary_size=2, classes=8)
    fitted.save(tmp_path, model, fitted.ModelSpec(settings, prepare, [*"abcdefgh"], [], 20, 3000, {}))
    members, found, count = ensemble.load(tmp_path), [], torch.get_num_threads()
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            found.append(predict(members, speech))
    finally:
        torch.set_num_threads(count)
    assert found[0] == found[1] == found[2]


def log_odds_by_probabilities(prediction: Prediction) -> float:
    probability = prediction.probabilities[prediction.label]
    return math.log(probability / (1 - probability))


@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("copies", [0, 2])
def test_base_and_contributions_add_up_to_the_log_odds_of_the_answer(
    folder: Path, speech: AnalysedSpeech, members: int, copies: int
) -> None:
    prediction = predict(ensemble.load(folder)[:members], speech._replace(copies=speech.copies[:copies]))
    assert len(prediction.contributions) == len(prediction.words) == 6
    assert np.ptp(prediction.contributions) > 0
    assert prediction.base is not None
    assert prediction.log_odds == pytest.approx(prediction.base + sum(prediction.contributions))
    assert prediction.log_odds == pytest.approx(log_odds_by_probabilities(prediction), abs=0.05)


def test_the_answer_is_the_mean_of_the_members_logits_each_the_mean_of_its_recordings(
    folder: Path, speech: AnalysedSpeech
) -> None:
    members = ensemble.load(folder)
    with torch.no_grad():
        logits = torch.stack([model(fitted.batch_of(spec, speech)).logits.mean(0) for model, spec in members]).mean(0)
    prediction = predict(members, speech)
    assert torch.equal(torch.tensor(list(prediction.probabilities.values())), logits.softmax(0))
    label = int(logits.argmax())
    assert prediction.label == members[0][1].classes[label]
    assert prediction.log_odds == pytest.approx(float(log_odds(logits, label)), abs=0.05)


def test_alike_members_answer_as_one_of_them(folder: Path, speech: AnalysedSpeech) -> None:
    member = ensemble.load(folder)[0]
    alone, twice = predict([member], speech), predict([member, member], speech)
    assert twice.contributions == pytest.approx(alone.contributions, abs=1e-4)
    assert twice.base == pytest.approx(alone.base, abs=1e-5)


def test_contributions_are_of_the_words_in_their_order(folder: Path, speech: AnalysedSpeech) -> None:
    """A word that is said as another is, where order counts nothing, contributes as much."""
    model, spec = ensemble.load(folder)[0]
    settings = spec.model.model_copy(
        update={"fusion": spec.model.fusion.model_copy(update={"sequence": "wordwise", "readout": "mean"})}
    )
    torch.manual_seed(0)
    wordwise = build_model(settings, spec.frame_size, len(spec.vocabulary), len(spec.classes)).eval()
    wordwise.average_word = model.average_word
    order = [5, 0, 3, 1, 4, 2]
    turned = speech._replace(
        words=[speech.words[place] for place in order], begin=speech.begin[order], end=speech.end[order], copies=()
    )
    straight = predict([(wordwise, spec)], speech._replace(copies=()))
    expected = [straight.contributions[place] for place in order]
    assert predict([(wordwise, spec)], turned).contributions == pytest.approx(expected, abs=1e-5)
    assert expected != pytest.approx(straight.contributions, abs=1e-5)


def test_where_one_member_cannot_say_what_words_contribute_none_does(tmp_path: Path, speech: AnalysedSpeech) -> None:
    for number in range(2):
        save_fitted(ensemble.member_folder(tmp_path, number), fold=number, average_word=number == 0)
    prediction = predict(ensemble.load(tmp_path), speech)
    assert (prediction.contributions, prediction.base, prediction.log_odds) == ([], None, None)

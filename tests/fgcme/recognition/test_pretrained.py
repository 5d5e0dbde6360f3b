"""Recognisers of `transformers`: small ones with random weights, and Whisper base where its weights are."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from fgcme import recognition
from fgcme.alignment.words import normalise
from fgcme.errors import UserError
from tests.ctc_model import save_ctc
from tests.speech import say
from tests.speech_encoder import WHISPER_BASE, save_encoder

NOISE = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)


def test_a_ctc_model_s_likeliest_characters_are_its_text(tmp_path: Path) -> None:
    folder = save_ctc(tmp_path / "ctc")
    recogniser = recognition.build(folder)
    model = transformers.Wav2Vec2ForCTC.from_pretrained(folder).eval()
    processor = transformers.Wav2Vec2Processor.from_pretrained(folder)
    with torch.no_grad():
        heard = model(**processor(NOISE, sampling_rate=16_000, return_tensors="pt")).logits
    assert recogniser.recognise(NOISE) == processor.batch_decode(heard.argmax(-1))[0]
    # Answers go elsewhere: they name no folder of this machine.
    assert recogniser.name == "ctc"


@pytest.mark.parametrize(
    ("family", "message"),
    [
        ("hubert encoder", "no speech recogniser loads from there"),
        ("bert", "its family, bert, recognises no speech"),
        ("nothing", "no speech recogniser loads from there"),
    ],
)
def test_what_recognises_no_speech_is_refused_in_one_line(tmp_path: Path, family: str, message: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    if family == "bert":
        (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    elif family == "hubert encoder":
        save_encoder("hubert", folder)
    with pytest.raises(UserError, match=message) as refusal:
        recognition.build(str(folder))
    assert str(refusal.value).startswith(f"--transcribe {folder}: ") and "\n" not in str(refusal.value)


@pytest.mark.skipif(not WHISPER_BASE.is_dir(), reason="the weights of Whisper base are not here")
class TestWhisperBase:
    def test_it_writes_down_what_is_said_alike_from_several_threads(self) -> None:
        samples, _ = say("the dogs are sitting by the door")
        recogniser = recognition.build(str(WHISPER_BASE))
        answers: list[str] = []
        threads = [threading.Thread(target=lambda: answers.append(recogniser.recognise(samples))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert normalise(answers[0]) == ["the", "dogs", "are", "sitting", "by", "the", "door"]
        assert answers[1:] == answers[:1] and recogniser.name == "whisper-base"

    def test_a_language_that_it_does_not_know_is_refused(self) -> None:
        with pytest.raises(UserError, match=r"--language xx: .*does not know it; it knows af, .*en"):
            recognition.build(str(WHISPER_BASE), "xx")

    @pytest.mark.slow
    def test_a_recording_of_more_than_30_s_is_heard_to_its_end(self) -> None:
        samples, _ = say("the dogs are sitting by the door")
        pause = np.zeros(48_000, np.float32)
        long = np.concatenate([part for _ in range(7) for part in (samples, pause)])
        words = normalise(recognition.build(str(WHISPER_BASE)).recognise(long))
        assert long.size > 31 * 16_000 and words.count("door") >= 6

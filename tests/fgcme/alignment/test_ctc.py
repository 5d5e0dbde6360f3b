"""Alignment with a CTC model, compared with a search of all paths; the model is small and untrained."""

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

from fgcme import alignment
from fgcme.alignment import AlignmentError
from fgcme.alignment.uniform import TOO_MUCH_TEXT
from fgcme.audio import frame_count
from fgcme.errors import UserError
from tests.ctc_model import FAMILIES, VOCABULARY, save_ctc
from tests.speech import say


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_ctc(tmp_path_factory.mktemp("ctc"))


def likeliest_path(emissions: np.ndarray, targets: list[int]) -> list[int]:
    """For each emission, the index of its target, or -1 for the blank: the Viterbi search in plain Python."""
    states = [-1 if place % 2 == 0 else place // 2 for place in range(2 * len(targets) + 1)]
    token = [0 if state < 0 else targets[state] for state in states]
    best = [(emissions[0][token[state]] if state < 2 else -math.inf, [state]) for state in range(len(states))]
    for emission in emissions[1:]:
        following = []
        for state in range(len(states)):
            sources = [state, state - 1] if state else [state]
            if state > 1 and states[state] >= 0 and token[state] != token[state - 2]:
                sources.append(state - 2)
            score, path = max((best[source] for source in sources), key=lambda entry: entry[0])
            following.append((score + emission[token[state]], [*path, state]))
        best = following
    return [states[state] for state in max(best[-2:], key=lambda entry: entry[0])[1]]


def test_words_get_the_frames_of_the_likeliest_path(checkpoint: str) -> None:
    text = "open the door"
    samples, _ = say(text)
    result = alignment.build("ctc", checkpoint).align("a", samples, text)

    model = Wav2Vec2ForCTC.from_pretrained(checkpoint).eval()
    inputs = Wav2Vec2FeatureExtractor.from_pretrained(checkpoint)(samples, sampling_rate=16_000, return_tensors="pt")
    with torch.inference_mode():
        emissions = model(**inputs).logits.log_softmax(-1)[0].double().numpy()
    written = "OPEN|THE|DOOR"
    targets = [VOCABULARY[character] for character in written]
    path = likeliest_path(emissions, targets)
    starts = {0: 0, 1: written.index("THE"), 2: written.index("DOOR")}
    for word, start in starts.items():
        places = range(start, start + len(text.split()[word]))
        frames = [frame for frame, place in enumerate(path) if place in places]
        # The model hops by 320 samples: two frames of 10 ms.
        assert result.begin[word] == 2 * frames[0]
        assert result.end[word] == min(2 * (frames[-1] + 1), frame_count(samples.size))
    assert result.method == "ctc" and result.words == text.split()
    assert result.score < 0


def test_spans_follow_each_other_within_the_utterance(checkpoint: str) -> None:
    text = "she'll see 3 hills in the rain"
    samples, _ = say(text)
    result = alignment.build("ctc", checkpoint).align("a", samples, text)
    assert result.words == ["she'll", "see", "three", "hills", "in", "the", "rain"]
    assert all(first < last for first, last in zip(result.begin, result.end, strict=True))
    assert all(end <= begin for (_, end), (begin, _) in pairwise(zip(result.begin, result.end, strict=True)))
    assert result.end[-1] <= frame_count(samples.size)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_aligns_in_half_precision_too_and_the_last_word_ends_with_the_emissions(
    family: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text = "open the door"
    samples, _ = say(text)
    folder = save_ctc(tmp_path / "model", family, half=True)
    capfd.readouterr()
    result = alignment.build("ctc", folder).align("a", samples, text)
    assert (result.method, result.oddities) == ("ctc", ()) and result.score < 0
    edges = [edge for span in zip(result.begin, result.end, strict=True) for edge in span]
    assert edges == sorted(edges) and edges[-1] <= frame_count(samples.size)
    # With untrained weights the letters lie anywhere, but their emissions are those of the whole recording.
    assert edges[-1] > frame_count(samples.size) - 20
    assert "Loading weights" not in capfd.readouterr().err


def test_a_character_that_the_model_does_not_know_is_refused(checkpoint: str) -> None:
    with pytest.raises(AlignmentError, match="jazz") as caught:
        alignment.build("ctc", checkpoint).align("a", say("jazz")[0], "open jazz")
    assert caught.value.reason == "oov"


def test_a_text_longer_than_the_emissions_is_spread_and_flagged(checkpoint: str) -> None:
    result = alignment.build("ctc", checkpoint).align("a", say("yes")[0], "open the door and see the rain again " * 9)
    assert (result.method, result.oddities) == ("uniform", (TOO_MUCH_TEXT,))


def test_a_text_without_words_is_refused(checkpoint: str) -> None:
    with pytest.raises(AlignmentError) as caught:
        alignment.build("ctc", checkpoint).align("a", say("yes")[0], "...")
    assert caught.value.reason == "no_words"


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"alignment\.checkpoint .*nothing"):
        alignment.build("ctc", str(tmp_path / "nothing"))

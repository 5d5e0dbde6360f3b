"""A text is followed through a long recording window by window, lost where it is not what is said, and found again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from fgcme.alignment.contract import edge_seconds
from fgcme.alignment.sphinx_windows import SphinxWindows
from fgcme.alignment.windowed import LONGEST, Path, Placed, fill_gaps, follow
from fgcme.audio import HOP, SAMPLE_RATE, WINDOW, Samples, frame_count
from tests.speech import say

NOUNS = "window dinner river music horse garden fence teacher letter island doctor pencil market winter candle bridge"
VERBS = "opened carried followed painted watched counted borrowed answered remembered discovered"
ADJECTIVES = "old quiet broken seven purple hungry famous little heavy golden"


class Counting(SphinxWindows):
    """Sphinx in windows, which notes how many seconds and words each is."""

    def __init__(self) -> None:
        super().__init__("en")
        self.asked: list[tuple[str, float, int]] = []

    def lead(self, samples: Samples, words: Sequence[str]) -> Path:
        self.asked.append(("lead", samples.size / SAMPLE_RATE, len(words)))
        return super().lead(samples, words)

    def whole(self, samples: Samples, words: Sequence[str]) -> Path | None:
        self.asked.append(("whole", samples.size / SAMPLE_RATE, len(words)))
        return super().whole(samples, words)

    def anywhere(self, samples: Samples, words: Sequence[str]) -> Path:
        self.asked.append(("anywhere", samples.size / SAMPLE_RATE, len(words)))
        return super().anywhere(samples, words)


class Recording:
    """Sound, the text that is given with it, and when each of its words begins; NaN where it is not said."""

    def __init__(self) -> None:
        self._parts: list[Samples] = []
        self.words: list[str] = []
        self.begins: list[float] = []

    @property
    def samples(self) -> Samples:
        return np.concatenate(self._parts)

    def add(self, samples: Samples) -> None:
        self._parts.append(samples)

    def speak(self, count: int, seed: int, voice: str = "en-us", is_in_text: bool = True) -> None:
        """Add so many sentences, with pauses between them."""
        generator = np.random.default_rng(seed)
        for text in sentences(count, seed):
            samples, onsets = say(text, voice=voice)
            if is_in_text:
                begin = sum(part.size for part in self._parts) / SAMPLE_RATE
                self.words += text.split()
                self.begins += [begin + onset for _, onset in onsets]
            self.add(samples)
            self.add(silence(generator.uniform(0.1, 0.7), seed))

    def write(self, count: int, seed: int) -> None:
        """Add so many sentences to the text alone."""
        words = " ".join(sentences(count, seed)).split()
        self.words += words
        self.begins += [np.nan] * len(words)

    def errors(self, placed: Sequence[Placed | None]) -> np.ndarray:
        """How far the begins of what is said and was found are from the true ones, in seconds."""
        pairs = zip(placed, self.begins, strict=True)
        errors = [abs(edge_seconds(word.begin) - begin) for word, begin in pairs if word is not None]
        return np.array(errors)[~np.isnan(errors)]


def sentences(count: int, seed: int) -> list[str]:
    generator = np.random.default_rng(seed)

    def one(words: str) -> str:
        return words.split()[generator.integers(len(words.split()))]

    return [
        f"the {one(ADJECTIVES)} {one(NOUNS)} {one(VERBS)} my {one(NOUNS)} near a {one(ADJECTIVES)} {one(NOUNS)}"
        for _ in range(count)
    ]


def silence(seconds: float, seed: int = 0) -> Samples:
    return np.random.default_rng(seed).normal(0, 1e-4, int(seconds * SAMPLE_RATE)).astype(np.float32)


def test_every_word_is_found_at_its_place() -> None:
    recording = Recording()
    recording.speak(26, seed=1)
    search = Counting()
    placed = follow(search, recording.samples, recording.words)
    assert None not in placed and recording.samples.size / HOP > LONGEST
    errors = recording.errors(placed)
    assert np.median(errors) < 0.03 and np.mean(errors < 0.1) > 0.95 and errors.max() < 0.5
    # No window is longer than the longest, and together they are little more than the recording.
    assert len(search.asked) == 2 and max(seconds for _, seconds, _ in search.asked) < LONGEST / 100 + 1
    assert sum(seconds for _, seconds, _ in search.asked) < 1.3 * recording.samples.size / SAMPLE_RATE


@pytest.mark.slow
def test_a_text_is_found_again_after_speech_that_is_not_in_it() -> None:
    recording = Recording()
    recording.speak(8, seed=1)
    recording.speak(20, seed=3, voice="en-us+f3", is_in_text=False)
    recording.speak(9, seed=2)
    search = Counting()
    placed = follow(search, recording.samples, recording.words)
    assert "anywhere" in {kind for kind, _, _ in search.asked}
    errors = recording.errors(placed)
    assert len(errors) > 0.8 * len(recording.words) and np.mean(errors < 0.1) > 0.9
    # To the end, nothing is late.
    assert np.abs(recording.errors([None] * 100 + placed[100:])).max() < 0.3


@pytest.mark.slow
def test_words_that_are_not_said_are_left_out_and_those_after_them_are_found() -> None:
    recording = Recording()
    recording.speak(8, seed=1)
    recording.write(25, seed=4)
    recording.speak(22, seed=2)
    placed = follow(SphinxWindows("en"), recording.samples, recording.words)
    errors = recording.errors(placed)
    said = np.isfinite(recording.begins)
    assert len(errors) > 0.85 * said.sum() and np.mean(errors < 0.1) > 0.95
    found = np.array([word is not None for word in placed])
    assert found[~said].mean() < 0.1


@pytest.mark.slow
def test_a_text_that_goes_on_after_the_sound_is_followed_to_its_end() -> None:
    recording = Recording()
    recording.speak(26, seed=1)
    recording.write(40, seed=5)
    placed = follow(SphinxWindows("en"), recording.samples, recording.words)
    said = np.isfinite(recording.begins)
    errors = recording.errors(placed)
    assert len(errors) > 0.95 * said.sum() and np.mean(errors < 0.1) > 0.9
    assert sum(word is not None for word in placed) < said.sum() + 20


class Scripted:
    """Finds words that are numbers where a table says, in sound whose samples are the numbers of their frames."""

    def __init__(self, begins: np.ndarray) -> None:
        self._begins = begins
        self.frames = self.states = 0

    def lead(self, samples: Samples, words: Sequence[str]) -> Path:
        first, length = int(samples[0]), frame_count(samples.size)
        self.frames += length
        self.states += length * len(words)
        begins = [int(self._begins[int(word)]) - first for word in words]
        placed = [Placed(begin, begin + 20, -20.0, 10.0) for begin in begins if begin + 20 <= length]
        return Path(0, placed, length)

    def whole(self, samples: Samples, words: Sequence[str]) -> Path | None:
        path = self.lead(samples, words)
        return path if len(path.words) == len(words) else None

    def anywhere(self, samples: Samples, words: Sequence[str]) -> Path:
        raise AssertionError("nothing is lost")


def scripted(minutes: int) -> Scripted:
    """A search that has followed a recording of that many minutes."""
    begins = np.arange(50, minutes * 6_000 - 100, 40)
    begins += np.random.default_rng(0).integers(0, 20, len(begins))
    samples = np.repeat(np.arange(minutes * 6_000), HOP).astype(np.float32)
    search = Scripted(begins)
    placed = follow(search, np.pad(samples, (0, WINDOW - HOP), mode="edge"), [str(n) for n in range(len(begins))])
    assert [word.begin for word in placed if word is not None] == begins.tolist()
    return search


def test_the_cost_grows_as_the_recording_does() -> None:
    short, long = scripted(6), scripted(36)
    assert 5 < long.frames / short.frames < 7 and 5 < long.states / short.states < 7
    assert long.frames < 1.5 * 36 * 6_000


def test_words_without_a_place_are_spread_over_what_is_between_those_that_have_one() -> None:
    samples = np.concatenate([silence(2), say("open the window")[0], silence(2)])
    frames = frame_count(samples.size)
    before, after = Placed(10, 40, -1.0, 1.0), Placed(frames - 50, frames - 20, -1.0, 1.0)
    begin, end = fill_gaps([before, None, None, after, None], samples)
    assert (begin[0], end[0], begin[3], end[3]) == (10, 40, frames - 50, frames - 20)
    # Over the speech, not the silence around it.
    assert 180 < begin[1] < 230 and end[1] == begin[2] and frames - 230 < end[2] < frames - 180
    assert frames - 20 <= begin[4] < end[4] <= frames


@pytest.mark.parametrize("room", [0, 3])
def test_where_words_have_no_room_each_has_a_frame_all_the_same(room: int) -> None:
    samples = silence(2)
    placed = [Placed(10, 40, -1.0, 1.0), *[None] * 20, Placed(40 + room, 90, -1.0, 1.0)]
    begin, end = fill_gaps(placed, samples)
    assert len(begin) == 22 and all(first < last for first, last in zip(begin, end, strict=True))
    assert all(last <= first for last, first in zip(end, begin[1:], strict=False))

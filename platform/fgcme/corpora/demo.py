"""The demo corpus: synthetic speech in four emotions that only words *and* voice together tell apart.

It is synthesised on this machine by eSpeak NG (`fgcme.corpora.espeak`) and listed in a manifest
(`fgcme.corpora.manifest`): `audio/<speaker>-<sentence>-<emotion>.wav`, `words.parquet` with the true word onsets, and
`manifest.csv`. In the contract's fields, `raw_label` is the emotion; there are no sessions, dialogs or acts.

Design
------
Every sentence names three things in random order: one *pleasant* (garden), one *unpleasant* (fever) and one
*indifferent* (table), each from a lexicon of twelve nouns of two syllables. In every utterance exactly one of the three
is *raised* (higher, louder) and one is *lowered* (lower, softer, slower). The emotion is which class is said how:

    =========  ==========  ==========  ===========
    emotion    pleasant    unpleasant  indifferent
    =========  ==========  ==========  ===========
    happy      raised      plain       lowered
    angry      plain       raised      lowered
    neutral    lowered     plain       raised
    sad        plain       lowered     raised
    =========  ==========  ==========  ===========

Four utterances share each sentence, one in each emotion, by the same speaker. Sentences are drawn from 24 frames, 6
orders of the classes and 12^3 nouns, all in shuffled rounds and so evenly used. Eight speakers (four higher and four
lower voices) say different sentences, so folds by speaker are also folds by text.

What a classifier can reach by this design, if its input is

- the words only: exactly 25 %, because every sentence appears once in each emotion;
- averages or extremes of the sound of a whole utterance: about 25 %, because every utterance has one raised and one
  lowered word, whatever its emotion. Not exactly: a noun's own sound changes what its marking adds;
- the sequence of sounds: 25 %, because the classes come in any order, so that the places of the raised and the lowered
  word say nothing. More is possible only by recognising the nouns from their sound;
- the words and the sound of the whole utterance: about 25 %, for the same reasons;
- the words and the unaligned sequence: as much as it learns to align;
- each word with its own sound: everything but the noise. One half of the answer (raised or lowered) is in the sound,
  the other (pleasant or unpleasant) in the word, and neither says anything alone, because the indifferent noun is
  always marked the opposite way.

Noise keeps the task from being trivial: markings vary in strength; every word varies a little; speakers differ in
voice, pitch and rate, utterances in pitch, rate, level, silence at both ends and background noise. With the true
onsets, a logistic regression on each noun's pitch, energy and duration reaches about 90 % on unseen speakers.
"""

from __future__ import annotations

import csv
import io
import itertools
import math
import os
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np

from fgcme.corpora.contract import Corpus
from fgcme.corpora.espeak import SAMPLE_RATE as VOICE_RATE
from fgcme.corpora.espeak import SynthesisedSpeech, Voice, Word, speak
from fgcme.corpora.manifest import find
from fgcme.errors import UserError
from fgcme.files import atomic_write, exists, locked

if TYPE_CHECKING:
    import numpy.typing as npt

SAMPLE_RATE = 16_000  # Hz, of the files

T = TypeVar("T")
Class = Literal["pleasant", "unpleasant", "indifferent"]
Marking = Literal["raised", "lowered"]

LEXICON: dict[Class, tuple[str, ...]] = {
    "pleasant": (
        *("garden", "music", "puppy", "picnic", "sunshine", "birthday"),
        *("kitten", "rainbow", "flower", "candy", "laughter", "honey"),
    ),
    "unpleasant": (
        *("sickness", "traffic", "fever", "burglar", "headache", "poison"),
        *("prison", "garbage", "thunder", "nightmare", "danger", "trouble"),
    ),
    "indifferent": (
        *("table", "window", "paper", "bottle", "ladder", "basket"),
        *("pencil", "carpet", "button", "corner", "bucket", "engine"),
    ),
}

NOUNS = frozenset(itertools.chain.from_iterable(LEXICON.values()))

# The class that carries the emotion, and how it is marked; the indifferent noun is marked the opposite way.
EMOTIONS: dict[str, tuple[Class, Marking]] = {
    "happy": ("pleasant", "raised"),
    "angry": ("unpleasant", "raised"),
    "neutral": ("pleasant", "lowered"),
    "sad": ("unpleasant", "lowered"),
}

# A noun replaces each `#`. No pair that the synthesiser runs together, such as `with the`.
FRAMES = (
    "we talked about the # and the # after the #",
    "she found the # beside the # before the #",
    "my brother mentioned the # then the # and finally the #",
    "first comes the # then the # and then the #",
    "they wrote about the # because the # followed the #",
    "nobody noticed the # until the # reached the #",
    "the # and the # were closer than the #",
    "i remember the # more than the # or the #",
    "he asked about the # while the # came near the #",
    "you can draw the # between the # and the #",
    "please describe the # without the # or the #",
    "on monday the # came before the # and the #",
    "every page shows the # under the # beside the #",
    "our teacher compared the # and the # against the #",
    "the # made them forget the # and the #",
    "i would paint the # and the # around the #",
    "that letter names the # then the # then the #",
    "someone left the # where the # met the #",
    "a child saw the # across the # behind the #",
    "the # never changed the # near the #",
    "people say the # explains the # and the #",
    "his book begins before the # and ends after the # and the #",
    "it seems the # came because the # touched the #",
    "today the # follows the # but not the #",
)

SPEAKERS: dict[str, Voice] = {
    "female1": Voice("en-us+f2", pitch=50, rate=172),
    "female2": Voice("en-us+f4", pitch=44, rate=160),
    "female3": Voice("en-us+Annie", pitch=45, rate=176),
    "female4": Voice("en-us+linda", pitch=42, rate=166),
    "male1": Voice("en-us+m1", pitch=50, rate=166),
    "male2": Voice("en-us+m3", pitch=56, rate=172),
    "male3": Voice("en-us+m7", pitch=46, rate=176),
    "male4": Voice("en-us+Alex", pitch=42, rate=160),
}

# Factors on pitch, volume and rate at full strength.
MARKINGS: dict[Marking, tuple[float, float, float]] = {"raised": (1.5, 1.5, 0.95), "lowered": (0.6, 0.6, 0.85)}
STRENGTH = (0.4, 1.0)  # of a marking, uniform
# Standard deviation of the logarithm of a noun's pitch, volume and rate.
# Other words vary in pitch only: with three commands on every word the synthesiser loses words.
WAVER = (0.07, 0.10, 0.04)

# Ranges for each utterance, all uniform: steps of pitch, factor of rate, peak in dB of full scale, signal-to-noise
# ratio in dB, silence at each end in seconds.
PITCH_SHIFT = (-6, 6)
RATE_FACTOR = (0.92, 1.08)
PEAK = (-14.0, -2.0)
SIGNAL_TO_NOISE = (15.0, 30.0)
SILENCE = (0.1, 0.4)

_COLUMNS = ("id", "audio", "text", "label", "speaker")


@dataclass(frozen=True)
class Line:
    """One utterance of the script: the speaker, the words, and how each is said.

    Attributes:
        id: `<speaker>-<sentence>-<emotion>`.
        speaker: one of `SPEAKERS`.
        label: one of `EMOTIONS`.
        voice: the speaker's voice, with this utterance's pitch and rate.
        words: with their prosody.
    """

    id: str
    speaker: str
    label: str
    voice: Voice
    words: tuple[Word, ...]

    @property
    def text(self) -> str:
        """The sentence."""
        return " ".join(word.text for word in self.words)

    @property
    def audio(self) -> str:
        """The file, relative to the corpus."""
        return f"audio/{self.id}.wav"


def script(utterances: int, seed: int) -> list[Line]:
    """Draw the lines of the corpus; the same arguments always give the same lines.

    Emotions, speakers and sentences are balanced when `utterances` is a multiple of 32.

    >>> [line.id for line in script(5, seed=0)]
    ['female1-0000-happy', 'female1-0000-angry', 'female1-0000-neutral', 'female1-0000-sad', 'female2-0001-happy']
    """
    generator = np.random.default_rng(seed)
    sentences = _sentences(generator)
    numbers = range(math.ceil(utterances / len(EMOTIONS)))
    lines = [
        _line(generator, f"{speaker}-{number:04d}-{emotion}", speaker, emotion, sentence)
        for number, speaker, sentence in zip(numbers, itertools.cycle(SPEAKERS), sentences, strict=False)
        for emotion in EMOTIONS
    ]
    return lines[:utterances]


def synthesise(folder: Path, utterances: int, seed: int) -> Path:
    """Synthesise the corpus, unless it is there: `audio/*.wav`, `words.parquet` (the true onsets) and `manifest.csv`.

    The same arguments give the same bytes, and each file is written in one step. The manifest is written last: a folder
    with a manifest is complete, and one without it is synthesised again, by one process at a time.

    Args:
        folder: of the corpus; created if missing.
        utterances: how many; a multiple of 32 is balanced.
        seed: of everything random.

    Returns:
        The manifest: a CSV file with the columns id, audio (relative to the folder), text, label, speaker.

    Raises:
        UserError: the folder holds another corpus or cannot be written to, or the synthesiser cannot be started.
    """
    lines = script(utterances, seed)
    manifest = folder / "manifest.csv"
    listing = _listing(lines)
    if manifest.exists():
        if manifest.read_bytes() == listing:
            return manifest
        raise UserError(
            f"{manifest}: not the demo corpus of {utterances} utterances from seed {seed}; "
            "delete its folder to synthesise it again, or set storage.path to another folder"
        )
    try:
        (folder / "audio").mkdir(parents=True, exist_ok=True)
        with locked(folder / "lock"):
            # Another process may have synthesised it meanwhile.
            if not exists(manifest):
                _write_audio(folder, lines, seed)
                with atomic_write(manifest) as partial:
                    partial.write_bytes(listing)
    except OSError as error:
        raise UserError(f"{folder}: the demo corpus cannot be written there ({error.strerror or error})") from None
    return manifest


CORPUS = Corpus(
    name="demo",
    title="Embedded demo corpus: synthetic speech whose emotion lies in which words are said how",
    language="English",
    licence="none needed: synthesised on your machine by eSpeak NG (GPL-3.0-or-later, package espeakng-loader)",
    citation="none; the design is in fgcme/corpora/demo.py",
    size="480 utterances, 8 synthetic speakers, 4 emotions, about 33 minutes, 64 MB",
    obtain="nothing to download: `fgcme prepare demo` synthesises it in a few seconds",
    find=find,
    sex_of=lambda speaker: "male" if speaker.startswith("male") else "female",
)


def _sentences(generator: np.random.Generator) -> Iterator[tuple[str, ...]]:
    """Sentences without end: frames, orders and nouns each in shuffled rounds."""
    frames = _rounds(generator, FRAMES)
    orders = _rounds(generator, tuple(itertools.permutations(LEXICON)))
    nouns = {name: _rounds(generator, words) for name, words in LEXICON.items()}
    while True:
        chosen = iter([next(nouns[name]) for name in next(orders)])
        yield tuple(next(chosen) if word == "#" else word for word in next(frames).split())


def _rounds(generator: np.random.Generator, items: tuple[T, ...]) -> Iterator[T]:
    """The items without end, in a new order in each round, so that all are used evenly."""
    while True:
        yield from (items[index] for index in generator.permutation(len(items)))


def _line(generator: np.random.Generator, id: str, speaker: str, emotion: str, sentence: tuple[str, ...]) -> Line:
    name, marking = EMOTIONS[emotion]
    opposite: Marking = "lowered" if marking == "raised" else "raised"
    marked = dict.fromkeys(LEXICON[name], marking) | dict.fromkeys(LEXICON["indifferent"], opposite)
    voice = SPEAKERS[speaker]
    utterance_voice = Voice(
        voice.name,
        pitch=voice.pitch + int(generator.integers(*PITCH_SHIFT, endpoint=True)),
        rate=round(voice.rate * generator.uniform(*RATE_FACTOR)),
    )
    words = []
    for word in sentence:
        pitch, volume, rate = np.exp(generator.normal(0.0, WAVER)).tolist()
        if word not in NOUNS:
            words.append(Word(word, pitch))
            continue
        if word in marked:
            strength = generator.uniform(*STRENGTH)
            pitch, volume, rate = (
                factor * full**strength
                for factor, full in zip((pitch, volume, rate), MARKINGS[marked[word]], strict=True)
            )
        words.append(Word(word, pitch, volume, rate))
    return Line(id, speaker, emotion, utterance_voice, tuple(words))


def _listing(lines: list[Line]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows((line.id, line.audio, line.text, line.label, line.speaker) for line in lines)
    return text.getvalue().encode()


def _write_audio(folder: Path, lines: list[Line], seed: int) -> None:
    """Write the audio files and the true onsets of the words."""
    import pyarrow as pa
    from pyarrow import parquet

    onsets: dict[str, list[float]] = {}
    by_speaker: dict[str, list[tuple[int, Line]]] = {}
    for number, line in enumerate(lines):
        by_speaker.setdefault(line.speaker, []).append((number, line))
    for of_speaker in by_speaker.values():
        for (number, line), speech in zip(
            of_speaker, speak([(line.voice, line.words) for _, line in of_speaker]), strict=True
        ):
            samples, delay = _record_in_room(speech, np.random.default_rng((seed, number)))
            _write_wav(folder / line.audio, samples)
            onsets[line.id] = [delay + onset for onset in speech.onsets]
    table = pa.table(
        {
            "id": [line.id for line in lines],
            "words": [[word.text for word in line.words] for line in lines],
            "onset": pa.array([onsets[line.id] for line in lines], pa.list_(pa.float64())),
        }
    )
    with atomic_write(folder / "words.parquet") as partial:
        parquet.write_table(table, partial)


def _record_in_room(speech: SynthesisedSpeech, generator: np.random.Generator) -> tuple[npt.NDArray[np.int16], float]:
    """Speech as a microphone records it: resampled, at a random level, between silences, with background noise.

    Returns:
        [samples] int16 at `SAMPLE_RATE`, and the seconds of silence before the speech.
    """
    dry = _resample(speech.samples.astype(np.float64))
    dry *= 10 ** (generator.uniform(*PEAK) / 20) / np.abs(dry).max()
    before, after = (round(generator.uniform(*SILENCE) * SAMPLE_RATE) for _ in range(2))
    wet = np.pad(dry, (before, after))
    noise = _room_noise(generator, len(wet))
    noise *= np.sqrt(np.mean(dry**2) * 10 ** (-generator.uniform(*SIGNAL_TO_NOISE) / 10))
    samples = np.clip(np.round(32_767 * (wet + noise)), -32_768, 32_767).astype("<i2")
    return samples, before / SAMPLE_RATE


def _resample(samples: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Resample from the synthesiser's rate to the files', by cutting the spectrum at half the lower rate."""
    unit = math.gcd(VOICE_RATE, SAMPLE_RATE)
    blocks = math.ceil(len(samples) * unit / VOICE_RATE)
    length = blocks * SAMPLE_RATE // unit
    spectrum = np.fft.rfft(samples, blocks * VOICE_RATE // unit)
    return np.fft.irfft(spectrum[: length // 2 + 1], length)


def _room_noise(generator: np.random.Generator, length: int) -> npt.NDArray[np.float64]:
    """[samples] noise of unit power, falling off above 500 Hz as a room's does."""
    size = 1 << length.bit_length()  # A power of two: other lengths are slow.
    white = np.fft.rfft(generator.standard_normal(size))
    noise = np.fft.irfft(white / (1 + np.fft.rfftfreq(size, 1 / SAMPLE_RATE) / 500), size)[:length]
    level: float = np.sqrt(np.mean(noise**2))
    return noise / level


def _write_wav(path: Path, samples: npt.NDArray[np.int16]) -> None:
    with atomic_write(path) as partial, wave.open(os.fspath(partial), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(samples.tobytes())

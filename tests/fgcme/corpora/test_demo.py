"""The demo corpus: repeatable, and neither words nor voice alone tell the emotion."""

import csv
import subprocess
import sys
import time
import wave
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fgcme.corpora.demo import CORPUS, EMOTIONS, FRAMES, LEXICON, NOUNS, SAMPLE_RATE, SPEAKERS, script, synthesise
from fgcme.errors import UserError

UTTERANCES = 160
HOP = 160  # Samples between frames.
NEAR_CHANCE = 0.37  # A quarter and 3.5 standard errors of 160 guesses.


@dataclass(frozen=True)
class Recording:
    """One utterance of the corpus, with log energies and log pitch (NaN where unvoiced) of its frames."""

    row: dict[str, str]
    words: list[str]
    onsets: np.ndarray
    duration: float
    spectrum: np.ndarray
    pitch: np.ndarray


def read_wav(path: Path) -> np.ndarray:
    with wave.open(str(path), "rb") as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, SAMPLE_RATE)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(float)


def analyse(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[A, 40] log energy in bands and [A] log pitch, from windows of 64 ms."""
    windows = np.lib.stride_tricks.sliding_window_view(samples, 1024)[::HOP] * np.hanning(1024)
    power = np.abs(np.fft.rfft(windows, 2048)) ** 2
    bands = np.log(np.add.reduceat(power, np.arange(0, 1000, 25), axis=1) + 1.0)
    correlation = np.fft.irfft(power)
    period = 40 + correlation[:, 40:230].argmax(1)
    voiced = correlation[np.arange(len(period)), period] > 0.5 * correlation[:, 0]
    return bands, np.where(voiced, np.log(SAMPLE_RATE / period), np.nan)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    assert synthesise(folder, UTTERANCES, seed=0) == folder / "manifest.csv"
    return folder


@pytest.fixture(scope="module")
def recordings(folder: Path) -> list[Recording]:
    truth = {row["id"]: row for row in pq.read_table(folder / "words.parquet").to_pylist()}
    found = []
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            samples = read_wav(folder / row["audio"])
            onsets = np.array(truth[row["id"]]["onset"])
            found.append(
                Recording(row, truth[row["id"]]["words"], onsets, len(samples) / SAMPLE_RATE, *analyse(samples))
            )
    return found


def accuracy(features: list[np.ndarray] | np.ndarray, recordings: list[Recording]) -> float:
    """Unweighted accuracy of a linear classifier on unseen speakers."""
    labels = [recording.row["label"] for recording in recordings]
    speakers = [recording.row["speaker"] for recording in recordings]
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=1000))
    guesses = cross_val_predict(classifier, np.array(features), labels, groups=speakers, cv=GroupKFold(4))
    return float(balanced_accuracy_score(labels, guesses))


def utterance_features(recording: Recording) -> np.ndarray:
    """Averages and extremes of the sound of a whole utterance."""
    voiced = recording.pitch[np.isfinite(recording.pitch)]
    spectrum = recording.spectrum
    return np.concatenate(
        [spectrum.mean(0), spectrum.max(0), spectrum.std(0), np.percentile(voiced, [5, 50, 95]), [recording.duration]]
    )


def noun_features(recording: Recording) -> np.ndarray:
    """Pitch, energy and duration of the noun of each class, relative to the utterance's."""
    energy = recording.spectrum.mean(1)
    ends = np.append(recording.onsets[1:], recording.duration - 0.1)
    features = {}
    for word, begin, end in zip(recording.words, recording.onsets, ends, strict=True):
        if word in NOUNS:
            frames = slice(max(0, round((begin - 0.03) * SAMPLE_RATE / HOP)), round((end - 0.03) * SAMPLE_RATE / HOP))
            usual = np.nanmedian(recording.pitch)
            voiced = recording.pitch[frames][np.isfinite(recording.pitch[frames])]
            height = np.median(voiced) - usual if len(voiced) else 0.0
            loudness = energy[frames] - energy.mean()
            features[word] = [height, loudness.mean(), loudness.max(), end - begin]
    return np.concatenate([features[word] for words in LEXICON.values() for word in words if word in features])


def test_the_audio_files_are_those_of_the_manifest(folder: Path, recordings: list[Recording]) -> None:
    assert len(recordings) == UTTERANCES
    assert {recording.row["audio"] for recording in recordings} == {
        path.relative_to(folder).as_posix() for path in folder.glob("audio/*")
    }
    assert all(1.5 < recording.duration < 9.0 for recording in recordings)


def test_every_word_has_a_true_onset_within_the_file(recordings: list[Recording]) -> None:
    for recording in recordings:
        assert " ".join(recording.words) == recording.row["text"]
        assert len(recording.onsets) == len(recording.words)
        assert np.all(np.diff(recording.onsets) > 0)
        assert recording.onsets[0] >= 0.1
        assert recording.onsets[-1] < recording.duration - 0.1


def test_emotions_are_balanced_for_every_speaker_and_sentence() -> None:
    lines = script(480, seed=0)
    speakers = Counter((line.speaker, line.label) for line in lines)
    assert set(speakers) == {(speaker, emotion) for speaker in SPEAKERS for emotion in EMOTIONS}
    assert set(speakers.values()) == {15}
    sentences = Counter((line.text, line.label) for line in lines)
    assert set(sentences.values()) == {1}
    assert len(sentences) == 4 * len({line.text for line in lines}) == 480


def test_speakers_share_no_sentence() -> None:
    speakers_of: dict[str, set[str]] = {}
    for line in script(480, seed=0):
        speakers_of.setdefault(line.text, set()).add(line.speaker)
    assert {len(speakers) for speakers in speakers_of.values()} == {1}


def test_every_sentence_has_one_noun_of_each_class_in_every_order() -> None:
    class_of = {word: name for name, words in LEXICON.items() for word in words}
    orders = Counter(tuple(class_of[word.text] for word in line.words if word.text in NOUNS) for line in script(480, 0))
    assert len(orders) == 6
    assert all(set(order) == set(LEXICON) for order in orders)
    assert set(orders.values()) == {80}


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_the_emotion_decides_which_class_of_noun_is_raised_or_lowered(emotion: str) -> None:
    lines = [line for line in script(480, seed=0) if line.label == emotion]
    name, marking = EMOTIONS[emotion]
    for kind, words in LEXICON.items():
        (nouns,) = zip(*[[word for word in line.words if word.text in words] for line in lines], strict=True)
        effect = np.mean([[np.log(word.pitch), np.log(word.volume)] for word in nouns], axis=0)
        if kind != name and kind != "indifferent":
            assert effect == pytest.approx([0.0, 0.0], abs=0.04)
        elif (kind == name) == (marking == "raised"):
            assert np.all(effect > 0.2)
        else:
            assert np.all(effect < -0.2)


def test_all_words_are_in_a_pronouncing_dictionary_of_american_english() -> None:
    from pocketsphinx import get_model_path

    with Path(get_model_path("en-us/cmudict-en-us.dict")).open(encoding="utf-8") as file:
        known = {line.split(maxsplit=1)[0] for line in file}
    spoken = {word for frame in FRAMES for word in frame.split()} - {"#"}
    assert spoken | NOUNS <= known


def test_words_alone_do_not_tell_the_emotion(recordings: list[Recording]) -> None:
    bags = CountVectorizer().fit_transform([recording.row["text"] for recording in recordings]).toarray()
    assert accuracy(bags, recordings) <= 0.26


def test_the_sound_of_the_whole_utterance_hardly_tells_the_emotion(recordings: list[Recording]) -> None:
    assert accuracy([utterance_features(recording) for recording in recordings], recordings) < NEAR_CHANCE


def test_words_and_the_sound_of_the_whole_utterance_hardly_tell_the_emotion(recordings: list[Recording]) -> None:
    bags = CountVectorizer().fit_transform([recording.row["text"] for recording in recordings]).toarray()
    sounds = np.array([utterance_features(recording) for recording in recordings])
    assert accuracy(np.hstack([bags, sounds]), recordings) < NEAR_CHANCE


def test_each_word_with_its_own_sound_tells_the_emotion(recordings: list[Recording]) -> None:
    assert accuracy([noun_features(recording) for recording in recordings], recordings) > 0.75


def test_a_forced_aligner_finds_the_words_at_their_true_onsets(folder: Path, recordings: list[Recording]) -> None:
    from pocketsphinx import Decoder

    decoder = Decoder(lm=None, loglevel="FATAL")
    errors: list[float] = []
    some = recordings[:: UTTERANCES // 16 + 1]
    aligned = 0
    for recording in some:
        decoder.set_align_text(recording.row["text"])
        decoder.start_utt()
        decoder.process_raw(read_wav(folder / recording.row["audio"]).astype("<i2").tobytes(), full_utt=True)
        decoder.end_utt()
        spans = [span for span in decoder.seg() or () if not span.word.startswith(("<", "["))]
        if [span.word.partition("(")[0] for span in spans] == recording.words:
            aligned += 1
            errors += [abs(span.start_frame / 100 - onset) for span, onset in zip(spans, recording.onsets, strict=True)]
    assert aligned >= 0.9 * len(some)
    assert np.median(errors) < 0.03


def test_another_process_synthesises_the_same_bytes(tmp_path: Path) -> None:
    synthesise(tmp_path / "here", 6, seed=3)
    command = (
        "import sys, pathlib; from fgcme.corpora.demo import synthesise; synthesise(pathlib.Path(sys.argv[1]), 6, 3)"
    )
    subprocess.run([sys.executable, "-c", command, str(tmp_path / "there")], check=True)
    here = {path.relative_to(tmp_path / "here"): path.read_bytes() for path in tmp_path.glob("here/**/*.*")}
    there = {path.relative_to(tmp_path / "there"): path.read_bytes() for path in tmp_path.glob("there/**/*.*")}
    assert len(here) == 6 + 2
    assert here == there


def test_two_processes_that_synthesise_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    code = "import sys, pathlib; from fgcme.corpora.demo import synthesise; synthesise(pathlib.Path(sys.argv[1]), 8, 0)"
    both = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "both")]) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    synthesise(tmp_path / "alone", 8, seed=0)
    contents = [
        {path.relative_to(tmp_path / name): path.read_bytes() for path in tmp_path.glob(f"{name}/**/*.*")}
        for name in ("both", "alone")
    ]
    assert contents[0] == contents[1]


def test_another_seed_gives_another_corpus() -> None:
    assert [line.text for line in script(32, seed=0)] != [line.text for line in script(32, seed=1)]


def test_a_complete_corpus_is_never_overwritten(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    synthesise(folder, UTTERANCES, seed=0)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    with pytest.raises(UserError, match=r"manifest\.csv: not the demo corpus of 160 utterances from seed 1; delete"):
        synthesise(folder, UTTERANCES, seed=1)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_an_interrupted_synthesis_is_repeated(tmp_path: Path) -> None:
    synthesise(tmp_path, 4, seed=0)
    complete = {path: path.read_bytes() for path in tmp_path.glob("**/*.*")}
    (tmp_path / "manifest.csv").unlink()
    (tmp_path / "audio" / "female1-0000-sad.wav").write_bytes(b"half a fi")
    synthesise(tmp_path, 4, seed=0)
    assert {path: path.read_bytes() for path in tmp_path.glob("**/*.*")} == complete


def test_a_second_process_waits_until_the_first_has_synthesised_the_corpus(tmp_path: Path) -> None:
    count, audio = 64, tmp_path / "audio"
    command = (
        "import sys, pathlib; from fgcme.corpora.demo import synthesise; folder = pathlib.Path(sys.argv[1])\n"
        f"synthesise(folder, {count}, 0); print(len(list(folder.glob('audio/*.wav'))))"
    )
    with subprocess.Popen([sys.executable, "-c", command, str(tmp_path)], stdout=subprocess.PIPE, text=True) as first:
        while first.poll() is None and not list(audio.glob("*.wav")):
            time.sleep(0.01)
        synthesise(tmp_path, count, seed=0)
        assert len(list(audio.glob("*.wav"))) == count
        # Nobody has deleted any of its files.
        assert first.communicate(timeout=60)[0] == f"{count}\n"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UserError, match="taken: the demo corpus cannot be written there"):
        synthesise(tmp_path / "taken", 4, seed=0)


def test_the_corpus_lists_what_was_synthesised(folder: Path) -> None:
    listing = CORPUS.find(folder)
    assert CORPUS.name == "demo"
    assert listing.rejections == []
    assert [(found.id, found.text, found.raw_label, found.speaker) for found in listing.utterances] == [
        (line.id, line.text, line.label, line.speaker) for line in script(UTTERANCES, seed=0)
    ]
    assert all((folder / found.audio).is_file() for found in listing.utterances)

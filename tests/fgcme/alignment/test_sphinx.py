"""Alignment with PocketSphinx, on speech whose word onsets are known."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fgcme import alignment, audio
from fgcme.alignment import AlignmentError
from fgcme.alignment.contract import edge_seconds
from fgcme.alignment.sphinx import search_attempts
from fgcme.alignment.uniform import NOT_FOLLOWED
from fgcme.audio import frame_count
from tests.speech import say

EMODB = Path(__file__).parents[4] / "shared" / "emodb"
SENTENCES = [
    "open the window before dinner please",
    "we walked slowly along the river and talked about music",
    "seven brown horses jumped over a garden fence",
]


@pytest.mark.parametrize("voice", ["en-us", "en-us+f3"])
@pytest.mark.parametrize("text", SENTENCES)
def test_words_start_where_they_are_spoken(text: str, voice: str) -> None:
    samples, onsets = say(text, voice=voice)
    result = alignment.build("sphinx").align("a", samples, text)
    assert result.method == "sphinx"
    assert result.words == text.split() == [word for word, _ in onsets]
    errors = np.abs(np.array(result.begin) / 100 - [second for _, second in onsets])
    assert np.median(errors) <= 0.03
    assert np.sort(errors)[-2] <= 0.1
    assert max(result.end) <= frame_count(samples.size)


def test_alternate_pronunciations_keep_the_word() -> None:
    # "are" and "the" have several pronunciations, which the decoder numbers.
    text = "kids are talking by the door"
    result = alignment.build("sphinx").align("a", say(text)[0], text)
    assert result.words == text.split() and result.method == "sphinx"


def test_an_utterance_aligns_the_same_alone_and_after_others(tmp_path: Path) -> None:
    aligner = alignment.build("sphinx")
    forwards = [aligner.align("a", say(text)[0], text) for text in SENTENCES]
    noise = np.random.default_rng(0).normal(0, 0.3, 48_000).astype(np.float32)
    aligner.align("a", noise, "a very loud noise")
    backwards = [aligner.align("a", say(text)[0], text) for text in reversed(SENTENCES)]
    assert forwards == backwards[::-1]
    # A fresh process has a fresh decoder.
    np.save(tmp_path / "samples.npy", say(SENTENCES[1])[0])
    script = (
        "import sys, numpy; from fgcme import alignment\n"
        "print(alignment.build('sphinx').align('a', numpy.load(sys.argv[1]), sys.argv[2]))"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "samples.npy"), SENTENCES[1]]
    alone = subprocess.run(command, capture_output=True, text=True)
    assert alone.stdout.strip() == str(forwards[1]), alone.stderr


def test_words_outside_the_dictionary_align_the_same_in_any_order_and_grouping(tmp_path: Path) -> None:
    # Each could be taken for a derivation, a contraction or a compound of another, were that one in the dictionary.
    texts = [
        "the tiktoker danced",
        "a tiktok video",
        "those tiktoks are old",
        "the zorber's zorb rolled",
        "we saw a zorbtiktok there",
        "the tiktok and the tiktoker",
    ]
    np.savez(tmp_path / "samples.npz", *[say(text)[0] for text in texts])
    script = (
        "import json, sys, numpy; from fgcme import alignment\n"
        "samples, texts = numpy.load(sys.argv[1]), json.loads(sys.argv[2])\n"
        "aligner = alignment.build('sphinx')\n"
        "for order in json.loads(sys.argv[3]):\n"
        "    print(str(aligner.align('a', samples[f'arr_{order}'], texts[order])))\n"
    )

    def aligned(order: list[int]) -> dict[int, str]:
        """What a fresh process, whose dictionary nobody has added to, makes of these texts one after the other."""
        command = [sys.executable, "-c", script, str(tmp_path / "samples.npz"), json.dumps(texts), json.dumps(order)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return dict(zip(order, done.stdout.splitlines(), strict=True))

    alone = {number: aligned([number])[number] for number in range(len(texts))}
    everything = list(range(len(texts)))
    for order in (everything, everything[::-1], *np.random.default_rng(0).permutation(6).reshape(2, 3).tolist()):
        assert aligned(order) == {number: alone[number] for number in order}


def test_threads_do_not_disturb_each_other() -> None:
    aligner = alignment.build("sphinx")
    expected = [aligner.align("a", say(text)[0], text) for text in SENTENCES]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda text: aligner.align("a", say(text)[0], text), SENTENCES * 3))
    assert found == expected * 3


def test_words_outside_the_dictionary_are_aligned_by_their_spelling() -> None:
    text = "the zorbian blimfers are talking about grobnik's naïve doorcats"
    samples, onsets = say(text)
    result = alignment.build("sphinx").align("a", samples, text)
    assert result.method == "sphinx" and result.words == text.split()
    errors = np.abs(np.array(result.begin) / 100 - [second for _, second in onsets])
    assert np.median(errors) <= 0.05


def test_words_of_another_language_are_followed_by_its_sounds() -> None:
    text = "gehen wir heute in den garten oder bleiben sie hier"
    samples, onsets = say(text, voice="de")
    result = alignment.build("sphinx", language="de").align("a", samples, text)
    assert result.method == "sphinx" and result.words == text.split() == [word for word, _ in onsets]
    assert np.median(np.abs(np.array(result.begin) / 100 - [second for _, second in onsets])) <= 0.03
    # `die` and `wir` are other words in English.
    assert result.score > alignment.build("sphinx").align("a", samples, text).score


@pytest.mark.skipif(not (EMODB / "words.json").exists(), reason=f"no EMO-DB with words.json in {EMODB}")
def test_german_words_lie_where_they_were_labelled_by_hand() -> None:
    labelled = json.loads((EMODB / "words.json").read_text(encoding="utf-8"))
    aligner = alignment.build("sphinx", language="de")
    errors, firsts = [], []
    for name in sorted(labelled)[::25]:
        words = labelled[name]
        found = aligner.align(name, audio.read(EMODB / f"{name}.flac"), " ".join(word["word"] for word in words))
        begins = np.array([edge_seconds(edge) for edge in found.begin]) - [word["start"] for word in words]
        ends = np.array([edge_seconds(edge) for edge in found.end]) - [word["end"] for word in words]
        errors += [*np.abs(begins), *np.abs(ends)]
        firsts.append(abs(begins[0]))
    assert np.median(errors) <= 0.013 and np.mean(np.array(errors) <= 0.05) >= 0.9
    # The first word does not take the silence before it.
    assert np.median(firsts) <= 0.02


def test_a_word_of_another_script_is_named() -> None:
    with pytest.raises(AlignmentError, match="привет") as caught:
        alignment.build("sphinx").align("a", say(SENTENCES[0])[0], "open привет please")
    assert caught.value.reason == "oov"


def test_a_text_without_words_is_refused() -> None:
    with pytest.raises(AlignmentError) as caught:
        alignment.build("sphinx").align("a", say(SENTENCES[0])[0], "[LAUGHTER]")
    assert caught.value.reason == "no_words"


def test_speech_too_quiet_for_16_bits_is_aligned() -> None:
    text = SENTENCES[0]
    samples, onsets = say(text)
    silence = np.zeros(16_000, np.float32)
    quiet = np.concatenate([silence, samples * np.float32(2e-5), silence])
    result = alignment.build("sphinx").align("a", quiet, text)
    assert result.method == "sphinx"
    errors = np.abs(np.array(result.begin) / 100 - [1 + second for _, second in onsets])
    assert np.median(errors) <= 0.1


def test_every_attempt_says_at_which_frame_it_starts() -> None:
    silence = np.zeros(16_000, np.float32)
    samples = np.concatenate([silence, say(SENTENCES[0])[0], silence])
    starts = []
    for _, variant, first_frame in search_attempts(samples):
        original = samples[first_frame * audio.HOP :][: variant.size]
        assert np.corrcoef(original, variant)[0, 1] > 0.999
        starts.append(first_frame)
    assert starts[0] == 0 and 60 < starts[-1] < 110


def test_a_text_too_long_for_the_audio_is_spread_and_flagged() -> None:
    samples = say("yes")[0]
    text = " ".join(SENTENCES)
    result = alignment.build("sphinx").align("a", samples, text)
    assert (result.method, result.oddities) == ("uniform", (NOT_FOLLOWED,))
    assert result.words == text.split() and max(result.end) <= frame_count(samples.size)


def test_a_minute_of_silence_in_a_long_recording_moves_no_word() -> None:
    parts, onsets, text, quiet = list[np.ndarray](), list[float](), "", np.random.default_rng(0)
    for number, pause in enumerate([0.5] * 7 + [60.0] + [0.5] * 7):
        samples, spoken = say(SENTENCES[number % 3])
        onsets += [sum(part.size for part in parts) / audio.SAMPLE_RATE + second for _, second in spoken]
        parts += [samples, quiet.normal(0, 1e-4, int(pause * audio.SAMPLE_RATE)).astype(np.float32)]
        text += f" {SENTENCES[number % 3]}"
    result = alignment.build("sphinx").align("a", np.concatenate(parts), text)
    assert (result.method, result.oddities, result.words) == ("sphinx", (), text.split())
    errors = np.abs([edge_seconds(begin) - second for begin, second in zip(result.begin, onsets, strict=True)])
    assert np.median(errors) <= 0.03 and errors.max() <= 0.3


@pytest.mark.slow
def test_a_long_recording_of_other_words_is_spread_and_flagged() -> None:
    samples = np.concatenate([say(SENTENCES[number % 3])[0] for number in range(35)])
    result = alignment.build("sphinx").align("a", samples, "she sells cheap purple shoes " * 40)
    assert samples.size > 90 * audio.SAMPLE_RATE
    assert (result.method, result.oddities) == ("uniform", (NOT_FOLLOWED,))


def test_a_wrong_text_scores_lower_than_the_right_one() -> None:
    aligner = alignment.build("sphinx")
    samples = say(SENTENCES[0])[0]
    right = aligner.align("a", samples, SENTENCES[0])
    wrong = aligner.align("a", samples, "she sells cheap purple shoes")
    assert wrong.method == "uniform" or wrong.score < right.score < 0


@pytest.mark.skipif("RAVDESS_ROOT" not in os.environ, reason="RAVDESS_ROOT is not set")
def test_loud_and_quiet_recordings_of_ravdess_align() -> None:
    aligner = alignment.build("sphinx")
    methods = []
    for actor in ("06", "09", "18", "20"):
        for path in sorted((Path(os.environ["RAVDESS_ROOT"]) / f"Actor_{actor}").glob("03-01-0[4-6]-02-02-*")):
            methods.append(aligner.align(path.stem, audio.read(path), "Dogs are sitting by the door").method)
    assert methods and methods.count("sphinx") >= 0.95 * len(methods)

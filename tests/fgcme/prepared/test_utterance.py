"""From one utterance to a row of the prepared corpus, or to a rejection with its reason."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from fgcme import alignment, audio, features, prepared
from fgcme.alignment import Aligner, AlignmentError
from fgcme.audio import AudioError, Samples
from fgcme.corpora.contract import Rejection, Utterance
from fgcme.features import FrameExtractor, FrameFormat, Frames, WordFeatures
from fgcme.features.contract import to_half
from fgcme.prepared.utterance import TOO_MANY_WORDS, FeatureError, hear, place_words, prepare_utterances
from tests.speech import say

TEXT = "Kids are talking, by the door!"
SPHINX = alignment.build("sphinx")
LOG_MEL = features.build_extractor("log_mel")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "Actor_01").mkdir()
    soundfile.write(tmp_path / "Actor_01/a.flac", say(TEXT)[0], 16_000)
    return tmp_path


def utterance(**changes: object) -> Utterance:
    values: dict[str, object] = {
        "id": "a",
        "audio": "Actor_01/a.flac",
        "text": TEXT,
        "raw_label": "sad",
        "speaker": "01",
    }
    return Utterance(**(values | changes))  # type: ignore[arg-type]


class Changed:
    """Log-mel frames, each changed by a function."""

    format = FrameFormat()

    def __init__(self, change: Callable[[np.ndarray], np.ndarray]) -> None:
        self.change = change

    def __call__(self, recordings: Sequence[Samples]) -> list[Frames]:
        return [Frames(self.change(frames.values)) for frames in LOG_MEL(recordings)]


def prepare(
    root: Path, aligner: Aligner = SPHINX, extractor: FrameExtractor = LOG_MEL, **changes: object
) -> dict[str, Any] | Rejection:
    """What becomes of one utterance."""
    (result,) = prepare_utterances([(utterance(**changes), "source")], root, aligner, extractor)
    return result


def rejection(root: Path, **changes: object) -> Rejection:
    result = prepare(root, **changes)
    assert isinstance(result, Rejection)
    assert (result.id, result.message != "") == ("a", True)
    return result


def test_an_utterance_becomes_a_row_of_the_prepared_corpus(root: Path) -> None:
    row = prepare(root, session="1", act="read", arousal=2.5)
    assert isinstance(row, dict)
    table = prepared.utterance_table([row])
    assert {*row, "content_hash"} == set(table.column_names)
    stored = table.to_pylist()[0]
    samples = audio.read(root / "Actor_01/a.flac")
    assert stored["words"] == ["kids", "are", "talking", "by", "the", "door"]
    assert stored["audio_sha256"] == hashlib.sha256((root / "Actor_01/a.flac").read_bytes()).hexdigest()
    assert stored["duration"] == pytest.approx(samples.size / 16_000)
    assert (stored["session"], stored["dialog"], stored["act"]) == ("1", None, "read")
    assert (stored["raw_label"], stored["speaker"], stored["source_hash"]) == ("sad", "01", "source")
    assert (stored["valence"], stored["arousal"], stored["dominance"]) == (None, 2.5, None)
    assert (stored["alignment"], stored["frame_size"]) == ("sphinx", 40)
    frames = np.array(stored["frames"], dtype=np.float32).reshape(stored["frame_count"], stored["frame_size"])
    np.testing.assert_array_equal(frames, LOG_MEL([samples])[0].values)
    assert all(begin < end for begin, end in zip(stored["begin"], stored["end"], strict=True))
    assert stored["end"][-1] <= stored["frame_count"]


def test_only_the_segment_of_a_file_is_prepared(root: Path) -> None:
    row = prepare(root, text="kids are", start=0.0, end=0.6)
    assert isinstance(row, dict)
    assert row["duration"] == pytest.approx(0.6) and row["frame_count"] == 58


def test_a_moved_segment_changes_what_the_row_holds(root: Path) -> None:
    uniform = alignment.build("uniform")
    rows = []
    for start in (0.0, 0.2):
        row = prepare(root, uniform, text="kids are", start=start, end=start + 0.6)
        assert isinstance(row, dict)
        rows.append(row)
    table = prepared.utterance_table(rows)
    for name in ("duration", "words", "frame_count"):
        assert table[name][0] == table[name][1]
    assert table["content_hash"][0] != table["content_hash"][1]


@pytest.mark.parametrize(
    "changes, stage, reason",
    [
        ({"audio": "Actor_01/none.flac"}, "read", "missing"),
        ({"start": 100.0}, "read", "bad_segment"),
        ({"text": ""}, "align", "no_words"),
        ({"text": "[LAUGHTER]"}, "align", "no_words"),
        ({"text": "kids привет"}, "align", "oov"),
    ],
)
def test_bad_data_becomes_a_rejection(root: Path, changes: dict[str, object], stage: str, reason: str) -> None:
    result = rejection(root, **changes)
    assert (result.stage, result.reason, result.audio) == (stage, reason, changes.get("audio", "Actor_01/a.flac"))


@pytest.mark.parametrize(
    "content, reason", [(b"", "empty"), (b"no audio", "unreadable"), (b"version https://git-lfs", "lfs_pointer")]
)
def test_a_bad_file_becomes_a_rejection(root: Path, content: bytes, reason: str) -> None:
    (root / "Actor_01/a.flac").write_bytes(content)
    result = rejection(root)
    assert (result.stage, result.reason) == ("read", reason)


def test_a_missing_alignment_becomes_a_rejection(root: Path) -> None:
    (root / "b.wdseg").touch()
    result = prepare(root, alignment.build("imported", folder=str(root)))
    assert isinstance(result, Rejection) and (result.stage, result.reason) == ("align", "missing_alignment")


def test_features_that_are_not_finite_become_a_rejection(root: Path) -> None:
    result = prepare(root, extractor=Changed(lambda frames: frames * np.float32("nan")))
    assert isinstance(result, Rejection) and (result.stage, result.reason) == ("feature", "not_finite")


def test_a_bug_is_not_reported_as_bad_data(root: Path) -> None:
    def fail(frames: np.ndarray) -> np.ndarray:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        prepare(root, extractor=Changed(fail))


def test_analysis_is_the_same_for_training_and_for_serving(root: Path) -> None:
    samples = audio.read(root / "Actor_01/a.flac")
    speech = place_words(hear(samples, LOG_MEL), samples, TEXT, SPHINX)
    row = prepare(root)
    assert isinstance(row, dict)
    np.testing.assert_array_equal(speech.frames.ravel(), row["frames"])
    np.testing.assert_array_equal(speech.begin, row["begin"])
    np.testing.assert_array_equal(speech.end, row["end"])
    assert speech.begin.dtype == speech.end.dtype == np.int32
    assert (speech.words, speech.alignment) == (row["words"], "sphinx")


def test_several_texts_of_one_recording_are_each_as_if_they_were_the_only_one(root: Path) -> None:
    samples = audio.read(root / "Actor_01/a.flac")
    heard = hear(samples, LOG_MEL)
    assert (heard.words, len(heard.begin), heard.alignment) == ([], 0, "none")
    other = place_words(heard, samples, "by the door", SPHINX)
    again, fresh = place_words(heard, samples, TEXT, SPHINX), place_words(hear(samples, LOG_MEL), samples, TEXT, SPHINX)
    assert other.words == ["by", "the", "door"] and heard.words == []
    assert (again.words, again.begin.tolist(), again.end.tolist()) == (
        fresh.words,
        *map(list, (fresh.begin, fresh.end)),
    )
    assert again.frames is other.frames


def test_analysis_raises_the_error_of_its_stage() -> None:
    samples = say(TEXT)[0]
    with pytest.raises(AudioError, match="silence"):
        hear(np.zeros(16_000, np.float32), LOG_MEL)
    with pytest.raises(AudioError, match="25 ms"):
        hear(samples[:300], LOG_MEL)
    with pytest.raises(AlignmentError, match="no words"):
        place_words(hear(samples, LOG_MEL), samples, "", SPHINX)
    with pytest.raises(FeatureError, match="not numbers"):
        hear(samples, Changed(lambda frames: frames + np.float32("inf")))


def test_utterances_keep_their_order_and_the_rejected_among_them_spoil_no_other(root: Path) -> None:
    """Their features are extracted together, two minutes of them at a time."""
    listed = [
        (utterance(id=name, text="" if name == "b" else TEXT, audio="none" if name == "d" else "Actor_01/a.flac"), name)
        for name in "abcdef"
    ]
    results = list(prepare_utterances(listed, root, alignment.build("uniform"), LOG_MEL))
    names = [result.id if isinstance(result, Rejection) else result["id"] for result in results]
    assert names == list("abcdef")
    assert [number for number, result in enumerate(results) if isinstance(result, Rejection)] == [1, 3]
    assert [result["source_hash"] for result in results if not isinstance(result, Rejection)] == list("acef")


def test_only_some_minutes_of_speech_wait_for_their_features(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fgcme.prepared.utterance._AT_ONCE", 1)
    calls: list[int] = []

    class Counting(Changed):
        def __call__(self, recordings: Sequence[Samples]) -> list[Frames]:
            calls.append(len(recordings))
            return super().__call__(recordings)

    listed = [(utterance(id=name), name) for name in "abc"]
    assert len(list(prepare_utterances(listed, root, alignment.build("uniform"), Counting(np.array)))) == 3
    assert calls[:3] == [1, 1, 1]


def test_a_row_says_how_many_values_half_precision_could_not_hold(root: Path) -> None:
    class Loud(Changed):
        def __call__(self, recordings: Sequence[Samples]) -> list[Frames]:
            return [to_half(frames.values * np.float32(1e4)) for frames in LOG_MEL(recordings)]

    row = prepare(root, extractor=Loud(np.array))
    assert isinstance(row, dict)
    table = prepared.utterance_table([row])
    stored = table["frames"].combine_chunks().flatten().to_numpy()
    assert stored.dtype == np.float16 and np.isfinite(stored).all()
    assert table["clipped"].to_pylist() == [np.count_nonzero(np.abs(stored) == np.finfo(np.float16).max)] != [0]


def test_a_row_holds_the_frames_of_copies_and_the_spans_of_the_recording(root: Path) -> None:
    (row,) = prepare_utterances([(utterance(), "source")], root, SPHINX, LOG_MEL, [0.9, 1.1])
    plain = prepare(root)
    assert isinstance(row, dict) and isinstance(plain, dict)
    samples = audio.read(root / "Actor_01/a.flac")
    copies = [LOG_MEL([audio.at_speed(samples, speed)])[0].values for speed in (0.9, 1.1)]
    assert row.pop("copy_frame_counts").tolist() == [len(copy) for copy in copies]
    np.testing.assert_array_equal(row.pop("copy_frames"), np.concatenate([copy.ravel() for copy in copies]))
    assert {*row} == {*plain}
    for name in row:
        np.testing.assert_array_equal(row[name], plain[name], err_msg=name)


def test_analysed_speech_has_the_same_copies_as_a_row(root: Path) -> None:
    samples = audio.read(root / "Actor_01/a.flac")
    (row,) = prepare_utterances([(utterance(), "source")], root, SPHINX, LOG_MEL, [0.9, 1.1])
    assert isinstance(row, dict)
    speech = place_words(hear(samples, LOG_MEL, [0.9, 1.1]), samples, TEXT, SPHINX)
    assert [copy.speed for copy in speech.copies] == [0.9, 1.1]
    np.testing.assert_array_equal(np.concatenate([copy.frames.ravel() for copy in speech.copies]), row["copy_frames"])
    assert speech.begin.tolist() == row["begin"].tolist()


def test_an_utterance_whose_copy_cannot_be_prepared_is_rejected_whole(root: Path) -> None:
    short = utterance(id="short", start=1.0, end=1.026)
    results = list(
        prepare_utterances([(short, "a"), (utterance(), "b")], root, alignment.build("uniform"), LOG_MEL, [2])
    )
    assert isinstance(results[0], Rejection) and results[0].reason == "too_short"
    assert "the copy at speed 2 lasts 13" in results[0].message
    # The frames of one utterance are not taken for those of the next.
    assert isinstance(results[1], dict) and len(results[1]["copy_frame_counts"]) == 1


def test_values_that_are_not_finite_in_a_copy_reject_the_utterance(root: Path) -> None:
    longest = len(LOG_MEL([audio.read(root / "Actor_01/a.flac")])[0].values)
    faulty = Changed(lambda frames: frames if len(frames) <= longest else frames * np.float32("nan"))
    (result,) = prepare_utterances([(utterance(), "source")], root, alignment.build("uniform"), faulty, [0.9])
    assert isinstance(result, Rejection) and result.reason == "not_finite"


class Spelling:
    """Says of a word its length and its first letter; nothing of `by`."""

    def __init__(self, clipped: int = 0, spoilt: str = "") -> None:
        self.clipped, self.spoilt = clipped, spoilt

    def __call__(self, utterances: Sequence[Sequence[str]]) -> list[WordFeatures]:
        said = {"by": (0, 0), self.spoilt: (np.nan, 0)}
        values = [[said.get(word, (len(word), ord(word[0]))) for word in words] for words in utterances]
        return [
            WordFeatures(np.array(each, np.float16).reshape(-1, 2), empty=1, cut=2, clipped=self.clipped)
            for each in values
        ]


def test_what_a_text_encoder_says_of_words_is_stored_beside_the_frames(root: Path) -> None:
    texts = ["kids are talking", "...", "by the door"]
    listed = [(utterance(id=str(number), text=text), "source") for number, text in enumerate(texts)]
    uniform = alignment.build("uniform")
    first, silent, last = prepare_utterances(listed, root, uniform, LOG_MEL, (), Spelling(clipped=3))
    assert isinstance(first, dict) and isinstance(silent, Rejection) and isinstance(last, dict)
    table = prepared.utterance_table([first, last])
    assert set(prepared.WORD_FEATURES.names) <= set(table.column_names)
    assert table["word_features"].to_pylist() == [[4, 107, 3, 97, 7, 116], [0, 0, 3, 116, 4, 100]]
    for name, value in {"word_feature_size": 2, "empty_words": 1, "cut_words": 2, "clipped": 3}.items():
        assert table[name].to_pylist() == [value, value]
    plain = prepared.utterance_table(prepare_utterances([listed[0]], root, uniform, LOG_MEL))
    assert plain.column_names == prepared.UTTERANCES.names
    assert plain["content_hash"][0] != table["content_hash"][0]
    samples = audio.read(root / "Actor_01/a.flac")
    speech = place_words(hear(samples, LOG_MEL), samples, texts[0], uniform, Spelling())
    assert speech.word_features is not None and speech.word_features.ravel().tolist() == first["word_features"].tolist()


def test_values_of_a_text_encoder_that_are_not_numbers_reject_the_utterance_alone(root: Path) -> None:
    listed = [(utterance(id=name, text=name), "source") for name in ("kids", "dogs", "doors")]
    results = list(prepare_utterances(listed, root, alignment.build("uniform"), LOG_MEL, (), Spelling(spoilt="dogs")))
    assert [getattr(result, "reason", None) for result in results] == [None, "not_finite", None]
    assert isinstance(results[2], dict) and results[2]["word_features"].tolist() == [5, 100]


def test_a_row_tells_what_was_odd_about_its_audio_and_its_words(root: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (4_000, 2))
    soundfile.write(tmp_path / "odd.wav", noise, 8_000)
    spoken = utterance(audio=str(tmp_path / "odd.wav"), text="word " * 1_000)
    plain, odd = prepare_utterances([(utterance(), "a"), (spoken, "b")], root, alignment.build("uniform"), LOG_MEL)
    assert not isinstance(plain, Rejection) and not isinstance(odd, Rejection)
    assert plain["oddities"] == []
    assert odd["oddities"] == ["mixed down to one channel", "resampled from another rate", TOO_MANY_WORDS]

"""What a model takes in of a part's utterances."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from fgcme.data import SpeechCorpus, Vocabulary
from fgcme.data.batch import FrameLayout, SegmentScheme, layout_frames
from fgcme.data.front_end import FrontEnd, Moments, moments_of_all
from fgcme.data.inputs import ModelInput, PartInputs
from fgcme.errors import UserError
from tests import small_corpus


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield small_corpus.write(tmp_path_factory.mktemp("prepared") / "corpus")


def part_inputs(
    corpus: SpeechCorpus, front_end: FrontEnd, speakers: dict[int, Moments] | None = None, frame_limit: int = 3000
) -> PartInputs:
    """The inputs of all but the first 14 utterances of a corpus."""
    vocabulary = Vocabulary.from_utterances(corpus.words)
    model_input = ModelInput(SegmentScheme("words", 6), vocabulary, frame_limit, front_end, speakers or {})
    return PartInputs(corpus, np.arange(14, len(corpus)), np.arange(len(corpus)) % 4, model_input)


def test_inputs_are_those_of_the_part_s_utterances_in_its_order(folder: Path) -> None:
    corpus = SpeechCorpus(folder)
    inputs = part_inputs(corpus, FrontEnd())
    assert len(inputs) == len(corpus) - 14
    vocabulary = Vocabulary.from_utterances(corpus.words)
    for position, utterance in enumerate(range(14, len(corpus))):
        assert inputs.utterances[position] == utterance
        assert inputs.labels[position] == utterance % 4
        assert inputs.words(position).tolist() == vocabulary.index(corpus.words[utterance]).tolist()
        np.testing.assert_array_equal(inputs.prepared_frames(position), corpus.frames(utterance))
        np.testing.assert_array_equal(inputs.spans(position), corpus.spans(utterance))
        expected = layout_frames(SegmentScheme("words", 6), *corpus.spans(utterance), corpus.frame_count(utterance))
        np.testing.assert_array_equal(inputs.layout(position).runs, expected.runs)


@pytest.mark.parametrize("normalisation", ["none", "train"])
def test_frames_that_the_front_end_leaves_alone_are_not_copied(folder: Path, normalisation: str) -> None:
    corpus = SpeechCorpus(folder)
    inputs = part_inputs(corpus, FrontEnd(normalisation=normalisation))  # type: ignore[arg-type]
    for position in range(len(inputs)):
        assert np.shares_memory(inputs.frames(position), corpus.frames(14 + position))


def test_front_end_results_are_computed_once_and_cut_at_the_frame_limit(folder: Path) -> None:
    corpus = SpeechCorpus(folder)
    front_end = FrontEnd("mfcc", 2, "utterance")
    inputs = part_inputs(corpus, front_end, frame_limit=50)
    np.testing.assert_array_equal(inputs.frames(3), front_end(corpus.frames(17)[:50]))
    assert np.shares_memory(inputs.frames(3), inputs.frames(3))
    assert inputs.frames(3).shape == (50, inputs.frame_size) and inputs.frame_size == 18
    assert inputs.frames(3).dtype == np.float32


def test_each_speaker_is_normalised_by_their_own_statistics(folder: Path) -> None:
    corpus = SpeechCorpus(folder)
    # Of one utterance of each speaker: the test is about whose moments are used.
    moments = {
        voice: moments_of_all([(corpus.frames(index), np.array([len(corpus.frames(index))]))])
        for index, voice in enumerate(corpus.voices.tolist())
    }
    inputs = part_inputs(corpus, FrontEnd(normalisation="speaker"), moments)
    for position, utterance in enumerate(inputs.utterances):
        mean, deviation = moments[corpus.voices[utterance]]
        expected = (corpus.frames(utterance) - mean) / deviation
        np.testing.assert_allclose(inputs.frames(position), expected, rtol=1e-5)


def test_a_corpus_of_an_older_version_serves_models_that_need_not_know_where_the_speech_is(folder: Path) -> None:
    corpus = SpeechCorpus(folder)
    rows = pq.read_table(folder / "utterances" / "a.parquet").drop_columns(["speech_begin", "speech_end"])
    older = folder.parent / "older"
    shutil.copytree(folder, older, ignore=shutil.ignore_patterns("mapped*", "b.parquet"), dirs_exist_ok=True)
    pq.write_table(rows, older / "utterances" / "a.parquet")
    vocabulary = Vocabulary.from_utterances(corpus.words)

    def layout(scheme: SegmentScheme) -> FrameLayout:
        older_corpus = SpeechCorpus(older)
        everyone = np.arange(len(older_corpus))
        return PartInputs(older_corpus, everyone, everyone % 4, ModelInput(scheme, vocabulary, 3000)).layout(0)

    assert layout(SegmentScheme("words", 6)).length
    with pytest.raises(UserError, match=r"model\.pooling\.segments speech needs; run `fgcme prepare` again"):
        layout(SegmentScheme("speech", 6))


def test_frames_on_a_device_are_those_that_segments_read(folder: Path) -> None:
    inputs = part_inputs(SpeechCorpus(folder), FrontEnd(deltas=1))
    positions = np.array([5, 2])
    assert inputs.frames_on_device(positions) is None
    inputs.keep_on("cpu")
    found = inputs.frames_on_device(positions)
    assert found is not None
    runs = [(position, run) for position in positions for run in inputs.layout(position).runs]
    expected = np.concatenate([inputs.frames(position)[slice(*run)] for position, run in runs])
    np.testing.assert_array_equal(found.numpy(), expected)
    everything = inputs.frames_on_device(np.arange(len(inputs)))
    assert everything is not None and everything.numel() * 4 == inputs.device_bytes


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> SpeechCorpus:
    return SpeechCorpus(small_corpus.write(tmp_path_factory.mktemp("prepared") / "copied", copies=[0.9, 1.1]))


def test_each_utterance_is_followed_by_its_copies(copied: SpeechCorpus) -> None:
    inputs = part_inputs(copied, FrontEnd(), frame_limit=95)
    assert (len(inputs), inputs.of_each) == (3 * len(inputs.utterances), 3)
    for position, recording in enumerate(inputs.recordings.tolist()):
        utterance = inputs.utterances[position // 3]
        assert recording % len(copied) == utterance and recording // len(copied) == position % 3
        assert inputs.labels[position] == utterance % 4
        np.testing.assert_array_equal(inputs.frames(position), copied.frames(recording)[:95])
        np.testing.assert_array_equal(inputs.prepared_frames(position), copied.frames(recording))
        np.testing.assert_array_equal(inputs.spans(position), copied.spans(recording))
        assert inputs.frame_counts[position] == len(inputs.frames(position))
        expected = layout_frames(SegmentScheme("words", 6), *copied.spans(recording), len(inputs.frames(position)))
        np.testing.assert_array_equal(inputs.layout(position).spans, expected.spans)


def test_a_model_that_reads_no_frames_has_no_copies(copied: SpeechCorpus) -> None:
    vocabulary = Vocabulary.from_utterances(copied.words)
    everyone = np.arange(len(copied))
    inputs = PartInputs(copied, everyone, everyone % 4, ModelInput(SegmentScheme("none"), vocabulary, 3000))
    assert (len(inputs), inputs.of_each) == (len(copied), 1)


def test_each_voice_is_normalised_by_its_own_statistics(copied: SpeechCorpus) -> None:
    generator = np.random.default_rng(0)
    moments = {
        int(voice): Moments(*np.abs(generator.normal(size=(2, 6))).astype(np.float32)) for voice in set(copied.voices)
    }
    inputs = part_inputs(copied, FrontEnd(normalisation="speaker"), moments)
    for position, recording in enumerate(inputs.recordings.tolist()):
        mean, deviation = moments[copied.voices[recording]]
        expected = (copied.frames(recording) - mean) / deviation
        np.testing.assert_allclose(inputs.frames(position), expected, rtol=1e-5)

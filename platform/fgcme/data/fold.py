"""One fold of a prepared corpus, ready to be trained on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fgcme.audio import frames_within
from fgcme.data.assignment import Assignment, Selection, apply_protocol, split_fold
from fgcme.data.columns import encode
from fgcme.data.dataset import SpeechCorpus, Vocabulary
from fgcme.data.front_end import FrontEnd, Moments, moments_of_all
from fgcme.data.hearing import front_end_of, has_words, reads_encoder_of_words, scheme_of
from fgcme.data.inputs import ModelInput, PartInputs
from fgcme.data.loader import RaggedLoader
from fgcme.data.targets import Tasks
from fgcme.errors import UserError
from fgcme.experiment import AugmentationSettings, Experiment, ModelSettings, TrainingSettings


@dataclass(frozen=True)
class FoldLoaders:
    """One fold, ready to be trained on.

    Attributes:
        train, dev, test: loaders of the parts; dev and test are empty where everybody is trained on.
        vocabulary: words of the training part, and others that have a vector.
        tasks: what is learnt.
        frame_size: values of a frame as the model reads it, F, those of its layers side by side.
        layers: how many layers of an encoder lie side by side in a frame.
        mean, deviation: [F] of the training part's frames as the model reads them, or None where it does not want them.
        vectors: [words, values] that the vocabulary's words, given ones last, start from; NaN for a word that has none.
            None where the model does not want them.
        word_feature_size: values of what a text encoder says of a word, its layers side by side; 0 where the model does
            not read it.
        word_layers: how many layers of it lie side by side.
    """

    train: RaggedLoader
    dev: RaggedLoader
    test: RaggedLoader
    vocabulary: Vocabulary
    tasks: Tasks
    frame_size: int
    layers: int
    mean: np.ndarray | None
    deviation: np.ndarray | None
    vectors: np.ndarray | None = None
    word_feature_size: int = 0
    word_layers: int = 0


def open_fold(
    corpus: SpeechCorpus, corpus_hash: str, experiment: Experiment, fold: int | None, selection: Selection, work: str
) -> tuple[Assignment, FoldLoaders]:
    """Open one fold of a prepared corpus for training.

    Args:
        corpus: the prepared corpus.
        corpus_hash: hash of the corpus when the work began.
        experiment: its `protocol`, `model` and `training` sections count.
        fold: counted from 0; None trains on everybody.
        selection: which part chooses the best epoch; this decides what is trained on.
        work: what needs the fold, such as `training`, for the error message.

    Returns:
        The protocol applied to the corpus, and the fold's loaders.

    Raises:
        UserError: the corpus has been prepared again since, or does not fit the protocol.
    """
    if corpus.description.corpus_hash != corpus_hash:
        raise UserError(f"{corpus.folder}: was prepared again while this {work} was under way; start it anew")
    assignment = apply_protocol(experiment.protocol, experiment.corpus.kind, corpus.table)
    return assignment, make_fold_loaders(corpus, assignment, fold, selection, experiment.model, experiment.training)


def make_fold_loaders(
    corpus: SpeechCorpus,
    assignment: Assignment,
    fold: int | None,
    selection: Selection,
    model: ModelSettings,
    training: TrainingSettings,
    refit: bool = False,
) -> FoldLoaders:
    """Make the loaders of one fold. Vocabulary, mean and deviation come from the training part alone.

    Args:
        corpus: the prepared corpus.
        assignment: the protocol applied to it.
        fold: counted from 0; None trains on everybody.
        selection: which part chooses the best epoch; this decides what is trained on.
        model: decides which frames are read, and what the front end makes of them.
        training: its batch size, frame limit and augmentation count.
        refit: train on the dev part as well, when it has chosen the epoch.

    Raises:
        UserError: there is no such fold, or frames are normalised by speaker and someone in the fold has none; or it is
            to train on the test part, which has chosen the epoch; or the file of the word vectors cannot be read.
    """
    split = split_fold(assignment, fold, selection)
    if refit and selection == "test":
        raise UserError(
            "training.refit would train on the test part, which chooses the epoch: set protocol.selection=dev"
        )
    if refit:
        split = replace(split, train=np.union1d(split.train, split.dev))
    vocabulary, vectors = _vocabulary(corpus, split.train, model)
    utterances = np.concatenate([split.train, split.dev, split.test])
    model_input = _model_input(corpus, utterances, model, training, vocabulary)
    front_end, reads_encoder = model_input.front_end, model_input.reads_word_features
    mean = deviation = None
    if model_input.reads_frames and front_end.normalisation == "train":
        heard = corpus.recordings(split.train)
        mean, deviation = moments_of_all(feature_blocks(corpus, heard, front_end, model_input.frame_limit))

    def loader(utterances: np.ndarray, augmentation: AugmentationSettings | None = None) -> RaggedLoader:
        inputs = PartInputs(corpus, utterances, assignment.labels, model_input)
        ratings, votes = assignment.ratings[utterances], assignment.votes[utterances]
        return RaggedLoader(inputs, training.batch_size, augmentation, ratings, votes)

    return FoldLoaders(
        train=loader(split.train, training.augmentation),
        dev=loader(split.dev),
        test=loader(split.test),
        vocabulary=vocabulary,
        tasks=assignment.protocol.tasks,
        frame_size=front_end.size(corpus.frame_size),
        layers=corpus.layers,
        mean=mean,
        deviation=deviation,
        vectors=vectors,
        word_feature_size=corpus.word_feature_size if reads_encoder else 0,
        word_layers=corpus.word_layers if reads_encoder else 0,
    )


def _model_input(
    corpus: SpeechCorpus,
    utterances: np.ndarray,
    model: ModelSettings,
    training: TrainingSettings,
    vocabulary: Vocabulary,
) -> ModelInput:
    """How a model takes in the utterances of a fold, [B]; see `make_fold_loaders`."""
    front_end, limit = front_end_of(model.acoustic), frames_within(training.frame_limit, corpus.frame_step)
    model_input = ModelInput(
        scheme_of(model),
        vocabulary,
        limit,
        front_end,
        loses_words=training.augmentation.modality_dropout > 0,
        reads_word_features=reads_encoder_of_words(model, corpus.word_layers),
    )
    if model_input.reads_frames and model.pooling.normalisation == "speaker":
        require_speakers(corpus, utterances, "model.pooling.normalisation", "train")
        model_input = replace(model_input, tells_speakers_apart=True)
    if model_input.reads_frames and front_end.normalisation == "speaker":
        model_input = replace(model_input, speakers=speaker_moments(corpus, utterances, front_end, limit))
    return model_input


def _vocabulary(
    corpus: SpeechCorpus, utterances: np.ndarray, model: ModelSettings
) -> tuple[Vocabulary, np.ndarray | None]:
    """The vocabulary of a training part, and the vectors that its words start from, see `FoldLoaders`."""
    words, settings = corpus.words_of(utterances), model.semantic
    if settings.vectors is None or not has_words(model):
        return Vocabulary(words), None
    vectors = corpus.word_vectors(Path(settings.vectors), settings.embedding)
    vocabulary = Vocabulary(words, sorted(vectors.keys() - set(words)))
    nothing = np.full(settings.embedding, np.nan, np.float32)
    of_each = [vectors.get(word, nothing) for word in [*vocabulary.words, *vocabulary.given]]
    return vocabulary, np.stack(of_each)


def speaker_moments(
    corpus: SpeechCorpus, utterances: np.ndarray, front_end: FrontEnd, limit: int
) -> dict[int, Moments]:
    """Mean and deviation of the features of some utterances' speakers, over all that the corpus has of each speaker.

    Copies at another speed have their own: they sound like another speaker.

    Args:
        corpus: the prepared corpus.
        utterances: [B] indices of utterances whose speakers are wanted.
        front_end: makes the features of the frames.
        limit: audio is cut after this many prepared frames.

    Returns:
        Moments by voice, see `SpeechCorpus.voices`.

    Raises:
        UserError: one of the utterances has no speaker.
    """
    require_speakers(corpus, utterances, "model.acoustic.normalisation", "utterance")
    voices = corpus.voices
    # Sorted by voice, and so in as many stretches as there are voices.
    order = np.argsort(voices, kind="stable")
    wanted = np.unique(voices[corpus.recordings(utterances)])
    edges = np.searchsorted(voices[order], [wanted, wanted + 1])
    return {
        voice: moments_of_all(feature_blocks(corpus, order[first:last], front_end, limit))
        for voice, first, last in zip(wanted.tolist(), *edges, strict=True)
    }


def require_speakers(corpus: SpeechCorpus, utterances: np.ndarray, setting: str, instead: str) -> None:
    """Check that some utterances name their speakers.

    Args:
        corpus: the prepared corpus.
        utterances: [B] indices.
        setting: what needs the speakers as `speaker`.
        instead: its value that does not.

    Raises:
        UserError: one of them does not.
    """
    numbers, names = encode(corpus.table.speakers)
    nameless = {-1} | {number for number, name in enumerate(names) if not name}
    if without := np.flatnonzero(np.isin(numbers[utterances], list(nameless))).tolist():
        raise UserError(
            f"{setting} speaker: utterance {corpus.table.ids[utterances[without[0]]]} has no speaker; name its speaker "
            f"in the corpus, or set {setting}={instead}"
        )


def feature_blocks(
    corpus: SpeechCorpus, recordings: np.ndarray, front_end: FrontEnd, limit: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The features of some recordings, in blocks: frames [A, F], and how many each recording has [B].

    Args:
        corpus: the prepared corpus.
        recordings: [B] their numbers in it.
        front_end: makes the features of the frames.
        limit: audio is cut after this many prepared frames.
    """
    features = corpus.features(front_end, limit)
    if features is not None:
        yield from features.blocks(recordings)
    else:
        for index in recordings:
            frames = front_end.without_speaker(corpus.prepared.stored(index)[:limit])
            yield frames, np.array([len(frames)])

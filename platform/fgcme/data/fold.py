"""One fold of a prepared corpus, ready to be trained on."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from fgcme.data.dataset import RaggedLoader, SpeechCorpus, Vocabulary
from fgcme.data.front_end import FrontEnd, Moments, moments_of_all
from fgcme.data.hearing import front_end_of, scheme_of
from fgcme.data.protocol import Assignment, Selection, apply_protocol, split_fold
from fgcme.errors import UserError
from fgcme.experiment import AugmentationSettings, Experiment, ModelSettings, TrainingSettings


@dataclass(frozen=True)
class FoldLoaders:
    """One fold, ready to be trained on.

    Attributes:
        train, dev, test: loaders of the parts.
        vocabulary: of the training part.
        classes: class names.
        frame_size: values of a frame as the model reads it.
        mean, deviation: [F] of the training part's frames as the model reads them, or None where it does not want them.
    """

    train: RaggedLoader
    dev: RaggedLoader
    test: RaggedLoader
    vocabulary: Vocabulary
    classes: list[str]
    frame_size: int
    mean: np.ndarray | None
    deviation: np.ndarray | None


def open_fold(
    corpus: SpeechCorpus, corpus_hash: str, experiment: Experiment, fold: int, selection: Selection, work: str
) -> tuple[Assignment, FoldLoaders]:
    """Open one fold of a prepared corpus for training: the protocol applied to the corpus, and the fold's loaders.

    Args:
        corpus: the prepared corpus.
        corpus_hash: the state of it that is meant.
        experiment: its `protocol`, `model` and `training` sections count.
        fold: which one.
        selection: how epochs are chosen, which decides what is trained on.
        work: what needs the fold, as in `training`.

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
    fold: int,
    selection: Selection,
    model: ModelSettings,
    training: TrainingSettings,
) -> FoldLoaders:
    """Make the loaders of one fold. Vocabulary and the statistics of `train` come from the training part alone.

    Raises:
        UserError: frames are normalised by speaker, and someone in the fold has none.
    """
    parts = split_fold(assignment, fold, selection)
    vocabulary = Vocabulary.from_utterances([corpus.words[index] for index in parts.train])
    read, made = scheme_of(model), front_end_of(model.acoustic)
    hears = read.segments != "none"
    speakers = None
    if hears and made.normalisation == "speaker":
        speakers = speaker_moments(corpus, np.concatenate([parts.train, parts.dev, parts.test]), made)

    def loader(utterances: np.ndarray, augmentation: AugmentationSettings | None = None) -> RaggedLoader:
        return RaggedLoader(
            corpus,
            utterances,
            assignment.labels,
            vocabulary,
            read,
            training.batch_size,
            training.frame_limit,
            made,
            speakers,
            augmentation,
        )

    mean = deviation = None
    if hears and made.normalisation == "train":
        mean, deviation = moments_of_all(made.features(corpus.frames(index)) for index in parts.train)
    return FoldLoaders(
        train=loader(parts.train, training.augmentation),
        dev=loader(parts.dev),
        test=loader(parts.test),
        vocabulary=vocabulary,
        classes=assignment.protocol.classes,
        frame_size=made.size(corpus.frame_size),
        mean=mean,
        deviation=deviation,
    )


def speaker_moments(corpus: SpeechCorpus, utterances: np.ndarray, made: FrontEnd) -> dict[str, Moments]:
    """Moments of whoever speaks in some utterances, over all that the corpus has of them.

    Raises:
        UserError: it is not known who speaks in one of them.
    """
    wanted = set()
    for utterance in utterances:
        speaker = corpus.table.speakers[utterance]
        if not speaker:
            raise UserError(
                f"model.acoustic.normalisation speaker: utterance {corpus.table.ids[utterance]} has no speaker; "
                "name its speaker in the corpus, or set model.acoustic.normalisation=utterance"
            )
        wanted.add(speaker)
    by_speaker = defaultdict(list)
    for utterance, speaker in enumerate(corpus.table.speakers):
        if speaker in wanted:
            by_speaker[speaker].append(utterance)
    return {
        speaker: moments_of_all(made.features(corpus.frames(utterance)) for utterance in theirs)
        for speaker, theirs in by_speaker.items()
    }

"""On the demo corpus, where it is known which words carry the emotion, contributions name them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from fgcme import features
from fgcme.alignment import Alignment
from fgcme.alignment.contract import clip_spans
from fgcme.audio import HOP, SAMPLE_RATE, Samples
from fgcme.corpora import demo
from fgcme.data import SpeechCorpus
from fgcme.experiment import Experiment, load_experiment
from fgcme.files import digest
from fgcme.model import FusedWords, Network, build_model, contributions
from fgcme.model.contribution import log_odds
from fgcme.prepared.corpus import UTTERANCES, CorpusDescription
from fgcme.prepared.utterance import prepare_utterances
from fgcme.training.average_word import set_average_word
from fgcme.training.learning import FoldTrainer
from pipelines import bundled
from pipelines.runs.corpus import feature_settings
from tests.fgcme.model.reference_contribution import shares
from tests.fold_training import fold_loaders

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


class TrueOnsets:
    """Aligns each word with the frames from its true onset to the next one's."""

    def __init__(self, folder: Path) -> None:
        table = pq.read_table(folder / "words.parquet").to_pylist()
        self.onsets = {row["id"]: (row["words"], np.array(row["onset"])) for row in table}

    def align(self, utterance_id: str, samples: Samples, text: str) -> Alignment:
        words, onsets = self.onsets[utterance_id]
        first, last = (onsets * SAMPLE_RATE / HOP).astype(np.int32).tolist(), len(samples) // HOP - 10
        begin, end = clip_spans(first, [*first[1:], last], last)
        return Alignment(words, begin, end, method="imported", score=0.0)


@dataclass(frozen=True)
class Explained:
    """An answer for an utterance, and what its words contribute.

    Attributes:
        words: of the utterance.
        right: whether the answer is.
        marked: which words are marked in utterances of that emotion.
        fused, label: what the network answers from, and what.
        contributions: [W].
        without: [W] how much lower the log-odds are with the average word in place of each.
    """

    words: list[str]
    right: bool
    marked: set[str]
    fused: FusedWords
    label: int
    contributions: np.ndarray
    without: np.ndarray


@pytest.fixture(scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    return load_experiment(bundled.experiment_file("demo_ablation"), [])


@pytest.fixture(scope="module")
def trainer(one_thread: None, experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> FoldTrainer:
    """FG-CME in the sizes of the demo's ablation, trained on the whole demo corpus but for a fold."""
    folder = tmp_path_factory.mktemp("demo")
    demo.synthesise(folder, 480, seed=0)
    listed = [(utterance, utterance.id) for utterance in demo.find(folder).utterances]
    rows = list(prepare_utterances(listed, folder, TrueOnsets(folder), features.build_extractor("log_mel")))
    (folder / "prepared" / "utterances").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, UTTERANCES), folder / "prepared" / "utterances" / "a.parquet")
    settings = feature_settings(experiment)
    counts = {"utterances": len(rows), "rejected": 0}
    CorpusDescription("demo", settings, digest(settings), "demo", counts, {}).write(folder / "prepared")
    loaders = fold_loaders(SpeechCorpus(folder / "prepared"), experiment)
    training = FoldTrainer(loaders, experiment.model, experiment.training, seed=0)
    for _ in training.epochs():
        pass
    training.restore_best()
    set_average_word(training.model, loaders.train, torch.device("cpu"))
    return training


def fuse(trainer: FoldTrainer, network: Network, place: int) -> FusedWords:
    with torch.no_grad():
        return network.eval().fuse(trainer.loaders.test.batch(np.array([place])))


@torch.no_grad()
def with_average_words(network: Network, fused: FusedWords, kept: np.ndarray, label: int) -> np.ndarray:
    """[subsets] log-odds where only the words of a subset, [subsets, W], are not the average one."""
    average = network.average_word
    assert average is not None
    words = average + torch.from_numpy(kept).float().unsqueeze(2) * (fused.features - average)
    several = FusedWords(words.flatten(0, 1), fused.word_counts.repeat(len(kept)))
    return log_odds(network.conclude(several).logits, label).numpy()


@pytest.fixture(scope="module")
def explained(trainer: FoldTrainer) -> list[Explained]:
    """Every utterance of the test part."""
    network, loaders, found = trainer.model, trainer.loaders, []
    classes = loaders.tasks.classes
    for place, words in enumerate(loaders.test.inputs.words(place) for place in range(len(loaders.test.inputs))):
        fused = fuse(trainer, network, place)
        with torch.no_grad():
            label = int(network.conclude(fused).logits.argmax())
        count = len(words)
        kept = np.vstack([np.ones(count), 1 - np.eye(count)])
        whole, *others = with_average_words(network, fused, kept, label)
        known = [loaders.vocabulary.words[number - 2] if number > 1 else "" for number in words.tolist()]
        carrier, _ = demo.EMOTIONS[classes[label]]
        found.append(
            Explained(
                known,
                label == loaders.test.labels[place],
                {*demo.LEXICON[carrier], *demo.LEXICON["indifferent"]},
                fused,
                label,
                contributions([(network, fused)], label).words.numpy(),
                whole - np.array(others),
            )
        )
    return found


def agreement(explained: list[Explained], ranking: Callable[[int, Explained], np.ndarray]) -> float:
    """How often the first word by a ranking is the one without which the log-odds fall most."""
    return float(np.mean([ranking(n, each).argmax() == each.without.argmax() for n, each in enumerate(explained)]))


def test_the_top_word_is_a_marked_one(explained: list[Explained]) -> None:
    right = [each for each in explained if each.right]
    assert len(right) > 0.6 * len(explained)
    top = [each.words[each.contributions.argmax()] in each.marked for each in right]
    assert np.mean(top) >= 0.85


def test_the_top_word_is_the_one_without_which_the_answer_loses_most(
    explained: list[Explained], trainer: FoldTrainer, experiment: Experiment
) -> None:
    """Not by random weights, nor where contributions are given to other words."""
    assert agreement(explained, lambda number, each: each.contributions) >= 0.9
    assert agreement(explained, lambda number, each: np.roll(each.contributions, 1)) < 0.5
    loaders = trainer.loaders
    torch.manual_seed(1)
    untrained = build_model(experiment.model, loaders.frame_size, len(loaders.vocabulary), len(loaders.tasks.classes))
    set_average_word(untrained, loaders.train, torch.device("cpu"))

    def by_random_weights(number: int, each: Explained) -> np.ndarray:
        return contributions([(untrained, fuse(trainer, untrained, number))], each.label).words.numpy()

    assert agreement(explained, by_random_weights) < 0.5


def test_contributions_are_close_to_shapley_values_and_to_the_shares_of_the_readout(
    explained: list[Explained], trainer: FoldTrainer
) -> None:
    short = sorted(explained, key=lambda each: len(each.words))[:4]
    alike = []
    for each in short:
        count = len(each.words)
        subsets = np.array(list(itertools.product([0, 1], repeat=count)))
        values = with_average_words(trainer.model, each.fused, subsets, each.label)
        sizes, shapley = subsets.sum(1), np.zeros(count)
        for word in range(count):
            # In this order of subsets a word's bit tells how far away the subset with it is.
            lacking = np.flatnonzero(subsets[:, word] == 0)
            gains = values[lacking + 2 ** (count - 1 - word)] - values[lacking]
            weights = [
                math.factorial(k) * math.factorial(count - k - 1) / math.factorial(count) for k in sizes[lacking]
            ]
            shapley[word] = gains @ np.array(weights)
        alike.append(np.corrcoef(shapley, each.contributions)[0, 1])
    assert np.mean(alike) > 0.9
    by_share = [shares(trainer.model, each.fused, each.label)[1] for each in explained[:20]]
    pairs = zip(by_share, explained[:20], strict=True)
    assert np.mean([np.corrcoef(share, each.contributions)[0, 1] for share, each in pairs]) > 0.9

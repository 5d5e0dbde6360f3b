"""Every variant and every loss learns from synthetic speech that is aligned and prepared like a user's corpus."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from fgcme import alignment, features
from fgcme.corpora import demo
from fgcme.data import SpeechCorpus, apply_protocol, make_fold_loaders
from fgcme.experiment import Experiment, parse_experiment, variants
from fgcme.files import digest
from fgcme.prepared.corpus import UTTERANCES, CorpusDescription
from fgcme.prepared.utterance import prepare_utterances
from fgcme.training.learning import FoldTrainer, supports_bfloat16
from pipelines.runs.corpus import feature_settings

SENTENCES = 16
SMALL = {
    "acoustic": {"channels": [16, 16], "kernels": [5, 2], "normalisation": "train"},
    "semantic": {"embedding": 16},
    "fusion": {"hidden": 16},
    "baseline": {"hidden": 16, "stack": 8},
}
TRAINING = {"epochs": 10, "batch_size": 4, "learning_rate": 0.015}
AUGMENTATION = {
    "speed": 0.1,
    "gain_db": 3.0,
    "noise": 0.3,
    "snr_db": [20.0, 30.0],
    "time_masks": 1,
    "frequency_masks": 1,
    "frequency_width": 4,
    "mixup_alpha": 0.1,
}


class Losses(NamedTuple):
    """Means over the training part.

    Attributes:
        training: the loss that is trained.
        emotion: cross-entropy of the emotions.
    """

    training: float
    emotion: float


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> SpeechCorpus:
    """One emotion for each sentence of the demo corpus, so that a model of the words alone can learn too."""
    folder = tmp_path_factory.mktemp("demo")
    demo.synthesise(folder, 4 * SENTENCES, seed=0)
    spoken = list(demo.find(folder).utterances)
    # Each speaker has two sentences, in different emotions.
    chosen = [spoken[4 * sentence + (sentence + sentence // 8) % 4] for sentence in range(SENTENCES)]
    aligner, extractor = alignment.build("sphinx"), features.build_extractor("log_mel")
    listed = [(utterance, utterance.id) for utterance in chosen]
    rows = list(prepare_utterances(listed, folder, aligner, extractor))
    (folder / "prepared" / "utterances").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, UTTERANCES), folder / "prepared" / "utterances" / "a.parquet")
    settings = feature_settings(experiment({}, {}))
    CorpusDescription(
        corpus="demo",
        settings=settings,
        settings_hash=digest(settings),
        corpus_hash="demo",
        counts={"utterances": len(rows), "rejected": 0},
        versions={},
    ).write(folder / "prepared")
    return SpeechCorpus(folder / "prepared")


def experiment(model: dict[str, Any], training: dict[str, Any]) -> Experiment:
    settings: dict[str, Any] = copy.deepcopy(SMALL)
    variants.merge(settings, model)
    return parse_experiment(
        {
            "name": "family",
            "corpus": {"kind": "demo"},
            "protocol": {"name": "demo/4class", "selection": "test"},
            "model": settings,
            "training": {**TRAINING, **training},
        }
    )


def learn(corpus: SpeechCorpus, model: dict[str, Any], training: dict[str, Any]) -> tuple[Losses, Losses]:
    """Train a model; return its losses before and after, both in evaluation mode."""
    torch.set_num_threads(1)
    settings = experiment(model, training)
    assignment = apply_protocol(settings.protocol, settings.corpus.kind, corpus.table)
    loaders = make_fold_loaders(corpus, assignment, 0, settings.protocol.selection, settings.model, settings.training)
    trainer = FoldTrainer(loaders, settings.model, settings.training, seed=0)

    def losses() -> Losses:
        trainer.model.eval()
        with torch.inference_mode():
            loss = trainer.loss(np.arange(len(loaders.train.utterances)), seed=0)
        return Losses(float(loss), trainer.evaluate(loaders.train).metrics()["loss"])

    before = losses()
    for _ in trainer.epochs():
        pass
    return before, losses()


def test_the_prepared_corpus_has_one_emotion_for_each_sentence(corpus: SpeechCorpus) -> None:
    assert len(corpus) == SENTENCES
    assert corpus.alignments.count("sphinx") > 0.8 * SENTENCES
    assert len({tuple(words) for words in corpus.words}) == SENTENCES
    assert len(set(zip(corpus.table.speakers, corpus.table.raw_labels, strict=True))) == SENTENCES


def every_variant() -> list[Any]:
    """All variants; those that share their core with FG-CME are slow, for there are many of them."""
    quick = {"fgcme", "published"}
    return [
        pytest.param(name, marks=pytest.mark.slow if kind == "fgcme" and name not in quick else ())
        for name in variants.all_variants()
        for kind in [variants.find_variant(name)["model"]["kind"]]
    ]


@pytest.mark.parametrize("name", every_variant())
def test_every_named_variant_learns(corpus: SpeechCorpus, name: str) -> None:
    # Sixteen utterances are not learned by heart from parts that are drawn anew each epoch.
    share = 0.85 if name == "random" else 0.7
    before, after = learn(corpus, variants.find_variant(name)["model"], {"epochs": 12})
    assert after.training < share * before.training
    assert after.emotion < share * before.emotion


@pytest.mark.parametrize(
    "training",
    [
        {"class_weights": "balanced", "label_smoothing": 0.1},
        {"loss": "focal", "class_weights": "balanced"},
        {"loss": "ctc"},
        pytest.param(
            {"precision": "bfloat16"},
            marks=pytest.mark.skipif(not supports_bfloat16(torch.device("cpu")), reason="this CPU has no bfloat16"),
        ),
        {"schedule": "cosine", "gradient_clip": 1.0, "weight_decay": 1e-4},
    ],
    ids=lambda training: "-".join(map(str, training.values())),
)
def test_every_loss_falls_in_training(corpus: SpeechCorpus, training: dict[str, Any]) -> None:
    before, after = learn(corpus, variants.find_variant("figure")["model"], training)
    assert after.training < 0.7 * before.training
    assert after.emotion < 0.7 * before.emotion


def test_a_model_learns_from_augmented_utterances(corpus: SpeechCorpus) -> None:
    before, after = learn(
        corpus, variants.find_variant("figure")["model"], {"augmentation": AUGMENTATION, "epochs": 14}
    )
    assert after.training < 0.7 * before.training
    assert after.emotion < 0.7 * before.emotion

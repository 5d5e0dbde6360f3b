"""One fold of the small corpus, trained on."""

from collections.abc import Iterator
from typing import Any

from fgcme.data import FoldLoaders, SpeechCorpus, apply_protocol, make_fold_loaders
from fgcme.experiment import Experiment
from fgcme.training.learning import Epoch, FoldTrainer

SMALL = {
    "acoustic": {"channels": [8, 8], "kernels": [3, 2]},
    "semantic": {"embedding": 8},
    "fusion": {"hidden": 8},
    "baseline": {"hidden": 8, "stack": 3, "heads": 2},
}


def fold_loaders(corpus: SpeechCorpus, experiment: Experiment, fold: int = 0) -> FoldLoaders:
    assignment = apply_protocol(experiment.protocol, experiment.corpus.kind, corpus.table)
    return make_fold_loaders(corpus, assignment, fold, "dev", experiment.model, experiment.training)


def fit(corpus: SpeechCorpus, experiment: Experiment, seed: int = 0, **options: Any) -> FoldTrainer:
    return FoldTrainer(fold_loaders(corpus, experiment), experiment.model, experiment.training, seed, **options)


def metrics(epochs: Iterator[Epoch]) -> list[dict[str, float]]:
    return [epoch.metrics for epoch in epochs]

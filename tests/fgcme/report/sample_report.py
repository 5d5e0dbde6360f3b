"""Hand-made results: predictions that are easy to count, and everything that a report makes of them."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from fgcme.evaluation.cross_validation import PREDICTIONS
from fgcme.report.conditions import Conditions
from fgcme.report.content import Provenance, ReportData, TrainingCost
from fgcme.report.example import UtteranceExample
from fgcme.report.results import Curve, LearningCurves, ResultSet, selection_gaps
from fgcme.serving.prediction import Prediction

CLASSES = ["calm", "happy", "sad"]
SPEAKERS = [f"s{number}" for number in range(8)]
DEV = Conditions("made/3class", "dev", [0, 1])
TEST = Conditions("made/3class", "test", [0, 1])


def predictions(right: Mapping[str, float], seed: int = 0, utterances: int = 12) -> dict[str, pa.Table]:
    """Predictions of two seeds for each variant, right with this probability; speakers are alike, folds are of two."""
    generator = np.random.default_rng(seed)
    tables = {}
    for name, share in right.items():
        rows = []
        for number, speaker in enumerate(SPEAKERS):
            for take in range(utterances):
                label = take % len(CLASSES)
                for training in (0, 1):
                    wrong = (label + int(generator.integers(1, len(CLASSES)))) % len(CLASSES)
                    answer = label if generator.random() < share else wrong
                    rows.append(
                        {
                            "id": f"{speaker}-{take:02}",
                            "speaker": speaker,
                            "label": CLASSES[label],
                            "prediction": CLASSES[answer],
                            "probabilities": np.eye(len(CLASSES), dtype=np.float32)[answer],
                            "fold": number // 2,
                            "seed": training,
                        }
                    )
        tables[name] = pa.Table.from_pylist(rows, PREDICTIONS)
    return tables


ON_DEV = predictions({"fgcme": 0.55, "mean_max": 0.95, "by_speaker": 0.5})
ON_TEST = predictions({"fgcme": 0.7, "mean_max": 0.95, "by_speaker": 0.6}, seed=1)
REMARKS = {"by_speaker": "uses unlabelled test audio"}


def sample_results(conditions: Conditions = DEV, tables: Mapping[str, pa.Table] = ON_DEV) -> ResultSet:
    """The results of three variants, the first of them the reference, the second far better."""
    return ResultSet.of(tables, next(iter(tables)), CLASSES, conditions, REMARKS)


def single_model() -> ResultSet:
    """The results of one model."""
    return ResultSet.of({"fgcme": ON_DEV["fgcme"]}, "fgcme", CLASSES, DEV)


def sample_learning(top: float = 0.6) -> LearningCurves:
    """How two trainings of three epochs went."""
    ua = Curve.of([[(1, 0.3), (2, top - 0.02), (3, 0.5)], [(1, 0.4), (2, top + 0.02), (3, 0.5)]])
    return LearningCurves(ua, Curve.of([[(1, 1.1), (2, 0.9), (3, 0.8)]] * 2), 2)


def sample_example(contributions: bool = True) -> UtteranceExample:
    """An utterance of two words, answered wrongly."""
    return UtteranceExample(
        id="s0/00",
        speaker="s0",
        label="happy",
        frames=np.random.default_rng(0).normal(size=(120, 6)).astype(np.float32),
        frame_step=160,
        features="mel bin",
        prediction=Prediction(
            label="calm",
            probabilities={"calm": 0.7, "happy": 0.2, "sad": 0.1},
            words=["good", "morning"],
            begin=[0.1, 0.5],
            end=[0.5, 1.0],
            contributions=[1.75, -0.5] if contributions else [],
            base=-0.4 if contributions else None,
            alignment="sphinx",
        ),
        fold=1,
        seed=0,
    )


def sample_provenance(kind: str = "ablation") -> Provenance:
    """Where it all comes from."""
    return Provenance(
        run="0123456789abcdef",
        title="made-parts",
        kind=kind,
        started="2026-01-02 03:04 UTC",
        ended="2026-01-02 05:06 UTC",
        corpus="manifest",
        corpus_hash="c0ffee",
        commit="abc123-dirty",
        versions={"fgcme": "0.1.0", "torch": "2.0"},
        commands=["fgcme ablate made --space parts 'training.seeds=[0, 1]'"],
    )


@functools.cache
def sample_content() -> ReportData:
    """A report of an ablation by both selection rules."""
    main = sample_results()
    return ReportData(
        provenance=sample_provenance(),
        result_sets=[main, sample_results(TEST, ON_TEST)],
        training_costs={name: TrainingCost(8, 80.0) for name in main.variants},
        gaps=selection_gaps(ON_TEST, ON_DEV, CLASSES),
        learning={name: sample_learning() for name in main.variants},
        examples=[sample_example()],
    )

from __future__ import annotations

from pathlib import Path

import pytest

from fgcme.data import SpeechCorpus
from fgcme.tracking import Tracker
from pipelines.reporting import read_run
from pipelines.reporting.examples import choose_examples, read_examples
from tests import small_corpus
from tests.pipelines.reporting.sample_run import CLASSES, FOLDS, predict_class, record_run
from tests.store import make_tracker


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    return make_tracker(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> SpeechCorpus:
    return SpeechCorpus(small_corpus.write(tmp_path_factory.mktemp("corpus") / "corpus"))


def test_one_utterance_of_each_emotion_is_chosen_and_folds_take_turns(corpus: SpeechCorpus) -> None:
    rows = choose_examples(predict_class(corpus, 0), corpus, CLASSES)
    assert [row["label"] for row in rows] == CLASSES
    assert [row["fold"] for row in rows] == [0, 1, 0, 1]
    lengths = dict(zip(corpus.table.ids, map(len, corpus.words), strict=True))
    for row in rows:
        candidates = [
            name
            for name, label, speaker in zip(
                corpus.table.ids, corpus.table.raw_labels, corpus.table.speakers, strict=True
            )
            if label == row["label"] and int(speaker[1]) % FOLDS == row["fold"]
        ]
        assert row["id"] == min(candidates, key=lambda name: (abs(lengths[name] - 6), name))


def test_the_choice_of_examples_ignores_predictions(corpus: SpeechCorpus) -> None:
    first, second = (
        [row["id"] for row in choose_examples(predict_class(corpus, predicted), corpus, CLASSES)]
        for predicted in (0, 2)
    )
    assert first == second


@pytest.mark.parametrize(
    ("prepared", "corpus_hash", "note"),
    [
        (False, "", "No examples: the prepared corpus was not available when this page was made."),
        (True, "another", "No examples: the prepared corpus has changed since the models were trained."),
        (True, "", "No examples: the models of the run have been deleted."),
    ],
    ids=["no corpus", "another corpus", "no models"],
)
def test_a_report_without_examples_says_why(
    tracker: Tracker, corpus: SpeechCorpus, tmp_path: Path, prepared: bool, corpus_hash: str, note: str
) -> None:
    folder = corpus.folder if prepared else tmp_path / "nothing"
    experiment = small_corpus.experiment(prepare={"folder": str(folder)})
    trained_on = corpus_hash or corpus.description.corpus_hash
    run = record_run(tracker, tmp_path, experiment, predict_class(corpus, 0), trained_on)
    assert read_examples(tracker, read_run(tracker, tracker.find_run(run))) == ([], note)

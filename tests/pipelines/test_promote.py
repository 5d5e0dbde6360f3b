"""A version becomes the champion only if it beats the champion, and that can be taken back."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fgcme.data.protocol import named_protocols
from fgcme.errors import UserError
from fgcme.evaluation.cross_validation import predictions_table
from fgcme.evaluation.ratings import with_ratings
from fgcme.serving.registry import aliased, create_registered_model, moving_aliases
from fgcme.tracking import Tracker
from pipelines.promote import demote, promote
from pipelines.register import register
from tests import rated_corpus, small_corpus
from tests.store import make_tracker, record_cross_validation

CLASSES = named_protocols()["demo/4class"].classes
SPEAKERS, EACH = 12, 20


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    return make_tracker(tmp_path_factory.mktemp("store"))


def predictions(accuracy: float, seeds: Sequence[int] = (0,), speakers: int = SPEAKERS) -> pa.Table:
    """Predictions of four folds in which each speaker has this share of right answers, evenly over the classes."""
    ids = [f"{speaker:02}-{number:02}" for speaker in range(speakers) for number in range(EACH)]
    labels = np.tile(np.arange(EACH) % 4, speakers)
    wrong = np.tile(np.arange(EACH) // 4 >= round(accuracy * EACH / 4), speakers)
    logits = 5 * np.eye(4)[np.where(wrong, (labels + 1) % 4, labels)]
    folds = np.repeat(np.arange(speakers) % 4, EACH)
    tables = []
    for seed in seeds:
        for fold in range(4):
            own = np.flatnonzero(folds == fold)
            names = [ids[place] for place in own]
            said_by = [name[:2] for name in names]
            tables.append(predictions_table(names, said_by, labels[own], logits[own], CLASSES, fold, seed))
    return pa.concat_tables(tables)


@pytest.fixture
def registered(tracker: Tracker, tmp_path: Path, request: pytest.FixtureRequest) -> Registering:
    return Registering(tracker, tmp_path, request.node.name.split("[")[0][-60:])


class Registering:
    """Registers cross-validations with given out-of-fold predictions, as versions of one model."""

    def __init__(self, tracker: Tracker, folder: Path, name: str) -> None:
        self.tracker, self.folder, self.name = tracker, folder, name
        self.experiment = small_corpus.experiment()

    def __call__(self, table: pa.Table, selection: str = "dev", together: bool = False) -> str:
        """Register the model of a cross-validation; without the files of the model, which nobody asks for here."""
        run = self.tracker.create_run(self.tracker.get_or_create_experiment("demo"), "demo train")
        self.record(run, table)
        tags = {"protocol": "demo/4class", "selection": selection, "source_run": run}
        tags |= {"members": "4"} if together else {}
        create_registered_model(self.tracker, self.name)
        return str(self.tracker.client.create_model_version(self.name, "nowhere", tags=tags).version)

    def record(self, run: str, table: pa.Table) -> None:
        path = self.folder / "predictions.parquet"
        pq.write_table(table, path)
        self.tracker.log_artifact(run, path)
        self.tracker.log_text(run, self.experiment.to_yaml(), "experiment.yaml")

    def promote(self, version: str, margin: float | None = None) -> bool:
        return promote(self.name, version, margin, self.tracker.uri)

    def alias(self, alias: str) -> str | None:
        version = aliased(self.tracker, self.name, alias)
        return version and str(version.version)


def test_the_first_version_is_promoted_as_it_is(registered: Registering, capsys: pytest.CaptureFixture[str]) -> None:
    assert registered.promote(registered(predictions(0.6)))
    assert (registered.alias("champion"), registered.alias("previous")) == ("1", None)
    assert "version 1 is the champion now, there was none before" in capsys.readouterr().out
    assert registered.promote("1") and registered.promote("champion")
    assert "is the champion already" in capsys.readouterr().out


def test_a_better_version_replaces_the_champion_which_is_kept(
    registered: Registering, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = registered.tracker
    run, _ = record_cross_validation(tracker, registered.folder / "folds", [0.5])
    registered.record(run, predictions(0.6))
    registered.promote(str(register(run, registered.name, None, tracker.uri).version))
    capsys.readouterr()
    assert registered.promote(registered(predictions(0.8)))
    assert (registered.alias("champion"), registered.alias("previous")) == ("2", "1")
    out = capsys.readouterr().out
    assert "on demo/4class, out of fold: 240 utterances, 12 speakers, 1 seed" in out
    assert "version 1 (champion)     UA 60.0" in out and "version 2                UA 80.0" in out
    assert "difference               UA +20.0" in out and "p < 0.001" in out
    version = tracker.client.get_model_version(registered.name, "2")
    assert version.tags["promoted"].startswith("over version 1: UA +20.0 points, p < 0.001")
    demote(registered.name, tracker.uri)
    assert (registered.alias("champion"), registered.alias("previous")) == ("1", None)
    assert "version 1 is the champion again instead of version 2" in capsys.readouterr().out
    with pytest.raises(UserError, match="has no version with the alias 'previous'"):
        demote(registered.name, tracker.uri)


@pytest.mark.parametrize("accuracy", [0.4, 0.6])
def test_a_version_that_is_not_better_does_not_replace_the_champion(
    registered: Registering, accuracy: float, capsys: pytest.CaptureFixture[str]
) -> None:
    registered.promote(registered(predictions(0.6)))
    assert not registered.promote(registered(predictions(accuracy)))
    assert (registered.alias("champion"), registered.alias("previous")) == ("1", None)
    assert "version 1 stays the champion" in capsys.readouterr().out


def test_what_the_test_does_not_show_a_margin_may_decide(registered: Registering) -> None:
    better_on_two = predictions(0.6)
    right = predictions(0.8, speakers=2)
    others = better_on_two.filter(pa.array([int(speaker) >= 2 for speaker in better_on_two["speaker"].to_pylist()]))
    registered.promote(registered(better_on_two))
    version = registered(pa.concat_tables([right, others]))
    assert not registered.promote(version)
    assert not registered.promote(version, margin=5.0)
    assert registered.promote(version, margin=3.0)
    assert registered.alias("champion") == version


def test_an_ensemble_is_compared_by_its_mean_logits_with_each_seed_of_the_other(
    registered: Registering, capsys: pytest.CaptureFixture[str]
) -> None:
    registered.promote(registered(predictions(0.6, seeds=[3, 4])))
    # Two of its three seeds are wrong where the third is right: together they are wrong.
    table = pa.concat_tables([predictions(0.4, seeds=[0, 1]), predictions(1.0, seeds=[2])])
    assert not registered.promote(registered(table, together=True))
    out = capsys.readouterr().out
    assert "12 speakers, 2 seeds" in out and "version 2                UA 40.0" in out
    assert "version 2 is an ensemble: its one answer stands beside each seed of the other" in out


def test_versions_are_compared_by_the_seeds_that_both_have(
    registered: Registering, capsys: pytest.CaptureFixture[str]
) -> None:
    registered.promote(registered(predictions(0.6, seeds=[0, 1])))
    assert registered.promote(registered(pa.concat_tables([predictions(0.8, [1]), predictions(0.0, [2])])))
    assert "12 speakers, 1 seed\n" in capsys.readouterr().out
    with pytest.raises(UserError, match="were trained with no seed in common"):
        registered.promote(registered(predictions(0.9, [5])))


def rated(table: pa.Table, noise: float) -> pa.Table:
    """Predictions with ratings, answered with so much noise; the same ratings each time."""
    ratings = np.random.default_rng(0).uniform(1, 5, len(table))
    noises = np.random.default_rng(1).normal(0, noise, len(table))
    return with_ratings(table, {"valence": ratings}, {"valence": ratings + noises})


def of_ratings(noise: float) -> pa.Table:
    """Predictions of ratings alone."""
    return rated(predictions(0.6).drop_columns(["label", "prediction", "probabilities"]), noise)


def test_versions_of_ratings_are_compared_by_their_mean_concordance(
    registered: Registering, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registered.experiment = rated_corpus.rated_experiment(tmp_path, protocol={"dimensions": {"valence": [1, 5]}})
    registered.promote(registered(of_ratings(0.8)))
    assert not registered.promote(registered(of_ratings(0.9)))
    assert "version 1 stays the champion: CCC \N{MINUS SIGN}0.0" in capsys.readouterr().out
    better = registered(of_ratings(0.5))
    assert not registered.promote(better, margin=30)
    assert registered.promote(better)
    out = capsys.readouterr().out
    assert "version 1 (champion)     CCC 0." in out and ": valence 0." in out
    assert "difference               CCC +0." in out and "UA" not in out
    version = registered.tracker.client.get_model_version(registered.name, better)
    assert version.tags["promoted"].startswith("over version 1: CCC +0.")
    demote(registered.name, registered.tracker.uri)
    assert registered.alias("champion") == "1"


@pytest.mark.parametrize("score", ["published", "ccc"])
def test_of_classes_beside_ratings_what_epochs_are_chosen_by_decides(
    registered: Registering, score: str, capsys: pytest.CaptureFixture[str]
) -> None:
    registered.experiment = small_corpus.experiment(
        protocol={"name": "demo/4class", "dimensions": {"valence": [1, 5]}}, training={"score": score}
    )
    registered.name += score
    registered.promote(registered(rated(predictions(0.6), noise=0.3)))
    # Better in its classes, worse in its ratings.
    assert registered.promote(registered(rated(predictions(0.8), noise=0.9))) == (score == "published")
    out = capsys.readouterr().out
    decides = "classes" if score == "published" else "CCC"
    (line,) = [line for line in out.splitlines() if "this decides" in line]
    assert line.endswith(f"this decides, as epochs are chosen by {decides}")
    assert ("UA +20.0" in line) == (score == "published")


def test_versions_that_answer_other_questions_are_not_compared(registered: Registering) -> None:
    registered.promote(registered(predictions(0.6)))
    registered.experiment = small_corpus.experiment(protocol={"name": "demo/4class", "dimensions": {"valence": [1, 5]}})
    with pytest.raises(UserError, match="do not answer the same classes and ratings: nothing compares them"):
        registered.promote(registered(rated(predictions(0.9), 0.1)))


def test_what_says_nothing_of_itself_is_refused(registered: Registering) -> None:
    registered.promote(registered(predictions(0.6)))
    with pytest.raises(UserError, match="is not complete, so nothing says how good it is; complete it with --resume"):
        unfinished, _ = record_cross_validation(registered.tracker, registered.folder / "folds", [0.5], complete=False)
        version = register(unfinished, registered.name, None, registered.tracker.uri, force=True).version
        registered.promote(str(version))
    with pytest.raises(UserError, match="chosen on the test part, so its estimate is optimistic"):
        registered.promote(registered(predictions(0.9), selection="test (optimistic)"))
    with pytest.raises(UserError, match=r"has no version 9 at .*; registered: "):
        registered.promote("9")
    with pytest.raises(UserError, match="utterances are only in it or only in version 1"):
        registered.promote(registered(predictions(0.9, speakers=8)))
    assert registered.alias("champion") == "1"


def test_of_two_that_are_promoted_at_once_the_better_one_is_the_champion(registered: Registering) -> None:
    registered.promote(registered(predictions(0.4)))
    versions = [registered(predictions(0.8)), registered(predictions(0.6))]
    with ThreadPoolExecutor() as pool:
        promoted = list(pool.map(registered.promote, versions))
    assert promoted[0] and registered.alias("champion") == "2"
    # Whichever came first.
    assert registered.alias("previous") == ("3" if promoted[1] else "1")
    names = {model.name for model in registered.tracker.client.search_registered_models()}
    assert not any(name.endswith("moving-aliases") for name in names)


def test_a_process_that_does_not_end_is_waited_for_and_then_named(
    tracker: Tracker, capsys: pytest.CaptureFixture[str]
) -> None:
    refusal = pytest.raises(UserError, match=r"delete the registered model speech\.moving-aliases")
    with moving_aliases(tracker, "speech"), refusal, moving_aliases(tracker, "speech", patience=0.3):
        pass
    assert capsys.readouterr().out.count("waiting for another process") == 1
    with moving_aliases(tracker, "speech"):
        pass

"""What an ablation records, and how it is resumed; trained here one by one in this process, without Ray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fgcme.data import Selection
from fgcme.errors import UserError
from fgcme.experiment import Experiment
from fgcme.tracking import Tracker
from pipelines import ablate
from pipelines.reporting import read_run
from pipelines.training.runner import Training
from tests import small_corpus
from tests.in_process import train_in_process
from tests.store import make_tracker

FOLDS = 3
SPACE = "reference: fgcme\nvariants:\n  fgcme:\n  by_speaker: {model.acoustic.normalisation: speaker}\n"


@dataclass(frozen=True)
class Place:
    """Where small ablations are recorded.

    Attributes:
        folder: of the corpus, the storage and the ablation's file.
        tracker: where they are recorded.
        trainings: all trainings that were done, in order.
    """

    folder: Path
    tracker: Tracker
    trainings: list[Training]

    @property
    def trained(self) -> list[tuple[str, str, int, int]]:
        """Variant, selection rule, fold and seed of all trainings that were done, in order."""
        return [(each.variant, each.selection, each.job.fold, each.job.seed) for each in self.trainings]

    def experiment(self, protocol: dict[str, object] | None = None, **training: Any) -> Experiment:
        labels = {emotion: emotion for emotion in small_corpus.EMOTIONS}
        return small_corpus.experiment(
            prepare={"folder": str(self.folder / "corpus")},
            protocol={"name": "small/3fold", "labels": labels, "folds": FOLDS, **(protocol or {})},
            storage={"path": str(self.folder / "storage")},
            tracking={"uri": self.tracker.uri},
            training={"epochs": 1, "batch_size": 32, **training},
        )

    def ablate(
        self, experiment: Experiment, selections: Sequence[Selection] | None = None, resume: bool = False
    ) -> str:
        path = self.folder / "space.yaml"
        path.write_text(SPACE)
        return ablate.run(experiment, str(path), selections, resume)

    def tag(self, run: str, name: str) -> str | None:
        return self.tracker.find_run(run).data.tags.get(f"fgcme.{name}")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    small_corpus.write(tmp_path / "corpus", each=4)
    trained = train_in_process(ablate, monkeypatch)
    return Place(tmp_path, make_tracker(tmp_path), trained)


@pytest.mark.parametrize(
    ("own", "asked", "recorded", "rules"),
    [
        ("dev", None, [], ["dev"]),
        ("test", None, [], ["test"]),
        ("dev", ["test"], [], ["test"]),
        ("test", ["test"], [], ["test"]),
        ("test", ["dev", "test"], [], ["dev", "test"]),
        ("dev", None, ["test"], ["test"]),
        ("dev", ["dev"], ["test"], ["dev", "test"]),
        ("test", None, ["dev"], ["dev", "test"]),
    ],
)
def test_selection_rules_come_from_the_command_or_else_the_experiment_and_recorded_ones_stay(
    own: Selection, asked: list[Selection] | None, recorded: list[Selection], rules: list[str]
) -> None:
    assert ablate.selection_rules(own, asked, recorded) == rules


def test_a_command_that_contradicts_the_experiment_is_refused(place: Place) -> None:
    with pytest.raises(UserError, match=r"--selection dev, but protocol\.selection is test"):
        place.ablate(place.experiment({"selection": "test"}), ["dev"])


def test_refitting_is_refused_where_the_test_part_chooses(place: Place) -> None:
    with pytest.raises(UserError, match=r"space\.yaml: training\.refit trains fgcme on the part that chose the epoch"):
        place.ablate(place.experiment(refit=True), ["dev", "test"])


def test_a_run_names_its_selection_rules_and_marks_the_optimistic_one(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    run = place.ablate(place.experiment({"selection": "test"}))
    assert place.tag(run, "selection") == "test (optimistic)"
    assert place.tracker.load_yaml(run, "experiment.yaml")["protocol"]["selection"] == "test"
    titles = {child.info.run_name for child in place.tracker.child_runs(run)}
    assert "fgcme (epoch chosen on test: optimistic), fold 0, seed 0" in titles
    assert place.ablate(place.experiment(), ["dev"], resume=True) == run
    assert place.tag(run, "selection") == "both (test: optimistic)"
    assert place.tracker.load_json(run, "ablation.json")["selections"] == ["dev", "test"]
    assert {rule for _, rule, *_ in place.trained} == {"dev", "test"} and len(place.trained) == 4 * FOLDS
    printed = capsys.readouterr().out
    assert "space on small/3fold: 32 of 32 utterances, 4 classes; 2 variants x 1 selection rule (test)" in printed
    assert "  using unlabelled test audio: by_speaker\n" in printed


def test_a_resumed_ablation_keeps_its_seeds_and_speakers_tuned_on_and_adds_new_ones(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    run = place.ablate(place.experiment(seeds=[0, 1]))
    before = {child.info.run_id: child.info.end_time for child in place.tracker.child_runs(run)}
    untold = place.tracker.find_run(run).data.tags
    assert (untold["fgcme.selection"], untold["fgcme.seeds"]) == ("dev", "0, 1") and "fgcme.tuned_on" not in untold
    # One training is left open, as by a killed driver, and one seed is not named again.
    late, *others = before
    place.tracker.reopen_run(late)
    place.trainings.clear()
    capsys.readouterr()
    told = place.experiment({"tuned_on": ["s0", "s1"]}, seeds=[1])
    assert place.ablate(told, resume=True) == run
    assert place.trained == []
    assert "12 of 12 trainings are there already" in (printed := capsys.readouterr().out)
    assert printed.count("24 utterances of 6 speakers") == 1
    assert printed.index("optimistic: this configuration was chosen") < printed.index("24 utterances of 6 speakers")
    after = {child.info.run_id: child.info for child in place.tracker.child_runs(run)}
    assert {info.status for info in after.values()} == {"FINISHED"}
    assert {name: after[name].end_time for name in others} == {name: before[name] for name in others}
    assert (place.tag(run, "seeds"), place.tag(run, "tuned_on")) == ("0, 1", "s0, s1")
    metrics = place.tracker.find_run(run).data.metrics
    assert {f"test{part}/by_speaker/ua_p_holm" for part in ("", "_untuned")} < set(metrics)
    recorded = read_run(place.tracker, place.tracker.find_run(run))
    assert (recorded.experiment.training.seeds, recorded.experiment.protocol.tuned_on) == ([0, 1], ["s0", "s1"])
    assert recorded.variants["fgcme"] == recorded.experiment
    # Resuming it without naming these speakers does not remove them.
    assert place.ablate(place.experiment(seeds=[2]), resume=True) == run
    assert (place.tag(run, "seeds"), place.tag(run, "tuned_on")) == ("0, 1, 2", "s0, s1")
    assert {seed for *_, seed in place.trained} == {2}


def test_an_ablation_killed_before_it_recorded_its_settings_takes_those_it_is_resumed_with(place: Place) -> None:
    mlflow_experiment = place.tracker.get_or_create_experiment("small")
    run = place.tracker.create_run(mlflow_experiment, "small-space ablate", tags={"fgcme.commit": "a"})
    (place.folder / "storage" / "ablations" / "small-space" / run).mkdir(parents=True)
    assert place.ablate(place.experiment(), ["test"], resume=True) == run
    assert (place.tag(run, "selection"), place.tag(run, "kind")) == ("test (optimistic)", "ablation")
    assert place.tracker.find_run(run).info.status == "FINISHED"


def test_a_resumed_training_names_the_commit_that_resumed_it(place: Place) -> None:
    experiment = place.experiment()
    run = place.ablate(experiment)
    (result,) = (place.folder / "storage").glob("ablations/*/*/fgcme-*/dev/fold-1-seed-0/result.json")
    result.unlink()
    place.trainings.clear()
    place.ablate(experiment, resume=True)
    assert place.trained == [("fgcme", "dev", 1, 0)]
    commit = place.tag(run, "commit")
    tags = [child.data.tags for child in place.tracker.child_runs(run)]
    assert [each["fgcme.fold"] for each in tags if each.get("fgcme.commit.resumed") == commit] == ["1"]

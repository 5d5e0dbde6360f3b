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
from pipelines import ablate, report
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
def test_rules_are_those_of_the_command_or_else_the_experiment_s_and_none_is_lost(
    own: Selection, asked: list[Selection] | None, recorded: list[Selection], rules: list[str]
) -> None:
    assert ablate.selection_rules(own, asked, recorded) == rules


def test_a_command_that_contradicts_the_experiment_is_refused(place: Place) -> None:
    with pytest.raises(UserError, match=r"--selection dev, but protocol\.selection is test"):
        place.ablate(place.experiment({"selection": "test"}), ["dev"])


def test_a_run_says_by_which_rules_epochs_were_chosen_and_that_one_is_optimistic(
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


def test_a_resumed_ablation_keeps_its_seeds_and_says_what_else_it_is_told(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    run = place.ablate(place.experiment(seeds=[0, 1]))
    before = {child.info.run_id: child.info.end_time for child in place.tracker.child_runs(run)}
    untold = place.tracker.find_run(run).data.tags
    assert (untold["fgcme.selection"], untold["fgcme.seeds"]) == ("dev", "0, 1") and "fgcme.tuned_on" not in untold
    # One of them is left as a kill would leave it, and one seed is not named again.
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
    read = report.read(place.tracker, place.tracker.find_run(run))
    assert (read.experiment.training.seeds, read.experiment.protocol.tuned_on) == ([0, 1], ["s0", "s1"])
    assert read.variants["fgcme"] == read.experiment
    # Whoever resumes it without a word of it does not make it honest.
    assert place.ablate(place.experiment(seeds=[2]), resume=True) == run
    assert (place.tag(run, "seeds"), place.tag(run, "tuned_on")) == ("0, 1, 2", "s0, s1")
    assert {seed for *_, seed in place.trained} == {2}


def test_what_was_killed_before_it_had_said_what_it_is_becomes_what_it_is_resumed_as(place: Place) -> None:
    mlflow_experiment = place.tracker.get_or_create_experiment("small")
    run = place.tracker.create_run(mlflow_experiment, "small-space ablate", tags={"fgcme.commit": "a"})
    (place.folder / "storage" / "ablations" / "small-space" / run).mkdir(parents=True)
    assert place.ablate(place.experiment(), ["test"], resume=True) == run
    assert (place.tag(run, "selection"), place.tag(run, "kind")) == ("test (optimistic)", "ablation")
    assert place.tracker.find_run(run).info.status == "FINISHED"


def test_a_training_that_another_commit_goes_on_with_says_so(place: Place) -> None:
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

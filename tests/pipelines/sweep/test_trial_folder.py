"""The files that a trial keeps, and which folder is whose."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.sweep.trial_folder import TrialContext, TrialFolder, trial_folders
from tests import small_corpus


@pytest.fixture
def folder(tmp_path: Path) -> TrialFolder:
    return TrialFolder(tmp_path)


def test_starts_are_counted_until_the_trial_makes_progress(folder: TrialFolder) -> None:
    assert [folder.count_start(), folder.count_start()] == [1, 2]
    folder.made_progress()
    assert [folder.count_start(), folder.count_start(), folder.count_start()] == [1, 2, 3]


def test_a_trial_that_has_ended_keeps_its_last_report_and_deletes_what_it_needed_to_resume(folder: TrialFolder) -> None:
    assert folder.read_last_report() is None
    folder.state.write_bytes(b"state")
    (folder.path / "train").mkdir()
    folder.count_start()
    folder.stack_file(0).touch()
    folder.stack_file(1).write_text("where it was")
    folder.end({"objective": 0.5, "epoch": 3})
    assert folder.read_last_report() == {"objective": 0.5, "epoch": 3}
    folder.delete_state()
    assert sorted(path.name for path in folder.path.iterdir()) == ["hang-1", "last.json"]


def test_a_trial_with_a_damaged_last_report_has_not_ended(folder: TrialFolder) -> None:
    folder.last_report.write_bytes(bytes(64))
    assert folder.read_last_report() is None


def test_reports_outlive_a_process_that_was_killed_as_it_wrote_one(folder: TrialFolder) -> None:
    assert folder.reports() == []
    for epoch in (1, 2):
        folder.add_report({"epoch": epoch, "objective": 0.1})
    whole = folder.reports_file.read_bytes()
    folder.reports_file.write_bytes(whole[:-3])
    assert folder.reports() == [{"epoch": 1, "objective": 0.1}]
    # It is started again from an earlier state.
    for epoch in (1, 2, 3):
        folder.add_report({"epoch": epoch, "objective": 0.2})
    assert folder.reports() == [{"epoch": epoch, "objective": 0.2} for epoch in (1, 2, 3)]


def test_a_trial_that_has_not_begun_has_no_settings_and_no_run(folder: TrialFolder) -> None:
    assert folder.settings() is None
    with pytest.raises(FileNotFoundError):
        folder.run_id()


def test_a_trial_has_hung_if_any_of_its_workers_has(folder: TrialFolder) -> None:
    folder.stack_file(0).touch()
    assert not folder.has_hung()
    folder.stack_file(1).write_text("where it was")
    assert folder.has_hung()


def test_a_folder_is_named_after_the_trial_s_number_or_after_the_member_of_a_population(tmp_path: Path) -> None:
    context = TrialContext(small_corpus.experiment(), tmp_path, "hash", tmp_path)
    assert context.folder_of("abc_00001", {"number": 7}).path == tmp_path / "7"
    members = small_corpus.experiment(tune={"scheduler": "pbt", "search": "random"})
    population = TrialContext(members, tmp_path, "hash", tmp_path)
    assert population.folder_of("abc_00001", {"number": 7}).path == tmp_path / "abc_00001"


def test_a_sweep_without_trials_has_no_folders(tmp_path: Path) -> None:
    assert trial_folders(tmp_path / "trials") == []
    (tmp_path / "trials" / "0").mkdir(parents=True)
    assert [folder.name for folder in trial_folders(tmp_path / "trials")] == ["0"]

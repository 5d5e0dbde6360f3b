"""Overrides, renamed settings, keys as text, and who is blamed for what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from fgcme.errors import UserError
from fgcme.experiment import load_experiment, load_space

TEXT = "name: mine\ncorpus: {kind: demo}\nprotocol: {name: demo/4class}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(TEXT)
    return path


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("scaling.parallel", "scaling.max_concurrent"),
        ("storage.study", "tune.study_storage"),
        ("training.focus", "training.focal_gamma"),
        ("model.excitement.squeeze", "model.excitement.reduction_ratio"),
        ("tune.reduction", "tune.reduction_factor"),
        ("tune.grace_epochs", "tune.grace_period"),
        ("training.augmentation.signal_to_noise", "training.augmentation.snr_db"),
        ("training.augmentation.gain", "training.augmentation.gain_db"),
        ("training.augmentation.mixup", "training.augmentation.mixup_alpha"),
    ],
)
def test_a_renamed_setting_is_refused_with_its_new_name(file: Path, old: str, new: str) -> None:
    with pytest.raises(UserError, match=rf"override '{old}=1': {old} is now called {new}$"):
        load_experiment(file, [f"{old}=1"])
    space = file.with_name("space.yaml")
    space.write_text(f"parameters: {{{old}: {{choice: [1, 2]}}}}\n")
    with pytest.raises(UserError, match=f"{old} is now called {new}"):
        load_space(space, load_experiment(file))


def test_a_renamed_key_of_a_space_is_refused_with_its_new_name(file: Path) -> None:
    space = file.with_name("space.yaml")
    space.write_text("parameters: {training.epochs: {choice: [1, 2]}}\nfirst: [{training.epochs: 1}]\n")
    with pytest.raises(UserError, match="first is now called initial_trials"):
        load_space(space, load_experiment(file))


def test_an_override_at_fault_is_blamed_and_not_the_file(file: Path) -> None:
    with pytest.raises(UserError) as refusal:
        load_experiment(file, ["training.batch_size=8", "training.epochs=true"])
    assert str(refusal.value) == "override 'training.epochs=true': training.epochs: expects a number, got true"


def test_a_file_at_fault_is_blamed_beside_a_good_override(file: Path) -> None:
    file.write_text(TEXT + "training: {epochs: 0}\n")
    with pytest.raises(UserError) as refusal:
        load_experiment(file, ["training.batch_size=8"])
    assert str(refusal.value).startswith(f"{file}: training.epochs: 0 is refused")


@pytest.mark.parametrize("typed", ["2024-06-01", "0017", "true", "1e3", "12:30:00"])
def test_a_setting_that_is_text_takes_what_was_typed(file: Path, typed: str) -> None:
    assert load_experiment(file, [f"storage.path={typed}"]).storage.path == typed


def test_null_still_unsets_a_setting(file: Path) -> None:
    assert (
        load_experiment(file, ["tune.study_storage=sqlite:///a.db", "tune.study_storage=null"]).tune.study_storage
        is None
    )


@pytest.mark.parametrize("where", ["file", "override"])
def test_labels_are_the_text_that_is_written_whatever_yaml_takes_them_for(file: Path, where: str) -> None:
    labels = "{1: angry, 007: happy, no: sad, 2024-06-01: neutral}"
    if where == "file":
        file.write_text(TEXT.replace("demo/4class}", f"mine/4class, folds: 2, labels: {labels}}}"))
        experiment = load_experiment(file)
    else:
        overrides = ["protocol.name=mine/4class", "protocol.folds=2", f"protocol.labels={labels}"]
        experiment = load_experiment(file, overrides)
    assert experiment.protocol.labels == {"1": "angry", "007": "happy", "no": "sad", "2024-06-01": "neutral"}


def test_a_label_that_is_there_twice_is_refused(file: Path) -> None:
    with pytest.raises(UserError, match="`1` is there twice"):
        load_experiment(file, ["protocol.labels={1: angry, '1': sad}"])

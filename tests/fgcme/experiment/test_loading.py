"""Overrides, renamed settings, labels as text, and whether the file or an override is blamed."""

from __future__ import annotations

from pathlib import Path

import pytest

from fgcme.errors import UserError
from fgcme.experiment import apply_configuration, load_experiment, load_space, parse_experiment

TEXT = "name: mine\ncorpus: {kind: demo}\nprotocol: {name: demo/4class}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(TEXT)
    return path


def test_overrides_are_typed_by_the_setting(file: Path) -> None:
    experiment = load_experiment(
        file, ["training.epochs=5", "model.pooling.kind=mean", "training.seeds=[1, 2]", "prepare.folder=null"]
    )
    assert experiment.training.epochs == 5
    assert experiment.model.pooling.kind == "mean"
    assert experiment.training.seeds == [1, 2]
    assert experiment.prepare.folder is None


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("model.poling.kind=mean", "model.poling is not a setting; did you mean model.pooling"),
        (
            "model.pooling.kind=median",
            "model.pooling.kind: 'median' is refused: input should be 'mean_max', 'mean', 'max', 'softmax'",
        ),
        ("training.epochs=many", "training.epochs: 'many' is refused"),
        ("training.epochs=0", "training.epochs: 0 is refused"),
        ("training.epochs.more=1", "training.epochs: {'more': 1} is refused"),
        ("training.epochs", "write it as key=value"),
        ("prepare.alignment.method=ctc", "method ctc needs `checkpoint`"),
        ("model.acoustic.kernels=[3]", "same number of entries"),
        ("protocol.name={a", "not valid YAML"),
        ("model.baseline.heads=3", "`heads` must divide the LSTM's 512 outputs"),
        ("model=recordng", "model=recordng: no such variant; did you mean recording?"),
        ("training.augmentation.snr_db=[20, 5]", "give `snr_db` as [lowest, highest]"),
        ("training.precision=float16", "'float16' is refused"),
        (
            "tune.objective=uar",
            "tune.objective: 'uar' is refused: input should be 'score', 'ua', 'wa', 'macro_f1' or 'ccc'",
        ),
    ],
)
def test_a_wrong_override_is_refused_in_one_line_that_names_the_key(file: Path, override: str, sentence: str) -> None:
    with pytest.raises(UserError) as raised:
        load_experiment(file, [override])
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_variant_changes_only_the_settings_that_it_names(file: Path) -> None:
    experiment = load_experiment(file, ["model.fusion.hidden=64", "model=recording", "model.pooling.margin=2"])
    model = experiment.model
    assert (model.pooling.segments, model.pooling.margin, model.fusion.hidden) == ("recording", 2, 64)


@pytest.mark.parametrize("content", ["- a\n- b\n", "name: [\n", "\x00"])
def test_a_file_that_holds_no_experiment_is_refused_by_its_path(tmp_path: Path, content: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=r"broken\.yaml"):
        load_experiment(path)


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


def test_an_override_at_fault_is_blamed_instead_of_the_file(file: Path) -> None:
    with pytest.raises(UserError) as refusal:
        load_experiment(file, ["training.batch_size=8", "training.epochs=true"])
    assert str(refusal.value) == "override 'training.epochs=true': training.epochs: expects a number, got true"


@pytest.mark.parametrize(
    ("overrides", "at_fault"),
    [
        # What is refused lies above the override's key.
        (
            ["training.epochs=3", "model.acoustic.kernels=[3]"],
            "override 'model.acoustic.kernels=[3]': model.acoustic: ",
        ),
        (
            ["training.loss=ctc", "training.epochs=3", "model.kind=late_fusion"],
            "overrides 'training.loss=ctc' and 'model.kind=late_fusion': training.loss ctc needs a model",
        ),
        (["training.epochs=true", "training.epochs=0"], "override 'training.epochs=0': training.epochs: 0 is refused"),
        (["training.epochs=0", "training.epochs=0"], "override 'training.epochs=0': training.epochs: 0 is refused"),
        (["training={epochs: 0}"], "override 'training={epochs: 0}': training.epochs: 0 is refused"),
        (
            ["training.epochs=0", "training.batch_size=0"],
            "override 'training.epochs=0': training.epochs: 0 is refused: input should be greater than or equal to 1; "
            "override 'training.batch_size=0': training.batch_size: 0 is refused",
        ),
        (["name.more=1"], "override 'name.more=1': name.more: name has no keys below it"),
        (["storage.path=x", "training.epochs=2024-13-01"], "override 'training.epochs=2024-13-01': not valid YAML"),
    ],
)
def test_an_override_is_blamed_if_the_error_disappears_without_it(
    file: Path, overrides: list[str], at_fault: str
) -> None:
    with pytest.raises(UserError) as refusal:
        load_experiment(file, overrides)
    assert str(refusal.value).startswith(at_fault)
    assert str(file) not in str(refusal.value)


def test_an_override_that_meets_a_file_s_setting_is_blamed(file: Path) -> None:
    file.write_text(TEXT + "training: {loss: focal}\n")
    with pytest.raises(UserError) as refusal:
        load_experiment(file, ["training.epochs=3", "training.label_smoothing=0.1"])
    assert str(refusal.value).startswith("override 'training.label_smoothing=0.1': training.label_smoothing goes with")


@pytest.mark.parametrize("model", ["meen", "{variant: meen, modalities: acoustic}"])
def test_an_unknown_variant_in_a_file_is_refused_with_the_file(file: Path, model: str) -> None:
    file.write_text(TEXT + f"model: {model}\n")
    with pytest.raises(UserError, match=f"^{file}: model=meen: no such variant; did you mean mean"):
        load_experiment(file, ["training.epochs=3"])


def test_changed_settings_are_checked() -> None:
    experiment = parse_experiment({"name": "x", "corpus": {"kind": "demo"}, "protocol": {"name": "demo/4class"}})
    changed = apply_configuration(experiment, {"model.pooling.kind": "mean", "training": {"epochs": 3}})
    assert (changed.model.pooling.kind, changed.training.epochs) == ("mean", 3)
    assert experiment.model.pooling.kind == "mean_max"
    with pytest.raises(UserError, match=r"^model\.poling is not a setting; did you mean model\.pooling\?"):
        apply_configuration(experiment, {"model.poling.kind": "mean"})


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
def test_labels_stay_text_even_if_they_look_like_other_values(file: Path, where: str) -> None:
    labels = "{1: angry, 007: happy, no: sad, 2024-06-01: neutral}"
    if where == "file":
        file.write_text(TEXT.replace("demo/4class}", f"mine/4class, folds: 2, labels: {labels}}}"))
        experiment = load_experiment(file)
    else:
        overrides = ["protocol.name=mine/4class", "protocol.folds=2", f"protocol.labels={labels}"]
        experiment = load_experiment(file, overrides)
    assert experiment.protocol.labels == {"1": "angry", "007": "happy", "no": "sad", "2024-06-01": "neutral"}


def test_a_label_given_twice_is_refused(file: Path) -> None:
    with pytest.raises(UserError, match="`1` is there twice"):
        load_experiment(file, ["protocol.labels={1: angry, '1': sad}"])

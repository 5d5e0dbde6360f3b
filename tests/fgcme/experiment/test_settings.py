"""The settings of an experiment: defaults, checks, text."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from fgcme.errors import UserError
from fgcme.experiment import Experiment, load_experiment, parse_experiment
from pipelines.bundled import EXPERIMENTS

MINIMAL = {"name": "x", "corpus": {"kind": "demo"}, "protocol": {"name": "demo/4class"}}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(MINIMAL))
    return path


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_bundled_experiment_is_valid_and_named_after_its_file(path: Path) -> None:
    assert load_experiment(path).name == path.stem


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
        ("model=utterence", "model=utterence: no such variant; did you mean utterance?"),
        ("training.augmentation.snr_db=[20, 5]", "give `snr_db` as [lowest, highest]"),
        ("training.precision=float16", "'float16' is refused"),
        ("tune.objective=uar", "tune.objective: 'uar' is refused: input should be 'score', 'ua', 'wa' or 'macro_f1'"),
    ],
)
def test_a_wrong_override_is_refused_in_one_line_that_names_the_key(file: Path, override: str, sentence: str) -> None:
    with pytest.raises(UserError) as raised:
        load_experiment(file, [override])
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["training.loss=ctc", "model.kind=late_fusion"], "needs a model that classifies words, which late_fusion"),
        (
            ["training.loss=ctc", "training.augmentation.mixup_alpha=0.2"],
            "goes with neither training.augmentation.mixup_alpha nor",
        ),
        (
            ["training.loss=ctc", "training.class_weights=balanced"],
            "goes with neither training.augmentation.mixup_alpha nor",
        ),
        (["training.loss=focal", "training.label_smoothing=0.1"], "goes with training.loss cross_entropy"),
        (["model=late_fusion", "training.augmentation.mixup_alpha=0.2"], "does not go with late_fusion"),
        (["prepare.features={kind: speech_encoder, checkpoint: x}", "model.acoustic.input=mfcc"], "needs prepare.fe"),
        (
            ["prepare.features={kind: speech_encoder, checkpoint: x}", "training.augmentation.gain_db=6"],
            "need prepare.fe",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(file: Path, overrides: list[str], sentence: str) -> None:
    with pytest.raises(UserError) as raised:
        load_experiment(file, overrides)
    assert sentence in str(raised.value) and ": :" not in str(raised.value)


def test_a_variant_changes_only_the_settings_that_it_names(file: Path) -> None:
    experiment = load_experiment(file, ["model.fusion.hidden=64", "model=utterance", "model.pooling.margin=2"])
    model = experiment.model
    assert (model.pooling.kind, model.pooling.margin, model.fusion.hidden) == ("utterance", 2, 64)


def test_a_file_may_name_a_variant(file: Path) -> None:
    file.write_text(file.read_text() + "model: mean\n")
    assert load_experiment(file, ["model.fusion.hidden=64"]).model.pooling.kind == "mean"


@pytest.mark.parametrize("content", ["- a\n- b\n", "name: [\n", "\x00"])
def test_a_file_that_holds_no_experiment_is_refused_by_its_path(tmp_path: Path, content: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=r"broken\.yaml"):
        load_experiment(path)


def test_a_written_experiment_reads_back_equal(file: Path, tmp_path: Path) -> None:
    experiment = load_experiment(file, ["protocol.labels={a: b, c: d}", "protocol.folds=[[s1], [s2], [s3]]"])
    copy = tmp_path / "copy.yaml"
    copy.write_text(experiment.to_yaml())
    assert load_experiment(copy) == experiment


def test_flat_settings_are_dotted_and_complete() -> None:
    flat = parse_experiment(MINIMAL).flat()
    assert flat["training.learning_rate"] == 5e-4
    assert flat["model.acoustic.channels"] == [64, 128, 128]


def test_settings_cannot_be_changed_in_place() -> None:
    experiment: Experiment = parse_experiment(MINIMAL)
    with pytest.raises(ValueError, match="frozen"):
        experiment.name = "other"  # type: ignore[misc]

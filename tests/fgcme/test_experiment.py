from pathlib import Path

import pytest
import yaml

from fgcme.errors import UserError
from fgcme.experiment import Experiment, load, parse, setting_type
from pipelines.shipped import EXPERIMENTS

MINIMAL = {"name": "x", "corpus": {"kind": "demo"}, "protocol": {"name": "demo/4class"}}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(MINIMAL))
    return path


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_experiment_is_valid_and_named_after_its_file(path: Path) -> None:
    assert load(path).name == path.stem


def test_overrides_are_typed_by_the_setting(file: Path) -> None:
    experiment = load(
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
            "model.pooling.kind: 'median' is refused: input should be 'mean_max', 'mean' or 'max'",
        ),
        ("training.epochs=many", "training.epochs: 'many' is refused"),
        ("training.epochs=0", "training.epochs: 0 is refused"),
        ("training.epochs.more=1", "training.epochs: {'more': 1} is refused"),
        ("training.epochs", "write it as key=value"),
        ("prepare.alignment.method=ctc", "method ctc needs `checkpoint`"),
        ("model.acoustic.kernels=[3]", "same number of entries"),
        ("protocol.name={a", "not valid YAML"),
    ],
)
def test_a_wrong_override_is_refused_in_one_line_that_names_the_key(file: Path, override: str, sentence: str) -> None:
    with pytest.raises(UserError) as raised:
        load(file, [override])
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", ["- a\n- b\n", "name: [\n", "\x00"])
def test_a_file_that_is_no_experiment_is_refused_by_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=r"broken\.yaml"):
        load(path)


def test_a_written_experiment_reads_back_equal(file: Path, tmp_path: Path) -> None:
    experiment = load(file, ["protocol.labels={a: b, c: d}", "protocol.folds=[[s1], [s2], [s3]]"])
    copy = tmp_path / "copy.yaml"
    copy.write_text(experiment.to_yaml())
    assert load(copy) == experiment


def test_flat_settings_are_dotted_and_complete() -> None:
    flat = parse(MINIMAL).flat()
    assert flat["training.learning_rate"] == 5e-4
    assert flat["model.acoustic.channels"] == [64, 128, 128]
    assert all(setting_type(name) is not None for name in flat)


def test_an_unknown_setting_has_no_type() -> None:
    with pytest.raises(UserError, match=r"did you mean training\.epochs"):
        setting_type("training.epoch")


def test_settings_cannot_be_changed_in_place() -> None:
    experiment: Experiment = parse(MINIMAL)
    with pytest.raises(ValueError, match="frozen"):
        experiment.name = "other"  # type: ignore[misc]

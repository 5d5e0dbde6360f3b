"""The settings of an experiment: defaults, checks, text."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from fgcme.errors import UserError
from fgcme.experiment import Experiment, load_experiment, parse_experiment
from pipelines.bundled import EXPERIMENTS

TRAINED = ("prepare.features={kind: speech_encoder, checkpoint: x}", "model.acoustic.trained_layers=1")
ALIGNED = "training.cross_modal_alignment.instance=1"
MINIMAL = {"name": "x", "corpus": {"kind": "demo"}, "protocol": {"name": "demo/4class"}}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(MINIMAL))
    return path


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_bundled_experiment_is_valid_and_named_after_its_file(path: Path) -> None:
    assert load_experiment(path).name == path.stem


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
        (["model.pooling.normalisation=train"], "where the frames below them are not trained"),
        (
            [
                "prepare.features={kind: speech_encoder, checkpoint: x}",
                "model=linear_probe",
                "model.acoustic.layers=mix",
            ],
            "standardises what is not trained: set model.acoustic.layers=concatenate",
        ),
        (["model.acoustic.trained_layers=1"], "takes an encoder's own frames, and no prepare.features.kind log_mel"),
        ([*TRAINED, "prepare.features.padded=true"], "and no prepare.features.padded"),
        ([*TRAINED, "model.acoustic.normalisation=speaker"], "and no model.acoustic.normalisation"),
        ([*TRAINED, "model.acoustic.deltas=1"], "and no model.acoustic.deltas"),
        ([*TRAINED, "model.kind=linear_probe", "model.acoustic.layers=concatenate"], "and no model.kind linear_probe"),
        (["model.acoustic.lora_rank=8"], "goes with model.acoustic.trained_layers"),
        (["model.modalities=acoustic", "training.augmentation.modality_dropout=0.3"], "needs model.kind fgcme with"),
        (["model=late_fusion", "training.augmentation.modality_dropout=0.3"], "needs model.kind fgcme with"),
        ([ALIGNED, "model.modalities=acoustic"], "needs features of each word on both sides: model.kind fgcme with"),
        ([ALIGNED, "model=linear_probe"], "needs features of each word on both sides"),
        (["training.cross_modal_alignment.distribution=1", "model=late_fusion"], "needs features of each word"),
        ([ALIGNED, "training.batch_size=1"], "set training.batch_size to 2 or more"),
        ([ALIGNED, "training.batch_size=7", "scaling.workers=4"], "set training.batch_size to 8 or more"),
        ([ALIGNED, "training.augmentation.modality_dropout=1"], "set training.augmentation.modality_dropout below 1"),
        (["training.refit=true", "protocol.selection=test"], "needs protocol.selection dev"),
        (["training.loss=focal", "training.label_smoothing=0.1"], "goes with training.loss cross_entropy"),
        (["model=late_fusion", "training.augmentation.mixup_alpha=0.2"], "does not go with late_fusion"),
        (["prepare.features={kind: speech_encoder, checkpoint: x}", "model.acoustic.input=mfcc"], "needs prepare.fe"),
        (
            ["prepare.features={kind: speech_encoder, checkpoint: x}", "training.augmentation.gain_db=6"],
            "need prepare.fe",
        ),
        (["model.semantic.input=encoder"], "model.semantic.input encoder needs prepare.text.checkpoint"),
        (
            ["prepare.text.checkpoint=x", "model.semantic.vectors=glove.txt"],
            "model.semantic.vectors are for a table of words, and prepare.text.checkpoint names an encoder",
        ),
        (["scaling.gpus_per_worker=1.5"], "1.5 GPUs cannot be had: give a whole number, or a share below 1"),
        (["scaling.gpus_per_trial=1.5"], "1.5 GPUs cannot be had"),
        (
            ["scaling.workers=2", "scaling.gpus_per_worker=0.5"],
            "`gpus_per_worker` gives each of 2 workers 0.5 GPUs, and NCCL takes no two workers on one GPU",
        ),
        (["scaling.workers=2", "scaling.gpus_per_trial=1"], "`gpus_per_trial` gives each of 2 workers 0.5 GPUs"),
        (["scaling.workers=2", "scaling.gpus_per_trial=3"], "`gpus_per_trial` gives each of 2 workers 1.5 GPUs"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(file: Path, overrides: list[str], sentence: str) -> None:
    with pytest.raises(UserError) as raised:
        load_experiment(file, overrides)
    assert sentence in str(raised.value) and ": :" not in str(raised.value)


@pytest.mark.parametrize(
    "overrides",
    [
        ["scaling.gpus_per_worker=0.5"],
        ["scaling.workers=1", "scaling.gpus_per_worker=0.5", "scaling.gpus_per_trial=0.25"],
        ["scaling.workers=4", "scaling.gpus_per_worker=2"],
        ["scaling.workers=4", "scaling.gpus_per_trial=8"],
        ["scaling.workers=4"],
    ],
)
def test_a_share_of_a_gpu_for_one_process_and_whole_gpus_for_several_are_taken(
    file: Path, overrides: list[str]
) -> None:
    load_experiment(file, overrides)


@pytest.mark.parametrize("model", ["fgcme", "learned_alignment", "ctc_alignment", "can", "recommended"])
def test_whatever_has_words_of_both_sides_can_be_aligned_across_modalities(file: Path, model: str) -> None:
    experiment = load_experiment(file, [f"model={model}", ALIGNED, "training.batch_size=2", "model.modalities=both"])
    assert experiment.training.cross_modal_alignment.is_on


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

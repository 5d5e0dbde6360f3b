"""Named variants of the model, and how they are merged into settings."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from fgcme.errors import UserError
from fgcme.experiment import ModelSettings, load_experiment, parse_experiment, variants
from fgcme.model import build_model
from pipelines.bundled import EXPERIMENTS

each_variant = pytest.mark.parametrize("name", variants.all_variants())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "experiment.yaml"
    model = {"pooling": {"margin": 2}, "excitement": {"driver": "word"}, "fusion": {"hidden": 128}}
    content = {"name": "x", "corpus": {"kind": "demo"}, "protocol": {"name": "demo/4class"}, "model": model}
    path.write_text(yaml.safe_dump(content))
    return path


@each_variant
def test_every_variant_is_a_valid_model_that_can_be_built(name: str) -> None:
    settings = ModelSettings.model_validate(variants.find_variant(name)["model"])
    assert sum(parameter.numel() for parameter in build_model(settings, 4, 5, 2).parameters()) > 0


@each_variant
def test_every_variant_names_its_kind_so_that_it_can_override_any_other(name: str) -> None:
    assert "kind" in variants.find_variant(name)["model"]


def test_no_two_variants_are_the_same_model() -> None:
    models = [ModelSettings.model_validate(sections["model"]) for sections in variants.all_variants().values()]
    assert all(models.index(model) == position for position, model in enumerate(models))


def test_every_kind_of_model_has_a_variant() -> None:
    kinds = {sections["model"]["kind"] for sections in variants.all_variants().values()}
    assert kinds == set(ModelSettings.model_json_schema()["properties"]["kind"]["enum"])


def test_the_default_model_is_the_variant_of_that_name() -> None:
    assert ModelSettings.model_validate(variants.find_variant("fgcme")["model"]) == ModelSettings()


@pytest.mark.parametrize(
    ("name", "closest"),
    [("figures", "figure"), ("late-fusion", "late_fusion"), ("withoutexcitement", "without_excitement")],
)
def test_an_unknown_variant_is_refused_with_the_closest_and_all_known(name: str, closest: str) -> None:
    with pytest.raises(UserError, match=f"model={name}: no such variant; did you mean {closest}\\?") as error:
        variants.find_variant(name)
    assert "pooled_statistics" in str(error.value) and "\n" not in str(error.value)


def test_a_name_like_no_other_is_refused_without_a_guess() -> None:
    with pytest.raises(UserError, match=r"model=zzz: no such variant \(there are fgcme, "):
        variants.find_variant("zzz")


def test_changing_a_variant_that_was_found_leaves_the_variants_unchanged() -> None:
    variants.find_variant("figure")["model"]["excitement"]["semantic"] = "none"
    assert variants.find_variant("figure")["model"]["excitement"]["semantic"] == "gate"


@pytest.mark.parametrize(("old", "new"), [("gate", "figure"), ("uniform", "even"), ("utterance", "recording")])
def test_whoever_uses_a_former_name_is_told_the_new_one(file: Path, old: str, new: str) -> None:
    with pytest.raises(UserError, match=f"no such variant; it is now called {new}"):
        load_experiment(file, [f"model={old}"])
    assert new in variants.all_variants() and old not in variants.all_variants()


# What the run scripts of the published code and its modules have.
PUBLISHED_MODEL = {
    "acoustic": {"input": "published", "normalisation": "none", "channels": [64, 128, 128], "kernels": [5, 2, 2]},
    "semantic": {"embedding": 300},
    "pooling": {"segments": "words", "kind": "mean_max", "margin": 0},
    "excitement": {"semantic": "residual_gate", "acoustic": "residual_gate", "driver": "word"},
    "fusion": {"hidden": 256, "readout": "max"},
}
PUBLISHED_TRAINING = {"epochs": 20, "batch_size": 32, "learning_rate": 5e-4, "frame_limit": 3000, "score": "published"}


@pytest.mark.parametrize("experiment", sorted(EXPERIMENTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_published_variant_is_the_same_of_every_experiment(experiment: Path) -> None:
    overrides = ["prepare.features.kind=log_mel", "training.seeds=[3,4]", "model.semantic.vectors=/glove.txt"]
    published = load_experiment(experiment, [*overrides, "model=published"])
    expected = parse_experiment(
        {
            "name": "x",
            "corpus": {"kind": "demo"},
            "protocol": {"name": "demo/4class"},
            "model": {**PUBLISHED_MODEL, "semantic": {"embedding": 300, "vectors": "/glove.txt"}},
            "training": {**PUBLISHED_TRAINING, "seeds": [3, 4]},
        }
    )
    assert published.model == expected.model and published.training == expected.training
    # Later overrides win, and nothing else of the experiment changes.
    assert load_experiment(experiment, [*overrides, "model=published", "training.epochs=2"]).training.epochs == 2
    rest = {"model", "training"}
    plain = load_experiment(experiment, overrides)
    assert published.model_dump(exclude=rest) == plain.model_dump(exclude=rest)


def test_merging_changes_nested_settings_and_leaves_the_rest() -> None:
    settings = {"kind": "fgcme", "pooling": {"kind": "max", "margin": 2}, "fusion": {"hidden": 8}}
    variants.merge(settings, {"pooling": {"kind": "mean"}, "semantic": {"embedding": 5}})
    assert settings == {
        "kind": "fgcme",
        "pooling": {"kind": "mean", "margin": 2},
        "fusion": {"hidden": 8},
        "semantic": {"embedding": 5},
    }


def test_a_variant_on_the_command_line_changes_what_it_names_and_nothing_else(file: Path) -> None:
    plain = load_experiment(file).model
    model = load_experiment(file, ["model=additive", "model.fusion.hidden=64"]).model
    assert (model.excitement.semantic, model.excitement.acoustic, model.fusion.hidden) == ("additive", "additive", 64)
    assert (model.pooling, model.excitement.driver) == (plain.pooling, "word")


def test_overrides_apply_in_their_order(file: Path) -> None:
    assert load_experiment(file, ["model=mean", "model.pooling.kind=max"]).model.pooling.kind == "max"
    assert load_experiment(file, ["model.pooling.kind=max", "model=mean"]).model.pooling.kind == "mean"
    assert load_experiment(file, ["model=late_fusion", "model=mean"]).model.kind == "fgcme"


def test_an_experiment_file_may_name_a_variant(file: Path) -> None:
    content = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump(content | {"model": "learned_alignment"}))
    assert load_experiment(file, ["model.baseline.stack=4"]).model == ModelSettings.model_validate(
        {"kind": "learned_alignment", "baseline": {"stack": 4}}
    )


def test_settings_beside_a_variant_in_an_experiment_file_count_before_the_variant_s(file: Path) -> None:
    content = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump(content | {"model": {"variant": "recommended", "fusion": {"hidden": 16}}}))
    experiment = load_experiment(file, ["training.epochs=7"])
    assert (experiment.model.fusion.hidden, experiment.model.fusion.sequence) == (16, "wordwise")
    assert (experiment.training.optimiser, experiment.training.epochs) == ("adamw", 7)


def test_an_unknown_variant_on_the_command_line_is_refused(file: Path) -> None:
    with pytest.raises(UserError, match="did you mean mean"):
        load_experiment(file, ["model=meen"])


@pytest.mark.parametrize(
    "name", [f"{corpus}_whisper{by}" for corpus in ("ravdess", "emodb") for by in ("", "_speaker")]
)
def test_the_experiments_on_an_encoder_are_the_recommended_variant(name: str) -> None:
    path = EXPERIMENTS / f"{name}.yaml"
    plain, recommended = load_experiment(path), load_experiment(path, ["model=recommended"])
    normalisation = "speaker" if name.endswith("speaker") else "train"
    pooling = recommended.model.pooling.model_copy(update={"normalisation": normalisation})
    assert plain.model == recommended.model.model_copy(update={"pooling": pooling, "modalities": "acoustic"})
    assert plain.training.refit != name.endswith("speaker")
    assert plain.training.model_copy(update={"refit": False}) == recommended.training


@pytest.mark.parametrize("name", ["ravdess_whisper_speaker", "emodb_whisper"])
def test_a_linear_probe_is_trained_in_its_own_way_on_what_the_experiment_trains_on(name: str) -> None:
    plain = load_experiment(EXPERIMENTS / f"{name}.yaml")
    probe = load_experiment(EXPERIMENTS / f"{name}.yaml", ["model=linear_probe"])
    assert probe.training.optimiser == "adam" and probe.training.weight_decay > 0
    assert probe.model.fusion.dropout == probe.training.label_smoothing == probe.training.augmentation.mixup_alpha == 0
    assert (probe.training.refit, probe.training.seeds) == (plain.training.refit, plain.training.seeds)
    assert probe.model.pooling.normalisation == plain.model.pooling.normalisation

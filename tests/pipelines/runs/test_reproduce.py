"""The commands and files that repeat a run."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from fgcme.experiment import Experiment, ablation, load_experiment, load_space
from pipelines import bundled, cli
from pipelines.runs.reproduce import Repetition, repeat_ablation, repeat_sweep, repeat_training
from tests import small_corpus


def demo(*overrides: str) -> Experiment:
    return load_experiment(bundled.experiment_file("demo"), overrides)


def repeat(repetition: Repetition, folder: Path) -> tuple[Experiment, list[str]]:
    """Write the files to a folder; the experiment that the last command loads there, and the command's words."""
    for name, text in repetition.files.items():
        (folder / name).write_text(text)
    words = shlex.split(repetition.commands[-1].replace("\\\n", " "))
    assert words[0] == "fgcme"
    options = cli.parse(words[1:])
    named = folder / options.experiment
    return load_experiment(
        named if named.is_file() else bundled.experiment_file(options.experiment), options.overrides
    ), words


def test_a_bundled_experiment_is_named_and_its_changes_are_overrides(tmp_path: Path) -> None:
    experiment = demo(
        "training.epochs=3",
        "training.learning_rate=5.0e-5",
        "training.seeds=[0, 1]",
        "model.pooling.kind=mean",
        "model.acoustic.channels=[8, 8, 8]",
        "training.gradient_clip=null",
        "corpus.utterances=60",
    )
    repetition = repeat_training(experiment)
    loaded, words = repeat(repetition, tmp_path)
    assert loaded == experiment
    assert words[:3] == ["fgcme", "train", "demo"]
    assert "training.seeds=[0, 1]" in words
    assert repetition.commands[0] == "fgcme prepare demo corpus.utterances=60"


def test_an_unchanged_bundled_experiment_needs_no_override() -> None:
    assert repeat_training(demo()).commands == ["fgcme prepare demo", "fgcme train demo"]


def test_another_experiment_becomes_a_file(tmp_path: Path) -> None:
    experiment = small_corpus.experiment(training={"epochs": 7})
    loaded, words = repeat(repeat_training(experiment), tmp_path)
    assert words == ["fgcme", "train", "experiment.yaml"]
    assert loaded == experiment


def test_commands_name_no_path_or_setting_of_the_machine() -> None:
    experiment = small_corpus.experiment(
        corpus={"kind": "manifest", "root": "/secret/corpus", "manifest": "/secret/list.csv"},
        protocol={"name": "own", "labels": {"a": "a", "b": "b"}, "folds": 3},
        prepare={"folder": "/secret/prepared", "alignment": {"method": "imported", "folder": "/secret/grids"}},
        storage={"path": "/secret/storage"},
        tracking={"uri": "sqlite:////secret/mlflow.db"},
        scaling={"cpus_per_worker": 7.0},
    )
    repetition = repeat_training(experiment)
    everything = "\n".join([*repetition.commands, *repetition.files.values()])
    assert "secret" not in everything
    assert "7.0" not in everything
    assert "list.csv" in everything
    assert repetition.commands[0] == "fgcme prepare experiment.yaml --root path/to/manifest"


def test_a_bundled_ablation_is_named() -> None:
    experiment = demo("training.epochs=2")
    reference, variants = ablation.load_ablation(bundled.space_file("paper_ablation"), experiment)
    repetition = repeat_ablation(experiment, "paper_ablation", reference, variants, ["dev"])
    assert repetition.commands[-1] == "fgcme ablate demo --space paper_ablation training.epochs=2"
    assert list(repetition.files) == ["experiment.yaml"]


def test_another_ablation_becomes_a_file_with_the_same_variants(tmp_path: Path) -> None:
    experiment = demo()
    space = tmp_path / "own.yaml"
    space.write_text(
        "reference: fgcme\n"
        "variants:\n"
        "  fgcme:\n"
        "  mean: {model.pooling.margin: 10}\n"
        "  plain: {model.kind: fgcme, training.batch_size: 16}\n"
        "  slow: {training.learning_rate: 1.0e-5, model.acoustic.channels: [8, 8, 8]}\n"
    )
    reference, variants = ablation.load_ablation(space, experiment)
    repetition = repeat_ablation(experiment, "own", reference, variants, ["dev", "test"])
    space.unlink()
    loaded, words = repeat(repetition, tmp_path)
    assert words == ["fgcme", "ablate", "demo", "--space", "own.yaml", "--selection", "both"]
    assert ablation.load_ablation(tmp_path / "own.yaml", loaded) == (reference, variants)


def test_an_ablation_that_shares_only_the_name_of_a_bundled_one_becomes_a_file() -> None:
    experiment = demo()
    reference, variants = ablation.load_ablation(bundled.space_file("paper_ablation"), experiment)
    fewer = {name: variants[name] for name in ("fgcme", "mean")}
    repetition = repeat_ablation(experiment, "paper_ablation", reference, fewer, ["test"])
    assert "paper_ablation.yaml" in repetition.files
    assert repetition.commands[-1] == "fgcme ablate demo --space paper_ablation.yaml --selection test"


def test_a_variant_that_changes_nothing_can_be_written(tmp_path: Path) -> None:
    experiment = demo()
    repetition = repeat_ablation(experiment, "own", "as_it_is", {"as_it_is": experiment}, ["dev"])
    loaded, _ = repeat(repetition, tmp_path)
    assert ablation.load_ablation(tmp_path / "own.yaml", loaded) == ("as_it_is", {"as_it_is": experiment})


def test_a_variant_may_need_its_own_settings_to_be_valid(tmp_path: Path) -> None:
    experiment = demo("training.augmentation.mixup_alpha=0.2")
    space = tmp_path / "own.yaml"
    space.write_text("reference: fgcme\nvariants: {fgcme: , late_fusion: {training.augmentation.mixup_alpha: 0.0}}\n")
    reference, variants = ablation.load_ablation(space, experiment)
    repetition = repeat_ablation(experiment, "own", reference, variants, ["dev"])
    space.unlink()
    loaded, _ = repeat(repetition, tmp_path)
    assert ablation.load_ablation(tmp_path / "own.yaml", loaded) == (reference, variants)


@pytest.mark.parametrize("lines", [1, 2])
def test_long_commands_are_broken_between_words(lines: int) -> None:
    overrides = [
        f"training.augmentation.{name}" for name in ("speed=0.1", "gain_db=3.0", "noise=0.5", "mixup_alpha=0.2")
    ]
    command = repeat_training(demo(*overrides[: 2 * lines - 1])).commands[-1]
    assert len(command.splitlines()) == lines
    assert all(len(line) <= 100 for line in command.splitlines())
    assert shlex.split(command.replace("\\\n", " "))[3:] == overrides[: 2 * lines - 1]


def test_a_bundled_space_is_named_and_the_best_configuration_is_trained_next() -> None:
    experiment = demo("tune.trials=8")
    space = load_space(bundled.space_file("joint"), experiment)
    assert repeat_sweep(experiment, "joint", space, None).commands == [
        "fgcme prepare demo",
        "fgcme tune demo --space joint tune.trials=8",
    ]
    best = experiment.model_copy(update={"name": "demo-joint"})
    repetition = repeat_sweep(experiment, "joint", space, best)
    assert repetition.commands[-1] == "fgcme train best.yaml"
    assert "name: demo-joint" in repetition.files["best.yaml"]


def test_another_space_becomes_a_file_that_reads_back_equal(tmp_path: Path) -> None:
    experiment = small_corpus.experiment()
    path = tmp_path / "given.yaml"
    path.write_text(
        "parameters:\n"
        "  training.gradient_clip: {choice: [null, 1e-5]}\n"
        "  training.learning_rate: {float: [1e-6, 1e-2], log: true, when: {training.gradient_clip: [null]}}\n"
        "  model.fusion.hidden: {int: [4, 8], step: 2}\n"
        "initial_trials: [{training.gradient_clip: 1e-5, model.fusion.hidden: 8}]\n"
    )
    space = load_space(path, experiment)
    # It shares only the name of a bundled space.
    repetition = repeat_sweep(experiment, "pooling", space, None)
    assert repetition.commands[-1] == "fgcme tune experiment.yaml --space pooling.yaml"
    (tmp_path / "pooling.yaml").write_text(repetition.files["pooling.yaml"])
    assert load_space(tmp_path / "pooling.yaml", experiment) == space

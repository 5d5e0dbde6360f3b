"""Ablations read from YAML: the variants of an experiment, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from fgcme.errors import UserError
from fgcme.experiment import load_experiment, parse_experiment, variants
from fgcme.experiment.ablation import load_ablation
from pipelines.bundled import EXPERIMENTS, SEARCH_SPACES

EXPERIMENT = parse_experiment(
    {
        "name": "x",
        "corpus": {"kind": "demo"},
        "protocol": {"name": "demo/4class"},
        "model": {"fusion": {"hidden": 64}},
        "training": {"seeds": [0, 1]},
    }
)


def write(folder: Path, text: str) -> Path:
    path = folder / "ablation.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", sorted(SEARCH_SPACES.glob("*ablation.yaml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("experiment", sorted(EXPERIMENTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_bundled_ablation_fits_every_bundled_experiment(path: Path, experiment: Path) -> None:
    # Those on an encoder are of sound alone, which is one of the variants.
    reference, experiments = load_ablation(path, load_experiment(experiment, ["model.modalities=both"]))
    assert reference in experiments and len(experiments) > 1


def test_a_variant_is_the_experiment_with_its_settings_changed(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "reference: fgcme\nvariants:\n  fgcme:\n  mean: {training.epochs: 3}\n  wide: {model.pooling.margin: 9}\n",
    )
    reference, experiments = load_ablation(path, EXPERIMENT)
    assert reference == "fgcme" and list(experiments) == ["fgcme", "mean", "wide"]
    assert experiments["fgcme"] == EXPERIMENT
    assert experiments["mean"].model.pooling.kind == "mean" and experiments["mean"].training.epochs == 3
    assert experiments["wide"].model.pooling.margin == 9
    for variant in experiments.values():
        assert variant.model.fusion.hidden == 64 and variant.training.seeds == [0, 1]
        assert variant.protocol == EXPERIMENT.protocol


def test_the_name_of_a_described_variant_may_begin_like_a_named_one(tmp_path: Path) -> None:
    path = write(tmp_path, "reference: mean2\nvariants:\n  mean2: {model.pooling.margin: 2}\n  mean:\n")
    assert load_ablation(path, EXPERIMENT)[1]["mean2"].model.pooling.kind == "mean_max"


def test_every_named_variant_can_be_compared(tmp_path: Path) -> None:
    names = "".join(f"  {name}:\n" for name in variants.all_variants())
    _, experiments = load_ablation(write(tmp_path, f"reference: fgcme\nvariants:\n{names}"), EXPERIMENT)
    assert list(experiments) == list(variants.all_variants())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("reference: fgcme\nvariants: {}\n", "variants: name at least one, each on a line"),
        ("reference: fgcme\n", "at least one of `variants`"),
        ("variants:\n  fgcme:\n", "reference is missing; an ablation has `reference`"),
        ("reference: fgcme\nvariants:\n", "variants: name at least one, each on a line"),
        ("reference: fgcme\nvariants: [fgcme]\n", "variants: name at least one, each on a line"),
        ("reference: fgcme\nvariants: {a b: {model.pooling.kind: max}}\n", "'a b' is refused: a name has letters"),
        ("reference: fgcme\nvariants: {fgcme: mean}\n", "variants.fgcme: 'mean' is refused"),
        (
            "reference: fgcme\nvariants: {fgcme: }\nfolds: 3\n",
            "folds: no such key \\(allowed here: reference",
        ),
        ("parameters: {}\n", "a search space, not an ablation: use it with fgcme tune"),
        ("reference: mean\nvariants:\n  fgcme:\n", "reference: mean is none of fgcme"),
        ("reference: fgcme\nvariants:\n  fgcme:\n  recordng:\n", "variant recordng: .*did you mean recording?"),
        (
            "reference: fgcme\nvariants:\n  fgcme:\n  mean:\n  fgcme: {model.pooling.margin: 3}\n",
            "line 5: `fgcme` is",
        ),
        (
            "reference: fgcme\nvariants:\n  fgcme:\n  acoustic_alon: {training.batch_size: 16}\n",
            "variant acoustic_alon: .*did you mean acoustic_alone. Else choose a name",
        ),
        ("reference: fgcme\nvariants:\n  fgcme:\n  mean: {model.pooling.margn: 3}\n", "model.pooling.margin"),
        (
            "reference: fgcme\nvariants:\n  fgcme:\n  mean: {model.pooling.margin: -3}\n",
            "variant mean: .*-3 is refused",
        ),
        ("reference: fgcme\nvariants:\n  fgcme:\n  mine: {protocol.selection: test}\n", "same for all variants"),
        (
            "reference: fgcme\nvariants:\n  fgcme:\n  mine: {protocl.selection: test}\n",
            "variant mine: protocl is not a setting; did you mean protocol?",
        ),
        (
            "reference: fgcme\nvariants:\n  fgcme:\n  mine: {scaling.parallel: 2}\n",
            "variant mine: scaling.parallel is now called scaling.max_concurrent",
        ),
        ("reference: fgcme\nvariants:\n  fgcme:\n  mine: {training.seeds: [5]}\n", "same for all variants"),
        ("reference: fgcme\nvariants:\n  fgcme:\n  mine: {model.pooling.margin: 0}\n", "fgcme and mine are the same"),
    ],
)
def test_a_wrong_ablation_is_refused_in_one_line_that_names_its_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as refusal:
        load_ablation(write(tmp_path, text), EXPERIMENT)
    assert "\n" not in str(refusal.value) and "ablation.yaml" in str(refusal.value)

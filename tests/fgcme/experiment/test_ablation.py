"""Ablations: what is compared with what."""

from __future__ import annotations

from pathlib import Path

import pytest

from fgcme.errors import UserError
from fgcme.experiment import load_experiment as load_experiment
from fgcme.experiment import parse_experiment, variants
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
def test_every_shipped_ablation_fits_every_shipped_experiment(path: Path, experiment: Path) -> None:
    reference, made = load_ablation(path, load_experiment(experiment))
    assert reference in made and len(made) > 1


def test_a_variant_is_the_experiment_with_what_makes_it_differ(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "reference: fgcme\nvariants:\n  fgcme:\n  mean: {training.epochs: 3}\n  wide: {model.pooling.margin: 9}\n",
    )
    reference, made = load_ablation(path, EXPERIMENT)
    assert reference == "fgcme" and list(made) == ["fgcme", "mean", "wide"]
    assert made["fgcme"] == EXPERIMENT
    assert made["mean"].model.pooling.kind == "mean" and made["mean"].training.epochs == 3
    assert made["wide"].model.pooling.margin == 9
    for variant in made.values():
        assert variant.model.fusion.hidden == 64 and variant.training.seeds == [0, 1]
        assert variant.protocol == EXPERIMENT.protocol


def test_a_variant_s_own_name_may_begin_as_a_named_one_does(tmp_path: Path) -> None:
    path = write(tmp_path, "reference: mean2\nvariants:\n  mean2: {model.pooling.margin: 2}\n  mean:\n")
    assert load_ablation(path, EXPERIMENT)[1]["mean2"].model.pooling.kind == "mean_max"


def test_every_named_variant_can_be_compared(tmp_path: Path) -> None:
    names = "".join(f"  {name}:\n" for name in variants.all_variants())
    _, made = load_ablation(write(tmp_path, f"reference: fgcme\nvariants:\n{names}"), EXPERIMENT)
    assert list(made) == list(variants.all_variants())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("reference: fgcme\nvariants: {}\n", "variants: none is named.*at least one of `variants`"),
        ("reference: fgcme\n", "at least one of `variants`"),
        ("variants:\n  fgcme:\n", "reference is missing; an ablation has `reference`"),
        ("reference: fgcme\nvariants:\n", "variants: none is named, a line each"),
        ("reference: fgcme\nvariants: [fgcme]\n", "variants: none is named, a line each"),
        ("reference: fgcme\nvariants: {a b: {model.pooling.kind: max}}\n", "'a b' is no name of letters"),
        ("reference: fgcme\nvariants: {fgcme: mean}\n", "variants.fgcme: 'mean' is refused"),
        ("reference: fgcme\nvariants: {fgcme: }\nfolds: 3\n", "folds is none of its keys"),
        ("parameters: {}\n", "a search space, not an ablation: use it with fgcme tune"),
        ("reference: mean\nvariants:\n  fgcme:\n", "reference: mean is none of fgcme"),
        ("reference: fgcme\nvariants:\n  fgcme:\n  utterence:\n", "variant utterence: .*did you mean utterance?"),
        (
            "reference: fgcme\nvariants:\n  fgcme:\n  mean:\n  fgcme: {model.pooling.margin: 3}\n",
            "line 5: `fgcme` is",
        ),
        (
            "reference: fgcme\nvariants:\n  fgcme:\n  acoustic_alon: {training.batch_size: 16}\n",
            "variant acoustic_alon: .*did you mean acoustic_alone. else choose a name",
        ),
        ("reference: fgcme\nvariants:\n  fgcme:\n  mean: {model.pooling.margn: 3}\n", "model.pooling.margin"),
        (
            "reference: fgcme\nvariants:\n  fgcme:\n  mean: {model.pooling.margin: -3}\n",
            "variant mean: .*-3 is refused",
        ),
        ("reference: fgcme\nvariants:\n  fgcme:\n  mine: {protocol.selection: test}\n", "same for all variants"),
        ("reference: fgcme\nvariants:\n  fgcme:\n  mine: {training.seeds: [5]}\n", "same for all variants"),
        ("reference: fgcme\nvariants:\n  fgcme:\n  mine: {model.pooling.margin: 0}\n", "fgcme and mine are the same"),
    ],
)
def test_a_file_that_makes_no_comparison_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as refusal:
        load_ablation(write(tmp_path, text), EXPERIMENT)
    assert "\n" not in str(refusal.value) and "ablation.yaml" in str(refusal.value)

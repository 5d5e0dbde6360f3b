from pathlib import Path

import optuna
import pytest

from fgcme.errors import UserError
from fgcme.experiment import load as load_experiment
from fgcme.experiment import parse
from fgcme.space import apply, load
from pipelines.shipped import EXPERIMENTS, SEARCH_SPACES

EXPERIMENT = parse({"name": "x", "corpus": {"kind": "demo"}, "protocol": {"name": "demo/4class"}})


def write(folder: Path, text: str) -> Path:
    path = folder / "space.yaml"
    path.write_text(text)
    return path


SPACES = [path for path in sorted(SEARCH_SPACES.glob("*.yaml")) if not path.stem.endswith("ablation")]


@pytest.mark.parametrize("space", SPACES, ids=lambda path: path.stem)
@pytest.mark.parametrize("experiment", sorted(EXPERIMENTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_space_draws_what_every_shipped_experiment_accepts(space: Path, experiment: Path) -> None:
    base = load_experiment(experiment)
    loaded = load(space, base)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for point in loaded.first:
        apply(base, point)
    for _ in range(200):
        apply(base, loaded.draw(study.ask(), base.flat()))


def test_draws_stay_in_their_ranges_and_on_their_steps(tmp_path: Path) -> None:
    space = load(
        write(
            tmp_path,
            "parameters:\n"
            "  model.fusion.hidden: {int: [64, 256], step: 64}\n"
            "  model.fusion.dropout: {float: [0.0, 0.4], step: 0.2}\n"
            "  training.learning_rate: {float: [1.0e-4, 1.0e-2], log: true}\n",
        ),
        EXPERIMENT,
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    drawn = [space.draw(study.ask(), EXPERIMENT.flat()) for _ in range(100)]
    assert {row["model.fusion.hidden"] for row in drawn} == {64, 128, 192, 256}
    assert {row["model.fusion.dropout"] for row in drawn} == {0.0, 0.2, 0.4}
    rates = [float(row["training.learning_rate"]) for row in drawn]  # type: ignore[arg-type]
    assert all(1e-4 <= rate <= 1e-2 for rate in rates)
    # Uniform in the logarithm: half of them below the geometric middle.
    assert 30 < sum(rate < 1e-3 for rate in rates) < 70


def test_a_conditional_parameter_is_drawn_only_when_its_condition_holds(tmp_path: Path) -> None:
    space = load(
        write(
            tmp_path,
            "parameters:\n"
            "  model.excitement.acoustic: {choice: [none, gate]}\n"
            "  model.excitement.driver: {choice: [features, word], when: {model.excitement.acoustic: [gate]}}\n",
        ),
        EXPERIMENT,
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [space.draw(study.ask(), EXPERIMENT.flat()) for _ in range(40)]
    assert all(("model.excitement.driver" in row) == (row["model.excitement.acoustic"] == "gate") for row in drawn)
    assert len({len(row) for row in drawn}) == 2


def test_a_condition_on_what_the_space_does_not_vary_looks_at_the_experiment(tmp_path: Path) -> None:
    text = (
        "parameters:\n"
        "  model.excitement.driver: {choice: [features, word], when: {model.excitement.acoustic: [none]}}\n"
        "  training.batch_size: {int: [8, 64], log: true}\n"
    )
    space = load(write(tmp_path, text), EXPERIMENT)
    assert "model.excitement.driver" not in space.draw(optuna.create_study().ask(), EXPERIMENT.flat())


def test_the_experiment_s_own_configuration_is_a_point_of_the_space_if_it_lies_inside(tmp_path: Path) -> None:
    space = load(
        write(
            tmp_path,
            "parameters:\n"
            "  training.epochs: {int: [10, 30]}\n"
            "  model.excitement.acoustic: {choice: [none, residual_gate]}\n"
            "  training.batch_size: {choice: [16, 32], when: {model.excitement.acoustic: [residual_gate]}}\n",
        ),
        EXPERIMENT,
    )
    own = {"training.epochs": 20, "model.excitement.acoustic": "residual_gate", "training.batch_size": 32}
    assert space.point(EXPERIMENT.flat()) == own
    without = apply(EXPERIMENT, {"model.excitement.acoustic": "none"}).flat()
    assert space.point(without) == {"training.epochs": 20, "model.excitement.acoustic": "none"}
    assert space.point(apply(EXPERIMENT, {"training.epochs": 50}).flat()) is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("parameters:\n  model.poling.kind: {choice: [mean]}\n", "model.poling is not a setting"),
        ("parameters:\n  model.pooling.kind: {choice: [mean, median]}\n", "'median' is refused"),
        ("parameters:\n  training.epochs: {int: [0, 5]}\n", "training.epochs: 0 is refused"),
        ("parameters:\n  training.epochs: {int: [5, 1]}\n", "the lower bound comes first"),
        ("parameters:\n  training.learning_rate: {float: [0.0, 1.0], log: true}\n", "logarithmic range is above 0"),
        ("parameters:\n  training.learning_rate: {float: [0.1, 1.0], choice: [1]}\n", "exactly one of"),
        ("parameters:\n  training.learning_rate: {uniform: [0.1, 1.0]}\n", "uniform"),
        ("parameters: {}\n", "parameters"),
        ("parameters:\n  prepare.features.bins: {int: [20, 80]}\n", "cannot vary between trials"),
        (
            "parameters:\n  model.excitement.driver: {choice: [word], when: {model.excitement.acoustic: [gate]}}\n"
            "  model.excitement.acoustic: {choice: [gate]}\n",
            "must be listed before it",
        ),
        ("parameters:\n  training.epochs: {int: [1, 5]}\nfirst: [{training.epochs: 9}]\n", "lies outside the space"),
        ("parameters:\n  training.epochs: {int: [1, 5]}\nfirst: [{}]\n", "give training.epochs too"),
        ("parameters: [\n", "cannot be read as YAML"),
    ],
)
def test_a_space_that_does_not_fit_is_refused_before_anything_runs(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(UserError) as raised:
        load(write(tmp_path, text), EXPERIMENT)
    assert sentence in str(raised.value)
    assert "space.yaml" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_ablation_is_no_space_to_search(tmp_path: Path) -> None:
    path = write(tmp_path, "reference: fgcme\nvariants: {fgcme: null, mean: null}\n")
    with pytest.raises(UserError, match="an ablation, not a search space: use it with fgcme ablate"):
        load(path, EXPERIMENT)

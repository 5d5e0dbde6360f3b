import json
from pathlib import Path

import optuna
import pytest

from fgcme.errors import UserError
from fgcme.experiment import Space, apply_configuration, load_space, parse_experiment
from fgcme.experiment import load_experiment as load_experiment
from fgcme.model import build
from pipelines.bundled import EXPERIMENTS, SEARCH_SPACES

EXPERIMENT = parse_experiment({"name": "x", "corpus": {"kind": "demo"}, "protocol": {"name": "demo/4class"}})


def write(folder: Path, text: str) -> Path:
    path = folder / "space.yaml"
    path.write_text(text)
    return path


SPACES = [path for path in sorted(SEARCH_SPACES.glob("*.yaml")) if not path.stem.endswith("ablation")]


@pytest.mark.parametrize("space", SPACES, ids=lambda path: path.stem)
@pytest.mark.parametrize("experiment", sorted(EXPERIMENTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_space_draws_what_every_shipped_experiment_accepts_and_builds(
    space: Path, experiment: Path
) -> None:
    base = load_experiment(experiment)
    loaded = load_space(space, base)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [loaded.draw(study.ask(), base.flat()) for _ in range(200)]
    assert len({tuple(row.items()) for row in drawn}) > 150
    accepted = [apply_configuration(base, row) for row in [*loaded.initial_trials, *drawn]]
    for made in accepted[: len(loaded.initial_trials) + 3]:
        network = build(made.model, frame_size=40, vocabulary_size=10, classes=4)
        assert sum(parameter.numel() for parameter in network.parameters()) > 0


@pytest.mark.parametrize("space", SPACES, ids=lambda path: path.stem)
def test_the_published_configuration_is_among_those_that_a_shipped_space_tries_first(space: Path) -> None:
    # The run scripts of the published code drive the acoustic side by word.
    published = apply_configuration(EXPERIMENT, {"model.excitement.driver": "word"})
    loaded = load_space(space, EXPERIMENT)
    assert loaded.as_point(published.flat()) in loaded.initial_trials


def test_what_the_experiment_makes_of_a_value_is_what_is_drawn(tmp_path: Path) -> None:
    # To YAML, 1e-4 is a text.
    text = (
        "parameters:\n"
        "  training.learning_rate: {choice: [1e-4, 1]}\n"
        "  training.weight_decay: {float: [1e-6, 1e-2], log: true, when: {training.learning_rate: [1e-4]}}\n"
        "initial_trials: [{training.learning_rate: 1e-4, training.weight_decay: 1e-3}]\n"
    )
    space = load_space(write(tmp_path, text), EXPERIMENT)
    assert [repr(value) for value in space.parameters["training.learning_rate"].boundary_values()] == ["0.0001", "1.0"]
    assert space.parameters["training.weight_decay"].number == [1e-6, 1e-2]
    assert space.parameters["training.weight_decay"].when == {"training.learning_rate": [0.0001]}
    assert space.initial_trials == [{"training.learning_rate": 0.0001, "training.weight_decay": 0.001}]


def test_it_is_the_same_after_a_way_through_json(tmp_path: Path) -> None:
    space = load_space(SEARCH_SPACES / "joint.yaml", EXPERIMENT)
    assert Space.model_validate(json.loads(space.model_dump_json(by_alias=True, exclude_defaults=True))) == space


def test_a_grid_holds_every_configuration_once_and_its_size_is_known_without_it(tmp_path: Path) -> None:
    text = (
        "parameters:\n"
        "  model.pooling.kind: {choice: [mean, lse, utterance]}\n"
        "  model.pooling.temperature: {float: [0.5, 1.5], step: 0.5, when: {model.pooling.kind: [lse]}}\n"
        "  model.pooling.margin: {int: [0, 4], step: 2, when: {model.pooling.kind: [mean, lse]}}\n"
        "  training.batch_size: {int: [7, 8]}\n"
        "  model.excitement.driver: {choice: [features, word], when: {model.excitement.acoustic: [none]}}\n"
    )
    space = load_space(write(tmp_path, text), EXPERIMENT)
    made = list(space.grid(EXPERIMENT.flat()))
    # mean: 3 margins; lse: 3 temperatures of 3 margins; utterance: one; each with 2 sizes, and never a driver.
    assert len(made) == space.grid_size(EXPERIMENT.flat()) == 2 * (3 + 9 + 1)
    assert len({tuple(sorted(row.items())) for row in made}) == len(made)
    assert made[0] == {"model.pooling.kind": "mean", "model.pooling.margin": 0, "training.batch_size": 7}
    assert {row["model.pooling.temperature"] for row in made if row["model.pooling.kind"] == "lse"} == {0.5, 1.0, 1.5}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    assert all(space.draw(study.ask(), EXPERIMENT.flat()) in made for _ in range(50))


def test_a_range_without_steps_has_no_grid_and_is_named(tmp_path: Path) -> None:
    text = "parameters:\n  training.batch_size: {int: [1, 3]}\n  training.learning_rate: {float: [0.1, 0.2]}\n"
    space = load_space(write(tmp_path, text), EXPERIMENT)
    for ask in (space.grid, space.grid_size):
        with pytest.raises(UserError, match=r"training\.learning_rate has no grid: give its range a `step`"):
            ask(EXPERIMENT.flat())


def test_draws_stay_in_their_ranges_and_on_their_steps(tmp_path: Path) -> None:
    space = load_space(
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
    space = load_space(
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
    space = load_space(write(tmp_path, text), EXPERIMENT)
    assert "model.excitement.driver" not in space.draw(optuna.create_study().ask(), EXPERIMENT.flat())


def test_the_experiment_s_own_configuration_is_a_point_of_the_space_if_it_lies_inside(tmp_path: Path) -> None:
    space = load_space(
        write(
            tmp_path,
            "parameters:\n"
            "  model.fusion.hidden: {int: [128, 512]}\n"
            "  model.excitement.acoustic: {choice: [none, residual_gate]}\n"
            "  training.batch_size: {choice: [16, 32], when: {model.excitement.acoustic: [residual_gate]}}\n",
        ),
        EXPERIMENT,
    )
    own = {"model.fusion.hidden": 256, "model.excitement.acoustic": "residual_gate", "training.batch_size": 32}
    assert space.as_point(EXPERIMENT.flat()) == own
    without = apply_configuration(EXPERIMENT, {"model.excitement.acoustic": "none"}).flat()
    assert space.as_point(without) == {"model.fusion.hidden": 256, "model.excitement.acoustic": "none"}
    assert space.as_point(apply_configuration(EXPERIMENT, {"model.fusion.hidden": 1024}).flat()) is None


def test_what_chooses_the_best_epoch_may_vary_if_the_objective_is_another(tmp_path: Path) -> None:
    by_ua = apply_configuration(EXPERIMENT, {"tune.objective": "ua"})
    space = load_space(write(tmp_path, "parameters:\n  training.score: {choice: [ua, wa]}\n"), by_ua)
    assert space.parameters["training.score"].choice == ["ua", "wa"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("parameters:\n  model.poling.kind: {choice: [mean]}\n", "model.poling is not a setting"),
        ("parameters:\n  model.pooling.kind: {choice: [mean, median]}\n", "'median' is refused"),
        ("parameters:\n  training.batch_size: {int: [0, 5]}\n", "training.batch_size: 0 is refused"),
        (
            "parameters:\n  training.epochs: {int: [5, 20]}\n",
            "training.epochs cannot vary between trials, which are compared epoch by epoch",
        ),
        (
            "parameters:\n  training.score: {choice: [ua, wa]}\n",
            "training.score cannot vary between trials that tune.objective=score compares by it",
        ),
        ("parameters:\n  training.batch_size: {int: [5, 1]}\n", "the lower bound comes first"),
        ("parameters:\n  training.learning_rate: {float: [0.0, 1.0], log: true}\n", "logarithmic range is above 0"),
        ("parameters:\n  training.learning_rate: {float: [0.1, 1.0], choice: [1]}\n", "exactly one of"),
        (
            "parameters:\n  training.learning_rate: {uniform: [0.1, 1.0]}\n",
            "uniform: no such key; allowed here: choice, int",
        ),
        ("parameters: {}\n", "parameters"),
        ("parameters:\n  prepare.features.bins: {int: [20, 80]}\n", "cannot vary between trials"),
        (
            "parameters:\n  model.excitement.driver: {choice: [word], when: {model.excitement.acoustic: [gate]}}\n"
            "  model.excitement.acoustic: {choice: [gate]}\n",
            "must be listed before it",
        ),
        (
            "parameters:\n  training.batch_size: {int: [1, 5]}\ninitial_trials: [{training.batch_size: 9}]\n",
            "lies outside the space",
        ),
        ("parameters:\n  training.batch_size: {int: [1, 5]}\ninitial_trials: [{}]\n", "give training.batch_size too"),
        (
            "parameters:\n  training.batch_size: {int: [1, 5]}\ninitial_trials: [5]\n",
            "initial_trials, configuration 1: give",
        ),
        (
            "parameters:\n  training.batch_size: {int: [1, 5]}\ninitial_trials: [{training.batch: 5}]\n",
            "training.batch is not a parameter of this space; did you mean training.batch_size?",
        ),
        (
            "parameters:\n  model.fusion.dropout: {float: [0.0, 0.4], step: 0.2}\n"
            "initial_trials: [{model.fusion.dropout: 0.3}]\n",
            "initial_trials, configuration 1: model.fusion.dropout=0.3 lies outside",
        ),
        (
            "parameters:\n  model.pooling.kind: {choice: [mean, lse]}\n"
            "  model.pooling.temperature: {float: [1, 2], when: {model.pooling.kind: [lse]}}\n"
            "initial_trials: [{model.pooling.kind: mean, model.pooling.temperature: 1}]\n",
            "leave out model.pooling.temperature, whose condition does not hold",
        ),
        (
            "parameters:\n  model.pooling.kind: {choice: [mean, max]}\n"
            "  model.pooling.temperature: {float: [1, 2], when: {model.pooling.kind: [lse]}}\n",
            "model.pooling.temperature: when: model.pooling.kind never is lse in this space",
        ),
        (
            "parameters:\n  training.batch_size: {int: [1, 5], when: {model.pooling.kind: [median]}}\n",
            "training.batch_size: when: model.pooling.kind: 'median' is refused",
        ),
        (
            "parameters:\n  training.batch_size: {int: [1, 5], when: {model.poling.kind: [mean]}}\n",
            "training.batch_size: when: model.poling is not a setting; did you mean model.pooling?",
        ),
        (
            "parameters:\n  training.batch_size: {int: [1, 5], when: {model.pooling.kind: mean}}\n",
            "training.batch_size.when: model.pooling.kind: 'mean' is no list",
        ),
        (
            "parameters:\n  training.batch_size: {int: [1, 5], when: {training.loss: [ctc]}}\n",
            "no condition holds under this experiment",
        ),
        (
            "parameters:\n  training.learning_rate: {float: [.nan, 1.0]}\n",
            "learning_rate.float: nan is no finite number",
        ),
        ("parameters:\n  training.learning_rate: {float: [0.1, .inf]}\n", "inf is no finite number"),
        ("parameters:\n  training.learning_rate: {float: [low, 1.0]}\n", "'low' is no finite number"),
        ("parameters:\n  training.learning_rate: {float: [0.1]}\n", "[0.1] is no range"),
        ("parameters:\n  training.batch_size: {int: [1.5, 4]}\n", "training.batch_size.int: 1.5 is no whole number"),
        ("parameters:\n  training.batch_size: {int: [true, 4]}\n", "True is no whole number"),
        (
            "parameters:\n  training.batch_size: {float: [1, 4]}\n",
            "training.batch_size is a whole number: write its range with",
        ),
        ("parameters:\n  model.acoustic.layer_normalisation: {int: [0, 1]}\n", "is true or false: write `choice`"),
        (
            "parameters:\n  model.pooling: {choice: [mean]}\n",
            "model.pooling is a section of settings: name one of kind,",
        ),
        ("parameters:\n  training.batch_size: 5\n", "training.batch_size: 5 does not say how it varies"),
        ("parameters:\n  model.pooling.kind: {choice: []}\n", "model.pooling.kind.choice: [] is no list of choices"),
        ("parameters:\n  model.pooling.kind: {choice: [mean, max, mean]}\n", "kind: choice: mean is there twice"),
        ("parameters:\n  training.learning_rate: {choice: [1, 1.0]}\n", "1.0 is there twice"),
        ("parameters:\n  model.acoustic.kernels: {choice: [[5, 2, 2]]}\n", "[5, 2, 2] cannot be drawn"),
        ("parameters:\n  training.learning_rate: {choice: [.nan]}\n", "nan cannot be drawn"),
        ("parameters:\n  training.batch_size: {int: [1, 4], step: 0}\n", "0 is no step"),
        ("parameters:\n  training.batch_size: {int: [1, 4], step: 1.5}\n", "leaves the whole numbers"),
        ("parameters:\n  training.batch_size: {int: [1, 4], step: 2}\n", "never meet 4: end at 3 or 5"),
        (
            "parameters:\n  model.fusion.dropout: {float: [0.0, 0.5], step: 0.2}\n",
            "model.fusion.dropout: steps of 0.2 from 0 never meet 0.5: end at 0.4 or 0.6",
        ),
        ("parameters:\n  training.batch_size: {int: [1, 4], log: 1}\n", "1 is neither true nor false"),
        # Both ends are accepted, what lies between them is not.
        ("parameters:\n  model.baseline.heads: {int: [1, 4]}\n", "model.baseline: `heads` must divide"),
        # Each is accepted alone, both together are not.
        (
            "parameters:\n  training.loss: {choice: [cross_entropy, focal]}\n"
            "  training.label_smoothing: {float: [0.0, 0.1]}\n",
            "training.label_smoothing goes with training.loss cross_entropy",
        ),
        ("parametres: {}\n", "parametres: no such key; allowed here: parameters, initial_trials"),
        ("parameters: [\n", "cannot be read as YAML"),
    ],
)
def test_a_space_that_does_not_fit_is_refused_before_anything_runs(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(UserError) as raised:
        load_space(write(tmp_path, text), EXPERIMENT)
    assert sentence in str(raised.value)
    assert "space.yaml" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_ablation_is_no_space_to_search(tmp_path: Path) -> None:
    path = write(tmp_path, "reference: fgcme\nvariants: {fgcme: null, mean: null}\n")
    with pytest.raises(UserError, match="an ablation, not a search space: use it with fgcme ablate"):
        load_space(path, EXPERIMENT)

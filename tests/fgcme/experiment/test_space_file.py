"""Search spaces read from YAML, and what is refused of them."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from fgcme.errors import UserError
from fgcme.experiment import apply_configuration, load_experiment, load_space, parse_experiment, variants
from fgcme.model import build_model
from pipelines.bundled import EXPERIMENTS, SEARCH_SPACES

EXPERIMENT = parse_experiment({"name": "x", "corpus": {"kind": "demo"}, "protocol": {"name": "demo/4class"}})


def write(folder: Path, text: str) -> Path:
    path = folder / "space.yaml"
    path.write_text(text)
    return path


# What they vary works on log-mel energies: for an encoder's frames they are refused.
OF_LOG_MEL = ("augmentation", "front_end")
SPACES = [path for path in sorted(SEARCH_SPACES.glob("*.yaml")) if not path.stem.endswith("ablation")]


@pytest.mark.parametrize("space", SPACES, ids=lambda path: path.stem)
@pytest.mark.parametrize("experiment", sorted(EXPERIMENTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_bundled_experiment_accepts_and_builds_what_every_bundled_space_draws(
    space: Path, experiment: Path
) -> None:
    base = load_experiment(experiment)
    if base.prepare.features.kind != "log_mel" and space.stem in OF_LOG_MEL:
        with pytest.raises(UserError, match=r"needs? prepare\.features\.kind log_mel"):
            load_space(space, base)
        return
    loaded = load_space(space, base)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [loaded.draw(study.ask(), base.flat()) for _ in range(200)]
    assert len({tuple(row.items()) for row in drawn}) > 150
    accepted = [apply_configuration(base, row) for row in [*loaded.initial_trials, *drawn]]
    for experiment_of_trial in accepted[: len(loaded.initial_trials) + 3]:
        network = build_model(experiment_of_trial.model, frame_size=40, vocabulary_size=10, classes=4)
        assert sum(parameter.numel() for parameter in network.parameters()) > 0


@pytest.mark.parametrize("space", SPACES, ids=lambda path: path.stem)
def test_every_bundled_space_tries_the_published_configuration_first(space: Path) -> None:
    content = EXPERIMENT.model_dump(mode="json")
    variants.apply_variant(content, "published")
    loaded = load_space(space, EXPERIMENT)
    published = parse_experiment(content).flat() | {"model.acoustic.input": "prepared"}
    if "model.acoustic.input" in loaded.parameters:
        published["model.acoustic.input"] = "published"
    assert loaded.as_point(published) == loaded.initial_trials[0]


def test_values_have_the_types_of_the_experiment_s_settings(tmp_path: Path) -> None:
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


def test_the_score_of_the_best_epoch_may_vary_if_the_objective_is_another(tmp_path: Path) -> None:
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
        ("parameters:\n  training.batch_size: {int: [5, 1]}\n", "the lower bound comes first: write [1, 5]"),
        ("parameters:\n  training.learning_rate: {float: [0.0, 1.0], log: true}\n", "logarithmic range is above 0"),
        ("parameters:\n  training.learning_rate: {float: [0.1, 1.0], choice: [1]}\n", "exactly one of"),
        (
            "parameters:\n  training.learning_rate: {uniform: [0.1, 1.0]}\n",
            "uniform: no such key (allowed here: choice, int",
        ),
        ("parameters: {}\n", "parameters: give at least one"),
        ("parameters: [training.batch_size]\n", "parameters: give at least one"),
        ("initial_trials: []\n", "parameters is missing"),
        ("training.batch_size: {int: [1, 5]}\n", "training.batch_size: write it below `parameters`"),
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
            "initial_trials: configuration 1: give",
        ),
        (
            "parameters:\n  training.batch_size: {int: [1, 5]}\ninitial_trials: {training.batch_size: 5}\n",
            "initial_trials: give configurations as a list",
        ),
        (
            "parameters:\n  training.batch_size: {int: [1, 5]}\ninitial_trials: [{training.batch_size: [5]}]\n",
            "initial_trials: configuration 1: training.batch_size: [5] cannot be drawn",
        ),
        (
            "parameters:\n  training.focal_gamma: {float: [1, 5]}\ninitial_trials: [{training.focus: 5}]\n",
            "initial_trials: configuration 1: training.focus is now called training.focal_gamma",
        ),
        (
            "parameters:\n  training.batch_size: {int: [1, 5]}\ninitial_trials: [{training.batch: 5}]\n",
            "training.batch is not a parameter of this space; did you mean training.batch_size?",
        ),
        (
            "parameters:\n  model.fusion.dropout: {float: [0.0, 0.4], step: 0.2}\n"
            "initial_trials: [{model.fusion.dropout: 0.3}]\n",
            "initial_trials: configuration 1: model.fusion.dropout=0.3 lies outside",
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
        ("parameters:\n  training.batch_size: {int: [true, 4]}\n", "true is no whole number"),
        (
            "parameters:\n  training.batch_size: {float: [1, 4]}\n",
            "training.batch_size is a whole number: write its range with",
        ),
        ("parameters:\n  model.acoustic.layer_normalisation: {int: [0, 1]}\n", "is true or false: write `choice`"),
        (
            "parameters:\n  model.pooling: {choice: [mean]}\n",
            "model.pooling is a section of settings: name one of segments,",
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
        (
            "parametres: {}\n",
            "parametres: no such key; did you mean parameters? (allowed here: parameters, initial_trials)",
        ),
        ("parameters: [\n", "line 2: not valid YAML"),
    ],
)
def test_a_wrong_space_is_refused_in_one_line_that_names_file_and_key(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(UserError) as raised:
        load_space(write(tmp_path, text), EXPERIMENT)
    assert sentence in str(raised.value)
    assert "space.yaml" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_ablation_is_refused_as_a_search_space(tmp_path: Path) -> None:
    path = write(tmp_path, "reference: fgcme\nvariants: {fgcme: null, mean: null}\n")
    with pytest.raises(UserError, match="an ablation, not a search space: use it with fgcme ablate"):
        load_space(path, EXPERIMENT)

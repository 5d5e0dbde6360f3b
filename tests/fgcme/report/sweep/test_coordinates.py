from __future__ import annotations

from fgcme.report.sweep.coordinates import common_values, coordinates_figure, describe_coordinates
from fgcme.report.theme import LIGHT
from tests.fgcme.report.sweep.sample_sweep import SPACE, sweep, telling, trial

ORDER = list(SPACE.parameters)


def test_every_trial_is_a_line_down_all_rows_to_its_score() -> None:
    made = telling(12)
    lines = coordinates_figure(made, ORDER, LIGHT).axes[0].get_lines()
    down = [line for line in lines if len(line.get_ydata()) == len(ORDER) + 1]
    assert len(down) == 12
    # The best is drawn last, on top, and ends furthest to the right.
    ends = [float(line.get_xdata()[-1]) for line in down]
    assert ends == sorted(ends)
    assert down[-1].get_linewidth() > down[0].get_linewidth()


def test_parameters_that_were_not_drawn_lie_left_of_all_values() -> None:
    made = telling(12)
    lines = coordinates_figure(made, ORDER, LIGHT).axes[0].get_lines()
    down = [line for line in lines if len(line.get_ydata()) == len(ORDER) + 1]
    places = [float(line.get_xdata()[ORDER.index("model.pooling.temperature")]) for line in down]
    drawn = ["model.pooling.temperature" in each.configuration for each in reversed(made.ranked)]
    assert max(place for place, there in zip(places, drawn, strict=True) if not there) < 0.05
    assert min(place for place, there in zip(places, drawn, strict=True) if there) > 0.05


def test_one_trial_and_equal_scores_can_be_drawn() -> None:
    for made in (sweep(trial(0, 0.5)), sweep(trial(0, 0.5), trial(1, 0.5))):
        assert coordinates_figure(made, ORDER, LIGHT).axes[0].get_lines()


def test_a_parameter_that_no_trial_drew_has_no_row() -> None:
    labels = coordinates_figure(sweep(trial(0, 0.5)), ORDER, LIGHT).axes[0].get_yticklabels()
    assert [label.get_text() for label in labels] == [
        "model.pooling.kind",
        "model.fusion.hidden",
        "training.gradient_clip",
        "dev score",
    ]


def test_the_description_has_the_values_shared_by_the_best_trials() -> None:
    def drawn(kind: str, hidden: int, clip: float | None) -> dict[str, object]:
        return {"model.pooling.kind": kind, "model.fusion.hidden": hidden, "training.gradient_clip": clip}

    lse = drawn("lse", 64, None) | {"model.pooling.temperature": 0.5}
    best = [trial(0, 0.9, lse), trial(1, 0.8, drawn("mean", 192, None))]
    made = sweep(*best, trial(2, 0.1), trial(3, 0.1))
    common = common_values(made)
    assert common == {
        "model.pooling.kind": "lse (1), mean (1)",
        "model.pooling.temperature": "0.5; not drawn in 1",
        "model.fusion.hidden": "64 to 192",
        "training.gradient_clip": "null",
    }
    assert describe_coordinates(made, ORDER).startswith("Values in the best 2 of 4 trials: model.pooling.kind: lse (1)")

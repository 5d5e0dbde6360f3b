"""The metrics of a run in a line, whatever it learnt."""

from fgcme.evaluation.agreement import Agreement
from fgcme.evaluation.intervals import Interval
from fgcme.evaluation.ratings import RatingEstimate, RatingsSummary
from fgcme.report.headline import describe_agreement, describe_ratings, headline


def test_both_tasks_are_in_one_line() -> None:
    mean = {"wa": 0.5, "ua": 0.6, "macro_f1": 0.4, "ccc": 0.3, "ccc_valence": 0.3}
    deviation = dict.fromkeys(mean, 0.02)
    assert headline(mean) == "WA 50.0, UA 60.0, macro-F1 40.0, CCC 0.300 (valence 0.300)"
    assert headline(mean, deviation).endswith("macro-F1 40.0 ± 2.0, CCC 0.300 ± 0.020 (valence 0.300)")


def test_a_dimension_has_a_line_with_what_is_known_of_its_intervals() -> None:
    interval = Interval(0.4, 0.6)
    metrics = {
        "ccc_valence": RatingEstimate(0.5, 0, interval),
        "pearson_valence": RatingEstimate(0.55, 0, interval),
        "rmse_valence": RatingEstimate(1.25, 0, None),
    }
    summary = RatingsSummary(["valence"], metrics, {}, {"valence": 8}, utterances=9, speakers=3)
    assert describe_ratings(summary) == [
        "valence: CCC 0.500 (0.400 to 0.600), Pearson 0.550 (0.400 to 0.600), RMSE 1.250; 8 of 9 utterances rated"
    ]


def test_humans_stand_beside_the_model() -> None:
    agreement = Agreement(
        {"wa": 0.7, "ua": 0.6}, {"wa": 0.65, "ua": 0.55}, {"cross_entropy": 1.2, "jensen_shannon": 0.3}, 90, 10
    )
    first, second = describe_agreement(agreement)
    assert first.startswith("each rater against the majority of the others: WA 70.0, UA 60.0; the model against ")
    assert "WA 65.0, UA 55.0 (90 labels of raters, 10 more whose" in first
    assert second.endswith("cross-entropy 1.200, Jensen-Shannon distance 0.300")

from __future__ import annotations

import re
from dataclasses import replace

from fgcme.report.content import ReportData
from fgcme.report.pictures import report_pictures
from fgcme.report.theme import LIGHT
from tests.fgcme.report.sample_report import sample_content, sample_results, single_model

CONTENT = sample_content()


def of_single_model() -> ReportData:
    return replace(CONTENT, result_sets=[single_model()], gaps={})


def test_every_result_set_variant_and_example_has_its_picture() -> None:
    pictures = report_pictures(CONTENT)
    assert [picture.name for picture in pictures.estimates] == ["estimates-dev", "estimates-test-optimistic"]
    assert list(pictures.confusions) == list(pictures.learning) == ["fgcme", "mean_max", "by_speaker"]
    assert [picture.name for picture in pictures.examples] == ["spoken-s0-00-dev"]
    assert pictures.gaps is not None
    assert pictures.recalls is not None
    assert len(list(pictures)) == 2 + 3 + 2 * 3 + 1


def test_a_single_model_has_no_pictures_of_comparisons() -> None:
    pictures = report_pictures(of_single_model())
    assert (pictures.estimates, pictures.gaps, pictures.recalls) == ([], None, None)
    assert [picture.name for picture in pictures] == [
        "speakers-dev",
        "confusion-fgcme-dev",
        "learning-fgcme-dev",
        "spoken-s0-00-dev",
    ]


def test_a_variant_without_learning_curves_has_no_picture_of_them() -> None:
    learning = {name: curves for name, curves in CONTENT.learning.items() if name != "mean_max"}
    assert list(report_pictures(replace(CONTENT, learning=learning)).learning) == ["fgcme", "by_speaker"]


def test_only_compared_models_are_called_reference_in_their_titles() -> None:
    def title(content: ReportData, variant: str) -> str:
        return str(report_pictures(content).confusions[variant].draw(LIGHT).axes[0].get_title())

    assert title(CONTENT, "fgcme") == "fgcme (reference)"
    assert title(CONTENT, "mean_max") == "mean_max"
    assert title(of_single_model(), "fgcme") == "fgcme"


def test_learning_curves_share_the_limits_of_ua_and_show_the_reference() -> None:
    pictures = report_pictures(CONTENT).learning
    axes = [pictures[variant].draw(LIGHT).axes[0] for variant in ("fgcme", "mean_max")]
    assert axes[0].get_ylim() == axes[1].get_ylim()
    # The reference is drawn behind another variant, and alone in its own picture.
    assert [len(each.lines) for each in axes] == [1, 2]


def test_pictures_have_distinct_and_valid_file_names() -> None:
    names = [picture.name for picture in report_pictures(CONTENT)]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[\w.-]+", name) for name in names)


def test_descriptions_end_with_the_conditions_and_remarks_of_what_is_shown() -> None:
    pictures = report_pictures(CONTENT)
    conditions = "(made/3class, epochs chosen on dev"
    remark = "; by_speaker uses unlabelled test audio.)"
    assert pictures.estimates[0].alternative.endswith(conditions + remark)
    assert pictures.confusions["by_speaker"].alternative.endswith(conditions + remark)
    assert pictures.confusions["mean_max"].alternative.endswith(f"{conditions}.)")
    assert pictures.gaps is not None
    assert "both selection rules; open diamonds are optimistic" in pictures.gaps.alternative
    reference = replace(sample_results(), remarks={"fgcme": "uses unlabelled test audio"})
    example = report_pictures(replace(CONTENT, result_sets=[reference])).examples[0]
    assert "fgcme (uses unlabelled test audio), fold 1, seed 0, trained without speaker s0" in example.alternative


def test_the_caption_of_an_example_says_whether_the_prediction_is_right() -> None:
    example = CONTENT.examples[0]
    right = replace(example, label="calm")
    wrong, correct = report_pictures(replace(CONTENT, examples=[example, right])).examples
    assert wrong.caption == ("“good morning” (s0/00), predicted calm with 70 %, but it is happy. Alignment: sphinx.")
    assert "predicted calm with 70 %, which is right. Alignment" in correct.caption

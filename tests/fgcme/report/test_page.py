from __future__ import annotations

import itertools
import re
from dataclasses import replace

import pytest

from fgcme.report.conditions import Conditions
from fgcme.report.content import ReportData, TrainingCost
from fgcme.report.formatting import percent, points
from fgcme.report.page import to_html
from fgcme.report.pictures import report_pictures
from fgcme.report.theme import LIGHT, to_png
from tests.fgcme.report.page_text import Page
from tests.fgcme.report.sample_report import (
    sample_content,
    sample_example,
    sample_learning,
    sample_provenance,
    single_model,
)


def rendered(made: ReportData) -> Page:
    drawn = report_pictures(made)
    return Page(to_html(made, drawn, {picture.name: to_png(picture, LIGHT) for picture in drawn}))


@pytest.fixture(scope="module")
def ablation() -> Page:
    return rendered(sample_content())


@pytest.fixture(scope="module")
def training() -> Page:
    """Of a single model, tuned on test speakers, on half a corpus; with words that look like tags."""
    main = single_model()
    conditions = Conditions("<b>made</b>", "dev", [0, 1], ["s0", "s1"], "no utterance of <speaker> & co")
    main = replace(main, conditions=conditions)
    return rendered(
        ReportData(
            provenance=sample_provenance("cross_validation"),
            result_sets=[main],
            training_costs={"fgcme": TrainingCost(8, 80.0)},
            learning={"fgcme": sample_learning()},
            examples=[replace(sample_example(), id="<script>alert(1)</script>")],
        )
    )


@pytest.fixture(scope="module")
def pages(ablation: Page, training: Page) -> list[Page]:
    return [ablation, training]


def test_a_page_loads_nothing_from_outside(pages: list[Page]) -> None:
    for page in pages:
        for attributes in page.all("img", "source", "link", "a", "script", "iframe"):
            for key in ("src", "srcset", "href"):
                assert (attributes.get(key) or "#").startswith(("#", "data:"))
        assert not page.all("script")
        assert "url(" not in page.source
        assert "@import" not in page.source


def test_every_link_has_a_target(pages: list[Page]) -> None:
    for page in pages:
        there = {attributes.get("id") for _, attributes in page.elements}
        links = [str(attributes["href"]).removeprefix("#") for attributes in page.all("a")]
        assert len(links) > 5
        assert set(links) <= there


def test_a_page_has_the_structure_that_screen_readers_need(pages: list[Page]) -> None:
    for page in pages:
        assert page.all("html")[0]["lang"] == "en"
        levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
        for landmark in ("header", "main", "nav", "footer"):
            assert len(page.all(landmark)) == 1
        assert all(attributes.get("scope") for attributes in page.all("th"))
        assert len(page.all("caption")) == len(page.all("table")) > 0
        # What scrolls must be reached by the keyboard, and have a name.
        for attributes in page.all("div", "pre"):
            if attributes.get("tabindex"):
                assert attributes["aria-label"]


def test_every_picture_has_both_themes_a_size_and_a_description(pages: list[Page]) -> None:
    for page in pages:
        images, sources = page.all("img"), page.all("source")
        assert len(images) == len(sources) > 2
        for image, dark in zip(images, sources, strict=True):
            assert dark["media"] == "(prefers-color-scheme: dark)"
            assert image["src"] != dark["srcset"]
            assert int(image["width"] or 0) > 100
            assert int(image["height"] or 0) > 100
            assert re.search(r"\d", image["alt"] or ""), "a finding has a number"
            assert "epochs chosen on" in (image["alt"] or "") or "selection rules" in (image["alt"] or "")


def test_tables_hold_the_numbers_of_both_rules(ablation: Page) -> None:
    for made in sample_content().result_sets:
        for name in made.variants:
            assert percent(made.table.estimates[name]["ua"].mean) in ablation.text
        for comparison in made.table.comparisons.values():
            assert points(comparison.differences["ua"].mean) in ablation.text
    # Estimates and differences by two rules, the gap, recalls, speakers, times.
    assert len(ablation.all("table")) == 8


def test_a_page_says_what_wa_and_ua_are(pages: list[Page]) -> None:
    for page in pages:
        assert "WA: accuracy. UA: mean of the classes' recalls, every class counts alike." in page.text


def test_optimistic_numbers_are_marked_where_they_stand(ablation: Page) -> None:
    captions = re.findall(r"<caption>(.*?)</caption>", ablation.source, re.DOTALL)
    by_test = [caption for caption in captions if "TEST" in caption or "on test" in caption]
    assert len(by_test) == 3
    assert all("optimistic" in caption for caption in by_test)
    assert re.search(r"Epochs chosen on TEST <strong class=\"mark\">optimistic", ablation.source)
    assert "Optimistic: the epoch of each training is chosen on the test part itself" in ablation.text
    assert ablation.text.count("uses unlabelled test audio") >= 5
    assert "partly optimistic" in ablation.text


def test_every_result_names_speakers_tuned_on_and_missing_utterances(training: Page) -> None:
    assert "scores on speakers who are test speakers here (s0, s1)" in training.text
    assert "too few speakers remain for statistics" in training.text
    assert "Incomplete corpus: no utterance of <speaker> & co" in training.text
    captions = re.findall(r"<caption>(.*?)</caption>", training.source, re.DOTALL)
    assert sum("tuned on TEST speakers (optimistic), incomplete corpus" in caption for caption in captions) == 2
    assert all("tuned on TEST speakers (optimistic)" in str(image["alt"]) for image in training.all("img"))
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>", training.source)
    assert sum("optimistic" in heading for heading in headings) == 4


def test_text_of_the_user_is_escaped(training: Page) -> None:
    assert not training.all("b", "script", "speaker")
    assert "<b>made</b>" in training.text
    assert "&lt;script&gt;alert(1)" in training.source


def test_a_single_model_has_no_comparison(training: Page) -> None:
    for word in ("McNemar", "Holm", "Selection gap", "Recall by emotion", "reference"):
        assert word not in training.text
    assert "Cross-validation on" in training.text


def test_a_page_has_the_commands_that_repeat_the_run_and_its_provenance(ablation: Page) -> None:
    for fact in (
        "fgcme ablate made --space parts 'training.seeds=[0, 1]'",
        "0123456789abcdef",
        "c0ffee",
        "abc123-dirty (files differed from this commit)",
        "torch 2.0",
        "2026-01-02 05:06 UTC",
        "1 min 20 s",
    ):
        assert fact in ablation.text


def test_words_are_coloured_by_what_they_contribute(ablation: Page) -> None:
    words = re.findall(
        r'<span class="(for|against)" style="--weight: (\d+)%">(\w+) <small>([^<]*)</small>', ablation.source
    )
    assert words == [("for", "58", "good", "+1.8"), ("against", "17", "morning", "−0.5")]
    assert "from −0.4 to +0.8 = calm 70 %" in ablation.text
    assert "what each word contributes: its integrated gradient" in ablation.text


def test_a_page_of_a_model_that_does_not_go_by_words_explains_none() -> None:
    made = replace(sample_content(), examples=[sample_example(contributions=False)], examples_note="There are none.")
    page = rendered(made)
    assert "integrated gradient" not in page.text and "There are none." in page.text
    assert 'class="spoken"' not in page.source


def test_a_page_without_an_example_gives_the_reason() -> None:
    note = "No examples: the prepared corpus was not available when this page was made."
    page = rendered(
        replace(sample_content(), result_sets=[single_model()], gaps={}, learning={}, examples=[], examples_note=note)
    )
    assert note in page.text
    assert "The choice does not depend on the prediction" not in page.text

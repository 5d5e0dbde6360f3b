from __future__ import annotations

import itertools
import re
from dataclasses import replace

import pytest

from fgcme.report.formatting import percent
from fgcme.report.sweep.page import sweep_html, sweep_pictures
from fgcme.report.sweep.trials import SweepData
from fgcme.report.theme import LIGHT, to_png
from tests.fgcme.report.page_text import Page
from tests.fgcme.report.sweep.sample_sweep import mixed, sweep, trial


def rendered(made: SweepData) -> Page:
    pictures = sweep_pictures(made)
    return Page(sweep_html(made, pictures, {each.name: to_png(each, LIGHT) for each in pictures}, bool(made.best)))


@pytest.fixture(scope="module")
def page() -> Page:
    return rendered(mixed())


def test_a_page_loads_nothing_from_outside_and_its_links_work(page: Page) -> None:
    there = {attributes.get("id") for _, attributes in page.elements}
    for attributes in page.all("img", "source", "link", "a", "script", "iframe"):
        for key in ("src", "srcset", "href"):
            address = attributes.get(key) or "data:"
            assert address.startswith("data:") or address.removeprefix("#") in there
    assert not page.all("script")


def test_a_page_has_the_structure_that_screen_readers_need(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    for landmark in ("header", "main", "nav", "footer"):
        assert len(page.all(landmark)) == 1
    assert all(attributes.get("scope") for attributes in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table")) == 4
    for attributes in page.all("div", "pre"):
        if attributes.get("tabindex"):
            assert attributes["aria-label"]


def test_every_picture_is_described_and_calls_the_best_optimistic(page: Page) -> None:
    images, sources = page.all("img"), page.all("source")
    assert len(images) == len(sources) == 4
    for image, dark in zip(images, sources, strict=True):
        assert image["src"] != dark["srcset"]
        assert re.search(r"\d", image["alt"] or "")
        assert "dev scores of folds 0 and 2" in (image["alt"] or "")
        assert "optimistic by selection" in (image["alt"] or "")


def test_a_page_says_what_wa_and_ua_are(page: Page) -> None:
    assert "WA: accuracy. UA: mean of the classes' recalls, every class counts alike." in page.text


def test_every_table_names_the_folds_of_its_dev_scores(page: Page) -> None:
    captions = re.findall(r"<caption>(.*?)</caption>", page.source, re.DOTALL)
    assert all("dev scores of folds 0 and 2" in caption for caption in captions)
    assert all("optimistic by selection" in caption for caption in captions)
    assert "All scores are dev scores" in page.text
    assert "The honest number is what fgcme train best.yaml measures" in page.text


def test_a_page_has_every_trial_with_its_state_and_the_best_configuration(page: Page) -> None:
    made = mixed()
    assert made.best is not None
    for each in made.trials:
        assert each.name in page.text
        assert each.score is None or percent(each.score) in page.text
    for state in made.states:
        assert state in page.text
    assert f"Settings of {made.best.name}, with a dev score of" in page.text
    assert "fgcme ablate made" in page.text  # the commands of its origin
    assert "0123456789abcdef" in page.text


def test_text_of_the_user_is_escaped(page: Page) -> None:
    assert not page.all("b")
    assert "<b>out of memory</b>" in page.text


@pytest.mark.parametrize(
    ("made", "drawn", "sentence"),
    [
        (sweep(), set(), "No history: no trial has a score (0 trials)."),
        (sweep(trial(0, 0.5)), {"history", "coordinates"}, "No importances: 1 of 1 trial has a score"),
        (
            sweep(*(trial(index, None, state="failed") for index in range(3)), cost="latency"),
            set(),
            "No Pareto front: no trial has both a score and a cost (3 trials: 3 failed).",
        ),
        (
            sweep(*(trial(index, 0.25) for index in range(12))),
            {"history", "coordinates"},
            "No importances: so many trials have the same score",
        ),
    ],
)
def test_a_picture_that_cannot_be_drawn_is_replaced_by_the_reason(
    made: SweepData, drawn: set[str], sentence: str
) -> None:
    assert set(sweep_pictures(made).drawn) == drawn
    assert sentence in rendered(made).text


def test_more_trials_than_fit_a_page_are_in_the_csv_file_only() -> None:
    many = [replace(trial(0, 0.1 + index / 1000), name=f"trial {index}") for index in range(230)]
    page = rendered(sweep(*many))
    assert "The first 200 trials in the order in which they started" in page.text
    assert page.source.count('<th scope="row">') <= 10 + 200
    assert "trials.csv has all of them" in page.text

"""A card says what the figures say, in Markdown, and to the Hugging Face hub in its metadata."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml
from huggingface_hub import ModelCard

from fgcme.card import Measured, Subject, card_figures, model_card, version_description
from fgcme.corpora.catalogue import CORPORA
from fgcme.data import Tasks
from tests.fgcme.card.test_figures import CLASSES, predictions

SUBJECT = Subject(
    name="a-model",
    alias="champion",
    summary="Speech emotion recognition: calm, angry.",
    origin={"corpus": "ravdess", "protocol": "ravdess/8class-6fold", "selection": "dev", "corpus_hash": "c0ffee"},
    corpus=CORPORA["ravdess"],
    tasks=Tasks(CLASSES),
    needs_text=True,
    reads_test_audio=False,
)
FIGURES = Measured(card_figures(predictions(), CLASSES, {"anna": "female", "bert": "male", "carl": "male"}.get))


def test_the_hub_reads_the_licence_the_language_and_the_results() -> None:
    data = ModelCard(model_card(SUBJECT, FIGURES)).data
    assert (data.license, data.language, data.library_name) == ("cc-by-nc-sa-4.0", "en", "fgcme")
    results = {result.metric_name: result for result in data.eval_results}
    assert results["UA"].metric_value == pytest.approx(40 / 60, abs=1e-4)
    assert (results["UA"].metric_type, results["UA"].metric_args) == ("recall", {"average": "macro"})
    assert results["WA"].dataset_config == "ravdess/8class-6fold"
    assert results["WA"].dataset_split == "test, out of fold"


def test_a_licence_that_the_hub_does_not_know_is_named() -> None:
    card = model_card(replace(SUBJECT, corpus=CORPORA["emodb"]), FIGURES)
    metadata = yaml.safe_load(card.split("---")[1])
    assert (metadata["license"], metadata["license_name"]) == ("other", "free for research")
    assert "in German" in card


def test_people_read_intervals_groups_and_calibration() -> None:
    card = model_card(SUBJECT, FIGURES)
    assert "| everybody | 66.7 (" in card and "| female speakers | 90.0 |" in card
    assert "| calm | 30 | 60.0 | 100.0 | 40.0 | angry (40.0) |" in card
    assert "| bert | 20 | 50.0 | 50.0 | 60.0 | 40.0 |" in card
    assert "expected calibration error (Guo et al., 2017) is 23.3 points" in card
    assert "| 80.0 to 90.0 | 60 | 90.0 | 66.7 |" in card
    assert "Livingstone" in card and "CC BY-NC-SA 4.0" in card
    assert 'fgcme predict models:/a-model@champion some.wav --text "what is said"' in card
    assert "ptimistic" not in card


def test_what_is_optimistic_is_called_so_for_people_and_for_the_hub() -> None:
    origin = SUBJECT.origin | {"selection": "test (optimistic)", "tuned_on": "01, 02"}
    card = model_card(replace(SUBJECT, origin=origin), FIGURES)
    assert "**Optimistic: epochs were chosen on the test part.**" in card
    assert "**Optimistic: settings were chosen on speakers who are test speakers here: 01, 02.**" in card
    assert ModelCard(card).data.eval_results[0].dataset_split == "test, out of fold (optimistic)"


def test_without_a_complete_cross_validation_it_says_that_nobody_knows() -> None:
    card = model_card(SUBJECT, Measured())
    assert "How good it is nobody knows" in card and "## Result" not in card
    assert ModelCard(card).data.eval_results is None


def test_a_corpus_of_one_s_own_asks_for_its_licence() -> None:
    card = model_card(replace(SUBJECT, corpus=CORPORA["manifest"]), FIGURES)
    assert "has to say here which it is" in card and ModelCard(card).data.license == "unknown"


def test_a_model_that_does_without_words_asks_for_none() -> None:
    card = model_card(replace(SUBJECT, needs_text=False, reads_test_audio=True), FIGURES)
    assert "--text" not in card and "audio normalised by speaker" in card


def test_a_description_has_no_long_tables_and_no_more_letters_than_mlflow_s_databases_hold() -> None:
    brief = version_description(SUBJECT, FIGURES)
    assert "66.7" in brief and "bert" not in brief and brief.endswith("README.md.)")
    long = version_description(replace(SUBJECT, summary="a line\n" * 2000), FIGURES)
    assert len(long) <= 5000 and long.endswith("README.md.)")

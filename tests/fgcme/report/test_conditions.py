from __future__ import annotations

from fgcme.report.conditions import Conditions

HONEST = Conditions("demo/4class", "dev", [0])
SELECTED = Conditions("demo/4class", "test", [0])
TUNED = Conditions("demo/4class", "dev", [0], tuned_on=["s1", "s2"])
PARTIAL = Conditions("demo/4class", "dev", [0], missing="no utterance of speaker s9")


def test_an_unbiased_result_has_no_caveat() -> None:
    assert HONEST.label == "demo/4class, epochs chosen on dev"
    assert not HONEST.optimistic
    assert HONEST.caveats == []


def test_a_result_selected_on_test_is_called_optimistic_in_every_text() -> None:
    for conditions in (SELECTED, TUNED):
        assert conditions.optimistic
        assert "optimistic" in conditions.label
        assert conditions.caveats[0].startswith("Optimistic: ")
    assert "optimistic" in SELECTED.rule
    assert "optimistic" in SELECTED.file_name
    assert "s1, s2" in TUNED.caveats[0]


def test_an_incomplete_corpus_is_reported_but_not_called_optimistic() -> None:
    assert not PARTIAL.optimistic
    assert PARTIAL.label.endswith("incomplete corpus")
    assert "no utterance of speaker s9" in PARTIAL.caveats[0]


def test_a_result_without_the_speakers_tuned_on_names_them_and_is_not_optimistic() -> None:
    left = TUNED.without_tuned_on()
    assert not left.optimistic
    assert "without the speakers tuned on" in left.label
    assert "s1, s2" in left.caveats[0]
    assert "left out" in left.caveats[0]


def test_no_two_results_of_a_run_share_a_file() -> None:
    names = {conditions.file_name for conditions in (HONEST, SELECTED, TUNED.without_tuned_on())}
    assert len(names) == 3

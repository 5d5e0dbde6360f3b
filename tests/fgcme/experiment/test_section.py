"""What every section of an experiment refuses."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from fgcme.experiment.section import Distinct, Gpus, Name, Settings, as_name


class Section(Settings):
    name: Name = "x"
    numbers: Distinct = [0]  # noqa: RUF012
    gpus: Gpus = 0.0
    shown: bool = False


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"nam": "x"}, "Extra inputs are not permitted"),
        ({"name": "a/b"}, "should match pattern"),
        ({"name": True}, "expects text, got true"),
        ({"gpus": True}, "expects a number, got true"),
        ({"gpus": -1}, "greater than or equal to 0"),
        ({"gpus": 2.5}, "2.5 GPUs cannot be had"),
        ({"gpus": float("inf")}, "finite number"),
        ({"numbers": [1, 2, 1]}, r"\[1, 2, 1\] has a number twice"),
        ({"numbers": []}, "at least 1 item"),
    ],
)
def test_what_no_section_can_hold_is_refused(content: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Section.model_validate(content)


def test_a_section_takes_truth_for_truth_and_a_share_of_a_gpu_or_whole_ones() -> None:
    assert Section.model_validate({"shown": True}).shown
    assert [Section.model_validate({"gpus": gpus}).gpus for gpus in (0, 0.125, 1, 2)] == [0, 0.125, 1, 2]


def test_a_section_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Section().name = "y"


@pytest.mark.parametrize("text", ["plain-name_1.2", "my space", "a/b:c (2)", "проект 快乐", "", "😀"])
def test_any_text_becomes_a_name_that_an_experiment_may_have(text: str) -> None:
    name = as_name(text)
    assert TypeAdapter(Name).validate_python(name) == as_name(name) == name
    assert as_name("plain-name_1.2") == "plain-name_1.2"

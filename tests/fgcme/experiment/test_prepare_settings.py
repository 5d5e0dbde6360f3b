"""The settings of a preparation: what is refused, and what a method needs."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from fgcme.experiment import PrepareSettings


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"alignment": {"method": "ctc"}}, "method ctc needs `checkpoint`, a folder or a hub name"),
        ({"alignment": {"method": "imported"}}, "method imported needs `folder`"),
        ({"features": {"kind": "speech_encoder"}}, "kind speech_encoder needs `checkpoint`"),
        ({"max_rejected": 1.5}, "less than or equal to 1"),
    ],
)
def test_settings_that_nothing_can_be_prepared_by_are_refused(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        PrepareSettings.model_validate(settings)


@pytest.mark.parametrize(
    ("speeds", "sentence"),
    [
        ([0.9, 0], "0 is no speed of a copy: give factors from 0.1 to 10"),
        ([-1.1], "-1.1 is no speed of a copy"),
        ([1e-6], "1e-06 is no speed of a copy"),
        ([0.9, 1], "1 is the recording's own speed"),
        ([1.0000001], "1 is the recording's own speed"),
        ([0.9, 1.1, 0.9], r"\[0.9, 1.1, 0.9\] has a speed twice"),
        (0.9, "valid list"),
    ],
)
def test_what_is_no_speed_of_a_copy_is_refused(speeds: object, sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        PrepareSettings.model_validate({"copies": {"speed": speeds}})


def test_there_are_no_copies_by_default_and_their_order_does_not_matter() -> None:
    assert PrepareSettings().copies.speed == []
    assert PrepareSettings.model_validate({"copies": {"speed": [1.1, 0.9]}}).copies.speed == [0.9, 1.1]


def test_a_text_encoder_needs_a_layer() -> None:
    assert PrepareSettings().text.checkpoint is None
    with pytest.raises(ValidationError, match="at least 1 item"):
        PrepareSettings.model_validate({"text": {"checkpoint": "a/b", "layers": []}})

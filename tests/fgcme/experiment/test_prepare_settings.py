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

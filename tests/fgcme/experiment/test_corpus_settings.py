"""Settings of the corpus and the protocol."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from fgcme.experiment import PartsSettings, ProtocolSettings


def test_parts_have_all_three_and_somebody_in_each() -> None:
    with pytest.raises(ValidationError, match="test\n  Field required"):
        PartsSettings.model_validate({"train": ["a"], "dev": ["b"]})
    with pytest.raises(ValidationError, match="dev\n  List should have at least 1 item"):
        ProtocolSettings.model_validate({"name": "mine", "parts": {"train": ["a"], "dev": [], "test": ["c"]}})

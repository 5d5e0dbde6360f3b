"""Small speech encoders, for what extracts their frames and what trains their layers."""

from collections.abc import Callable
from functools import cache

import pytest

from tests.speech_encoder import save_encoder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Saves a small encoder of a family, once a module of tests; returns its folder."""

    @cache
    def save(family: str) -> str:
        return save_encoder(family, tmp_path_factory.mktemp(family.replace(" ", "-")))

    return save

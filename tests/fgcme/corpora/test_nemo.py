"""nEMO: what the generic tests of all corpora do not say of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fgcme.corpora.nemo import CORPUS
from fgcme.errors import UserError


def test_without_its_table_the_refusal_says_where_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "EB0_anger_1.wav").touch()
    with pytest.raises(UserError, match=r"data\.tsv: no such file; clone https://github\.com/amu-cai/nEMO"):
        CORPUS.find(tmp_path)

"""EMOVO: what the generic tests of all corpora do not say of it."""

from __future__ import annotations

import pytest

from fgcme.corpora.emovo import SCHEME, SENTENCES


def test_it_has_fourteen_sentences_of_four_kinds() -> None:
    assert len(SENTENCES) == len(set(SENTENCES.values())) == 14
    assert {code[0] for code in SENTENCES} == set("bldn")


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("f1/dis-f4-b1", "actor f4 is not one of f1, f2"),
        ("f1/xyz-f1-b1", "emotion xyz"),
        ("f1/dis-f1-b9", "sentence b9"),
        ("f1/dis_f1_b1", "not as in dis-f1-b1"),
    ],
)
def test_a_name_of_something_else_is_refused_with_the_reason(path: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        SCHEME.parse(path)

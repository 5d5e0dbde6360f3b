"""What all pretrained encoders have in common."""

from __future__ import annotations

import pytest

from fgcme.errors import UserError
from fgcme.features.pretrained import choose_layers, of_like_length, refusal


def test_layers_are_counted_from_0_and_all_is_all_of_them() -> None:
    assert choose_layers("x", "y", "all", 2) == [0, 1, 2]
    assert choose_layers("x", "y", (-1, 0), 2) == [2, 0]


@pytest.mark.parametrize(
    ("layers", "message"),
    [((3,), "prepare.text.layers 3: bert has 0 to 2, or -1 for the last"), ((-4,), "-4"), ((2, -1), "twice; -1 is 2")],
)
def test_a_layer_that_is_not_there_or_twice_is_refused(layers: tuple[int, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        choose_layers("prepare.text.layers", "bert", layers, 2)


def test_every_sequence_goes_through_once_with_others_of_like_length() -> None:
    lengths = [7, 90, 8, 100, 7, 40]
    passes = list(of_like_length(lengths, budget=200))
    assert sorted(number for numbers in passes for number in numbers) == list(range(6))
    for numbers in passes:
        own = [lengths[number] for number in numbers]
        assert min(own) >= 0.8 * max(own) and (len(own) == 1 or len(own) * max(own) <= 200)


def test_a_refusal_is_one_line() -> None:
    assert str(refusal("prepare.text.checkpoint", "x", OSError("no\nmore"))) == (
        "prepare.text.checkpoint x: no encoder loads (no)"
    )

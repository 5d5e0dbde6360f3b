"""What all pretrained encoders have in common: their configuration, the choice of layers, and passes of like length."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Literal

from fgcme.errors import UserError

Layers = Sequence[int] | Literal["all"]

# Of the longest sequence of a pass, the least that a shorter one has: the rest is computed for nothing.
_LIKE_LENGTH = 0.8


def load_configuration(setting: str, checkpoint: str, families: Collection[str], known: str) -> Any:
    """The configuration of a pretrained encoder.

    Args:
        setting: that names the encoder, for the message.
        checkpoint: folder or hub name.
        families: that are known, as `transformers` names them.
        known: the same in words, and what they encode.

    Raises:
        UserError: there is none, or it is of another family.
    """
    from transformers import AutoConfig

    try:
        configuration = AutoConfig.from_pretrained(checkpoint)
    except (OSError, ValueError) as error:
        raise refusal(setting, checkpoint, error) from None
    if configuration.model_type not in families:
        raise UserError(f"{setting} {checkpoint}: its family, {configuration.model_type}, is no {known}")
    return configuration


def choose_layers(setting: str, checkpoint: str, layers: Layers, last: int) -> list[int]:
    """The hidden states that are wanted, counted from 0.

    Args:
        setting: that names the layers, for the message.
        checkpoint: folder or hub name, for the message.
        layers: hidden states; 0 enters the first layer, -1 is the last.
        last: number of the encoder's last one.

    Raises:
        UserError: the encoder has no such layer, or one is named twice.

    >>> choose_layers("prepare.text.layers", "x", [-1, 0], last=6)
    [6, 0]
    """
    if layers == "all":
        return list(range(last + 1))
    if wrong := [layer for layer in layers if not -last - 1 <= layer <= last]:
        raise UserError(f"{setting} {wrong[0]}: {checkpoint} has 0 to {last}, or -1 for the last")
    counted = [layer % (last + 1) for layer in layers]
    if len(set(counted)) < len(counted):
        raise UserError(f"{setting} {list(layers)}: one is there twice; -1 is {last}")
    return counted


def of_like_length(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Numbers of sequences that go through an encoder together: of like length, padded within the budget.

    >>> list(of_like_length([100, 10, 95, 96], budget=200))
    [[1], [2, 3], [0]]
    """
    numbers: list[int] = []
    for number in sorted(range(len(lengths)), key=lengths.__getitem__):
        longest = lengths[number]
        if numbers and ((len(numbers) + 1) * longest > budget or lengths[numbers[0]] < _LIKE_LENGTH * longest):
            yield numbers
            numbers = []
        numbers.append(number)
    if numbers:
        yield numbers


def refusal(setting: str, checkpoint: str, error: Exception) -> UserError:
    """What the user is told of an encoder that does not load.

    Args:
        setting: that names the encoder.
        checkpoint: folder or hub name.
        error: why it does not load; its first line is told.
    """
    reason = str(error).strip().splitlines()[0]
    return UserError(f"{setting} {checkpoint}: no encoder loads ({reason})")

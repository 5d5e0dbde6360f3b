"""Conditions are compared utterance by utterance with the recordings as they are."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import pytest

from fgcme.robustness import CLEAN, ROBUSTNESS, choose_utterances, condition_rows, summarise_conditions

CLASSES = ["calm", "angry"]


def utterance(speaker: int, number: int) -> dict[str, Any]:
    label = CLASSES[number % 2]
    return {"id": f"{speaker}-{number}", "speaker": f"s{speaker}", "label": label, "fold": speaker % 2, "seed": 0}


def answered(right: bool, label: str) -> list[float]:
    return [0.8, 0.2] if (label == "calm") == right else [0.2, 0.8]


def table(right_in_noise: int) -> pa.Table:
    """Four speakers of ten utterances, all right as recorded; in noise so many of each, and one has no answer."""
    rows = []
    for speaker in range(4):
        for number in range(10):
            own = utterance(speaker, number)
            rows.append(condition_rows(CLEAN, own, answered(True, own["label"]), CLASSES))
            answer = answered(number < right_in_noise, own["label"])
            rows.append(condition_rows("noise", own, None if (speaker, number) == (0, 9) else answer, CLASSES))
    return pa.Table.from_pylist(rows, ROBUSTNESS)


def test_what_is_lost_has_the_recordings_as_they_are_for_reference() -> None:
    clean, noise = summarise_conditions(table(right_in_noise=6), CLASSES)
    assert (clean.name, clean.ua.mean, clean.loss) == (CLEAN, 1.0, 0.0)
    assert noise.loss == pytest.approx(1 - 6 / 10)
    assert noise.loss_interval.low <= noise.loss <= noise.loss_interval.high


def test_an_utterance_without_an_answer_is_wrong_and_counted() -> None:
    clean, noise = summarise_conditions(table(right_in_noise=10), CLASSES)
    assert (clean.unanswered, noise.unanswered) == (0, 1)
    assert noise.wa.mean == pytest.approx(39 / 40)


def test_utterances_are_drawn_evenly_from_speakers_and_classes() -> None:
    rows = [utterance(speaker, number) for speaker in range(3) for number in range(40 if speaker == 0 else 10)]
    predictions = pa.Table.from_pylist(rows)
    chosen = choose_utterances(predictions, 12)
    drawn = Counter((row["speaker"], row["label"]) for row in rows if row["id"] in chosen)
    assert set(drawn.values()) == {2} and len(drawn) == 6
    assert chosen == choose_utterances(predictions, 12) != choose_utterances(predictions, 12, seed=1)
    assert sorted(choose_utterances(predictions, 100)) == sorted(row["id"] for row in rows)

"""The settings of a training: what is refused, and that nothing new is on by default."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from fgcme.experiment import TrainingSettings


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"epochs": 5, "warmup_epochs": 5}, "`warmup_epochs` must be fewer than the 5 `epochs`"),
        ({"ema_decay": 1.0}, "less than 1"),
        ({"augmentation": {"snr_db": [20, 5]}}, r"give `snr_db` as \[lowest, highest\]"),
    ],
)
def test_settings_that_cannot_be_trained_by_are_refused(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        TrainingSettings.model_validate(settings)


def test_by_default_a_training_is_plain_adam_at_a_constant_rate() -> None:
    plain = TrainingSettings()
    assert (plain.optimiser, plain.schedule, plain.warmup_epochs, plain.ema_decay) == ("adam", "constant", 0, 0)
    assert not plain.cross_modal_alignment.is_on


def test_warm_up_may_last_part_of_an_epoch() -> None:
    assert TrainingSettings(epochs=1, warmup_epochs=0.5).warmup_epochs == 0.5

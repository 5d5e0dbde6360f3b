"""What older versions stored can still be read."""

from __future__ import annotations

import pytest

from fgcme.errors import UserError
from fgcme.experiment import ModelSettings, parse_experiment, parse_stored, renew_model

SMALL = {"name": "small", "corpus": {"kind": "demo"}, "protocol": {"name": "demo/4class"}}


@pytest.mark.parametrize(("kind", "segments"), [("uniform", "even"), ("utterance", "recording")])
def test_poolings_without_the_alignment_are_segments_now(kind: str, segments: str) -> None:
    stored = {**SMALL, "model": {"pooling": {"kind": kind, "margin": 3}}}
    pooling = parse_stored(stored, "run 1").model.pooling
    assert (pooling.kind, pooling.segments, pooling.margin) == ("mean_max", segments, 3)
    with pytest.raises(UserError, match=f"{kind} is now `segments: {segments}`"):
        parse_experiment(stored)


def test_what_is_written_today_is_read_as_it_is() -> None:
    for kind in ("mean", "lse"):
        model = ModelSettings.model_validate({"pooling": {"kind": kind, "segments": "speech"}})
        assert ModelSettings.model_validate(renew_model(model.model_dump())) == model
    assert parse_stored(SMALL, "run 1") == parse_experiment(SMALL)


def test_log_mel_frames_had_a_layer_that_said_nothing_and_an_encoder_s_are_other_frames_now() -> None:
    stored = {**SMALL, "prepare": {"features": {"bins": 80, "layer": -1}}}
    assert parse_stored(stored, "run 1").prepare.features.bins == 80
    with pytest.raises(UserError, match=r"prepare\.features\.layer is now called prepare\.features\.layers"):
        parse_experiment(stored)
    encoder = {**SMALL, "prepare": {"features": {"kind": "speech_encoder", "checkpoint": "x", "layer": -1}}}
    with pytest.raises(UserError, match=r"is now called prepare\.features\.layers"):
        parse_stored(encoder, "run 1")

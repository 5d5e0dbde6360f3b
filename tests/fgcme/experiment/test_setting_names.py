"""Names of settings: their types, their old names and their closest names."""

from __future__ import annotations

import pytest

from fgcme.errors import UserError
from fgcme.experiment import parse_experiment
from fgcme.experiment.setting_names import RENAMED, did_you_mean, explain_unknown, setting_type
from fgcme.experiment.settings import PoolingSettings

SETTINGS = parse_experiment({"name": "x", "corpus": {"kind": "demo"}, "protocol": {"name": "demo/4class"}}).flat()


def test_every_setting_and_section_has_a_type() -> None:
    assert all(setting_type(name) is not None for name in SETTINGS)
    assert setting_type("training.epochs") is int
    assert setting_type("model.pooling") is PoolingSettings


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("training.epoch", r"training\.epoch is not a setting; did you mean training\.epochs\?"),
        ("trainin.epochs", r"trainin is not a setting; did you mean training\?"),
        ("training.epochs.more", r"training\.epochs has no keys below it"),
        ("", "is not a setting"),
    ],
)
def test_an_unknown_setting_has_no_type(name: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        setting_type(name)


def test_old_names_lead_to_settings_that_there_are() -> None:
    assert all(new in SETTINGS and old not in SETTINGS for old, new in RENAMED.items())


def test_the_error_for_a_dotted_key_in_a_file_shows_how_to_nest_it() -> None:
    assert explain_unknown("model.pooling.kind").endswith("as in `model: {pooling: {kind: ...}}`")


def test_a_name_like_no_other_gets_no_guess() -> None:
    assert explain_unknown("qqq.zzz") == "qqq.zzz is not a setting (allowed here: nothing)"
    assert did_you_mean("zzz", ["mean", "max"]) == ""
    assert did_you_mean("meen", ["mean", "max"], cutoff=0.9) == ""

"""Bundled experiments and search spaces, found by name or path."""

from __future__ import annotations

from pathlib import Path

import pytest

from fgcme.errors import UserError
from pipelines.bundled import experiment_file, space_file


def test_bundled_experiments_and_spaces_are_found_by_name() -> None:
    assert experiment_file("ravdess").name == "ravdess.yaml"
    assert space_file("pooling").name == "pooling.yaml"


def test_every_bundled_space_says_what_it_is_for_and_how_to_use_it() -> None:
    for name in ("pooling", "excitement", "optimisation", "joint", "augmentation", "front_end"):
        text = space_file(name).read_text(encoding="utf-8")
        assert text.startswith("# ")
        assert f"# Use: fgcme tune ravdess --space {name} --trials " in text


def test_other_files_are_found_by_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\n")
    assert experiment_file(str(path)) == path


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"excitement, .*pooling, or give the path"):
        space_file("poling")


def test_a_search_space_is_not_offered_as_an_ablation_or_the_other_way_round() -> None:
    with pytest.raises(UserError) as sweep:
        space_file("nope")
    assert "no such search space" in str(sweep.value) and "ablation" not in str(sweep.value)
    with pytest.raises(UserError, match=r"no such ablation; name one of encoder_ablation, paper_ablation, or give"):
        space_file("nope", "ablation")

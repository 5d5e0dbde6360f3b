"""Random utterances have every size, the smallest ones too, and words without frames."""

from __future__ import annotations

from fgcme.export.graph import Graph
from fgcme.export.random_utterances import random_utterances
from tests.fgcme.export.fitted_variants import fitted_variant


def test_they_have_every_size_and_words_without_frames() -> None:
    drawn = list(random_utterances(Graph([fitted_variant("fgcme")]), 100))
    frames = [len(each.given["frames"]) for each in drawn]
    words = [len(each.given["words"]) for each in drawn]
    assert frames[:8] == list(range(1, 9)) and max(frames) > 350
    assert min(words) == 1 and max(words) > 20
    assert any(bool((each.given["end"] == each.given["begin"]).any()) for each in drawn)
    assert all(int(each.given["end"].max()) <= len(each.given["frames"]) for each in drawn)
    assert any(1 in each.given["words"] for each in drawn)


def test_the_same_seed_draws_the_same_ones() -> None:
    graph = Graph([fitted_variant("fgcme")])
    one, other, third = (next(random_utterances(graph, 1, seed)).given["frames"] for seed in (0, 0, 1))
    assert one.equal(other) and not one.equal(third)

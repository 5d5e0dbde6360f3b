"""What formats are given, and how they tell what they cannot hold."""

from fgcme.interchange import Told
from tests.odd_utterances import ODD


def test_an_utterance_ends_its_duration_after_its_beginning() -> None:
    assert ODD[2].end == 3.5


def test_what_is_told_is_counted_by_reason_with_its_first_example() -> None:
    told = Told()
    told.add("words left out", "b", 2)
    told.add("utterances left out", "c")
    told.add("words left out", "a", 3)
    told.add("nothing", "a", 0)
    assert list(told.lines()) == ["5 words left out, such as b", "1 utterances left out, such as c"]

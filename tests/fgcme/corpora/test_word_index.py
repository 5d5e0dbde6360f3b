"""Words found by the utterance that they name, or by their place in a recording."""

from fgcme.corpora import WordTime
from fgcme.corpora.word_index import WordIndex


def index(*words: tuple[str, float, float], utterance: str = "", file: str = "a.wav") -> WordIndex:
    made = WordIndex()
    for word in words:
        made.add(file, WordTime(*word), utterance)
    return made


def test_words_that_name_an_utterance_count_from_where_it_begins() -> None:
    made = index(("talk", 2.5, 3.0), ("kids", 2.0, 2.5), utterance="u")
    assert made.named("u", 1.5) == (WordTime("kids", 0.5, 1.0), WordTime("talk", 1.0, 1.5))
    made.add_utterance("u", "a.wav", 2.0)
    assert made.named("u", 1.5) == (WordTime("kids", 0.0, 0.5), WordTime("talk", 0.5, 1.0))
    assert made.named("v", None) is None


def test_an_id_at_two_places_names_neither() -> None:
    made = index(("kids", 2.0, 2.5), utterance="u")
    assert made.add_utterance("u", "a.wav", 2.0) and not made.add_utterance("u", "a.wav", 2.0)
    assert made.named("u", None) is not None
    made.add_utterance("u", "a.wav", 9.0)
    assert made.named("u", None) is None
    assert made.within("a.wav", 2.0, 3.0) == (WordTime("kids", 0.0, 0.5),)


def test_a_part_has_the_words_whose_middle_lies_in_it() -> None:
    made = index(("before", 0.0, 1.9), ("across", 0.9, 1.3), ("inside", 1.3, 2.0), ("behind", 1.75, 2.25))
    assert made.within("a.wav", 1.0, 2.0) == (WordTime("across", -0.1, 0.3), WordTime("inside", 0.3, 1.0))
    assert made.within("b.wav", 1.0, 2.0) is None and made.within("a.wav", 5.0, 6.0) is None


def test_words_that_name_another_utterance_are_left_where_that_is_asked() -> None:
    made = index(("own", 1.0, 1.5))
    made.add("a.wav", WordTime("other's", 1.1, 1.4), "other")
    assert made.within("a.wav", 0.0, 2.0, unnamed=True) == (WordTime("own", 1.0, 1.5),)
    assert [word.word for word in made.within("a.wav", 0.0, 2.0) or ()] == ["own", "other's"]

"""The contract of aligners: spans that fit the utterance."""

import pickle

from hypothesis import given
from hypothesis import strategies as st

from fgcme.alignment.contract import AlignmentError, clip_spans

frame = st.integers(-5, 60)


@given(st.lists(st.tuples(frame, frame), max_size=30), st.integers(0, 50))
def test_clipped_spans_are_ordered_within_the_utterance_and_hold_a_frame_where_possible(
    spans: list[tuple[int, int]], frames: int
) -> None:
    begin, end = clip_spans([span[0] for span in spans], [span[1] for span in spans], frames)
    assert len(begin) == len(end) == len(spans)
    edges = [edge for span in zip(begin, end, strict=True) for edge in span]
    assert edges == sorted(edges)
    assert all(0 <= edge <= frames for edge in edges)
    if frames >= len(spans):
        assert all(first < last for first, last in zip(begin, end, strict=True))


def test_spans_that_fit_stay_as_they_are() -> None:
    assert clip_spans([2, 5, 9], [5, 8, 20], frames=20) == ([2, 5, 9], [5, 8, 20])


def test_an_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(AlignmentError("oov", "the word 'x' is unknown")))
    assert (error.reason, str(error)) == ("oov", "the word 'x' is unknown")

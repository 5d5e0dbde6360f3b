"""What all extractors share: half precision that loses nothing in silence."""

import numpy as np
import pytest

from fgcme.features.contract import to_half


def test_half_precision_rounds_to_three_digits_and_clips_nothing_within_its_range() -> None:
    values = np.random.default_rng(0).normal(0, 100, (50, 8)).astype(np.float32)
    frames = to_half(values)
    assert frames.values.dtype == np.float16 and frames.clipped == 0
    np.testing.assert_allclose(frames.values.astype(np.float32), values, rtol=2**-11, atol=1e-6)


@pytest.mark.parametrize("huge", [70_000.0, -70_000.0, 1e30])
def test_a_finite_value_beyond_the_range_is_put_at_its_limit_and_counted(huge: float) -> None:
    values = np.array([[1.0, huge], [huge, 2.0]], np.float32)
    before = values.copy()
    frames = to_half(values)
    assert frames.clipped == 2
    assert frames.values.tolist() == [[1.0, np.sign(huge) * 65504], [np.sign(huge) * 65504, 2.0]]
    np.testing.assert_array_equal(values, before)


def test_a_value_that_is_no_number_stays_none() -> None:
    frames = to_half(np.array([[np.nan, np.inf, -np.inf, 1e6]], np.float32))
    assert frames.clipped == 1
    assert np.isfinite(frames.values).tolist() == [[False, False, False, True]]

"""Computing on one thread."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from fgcme.threads import one_thread


def test_the_number_of_threads_is_what_it_was_afterwards_whatever_happens() -> None:
    count = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with pytest.raises(ZeroDivisionError), one_thread():
            assert torch.get_num_threads() == 1
            raise ZeroDivisionError
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(count)


def test_a_product_of_matrices_is_the_same_to_the_last_bit_however_many_threads_there_are() -> None:
    torch.manual_seed(0)
    signals, filters = torch.randn(4, 64, 501), torch.randn(128, 64, 5)

    @one_thread()
    def convolved() -> torch.Tensor:
        return torch.nn.functional.conv1d(signals, filters)

    def on(threads: int) -> torch.Tensor:
        torch.set_num_threads(threads)
        return convolved()

    # The number of threads belongs to the thread that sets it.
    with ThreadPoolExecutor(1) as pool:
        found = list(pool.map(on, (1, 2, 4)))
    assert all(torch.equal(each, found[0]) for each in found)

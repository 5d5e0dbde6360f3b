"""A bounded number of questions works and waits; what takes too long is given up, and keeps its place until it ends."""

from __future__ import annotations

import asyncio
import threading

import pytest
import torch

from fgcme.server.limits import Limits, RefusalError
from fgcme.server.workers import Held, Workers


def test_one_question_too_many_is_refused_at_once() -> None:
    limits, go = Limits(workers=1, waiting=1), threading.Event()

    async def ask() -> list[object]:
        workers = Workers(limits)
        two = [asyncio.create_task(workers.run(go.wait)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(RefusalError, match="2 questions are being answered or wait; ask again") as refused:
            await workers.run(go.wait)
        assert refused.value.status == 503
        go.set()
        answers = [*await asyncio.gather(*two), await workers.run(lambda: "free again")]
        assert workers.inside == 0
        workers.close()
        return answers

    assert asyncio.run(ask()) == [True, True, "free again"]


def test_what_takes_too_long_is_given_up_and_keeps_its_place() -> None:
    limits, go = Limits(workers=1, waiting=0, computing=0.05), threading.Event()

    async def ask() -> None:
        workers = Workers(limits)
        with pytest.raises(RefusalError, match=r"no answer after 0.05 s") as slow:
            await workers.run(go.wait)
        assert slow.value.status == 504
        with pytest.raises(RefusalError) as refused:
            await workers.run(go.wait)
        assert refused.value.status == 503
        go.set()
        while workers.inside:
            await asyncio.sleep(0.01)
        assert await workers.run(lambda: 7) == 7
        workers.close()

    asyncio.run(ask())


def test_each_worker_has_one_thread_of_torch() -> None:
    async def ask() -> int:
        workers = Workers(Limits(workers=1))
        try:
            return await workers.run(torch.get_num_threads)
        finally:
            workers.close()

    assert asyncio.run(ask()) == 1


def test_bodies_share_what_may_be_held_and_give_it_back() -> None:
    held = Held(100)
    with held.body() as first, held.body() as second:
        first(60)
        second(40)
        with pytest.raises(RefusalError, match="all the memory"):
            second(1)
        assert held.size == 100
    with pytest.raises(ValueError), held.body() as third:
        third(100)
        raise ValueError
    assert held.size == 0

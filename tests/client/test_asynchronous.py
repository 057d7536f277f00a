"""The subscription of programs with an event loop, against a real publisher."""

import asyncio
from collections.abc import Callable

import pytest

from streamer.client import CameraEvent, FacesEvent, NothingHeard, subscribe_async
from tests.client.conftest import Publishing


def test_events_come_in_order_and_the_loop_goes_on(publishing: Callable[..., Publishing]) -> None:
    publisher = publishing("door", "yard")

    async def listen() -> tuple[list[int], int]:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0.001)

        counting = asyncio.create_task(count())
        heard = []
        async with subscribe_async(
            publisher.events, ["door"], replay=publisher.replay, timeout_s=30
        ) as events:
            publisher.begin(200, 0.001)
            async for event in events:
                assert isinstance(event, FacesEvent)
                heard.append(event.seq)
                if event.seq == 200:
                    break
        counting.cancel()
        return heard, turns

    heard, turns = asyncio.run(listen())
    assert heard == list(range(heard[0], 201))
    assert turns > 5
    publisher.done()


def test_a_wait_that_is_cancelled_loses_nothing(publishing: Callable[..., Publishing]) -> None:
    publisher = publishing("door")

    async def listen() -> list[int]:
        heard: list[int] = []
        async with subscribe_async(publisher.events, replay=publisher.replay) as events:
            publisher.begin(100, 0.004)
            while not heard or heard[-1] < 100:
                try:
                    event = await asyncio.wait_for(anext(events), 0.002)
                except TimeoutError:
                    continue
                assert isinstance(event, FacesEvent)
                heard.append(event.seq)
        return heard

    heard = asyncio.run(asyncio.wait_for(listen(), 60))
    assert heard == list(range(heard[0], 101))
    publisher.done()


def test_state_comes_first(publishing: Callable[..., Publishing]) -> None:
    publisher = publishing("door")

    async def listen() -> object:
        async with subscribe_async(
            publisher.events, replay=publisher.replay, changes=True, timeout_s=30
        ) as events:
            return await anext(events)

    assert isinstance(asyncio.run(listen()), CameraEvent)


def test_silence_is_an_error_where_a_limit_was_given() -> None:
    async def listen() -> None:
        async with subscribe_async("tcp://127.0.0.1:1", timeout_s=0.05) as events:
            await anext(events)

    with pytest.raises(NothingHeard, match="within 50 ms; check that"):
        asyncio.run(listen())


def test_closing_ends_the_iteration_of_another_task() -> None:
    async def listen() -> list[object]:
        events = subscribe_async("tcp://127.0.0.1:1", replay="tcp://127.0.0.1:2")
        asyncio.get_running_loop().call_later(0.05, events.close)
        heard = [event async for event in events]
        events.close()
        assert (events.lost, events.malformed) == (0, 0)
        return heard

    assert asyncio.run(asyncio.wait_for(listen(), 30)) == []

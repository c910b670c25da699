"""`/debug/pprof` over a real socket: what is shown, what is refused, and that secrets stay secret."""

import asyncio
import marshal
import sys

import pytest

from collector.api import debug
from collector.api.debug import PROFILES


async def test_the_command_line_stands_between_nuls(served, session, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["heapster", "--sink=influxdb:http://root:secret@db?pw=other", "--v=1"])
    async with session.get(served.url("/debug/pprof/cmdline")) as response:
        assert await response.text() == "heapster\0--sink=influxdb:http://***@db?pw=***\0--v=1"


async def test_every_task_and_thread_is_shown_with_its_stack(served, session):
    async def inner() -> None:
        await asyncio.sleep(60)

    async def outer() -> None:
        await inner()

    waiting = [asyncio.create_task(outer()) for _ in range(3)]
    await asyncio.sleep(0)
    async with session.get(served.url("/debug/pprof/goroutine?debug=2")) as response:
        text = await response.text()
    for task in waiting:
        task.cancel()
    [block] = [block for block in text.split("\n\n") if "outer" in block]
    lines = block.splitlines()
    assert lines[0] == "3 tasks"
    assert [line.split("\t")[1].rpartition(".")[2] for line in lines[1:]] == ["outer", "inner", "sleep"]
    assert "thread MainThread" in text
    assert "goroutine" in text  # the handler that writes it is on the main thread's stack


async def test_the_heap_tells_its_size(served, session):
    async with session.get(served.url("/debug/pprof/heap")) as response:
        text = await response.text()
    assert int(text.split("peak resident memory: ")[1].split()[0]) > 10_000_000
    assert "garbage collector, generation 2" in text
    assert "PYTHONTRACEMALLOC" in text


async def test_traced_memory_is_shown_by_line(served, session):
    import tracemalloc

    tracemalloc.start()
    try:
        kept = [bytes(1000) for _ in range(2000)]
        async with session.get(served.url("/debug/pprof/heap")) as response:
            text = await response.text()
    finally:
        tracemalloc.stop()
    assert len(kept) == 2000
    assert "test_debug.py" in text


def burn() -> int:
    return sum(i * i for i in range(20_000))


async def test_a_profile_shows_what_the_event_loop_did_in_both_formats(served, session):
    async def get(target: str) -> bytes:
        async with session.get(served.url(target)) as response:
            assert response.status == 200
            return await response.read()

    async def busy() -> None:
        while True:
            burn()
            await asyncio.sleep(0.01)

    working = asyncio.create_task(busy())
    stats = marshal.loads(await get("/debug/pprof/profile?seconds=1"))
    text = (await get("/debug/pprof/profile?seconds=1&debug=1")).decode()
    working.cancel()
    called = {name for _, _, name in stats}
    assert "burn" in called
    assert "(burn)" in text


async def test_one_profile_at_a_time(served, session):
    url = served.url("/debug/pprof/profile?seconds=1")
    first = asyncio.create_task(session.get(url))
    while not debug._profiling.locked():
        await asyncio.sleep(0.01)
    async with session.get(url) as second:
        assert second.status == 409
        assert "one at a time" in await second.text()
    assert (await first).status == 200
    assert not debug._profiling.locked()


@pytest.mark.parametrize("seconds", ["0", "61", "-1", "1.5", "x", "9" * 50])
async def test_seconds_out_of_bounds_are_refused_at_once(served, session, seconds):
    async with session.get(served.url(f"/debug/pprof/profile?seconds={seconds}")) as response:
        assert response.status == 400
        assert "from 1 to 60" in await response.text()


@pytest.mark.parametrize("name", ["block", "mutex", "threadcreate", "trace", "allocs", "a/b"])
async def test_what_only_go_has_is_refused_with_what_there_is(served, session, name):
    async with session.get(served.url(f"/debug/pprof/{name}")) as response:
        assert response.status == 404
        text = await response.text()
    assert name in text
    assert all(profile in text for profile in PROFILES)


async def test_the_folder_is_no_page_and_is_reached_with_its_slash_only(served, session):
    async with session.get(served.url("/debug/pprof?a=b"), allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (301, "/debug/pprof/?a=b")
    for target, text in (("/debug/pprof/", "404: Page Not Found"), ("/debug/pprofx", "404 page not found\n")):
        async with session.get(served.url(target)) as response:
            assert (response.status, await response.text()) == (404, text)
    async with session.post(served.url("/debug/pprof/cmdline")) as response:
        assert response.status == 405

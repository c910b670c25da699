"""`/livez` and `/readyz`: what they ask, what they say, and that nothing slow or old makes them fail."""

import asyncio

import pytest

from collector.api import API_ROOTS, ROUTES
from collector.api.dispatch import Dispatcher
from collector.api.route import Context, LastBatch
from collector.cadence import Cadence, Words
from collector.core.entities import EntityTable
from collector.core.light import LightStore
from collector.core.store import MetricStore
from collector.errors import HeapsterError
from collector.selfmetrics import SelfMetrics
from collector.vitals import LIGHT, LOOP, TICKS, Pulse, Vitals, stuck_limit

WORDS = Words("ticks", "batch", "--metric-resolution", "")


async def asked(path: str, vitals: Vitals, *, batch: bool = True, light: LightStore | None = None) -> tuple[int, str]:
    last = LastBatch(1, 0) if batch else None
    context = Context(
        MetricStore(), SelfMetrics(), vitals=vitals, last_batch=lambda: last, light=lambda: light, clock=lambda: 1e9
    )
    answer = (await Dispatcher(context, ROUTES, API_ROOTS).answer("GET", path, {})).answer
    assert answer.content_type == "text/plain; charset=utf-8"
    return answer.status, answer.body.decode()


async def test_ready_is_who_knows_the_cluster_has_asked_it_once_and_is_not_told_to_stop():
    vitals = Vitals(synced=True)
    assert await asked("/readyz", vitals) == (200, "ok")  # the batch is thirty years old: that is /healthz's business
    assert (await asked("/healthz", vitals))[0] == 500
    assert await asked("/readyz?verbose", vitals) == (
        200,
        "[+]ping ok\n[+]informer-sync ok\n[+]metric-storage-ready ok\n[+]shutdown ok\nreadyz check passed\n",
    )
    vitals.synced, vitals.stopping = False, True
    assert await asked("/readyz", vitals, batch=False) == (
        500,
        (
            "[+]ping ok\n[-]informer-sync failed: reason withheld\n[-]metric-storage-ready failed: reason withheld\n"
            "[-]shutdown failed: reason withheld\nreadyz check failed\n"
        ),
    )
    assert await asked("/readyz/shutdown", vitals) == (500, "internal server error: the process is stopping\n")
    assert await asked("/readyz/informer-sync", vitals) == (
        500,
        "internal server error: nodes, pods and namespaces are not listed yet\n",
    )
    assert await asked("/readyz/ping", vitals) == (200, "ok")
    assert await asked("/readyz?exclude=informer-sync&exclude=shutdown", vitals) == (200, "ok")
    assert "[+]shutdown excluded: ok\n" in (await asked("/readyz?exclude=shutdown", vitals))[1]
    assert (await asked("/livez", vitals)) == (200, "ok")


async def test_an_answer_of_the_light_cadence_is_enough():
    store = LightStore(EntityTable(), resolution_ns=10**9, keep_ns=10**9)
    assert (await asked("/readyz", Vitals(synced=True), batch=False, light=store))[0] == 500
    store._nodes["n"] = object()  # type: ignore[assignment]
    assert (await asked("/readyz", Vitals(synced=True), batch=False, light=store))[0] == 200


@pytest.mark.parametrize("name", [LOOP, TICKS, LIGHT])
async def test_alive_is_what_gives_signs_of_life(name):
    idle, vitals = 9.0, Vitals()
    vitals.watch(name, Pulse("the thing", lambda: idle, 10.0))
    assert await asked("/livez", vitals) == (200, "ok")
    idle = 10.6
    status, text = await asked("/livez", vitals)
    assert (status, f"[-]{name} failed: reason withheld\n" in text) == (500, True)
    assert await asked(f"/livez/{name}", vitals) == (
        500,
        "internal server error: the thing has given no sign of life for 11 s, at most 10 s are allowed\n",
    )
    assert (await asked("/readyz", Vitals(synced=True)))[0] == 200


async def test_a_cadence_is_idle_while_its_work_hangs_and_alive_when_it_fails():
    go = asyncio.Event()
    fail = True

    async def work(_end: int) -> None:
        if fail:
            raise HeapsterError("a node is slow")
        await go.wait()

    cadence = Cadence(work, WORDS, resolution_ns=20_000_000)
    assert cadence.idle() == 0
    running = asyncio.create_task(cadence.run())
    await asyncio.sleep(0.3)
    assert cadence.idle() < 0.15
    fail = False
    await asyncio.sleep(0.3)
    assert cadence.idle() > 0.2  # three hang, and so no other begins
    go.set()
    await asyncio.sleep(0.1)
    assert cadence.idle() < 0.1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert cadence.idle() == 0


def test_the_limit_has_room_for_the_slowest_node():
    assert stuck_limit(60 * 10**9, 20 * 10**9) == 320

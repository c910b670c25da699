"""The fan-out: every target one reply, one deadline, a bound on what is under way, and nothing left behind."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from collector.errors import FetchError, ScrapeError
from collector.sources.fanout import FanOutCount, Reply, fan_out
from collector.sources.kubelet import KubeletClient, KubeletOptions, KubeletTarget
from tests.sources.fake_kubelet import Asked, FakeKubelet, hanging, head, response, saying, saying_and_closing, serving

pytestmark = pytest.mark.usefixtures("nothing_left")

Fetch = Callable[[int], Awaitable[bytes]]


async def at_once(target: int) -> bytes:
    return b"%d" % target


async def never(target: int) -> bytes:
    await asyncio.Event().wait()
    raise AssertionError


async def replies_of(
    targets: int, fetch: Fetch, *, deadline_s: float = 60.0, concurrency: int = 8, spread_s: float = 0.0
) -> tuple[list[Reply[int, bytes]], FanOutCount]:
    replies: list[Reply[int, bytes]] = []
    count = await fan_out(
        range(targets),
        fetch,
        deadline_s=deadline_s,
        concurrency=concurrency,
        on_result=replies.append,
        spread_s=spread_s,
    )
    assert sorted(reply.target for reply in replies) == list(range(targets))
    assert count.answered + count.failed + count.late == targets
    assert all(reply.started <= reply.finished for reply in replies)
    return replies, count


@pytest.mark.parametrize("targets", [0, 1, 8, 100])
async def test_every_target_gives_one_reply(targets: int) -> None:
    replies, count = await replies_of(targets, at_once)
    assert {reply.target: reply.answer for reply in replies} == {n: b"%d" % n for n in range(targets)}
    assert (count.answered, count.failed, count.late) == (targets, 0, 0)


async def test_a_failing_target_is_a_reply_and_nobody_waits_for_it() -> None:
    async def odd_ones_fail(target: int) -> bytes:
        if target % 2:
            raise FetchError("no", reason="refused")
        return b"yes"

    replies, count = await replies_of(10, odd_ones_fail)
    assert (count.answered, count.failed, count.late) == (5, 5, 0)
    assert count.seconds < 30
    assert all(isinstance(reply.answer, FetchError) == bool(reply.target % 2) for reply in replies)


async def test_what_is_not_answered_at_the_deadline_is_late_and_the_others_are_not_lost() -> None:
    async def some_hang(target: int) -> bytes:
        return await (never if target in {3, 5} else at_once)(target)

    replies, count = await replies_of(9, some_hang, deadline_s=0.05)
    late = {reply.target: reply.answer for reply in replies if isinstance(reply.answer, FetchError)}
    assert set(late) == {3, 5}
    assert {fault.reason for fault in late.values()} == {"late"}
    assert "--scrape-timeout" in str(late[3])
    assert (count.answered, count.late) == (7, 2)


async def test_targets_that_were_never_asked_are_late_too() -> None:
    replies, count = await replies_of(20, never, deadline_s=0.02, concurrency=4)
    assert (count.answered, count.failed, count.late) == (0, 0, 20)
    assert sum(reply.started < reply.finished for reply in replies) == 4


async def test_answers_that_came_in_time_are_handed_over_though_the_deadline_passes_meanwhile() -> None:
    handed_over = []

    def slowly(reply: Reply[int, bytes]) -> None:
        time.sleep(0.02)
        handed_over.append(reply)

    count = await fan_out(range(10), at_once, deadline_s=0.05, concurrency=10, on_result=slowly)
    assert (count.answered, count.late) == (10, 0)
    assert len(handed_over) == 10


async def test_no_more_targets_are_under_way_than_allowed() -> None:
    under_way = most = 0

    async def counting(target: int) -> bytes:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.001)
        under_way -= 1
        return b"x"

    await replies_of(60, counting, concurrency=7)
    assert most == 7


async def test_the_event_loop_gets_turns_while_answers_are_worked_on() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def busily(reply: Reply[int, bytes]) -> None:
        until = time.perf_counter() + 0.003
        while time.perf_counter() < until:
            pass

    other = asyncio.create_task(others())
    await fan_out(range(60), at_once, deadline_s=60, concurrency=60, on_result=busily)
    other.cancel()
    assert turns >= 10


async def test_what_on_result_raises_ends_the_fan_out_and_is_raised() -> None:
    def defective(reply: Reply[int, bytes]) -> None:
        raise ZeroDivisionError

    async def some_hang(target: int) -> bytes:
        return await (never if target else at_once)(target)

    with pytest.raises(ZeroDivisionError):
        await fan_out(range(10), some_hang, deadline_s=60, concurrency=10, on_result=defective)


async def test_a_cancelled_fan_out_cancels_what_is_under_way_and_hands_over_nothing_more() -> None:
    replies: list[Reply[int, bytes]] = []
    cancelled = 0

    async def counting(target: int) -> bytes:
        nonlocal cancelled
        try:
            return await never(target)
        except asyncio.CancelledError:
            cancelled += 1
            raise

    run = asyncio.create_task(fan_out(range(10), counting, deadline_s=60, concurrency=4, on_result=replies.append))
    await asyncio.sleep(0.01)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert cancelled == 4
    assert replies == []


async def test_a_defect_met_by_one_target_costs_the_others_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def defective(target: int) -> bytes:
        if target in {2, 3}:
            raise KeyError(target)
        return b"x"

    replies, count = await replies_of(5, defective)
    fault = next(reply.answer for reply in replies if reply.target == 2)
    assert isinstance(fault, FetchError)
    assert fault.reason == "internal"
    assert isinstance(fault.__cause__, KeyError)
    assert (count.answered, count.failed) == (3, 2)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


@pytest.mark.looptime
async def test_targets_are_begun_evenly_over_the_spread() -> None:
    loop = asyncio.get_running_loop()
    begun: list[float] = []

    async def noting(target: int) -> bytes:
        begun.append(loop.time())
        await asyncio.sleep(1.5)
        return b"x"

    await replies_of(8, noting, spread_s=4.0, concurrency=100)
    assert [round(at - begun[0], 3) for at in begun] == [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5]


@pytest.mark.looptime
async def test_the_deadline_counts_from_the_start_and_spreading_is_within_it() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    _, count = await replies_of(8, at_once, spread_s=8.0, deadline_s=4.5, concurrency=100)
    assert (count.answered, count.late) == (5, 3)
    assert loop.time() - began == pytest.approx(4.5)


async def test_a_fleet_of_two_hundred_with_every_kind_of_fault_answers_for_each() -> None:
    async def slowly(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.02)
        writer.write(response("200 OK", b"{}"))

    kinds = {
        "good": serving(b"{}"),
        "slow": slowly,
        "timeout": hanging,
        "status": saying(response("500 Internal Server Error", b"boom")),
        "forbidden": saying(response("403 Forbidden", b"no")),
        "protocol": saying_and_closing(head("200 OK", content_length="500"), b"{"),
        "redirect": saying(response("302 Found", location="http://127.0.0.1:1/")),
        "too_large": serving(b"x" * 20_000),
    }
    expected = Counter({"good": 52, "slow": 52, **dict.fromkeys(list(kinds)[2:], 16)})
    found: Counter[str] = Counter()

    def note(reply: Reply[KubeletTarget, bytes]) -> None:
        kind = reply.target.node.split("-")[0]
        if isinstance(reply.answer, ScrapeError):
            assert isinstance(reply.answer, FetchError)
            assert reply.answer.reason == kind
            assert str(reply.answer).startswith(f"node {reply.target.node}: ")
        else:
            assert kind in {"good", "slow"}
            assert reply.answer == b"{}"
        found[kind] += 1

    servers = {kind: FakeKubelet(script) for kind, script in kinds.items()}
    options = KubeletOptions(https=False, time_limit_s=1.0, max_body_bytes=10_000)
    async with asyncio.TaskGroup() as starting:
        for server in servers.values():
            starting.create_task(server.__aenter__())
    try:
        async with KubeletClient(options) as client:
            targets = [
                server.target(f"{kind}-{n}")
                for n in range(52)
                for kind, server in servers.items()
                if n < expected[kind]
            ]
            count = await fan_out(targets, client.fetch, deadline_s=30, concurrency=64, on_result=note)
    finally:
        for server in servers.values():
            await server.__aexit__()
    assert len(targets) == 200
    assert found == expected
    assert (count.answered, count.failed, count.late) == (104, 96, 0)


async def test_the_deadline_of_the_whole_scrape_comes_before_the_limit_of_one_node() -> None:
    replies: list[Reply[KubeletTarget, bytes]] = []
    options = KubeletOptions(https=False, time_limit_s=30)
    async with (
        FakeKubelet(hanging) as hung,
        FakeKubelet(serving(b"{}")) as good,
        KubeletClient(options) as client,
    ):
        targets = [hung.target("hung"), good.target("good"), hung.target("hung-too")]
        count = await fan_out(targets, client.fetch, deadline_s=0.5, concurrency=8, on_result=replies.append)
    assert (count.answered, count.failed, count.late) == (1, 0, 2)
    assert replies[0].target.node == "good"
    assert str(replies[1].answer).startswith("node hung: no answer before the deadline")

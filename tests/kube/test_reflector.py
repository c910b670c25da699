"""What is done about failures, in virtual time, with a source that does as scripted."""

import asyncio
import logging

import pytest

from collector.errors import ExpiredError, KubernetesError
from collector.kube.client import Pace
from collector.kube.faults import ApiServerError
from collector.kube.reflector import Backoff, Reflector
from collector.kube.resources import Batch, Page

PACE = Pace()
pytestmark = pytest.mark.looptime


class Script:
    """A source: each list and each watch plays its next scene; then nothing happens any more."""

    def __init__(self, lists=(), watches=()):
        self.oddities_count = 0
        self.calls = []
        self._lists, self._watches = iter(lists), iter(watches)

    async def pages(self, limit):
        self._called("list", limit)
        async for step in play(next(self._lists, [Page([], "1", "")])):
            yield step

    async def watch(self, version):
        self._called("watch", version)
        async for step in play(next(self._watches, [Batch([], ""), 10**6])):
            yield step

    def _called(self, what, argument):
        self.calls.append((round(asyncio.get_running_loop().time(), 3), what, argument))


async def play(scene):
    for step in scene:
        if isinstance(step, Exception):
            raise step
        if isinstance(step, int | float):
            await asyncio.sleep(step)
        else:
            yield step


class Shelf:
    """A store that writes down what it was told."""

    def __init__(self):
        self.told = []

    def reuse(self, fresh):
        return fresh

    def replace(self, listed):
        self.told.append(("replace", listed))

    def apply(self, changes):
        self.told.append(("apply", changes))

    def reached(self, oddities):
        pass

    def failed(self, error):
        self.told.append(("failed", type(error)))


def change(key, version="", kept="new"):
    return Batch([(key, kept)], version)


async def run(script, seconds, monkeypatch, jitter=max):
    """Play `script` for `seconds` of virtual time; what the shelf was told. Jitter is at its greatest by default."""
    monkeypatch.setattr("collector.kube.reflector.random.uniform", jitter)
    monkeypatch.setattr("collector.kube.reflector.random.random", lambda: 1.0)
    shelf = Shelf()
    task = asyncio.create_task(Reflector("pods", script, shelf, PACE).run())
    await asyncio.sleep(seconds)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return shelf.told


def times(script, what):
    return [when for when, verb, _ in script.calls if verb == what]


def arguments(script, what):
    return [argument for _, verb, argument in script.calls if verb == what]


async def test_one_list_then_a_watch_from_its_first_pages_version(monkeypatch):
    script = Script([[Page(["a"], "7", "t"), Page(["b"], "9", "")]], [[Batch([], ""), change("k", "8"), 10**6]])
    told = await run(script, 1, monkeypatch)
    assert told == [("replace", ["a", "b"]), ("apply", [("k", "new")])]
    assert script.calls == [(0, "list", 500), (0, "watch", "7")]


async def test_a_watch_that_ends_in_time_goes_on_at_once_from_its_last_version(monkeypatch):
    ends = [Batch([], ""), 300, change("k", "20"), 100]
    script = Script(watches=[ends, [Batch([], ""), 400], [Batch([], "30"), 400]])
    await run(script, 1500, monkeypatch)
    assert script.calls == [
        (0, "list", 500),
        (0, "watch", "1"),
        (400, "watch", "20"),
        (800, "watch", "20"),
        (1200, "watch", "30"),
    ]


async def test_a_bookmark_moves_the_version_without_a_change(monkeypatch):
    lost = ApiServerError("lost")
    script = Script(watches=[[Batch([], "55"), lost]])
    told = await run(script, 10, monkeypatch)
    assert arguments(script, "watch") == ["1", "55"]
    assert ("apply", []) not in told


async def test_pauses_double_up_to_the_most_while_the_server_is_away(monkeypatch):
    away = [[ApiServerError("refused")] for _ in range(9)]
    script = Script(lists=away)
    await run(script, 200, monkeypatch)
    assert times(script, "list") == [0, 1, 3, 7, 15, 31, 61, 91, 121, 151]


async def test_pauses_are_jittered_over_their_whole_length(monkeypatch):
    script = Script(lists=[[ApiServerError("refused")] for _ in range(4)])
    await run(script, 100, monkeypatch, jitter=lambda low, high: (low + high) / 2)
    assert times(script, "list") == [0, 0.5, 1.5, 3.5, 7.5]
    backoff = Backoff(PACE)
    monkeypatch.undo()
    first = [Backoff(PACE).next(KubernetesError("x")) for _ in range(200)]
    assert 0 <= min(first) < 0.2 < 0.8 < max(first) <= 1
    assert all(backoff.next(KubernetesError("x")) <= 30 for _ in range(2000))


async def test_an_event_makes_pauses_short_again(monkeypatch):
    lost = ApiServerError("lost")
    scenes = [[lost], [lost], [lost], [change("k", "5"), lost], [lost]]
    script = Script(watches=scenes)
    await run(script, 100, monkeypatch)
    assert times(script, "watch") == [0, 1, 3, 7, 8, 10]


async def test_a_list_alone_does_not_make_pauses_short_again(monkeypatch):
    script = Script(watches=[[ExpiredError("410")] for _ in range(4)])
    await run(script, 100, monkeypatch)
    assert times(script, "list") == [0, 1, 3, 7, 15]


async def test_a_lost_watch_keeps_its_version_and_an_expired_one_lists_again(monkeypatch):
    script = Script(watches=[[change("k", "5"), ApiServerError("lost")], [ExpiredError("410")]])
    await run(script, 100, monkeypatch)
    assert [(verb, argument) for _, verb, argument in script.calls] == [
        ("list", 500),
        ("watch", "1"),
        ("watch", "5"),
        ("list", 500),
        ("watch", "1"),
    ]


@pytest.mark.parametrize("error", [KubernetesError("unreadable"), RuntimeError("a bug")])
async def test_what_cannot_be_read_or_was_not_foreseen_lists_again(error, monkeypatch, caplog):
    script = Script(watches=[[change("k", "5"), error]])
    told = await run(script, 100, monkeypatch)
    assert arguments(script, "list") == [500, 500]
    assert ("failed", type(error)) in told


async def test_a_lasting_refusal_is_retried_slowly_for_ever(monkeypatch):
    script = Script(lists=[[ApiServerError("403", lasting=True)] for _ in range(3)])
    await run(script, 200, monkeypatch)
    assert times(script, "list") == [0, 40, 80, 120]


async def test_where_only_listing_is_allowed_every_try_lists_again(monkeypatch):
    script = Script(watches=[[ApiServerError("403", lasting=True)] for _ in range(3)])
    await run(script, 200, monkeypatch)
    assert times(script, "list") == [0, 40, 80, 120]


async def test_the_pause_the_server_asks_for_comes_on_top(monkeypatch):
    script = Script(lists=[[ApiServerError("429", retry_after=5)]])
    await run(script, 20, monkeypatch)
    assert times(script, "list") == [0, 6]


async def test_a_watch_that_ends_at_once_again_and_again_is_no_hot_loop(monkeypatch):
    script = Script(watches=[[Batch([], "")] for _ in range(50)])
    told = await run(script, 100, monkeypatch)
    assert times(script, "watch") == [0, 1, 3, 7, 15, 31, 61, 91]
    assert told.count(("failed", ApiServerError)) == 8


async def test_lists_that_expire_are_tried_with_larger_pages(monkeypatch):
    expires = [[Page(["a"], "1", "t"), ExpiredError("410")] for _ in range(5)]
    script = Script(lists=[*expires, [Page(["a"], "1", "")]], watches=[[ExpiredError("410")]])
    told = await run(script, 300, monkeypatch)
    assert arguments(script, "list") == [500, 1000, 2000, 4000, 8000, 8000, 500]
    assert [t for t in told if t[0] == "replace"] == [("replace", ["a"]), ("replace", [])]


async def test_a_list_that_breaks_off_replaces_nothing(monkeypatch):
    script = Script(lists=[[Page(["a"], "1", "t"), ApiServerError("lost")], [Page(["a", "b"], "2", "")]])
    told = await run(script, 10, monkeypatch)
    assert told == [("failed", ApiServerError), ("replace", ["a", "b"])]


async def test_the_same_trouble_is_logged_once_and_its_end_once(monkeypatch, caplog):
    lost = ApiServerError("no connection")
    with caplog.at_level(logging.INFO):
        await run(Script(watches=[[lost], [lost], [lost], [Batch([], ""), 50], [lost]]), 200, monkeypatch)
    assert [r.getMessage().partition(";")[0] for r in caplog.records] == [
        "pods: listed 0 in 0.0 s",
        "pods: no connection",
        "pods: in contact again",
        "pods: no connection",
        "pods: in contact again",
    ]


async def test_an_unforeseen_error_is_logged_with_its_traceback(monkeypatch, caplog):
    await run(Script(lists=[[ZeroDivisionError("oops")]]), 5, monkeypatch)
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert "ZeroDivisionError" in record.getMessage()
    assert record.exc_info

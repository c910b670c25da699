"""A kubelet with several addresses is asked at the first that takes connections, until it takes none."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator

import pytest

from collector.errors import FetchError
from collector.sources.kubelet import KubeletClient, KubeletOptions, KubeletTarget
from tests.sources.conftest import Authority
from tests.sources.fake_kubelet import FakeKubelet, hanging, serving

pytestmark = pytest.mark.usefixtures("nothing_left")

BODY = b'{"node":{}}'
HERE, THERE = "127.0.0.1", "127.0.0.2"


class Told:
    def __init__(self) -> None:
        self.routes: list[tuple[str, str]] = []

    def __call__(self, node: str, address: str) -> None:
        self.routes.append((node, address))


def plain(told: Told | None = None, limit: float = 10.0) -> KubeletOptions:
    return KubeletOptions(https=False, time_limit_s=limit, routed=told or Told())


@contextlib.contextmanager
def black_hole(host: str, port: int) -> Iterator[None]:
    """An address where connecting neither succeeds nor fails: its queue of connections is full."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(0)
        filling = []
        try:
            for _ in range(4):
                sock = socket.socket()
                sock.setblocking(False)
                filling.append(sock)
                with contextlib.suppress(BlockingIOError):
                    sock.connect((host, port))
            yield
        finally:
            for sock in filling:
                sock.close()


@pytest.mark.parametrize("others", [(HERE,), ("127.0.0.3", HERE), ("::1", HERE)])
async def test_an_address_that_refuses_is_passed_over_and_the_good_one_remembered(others, caplog) -> None:
    caplog.set_level("INFO")
    told = Told()
    async with FakeKubelet(serving(BODY)) as kubelet, KubeletClient(plain(told)) as client:
        target = KubeletTarget("node-1", THERE, kubelet.port, "uid", others)
        for _ in range(3):
            assert await client.fetch(target) == BODY
        assert kubelet.connections == 1
        assert kubelet.asked[0].headers["host"] == f"{HERE}:{kubelet.port}"
    assert told.routes == [("node-1", HERE)]
    assert caplog.text.count(f"node node-1: its kubelet is asked at {HERE} from now on ({THERE}: ") == 1


@pytest.mark.parametrize(("first", "second"), [("::1", HERE), (HERE, "::1")])
async def test_of_a_dual_stack_node_the_family_that_works_is_taken(first: str, second: str) -> None:
    async with FakeKubelet(serving(BODY), host=second) as kubelet, KubeletClient(plain()) as client:
        assert await client.fetch(KubeletTarget("node-1", first, kubelet.port, "uid", (second,))) == BODY
    shown = f"[{second}]" if ":" in second else second
    assert kubelet.asked[0].headers["host"] == f"{shown}:{kubelet.port}"


async def test_an_address_that_does_not_answer_costs_its_part_of_the_time(caplog) -> None:
    async with FakeKubelet(serving(BODY)) as kubelet, KubeletClient(plain(limit=2.0)) as client:
        with black_hole(THERE, kubelet.port):
            target = KubeletTarget("node-1", THERE, kubelet.port, "uid", (HERE,))
            began = asyncio.get_running_loop().time()
            assert await client.fetch(target) == BODY
            assert 0.4 < asyncio.get_running_loop().time() - began < 1.9


async def test_when_the_good_one_goes_away_the_preferred_one_is_tried_again() -> None:
    told = Told()
    async with KubeletClient(plain(told)) as client:
        async with FakeKubelet(serving(BODY)) as kubelet:
            port = kubelet.port
            target = KubeletTarget("node-1", THERE, port, "uid", (HERE,))
            assert await client.fetch(target) == BODY
        for _ in range(3):  # the connection's end is seen
            await asyncio.sleep(0)
        with pytest.raises(FetchError):
            await client.fetch(target)
        async with FakeKubelet(serving(BODY), host=THERE, port=port):
            assert await client.fetch(target) == BODY
    assert told.routes == [("node-1", HERE), ("node-1", THERE)]


async def test_when_none_takes_connections_each_is_named_with_its_reason() -> None:
    async with FakeKubelet(serving(BODY)) as kubelet:
        port = kubelet.port
    async with KubeletClient(plain(limit=0.4)) as client:
        with pytest.raises(FetchError) as caught:
            await client.fetch(KubeletTarget("node-1", HERE, port, "uid", (THERE,)))
        assert caught.value.reason == "refused"
        with black_hole(THERE, port), pytest.raises(FetchError) as mixed:
            await client.fetch(KubeletTarget("node-1", HERE, port, "uid", (THERE,)))
    assert f"{HERE} (Connection refused), {THERE} (Connection refused)" in str(caught.value)
    assert mixed.value.reason == "unreachable"
    assert f"{THERE} (no connection in its part of --node-timeout)" in str(mixed.value)
    assert "--kubelet-preferred-address-types" in str(mixed.value)


async def test_a_wrong_certificate_is_told_and_no_reason_to_go_on(
    authority: Authority, authority_named: Callable[[str], Authority], kubelet_tls: ssl.SSLContext
) -> None:
    wrong = authority_named("stranger").server("node-1", HERE, THERE)
    options = KubeletOptions(ca_files=(authority.file,), token=lambda: "secret")
    async with (
        FakeKubelet(serving(BODY), kubelet_tls, THERE) as kubelet,
        FakeKubelet(serving(BODY), wrong, port=kubelet.port) as imposter,
        KubeletClient(options) as client,
    ):
        with pytest.raises(FetchError, match=rf"https://{HERE}:{imposter.port}/.*none of the CAs") as caught:
            await client.fetch(KubeletTarget("node-1", "127.0.0.3", imposter.port, "uid", (HERE, THERE)))
        assert not imposter.asked
        assert not kubelet.asked
    assert caught.value.reason == "tls"


async def test_an_answer_that_does_not_come_is_no_reason_to_go_on() -> None:
    async with FakeKubelet(hanging) as kubelet, KubeletClient(plain(limit=0.2)) as client:
        with pytest.raises(FetchError) as caught:
            await client.fetch(KubeletTarget("node-1", HERE, kubelet.port, "uid", (THERE,)))
    assert caught.value.reason == "timeout"
    assert kubelet.connections == 1


# Names.


async def test_a_name_is_resolved_and_all_it_stands_for_is_tried(
    authority: Authority, kubelet_tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def resolved(host: str, port: int, **_: object) -> list[object]:
        asked.append(host)
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (HERE, port)),
        ]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolved, raising=False)
    options = KubeletOptions(ca_files=(authority.file,))
    async with FakeKubelet(serving(BODY), kubelet_tls) as kubelet, KubeletClient(options) as client:
        assert await client.fetch(KubeletTarget("node-1", "node-1.internal", kubelet.port)) == BODY
    assert asked == ["node-1.internal"]
    assert kubelet.asked[0].headers["host"] == f"node-1.internal:{kubelet.port}"


@pytest.mark.parametrize("verify_name", ["any", "address"])
async def test_a_certificate_may_be_for_the_name_that_is_dialled(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, verify_name: str
) -> None:
    async def resolved(_host: str, port: int, **_: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (HERE, port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolved, raising=False)
    options = KubeletOptions(ca_files=(authority.file,), verify_name=verify_name)  # type: ignore[arg-type]
    context = authority.server("node-1.internal")
    async with FakeKubelet(serving(BODY), context) as kubelet, KubeletClient(options) as client:
        assert await client.fetch(KubeletTarget("other", "node-1.internal", kubelet.port)) == BODY
        with pytest.raises(FetchError):
            await client.fetch(KubeletTarget("other", "node-2.internal", kubelet.port))


async def test_a_name_that_stands_for_nothing_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolved(host: str, _port: int, **_: object) -> list[object]:
        if host == "empty.internal":
            return []
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolved, raising=False)
    async with FakeKubelet(serving(BODY)) as kubelet, KubeletClient(plain()) as client:
        target = KubeletTarget("node-1", "node-1.internal", kubelet.port, "uid", ("empty.internal", HERE))
        assert await client.fetch(target) == BODY
        with pytest.raises(FetchError, match="cannot be reached: Name or service not known") as caught:
            await client.fetch(KubeletTarget("node-2", "node-2.internal", kubelet.port))
    assert caught.value.reason == "unreachable"

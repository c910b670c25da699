"""Pins: a node's first key counts, any other is refused before the token is sent, and a restart remembers."""

import asyncio
import hashlib
import ssl
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from collector.errors import FetchError, StartError
from collector.sources import pins as module
from collector.sources.kubelet import KubeletClient, KubeletOptions
from collector.sources.pins import FILE_NAME, PinChangedError, Pins
from collector.sources.target import KubeletTarget
from tests.sources.conftest import Authority
from tests.sources.fake_kubelet import FakeKubelet, serving

pytestmark = pytest.mark.usefixtures("nothing_left")

BODY = b'{"node":{}}'
KEY, OTHER = "a" * 64, "b" * 64


def options(pins: Pins | None = None) -> KubeletOptions:
    return KubeletOptions(identity="pin", pins=pins, token=lambda: "secret")


def target(kubelet: FakeKubelet, uid: str = "uid-1", node: str = "node-1") -> KubeletTarget:
    return KubeletTarget(node, "127.0.0.1", kubelet.port, uid)


async def failure(client: KubeletClient, asked: KubeletTarget) -> FetchError:
    with pytest.raises(FetchError) as caught:
        await client.fetch(asked)
    return caught.value


# Over TLS.


async def test_the_key_seen_first_counts_and_another_one_never_sees_the_token(
    authority: Authority, authority_named: Callable[[str], Authority]
) -> None:
    stranger = authority_named("stranger")
    pins = Pins()
    async with KubeletClient(options(pins)) as client:
        async with FakeKubelet(serving(BODY), stranger.server("whoever")) as kubelet:
            assert await client.fetch(target(kubelet)) == BODY
            assert await client.fetch(target(kubelet)) == BODY
            assert kubelet.asked[0].headers["authorization"] == "Bearer secret"
        # Even a certificate that the cluster's CA has signed for the node is not the one seen first.
        async with FakeKubelet(serving(BODY), authority.server("node-1", "127.0.0.1")) as imposter:
            fault = await failure(client, target(imposter))
            assert not imposter.asked
            # A node made anew under the same name is another node.
            assert await client.fetch(target(imposter, uid="uid-2")) == BODY
    assert fault.reason == "pin"
    pinned = {uid: pin.fingerprint for uid, pin in pins._pins.items()}
    assert pinned.keys() == {"uid-1", "uid-2"}
    assert f"sha256:{pinned['uid-1']} since" in str(fault)
    assert f"now sha256:{pinned['uid-2']}" in str(fault)
    assert str(fault).startswith("node node-1: ")


async def test_a_fingerprint_is_that_of_the_public_key(tmp_path: Path, authority: Authority) -> None:
    issued = authority._ca.issue_cert("node-1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(context)
    pins = Pins()
    async with FakeKubelet(serving(BODY), context) as kubelet, KubeletClient(options(pins)) as client:
        await client.fetch(target(kubelet))
    key = x509.load_pem_x509_certificate(issued.cert_chain_pems[0].bytes()).public_key()
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert [pin.fingerprint for pin in pins._pins.values()] == [hashlib.sha256(der).hexdigest()]


async def test_one_connection_is_lent_to_no_other_node(authority: Authority) -> None:
    async with (
        FakeKubelet(serving(BODY), authority.server("x")) as kubelet,
        KubeletClient(options()) as client,
    ):
        for uid in ("uid-1", "uid-2", "uid-1", "uid-2"):
            await client.fetch(target(kubelet, uid))
    assert kubelet.connections == 2


async def test_a_restart_remembers_and_a_line_taken_out_lets_the_next_key_in(
    tmp_path: Path, authority: Authority
) -> None:
    path = tmp_path / "made" / FILE_NAME
    first, second = authority.server("first"), authority.server("second")
    async with FakeKubelet(serving(BODY), first) as kubelet, KubeletClient(options(Pins(path))) as client:
        await client.fetch(target(kubelet))
        await client.fetch(target(kubelet, "uid-2", "node-2"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [line.split()[:2] for line in path.read_text().splitlines() if not line.startswith("#")] == [
        ["uid-1", "node-1"],
        ["uid-2", "node-2"],
    ]
    async with FakeKubelet(serving(BODY), second) as kubelet, KubeletClient(options(Pins(path))) as client:
        fault = await failure(client, target(kubelet))
        assert f"take the line of node-1 out of {path}" in str(fault)
        assert "--kubelet-repin=node-1" in str(fault)
        assert not kubelet.asked
        path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if "node-1" not in line))
        assert await client.fetch(target(kubelet)) == BODY
        assert (await failure(client, target(kubelet, "uid-2", "node-2"))).reason == "pin"
    # And the new one is remembered.
    pins = Pins(path)
    pins.load()
    assert len(pins) == 2
    assert len({pin.fingerprint for pin in pins._pins.values()}) == 2


# The file.


async def test_the_file_is_written_once_for_many_nodes_without_a_close(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "WRITE_DELAY_S", 0.01)
    pins = Pins(tmp_path / FILE_NAME)
    pins.load()
    writes: list[int] = []
    write_out = pins._write_out
    monkeypatch.setattr(pins, "_write_out", lambda found: writes.append(len(found)) or write_out(found))
    for number in range(500):
        pins.check(f"uid-{number}", f"node-{number}", KEY)
    while not (tmp_path / FILE_NAME).exists():
        await asyncio.sleep(0.005)
    await pins.close()
    assert writes == [500]
    assert sorted(path.name for path in tmp_path.iterdir()) == [FILE_NAME]
    again = Pins(tmp_path / FILE_NAME)
    again.load()
    assert len(again) == 500


async def test_a_write_that_fails_is_told_once_and_made_up_for(tmp_path: Path, caplog) -> None:
    folder = tmp_path / "pins"
    pins = Pins(folder / FILE_NAME)
    pins.load()
    folder.rename(tmp_path / "elsewhere")
    pins.check("uid-1", "node-1", KEY)
    await pins.close()
    await pins.close()
    assert caplog.text.count("pins cannot be written to") == 1
    pins.check("uid-1", "node-1", KEY)
    with pytest.raises(PinChangedError):
        pins.check("uid-1", "node-1", OTHER)
    folder.mkdir()
    await pins.close()
    assert "uid-1 node-1" in (folder / FILE_NAME).read_text()


async def test_nodes_that_are_gone_leave_the_file_with_the_next_write(tmp_path: Path) -> None:
    present = {"uid-1", "uid-2"}
    pins = Pins(tmp_path / FILE_NAME, present=lambda: present)
    pins.load()
    pins.check("uid-1", "node-1", KEY)
    pins.check("uid-2", "node-2", KEY)
    await pins.close()
    present = {"uid-2", "uid-3"}
    pins.check("uid-3", "node-3", KEY)
    await pins.close()
    text = (tmp_path / FILE_NAME).read_text()
    assert "uid-1" not in text
    assert "uid-2" in text
    assert "uid-3" in text


async def test_pins_of_named_nodes_are_forgotten_at_start_and_told(tmp_path: Path, caplog) -> None:
    path = tmp_path / FILE_NAME
    path.write_text(f"uid-1 node-1 sha256:{KEY} 2026-01-01T00:00:00Z\nuid-2 node-2 sha256:{KEY} 2026-01-01T00:00:00Z\n")
    pins = Pins(path, anew=["node-1"])
    pins.load()
    pins.check("uid-1", "node-1", OTHER)
    with pytest.raises(PinChangedError):
        pins.check("uid-2", "node-2", OTHER)
    await pins.close()
    assert f"uid-1 node-1 sha256:{OTHER}" in path.read_text()
    assert caplog.text.count("node node-1: its pin is forgotten") == 1


@pytest.mark.parametrize("text", ["uid node\n", f"uid node sha256:{KEY[1:]} t\n", "\x00\n", f"u n SHA256:{KEY} t\n"])
def test_a_file_that_is_none_does_not_start_and_names_the_line(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(f"# fine\n\nu n sha256:{KEY} t\n{text}")
    with pytest.raises(StartError, match=rf"{FILE_NAME}: line 4 is no pin.*--kubelet-pin-dir"):
        Pins(tmp_path / FILE_NAME).load()


def test_a_directory_that_cannot_be_made_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match="--kubelet-pin-dir"):
        Pins(tmp_path / "file" / FILE_NAME).load()


async def test_a_file_spoilt_while_running_leaves_the_pins_there_are(tmp_path: Path, caplog) -> None:
    path = tmp_path / FILE_NAME
    pins = Pins(path)
    pins.load()
    pins.check("uid-1", "node-1", KEY)
    await pins.close()
    path.write_text("nonsense\n")
    for _ in range(2):
        with pytest.raises(PinChangedError):
            pins.check("uid-1", "node-1", OTHER)
    assert caplog.text.count("cannot be read again") == 1

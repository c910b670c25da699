"""The floor of fetching: a client that only downloads. Verified TLS over kept connections, no event loop, no HTTP.

It asks some kubelets ahead, so that they answer while it reads, and reads into one buffer of which it looks at nothing
but the status and whether the last chunk has come.
"""

import socket
import ssl
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import msgspec

from collector.sources.kubelet import SUMMARY_PATH

AHEAD = 32
"""Answers asked for and not yet read."""
END = b"\r\n0\r\n\r\n"
"""Of an answer in chunks, as Go's servers send those that are large."""
LIMIT_S = 30.0
"""Seconds that one read may wait."""
LONGEST = 1 << 22
"""Bytes of an answer, at most."""


class BareClient:
    """A connection to each of `addresses`; the CA and the token stand in the simulated cluster's `kubeconfig`."""

    def __init__(self, kubeconfig: Path, addresses: Sequence[str], port: int) -> None:
        content = msgspec.json.decode(kubeconfig.read_bytes())
        cluster, user = content["clusters"][0]["cluster"], content["users"][0]["user"]
        context = ssl.create_default_context(cafile=cluster["certificate-authority"])
        self._into = memoryview(bytearray(LONGEST))
        self._links = []
        for address in addresses:
            link = context.wrap_socket(socket.create_connection((address, port), LIMIT_S), server_hostname=address)
            head = (f"GET {SUMMARY_PATH} HTTP/1.1", f"Host: {address}:{port}", f"Authorization: Bearer {user['token']}")
            self._links.append((link, "\r\n".join((*head, "", "")).encode()))

    def download(self) -> tuple[float, int]:
        """One answer of each: CPU seconds of this thread, and bytes.

        Raises RuntimeError for an answer that is no 200 or not in chunks, OSError for one that does not come.
        """
        began, size = time.thread_time(), 0
        under_way: deque[ssl.SSLSocket] = deque()
        for link, request in self._links:
            link.send(request)
            under_way.append(link)
            if len(under_way) > AHEAD:
                size += self._read(under_way.popleft())
        while under_way:
            size += self._read(under_way.popleft())
        return time.thread_time() - began, size

    def _read(self, link: ssl.SSLSocket) -> int:
        into, filled = self._into, 0
        while into[max(0, filled - len(END)) : filled] != END:
            got = link.recv_into(into[filled:])
            if not got:
                raise RuntimeError(f"{link.getpeername()} ended its answer after {filled} bytes")
            filled += got
        if not bytes(into[:12]).endswith(b" 200"):
            raise RuntimeError(f"{link.getpeername()} answered {bytes(into[:200])!r}")
        return filled

    def close(self) -> None:
        """Close every connection."""
        for link, _ in self._links:
            link.close()

"""A server that has its answers ready: what a client takes for them is what no server can change.

    python -m benchmarks.canned http://127.0.0.1:8082

It asks the server it is given for what `kubectl top pods -A` asks, keeps the bytes as they came, prints a line with its
own address and answers with them until standard input ends.
"""

import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from collector.api.aggregated import GROUP_ROOT
from collector.api.metrics_protobuf import PROTOBUF

AGGREGATED_DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
ASKED = {"/apis": AGGREGATED_DISCOVERY, f"{GROUP_ROOT}/v1beta1/pods": f"{PROTOBUF}, */*"}
"""Path -> what is accepted. Of `/api` and `/version` the collector has nothing, and kubectl does without."""
LIMIT_S = 120


class Can(NamedTuple):
    """One answer: its headers that count, its bytes as they were sent."""

    headers: dict[str, str]
    body: bytes


def canned(server: str) -> dict[str, Can]:
    """By path."""
    found = {}
    for path, accepted in ASKED.items():
        asked = urllib.request.Request(server + path, headers={"Accept": accepted, "Accept-Encoding": "gzip"})
        with urllib.request.urlopen(asked, timeout=LIMIT_S) as answer:
            kept = {name: answer.headers[name] for name in ("Content-Type", "Content-Encoding") if answer.headers[name]}
            found[path] = Can(kept, answer.read())
    return found


def server_of(cans: dict[str, Can]) -> ThreadingHTTPServer:
    """Listens on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            can = cans.get(self.path.partition("?")[0])
            self.send_response(200 if can else 404)
            for name, value in (can.headers if can else {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", f"{len(can.body) if can else 0}")
            self.end_headers()
            if can:
                self.wfile.write(can.body)

        def log_message(self, *_: object) -> None:
            """Nothing: standard error is for what goes wrong."""

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


def main() -> None:
    server = server_of(canned(sys.argv[1]))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()

"""`heapster` as a process with both HTTPS servers, asked by curl: uvloop, real signals, real files."""

import asyncio
import base64
import json
import socket
from pathlib import Path

import trustme
from api.identities import client, write_pair

from collector.sim import SimConfig, SimulatedCluster
from collector.sim.reviews import MASTERS, Account
from tests.e2e.process import heapster, source

SERVER_CA, PROXY_CA = trustme.CA(), trustme.CA()


async def curl(*arguments: str) -> tuple[int, str]:
    """Status and body."""
    process = await asyncio.create_subprocess_exec(
        *("curl", "--silent", "--show-error", "--max-time", "10", "--write-out", "\n%{http_code}", *arguments),
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    body, _, status = said.decode().rpartition("\n")
    return int(status), body


async def test_both_servers_of_a_process(tmp_path: Path):
    certificate, key = write_pair(tmp_path, SERVER_CA.issue_cert("127.0.0.1"))
    proxy = write_pair(tmp_path, client(PROXY_CA, "front-proxy-client"), "proxy")
    SERVER_CA.cert_pem.write_to_path(tmp_path / "server-ca.crt")
    PROXY_CA.cert_pem.write_to_path(tmp_path / "proxy-ca.crt")
    async with SimulatedCluster(SimConfig(nodes=1, pods=1)) as cluster:
        cluster.api.apiservices.apply("v1beta1.metrics.k8s.io", "heapster", "kube-system")
        cluster.api.reviews.accounts |= {"alice": Account("alice"), "root": Account("root", (MASTERS,))}
        await both_servers(cluster, tmp_path, certificate, key, proxy)


async def both_servers(
    cluster: SimulatedCluster, tmp_path: Path, certificate: str, key: str, proxy: tuple[str, str]
) -> None:
    async with (
        heapster(
            *(source(cluster), f"--tls-cert={certificate}", f"--tls-key={key}"),
            *(f"--tls-client-ca={tmp_path / 'proxy-ca.crt'}", "--api-server", "--bind-address=127.0.0.1"),
            *(f"--secure-port={free_port()}", f"--cert-dir={tmp_path / 'made'}"),
            f"--requestheader-client-ca-file={tmp_path / 'proxy-ca.crt'}",
        ) as running,
    ):
        await running.until("collecting from")
        main, second = await running.ports()
        trusted = ("--cacert", str(tmp_path / "server-ca.crt"))
        shown = ("--cert", proxy[0], "--key", proxy[1])
        base = f"https://127.0.0.1:{main}"
        assert await curl(*trusted, f"{base}/metrics") == (401, "Unauthorized\n")
        assert (await curl(*trusted, f"{base}/healthz"))[0] in {200, 500}
        status, text = await curl(*trusted, *shown, f"{base}/metrics")
        assert (status, text.count("# TYPE") > 10) == (200, True)

        # The APIService says whom to trust, as it does to the aggregation layer; our own files say the same.
        bundle = base64.b64decode(cluster.api.apiservices.bundle("v1beta1.metrics.k8s.io"))
        assert bundle == (tmp_path / "made" / "ca.crt").read_bytes()
        trusted = ("--cacert", str(tmp_path / "made" / "apiserver.crt"))
        service = f"heapster.kube-system.svc:{second}"
        resolved = ("--resolve", f"{service}:127.0.0.1", "--cacert", str(tmp_path / "made" / "ca.crt"))
        assert await curl(*resolved, f"https://{service}/livez") == (200, "ok")
        bearer = ("--header", "Authorization: Bearer alice")
        status, text = await curl(*resolved, *bearer, f"https://{service}/api/v1/model/namespaces/")
        assert (status, json.loads(text)["reason"]) == (403, "Forbidden")
        bearer = ("--header", "Authorization: Bearer root")
        assert (await curl(*resolved, *bearer, f"https://{service}/api/v1/model/namespaces/"))[0] == 200
        assert (await curl(*resolved, *bearer, f"https://{service}/metrics"))[0] == 200
        url = f"https://127.0.0.1:{second}/healthz/ping"
        headers = ("--header", "X-Remote-User: probe", "--header", "X-Remote-Group: system:masters")
        assert await curl(*trusted, *shown, *headers, url) == (200, "ok")
        status, text = await curl(*trusted, *headers, url)
        assert (status, json.loads(text)["reason"]) == (403, "Forbidden")
        assert await running.stop() == 0
    assert "Traceback" not in running.said


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]

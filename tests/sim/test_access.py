"""TLS, tokens and the routes of the simulated kubelets."""

import asyncio
import socket
import ssl

import aiohttp
import pytest
from kubernetes_asyncio import client, config

from collector.sim.access import FORBIDDEN_TOKEN


async def test_certificates_hold_for_the_address_and_for_the_nodes_name(simulate):
    simulation = await simulate(nodes=70)  # two certificates
    for node in (0, 63, 64, 69):
        by_address = await simulation.kubelet(node)
        by_name = await simulation.kubelet(node, server_hostname=simulation.cluster.node_names[node])
        assert by_address.status == by_name.status == 200
        assert by_name.decoded()["node"]["nodeName"] == simulation.cluster.node_names[node]


async def test_a_kubelet_chooses_the_cipher_that_gos_server_would(simulate):
    simulation = await simulate(nodes=1)
    context = ssl.create_default_context(cafile=simulation.cluster.ca_file)
    address, port = simulation.cluster.addresses[0], simulation.cluster.kubelet_port
    _reader, writer = await asyncio.open_connection(address, port, ssl=context)
    assert writer.get_extra_info("cipher")[:2] == ("TLS_AES_128_GCM_SHA256", "TLSv1.3")
    writer.close()


@pytest.mark.parametrize("tls", [True, False])
async def test_an_answer_that_a_client_reads_slowly_is_not_touched_by_the_next(simulate, tls):
    simulation = await simulate(nodes=2, pods=600, tls=tls)
    context = ssl.create_default_context(cafile=simulation.cluster.ca_file) if tls else None
    address = simulation.cluster.addresses[0]
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)  # 4 MB do not go at once
    sock.connect((address, simulation.cluster.kubelet_port))
    name = address if tls else None
    reader, writer = await asyncio.open_connection(sock=sock, ssl=context, server_hostname=name)
    writer.write(b"GET /stats/summary HTTP/1.1\r\nAuthorization: Bearer sim-token\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    other = await simulation.kubelet(1)
    size = int(await reader.readline(), 16)
    body = await reader.readexactly(size)

    assert b"chunked" in head
    assert await reader.readexactly(7) == b"\r\n0\r\n\r\n"
    assert body == bytes(simulation.cluster.world.summary(0, only_cpu_and_memory=False))
    assert other.body == bytes(simulation.cluster.world.summary(1, only_cpu_and_memory=False))
    writer.close()


async def test_a_certificate_does_not_hold_for_another_name_or_another_ca(simulate):
    simulation = await simulate(nodes=1)
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        await simulation.kubelet(0, server_hostname="elsewhere")
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        await simulation.kubelet(0, ssl=ssl.create_default_context())


async def test_without_tls_everything_is_plain_http(simulate):
    simulation = await simulate(nodes=1, tls=False)

    assert simulation.cluster.api_url.startswith("http://")
    assert not simulation.cluster.ca_file.exists()
    assert (await simulation.kubelet(0)).status == 200


@pytest.mark.parametrize("token", ["", "wrong"])
async def test_a_kubelet_wants_the_token(simulate, token):
    simulation = await simulate(nodes=1)

    answer = await simulation.kubelet(0, headers={"Authorization": f"Bearer {token}"})

    assert (answer.status, answer.body) == (401, b"Unauthorized")


async def test_a_kubelet_refuses_a_user_without_rights_in_its_own_words(simulate):
    simulation = await simulate(nodes=1)
    headers = {"Authorization": f"Bearer {FORBIDDEN_TOKEN}"}

    stats = await simulation.kubelet(0, headers=headers)
    metrics = await simulation.kubelet(0, "/metrics/resource", headers=headers)

    user = b"user=system:serviceaccount:default:default, verb=get, resource=nodes"
    assert (stats.status, stats.body) == (403, b"Forbidden (%b, subresource(s)=[stats])" % user)
    assert (metrics.status, metrics.body) == (403, b"Forbidden (%b, subresource(s)=[metrics])" % user)


async def test_routes_are_those_of_a_kubelet(simulate):
    simulation = await simulate(nodes=1)

    plain, slash = await simulation.kubelet(0), await simulation.kubelet(0, "/stats/summary/")
    assert plain.body == slash.body
    assert plain.headers["Content-Type"] == "application/json"
    assert plain.headers["Transfer-Encoding"] == "chunked"
    healthz = await simulation.kubelet(0, "/healthz", headers={"Authorization": ""})
    assert (healthz.status, healthz.body) == (200, b"ok")
    for path, body in (("/spec/", b"404 page not found\n"), ("/stats/container/", b"404: Page Not Found")):
        answer = await simulation.kubelet(0, path)
        assert (answer.status, answer.body) == (404, body)


async def test_a_connection_serves_many_requests(simulate):
    simulation = await simulate(nodes=1)
    connector = simulation.session.connector
    for _ in range(3):
        await simulation.kubelet(0)

    idle = [connection for connections in connector._conns.values() for connection in connections]
    assert len(idle) == 1


async def test_a_request_that_is_none_is_answered_400(simulate):
    simulation = await simulate(nodes=1)
    headers = {"Transfer-Encoding": "chunked"}  # a body without a length: nothing a kubelet is asked here has one
    async with simulation.session.post(simulation.url(0), data=b"body", headers=headers) as response:
        assert response.status == 400


async def test_a_request_with_a_body_leaves_the_connection_in_order(simulate):
    simulation = await simulate(nodes=1)
    async with simulation.session.post(simulation.url(0), data=b"b" * 30_000) as response:
        assert response.status == 405
    assert (await simulation.kubelet(0)).status == 200


async def test_the_kubeconfig_and_token_file_lead_to_the_api_server(simulate):
    simulation = await simulate(nodes=2)
    configuration = client.Configuration()
    await config.load_kube_config(config_file=str(simulation.cluster.kubeconfig), client_configuration=configuration)
    async with client.ApiClient(configuration) as api:
        nodes = await client.CoreV1Api(api).list_node()

    assert [node.metadata.name for node in nodes.items] == list(simulation.cluster.node_names)
    assert simulation.cluster.token_file.read_text() == simulation.cluster.config.token


async def test_only_loopback_addresses_are_listened_on(simulate):
    simulation = await simulate(nodes=3, network="127.88.0.0/24")

    assert simulation.cluster.addresses == ("127.88.0.1", "127.88.0.2", "127.88.0.3")
    assert "127.88.0.254:" in simulation.cluster.api_url

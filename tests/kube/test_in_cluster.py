"""The service account of a pod: token, CA, and what happens when Kubernetes replaces them."""

import ssl
from pathlib import Path

import pytest
from kube.fake_api import page, pod, pod_names, server_context, serving

from collector import watchedfiles
from collector.errors import StartError
from collector.kube.config import connect
from collector.kube.faults import ApiServerError


@pytest.fixture
def service_account(tmp_path, authority):
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    (folder / "token").write_text("t0\n")
    authority.cert_pem.write_to_path(str(folder / "ca.crt"))
    return folder


def in_cluster(api, service_account, **more):
    port = api.url.rpartition(":")[2]
    environ = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": port}
    return connect(in_cluster=True, service_account=service_account, environ=environ, **more)


async def test_in_a_cluster_token_and_ca_of_the_service_account_are_used(secure, service_account):
    secure.on_list("pods", page(pod("a")))
    connection = await in_cluster(secure, service_account)
    assert connection.url == secure.url
    assert connection.ca_file == str(service_account / "ca.crt")
    assert await connection.authorization() == {"Authorization": "Bearer t0"}
    assert await pod_names(connection) == ["a"]


async def test_a_rotated_service_account_token_is_read_again(secure, service_account):
    secure.tokens = {"t1"}
    connection = await in_cluster(secure, service_account)
    (service_account / "token").write_text("t1")
    assert await pod_names(connection) == []
    assert [s.authorization for s in secure.seen] == ["Bearer t1"]


async def test_a_token_is_read_from_disk_when_it_has_changed_and_not_for_every_request(
    secure, service_account, monkeypatch
):
    connection = await in_cluster(secure, service_account)
    reads: list[str] = []
    monkeypatch.setattr(watchedfiles, "_content", lambda file: reads.append(file.path) or Path(file.path).read_bytes())
    for _ in range(3):
        assert await connection.authorization() == {"Authorization": "Bearer t0"}
    assert not reads
    (service_account / "token").write_text("t1")
    for _ in range(3):
        assert await connection.authorization() == {"Authorization": "Bearer t1"}
    assert reads == [str(service_account / "token")]


async def test_a_token_file_found_half_written_leaves_the_old_token_and_says_nothing_of_its_content(
    secure, service_account, caplog
):
    connection = await in_cluster(secure, service_account)
    (service_account / "token").write_text("half a-secret")
    assert await connection.authorization() == {"Authorization": "Bearer t0"}
    assert "token is not one word" in caplog.text
    assert "a-secret" not in caplog.text


async def test_a_rotated_ca_is_read_again(authority, stranger, service_account):
    async with serving(tls=server_context(stranger)) as api:
        connection = await in_cluster(api, service_account)
        stranger.cert_pem.write_to_path(str(service_account / "ca.crt"))
        assert await pod_names(connection) == []


async def test_a_service_account_that_vanished_is_told_when_it_is_needed(secure, service_account):
    secure.tokens = {"t1"}
    connection = await in_cluster(secure, service_account)
    (service_account / "token").unlink()
    with pytest.raises(ApiServerError, match=r"the credentials cannot be renewed: .*token"):
        await pod_names(connection)


@pytest.mark.parametrize("missing", ["token", "ca.crt"])
async def test_an_incomplete_service_account_is_told(service_account, secure, missing):
    (service_account / missing).unlink()
    with pytest.raises(StartError, match=r"the service account is not mounted.*inClusterConfig=false"):
        await in_cluster(secure, service_account)


@pytest.mark.parametrize("name", ["token", "ca.crt"])
async def test_an_empty_file_in_the_service_account_is_told(service_account, secure, name):
    (service_account / name).write_text("")
    with pytest.raises(StartError, match="empty"):
        await in_cluster(secure, service_account)


async def test_a_token_file_that_holds_something_else_is_told(tmp_path):
    (tmp_path / "token").write_text("a token\nand more")
    with pytest.raises(StartError, match="token is not one word"):
        await connect(server="https://127.0.0.1:1", token_file=str(tmp_path / "token"))


async def test_outside_of_a_cluster_is_told(service_account):
    with pytest.raises(StartError, match=r"not in a cluster.*Service host/port is not set"):
        await connect(in_cluster=True, service_account=service_account, environ={})


async def test_an_ipv6_service_address_gets_brackets(service_account):
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    connection = await connect(in_cluster=True, service_account=service_account, environ=environ)
    assert connection.url == "https://[fd00::1]:443"


async def test_kubelets_are_offered_the_clusters_trust_and_may_be_left_unverified(secure, service_account):
    connection = await in_cluster(secure, service_account)
    trusted = connection.ssl_context()
    assert trusted.verify_mode is ssl.CERT_REQUIRED
    assert trusted.check_hostname
    assert len(trusted.get_ca_certs()) == 1
    blind = connection.ssl_context(verify=False)
    assert blind.verify_mode is ssl.CERT_NONE

"""Configuration and credentials of every kind, used against a TLS server that checks them."""

import asyncio
import base64
import stat
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from kube.fake_api import page, pod, pod_names, server_context, serving, until

from collector.errors import StartError
from collector.kube import config
from collector.kube.config import connect
from collector.kube.faults import ApiServerError


def b64(blob):
    return base64.b64encode(blob.bytes()).decode()


@pytest.fixture
def ca_file(authority, tmp_path):
    path = tmp_path / "ca.crt"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture
def kubeconfig(tmp_path, authority):
    """Writes a kubeconfig for a server and a user section; gives its path."""

    def write(server, user, name="config", cluster=None, **top):
        trust = {"certificate-authority-data": b64(authority.cert_pem)} if cluster is None else cluster
        context = {"cluster": "c", "user": "u"} if user is not None else {"cluster": "c"}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": server} | trust}],
            "users": [{"name": "u", "user": user}] if user is not None else [],
            "contexts": [{"name": "main", "context": context}],
            "current-context": "main",
        }
        path = tmp_path / name
        path.write_text(yaml.safe_dump(content | top))
        return str(path)

    return write


async def test_a_token_in_the_kubeconfig_is_shown(secure, kubeconfig):
    secure.on_list("pods", page(pod("a")))
    connection = await connect(kubeconfig=kubeconfig(secure.url, {"token": "t0"}))
    assert await connection.authorization() == {"Authorization": "Bearer t0"}
    assert connection.url == secure.url
    assert await pod_names(connection) == ["a"]


async def test_a_relative_token_file_is_found_beside_the_kubeconfig_and_read_again(secure, kubeconfig, tmp_path):
    (tmp_path / "token").write_text("old\n")
    secure.tokens = {"t0", "old"}
    connection = await connect(kubeconfig=kubeconfig(secure.url, {"tokenFile": "token", "token": "beside"}))
    assert await connection.authorization() == {"Authorization": "Bearer old"}
    (tmp_path / "token").write_text("t0\n")
    await pod_names(connection)
    assert [s.authorization for s in secure.seen] == ["Bearer t0"]
    (tmp_path / "token").unlink()
    assert await connection.authorization() == {"Authorization": "Bearer t0"}


async def test_a_refused_token_is_read_again_and_the_request_repeated(secure, kubeconfig):
    secure.on_list("pods", page(pod("a")))
    connection = await connect(kubeconfig=kubeconfig(secure.url, {"token": "old"}))
    kubeconfig(secure.url, {"token": "t0"})  # over the same file, which is not looked at for each request
    assert await pod_names(connection) == ["a"]
    assert [s.authorization for s in secure.seen] == ["Bearer old", "Bearer t0"]


async def test_credentials_that_stay_refused_are_told_with_their_origin(secure, kubeconfig):
    path = kubeconfig(secure.url, {"token": "wrong"})
    with pytest.raises(ApiServerError, match=f"status 401.*the credentials of kubeconfig {path}") as refused:
        await pod_names(await connect(kubeconfig=path))
    assert refused.value.lasting
    assert len(secure.seen) == 2


async def test_a_user_name_and_password_are_shown_as_basic_authentication(secure, kubeconfig):
    connection = await connect(kubeconfig=kubeconfig(secure.url, {"username": "u", "password": "p"}))
    expected = base64.b64encode(b"u:p").decode()
    assert await connection.authorization() == {"Authorization": f"Basic {expected}"}


async def test_client_certificates_inside_the_kubeconfig_are_shown(authority, stranger, kubeconfig):
    client = stranger.issue_cert("heapster@example")
    chain = b"".join(blob.bytes() for blob in client.cert_chain_pems)
    user = {
        "client-certificate-data": base64.b64encode(chain).decode(),
        "client-key-data": b64(client.private_key_pem),
    }
    async with serving(tls=server_context(authority, client_authority=stranger)) as api:
        api.on_list("pods", page(pod("a")))
        assert await pod_names(await connect(kubeconfig=kubeconfig(api.url, user))) == ["a"]
        with pytest.raises(ApiServerError):
            await pod_names(await connect(kubeconfig=kubeconfig(api.url, {"token": "t0"})))


async def test_a_context_without_a_user_is_anonymous(secure, kubeconfig):
    secure.tokens = None
    secure.on_list("pods", page(pod("a")))
    connection = await connect(kubeconfig=kubeconfig(secure.url, None))
    assert await connection.authorization() == {}
    assert await pod_names(connection) == ["a"]


async def test_a_user_without_credentials_is_anonymous(secure, kubeconfig):
    secure.tokens = None
    path = kubeconfig(secure.url, {}, users=[{"name": "u", "user": None}])
    assert await pod_names(await connect(kubeconfig=path)) == []


async def test_another_context_can_be_chosen(secure, kubeconfig):
    contexts = [{"name": n, "context": {"cluster": "c", "user": n}} for n in ("main", "other")]
    users = [{"name": "main", "user": {"token": "t1"}}, {"name": "other", "user": {"token": "t0"}}]
    path = kubeconfig(secure.url, {}, contexts=contexts, users=users)
    connection = await connect(kubeconfig=path, context="other")
    assert await connection.authorization() == {"Authorization": "Bearer t0"}
    assert connection.endpoint.origin == f"kubeconfig {path}, context other"


async def test_several_kubeconfigs_joined_by_colons_are_merged(secure, kubeconfig, tmp_path):
    one = kubeconfig(secure.url, {"token": "t0"}, name="one")
    two = kubeconfig("https://elsewhere", {"token": "t1"}, name="two")
    connection = await connect(kubeconfig=f"{tmp_path}/none:{one}:{two}")
    assert connection.url == secure.url
    await connection.close()


@pytest.fixture
def plugin(tmp_path):
    """Writes an exec plugin that gives the content of a file as its token and counts its runs."""

    def write(status="{'token': token}"):
        script = tmp_path / "plugin.py"
        script.write_text(
            f"import json, pathlib\n"
            f"here = pathlib.Path({str(tmp_path)!r})\n"
            f"with (here / 'runs').open('a') as runs: runs.write('x')\n"
            f"token = (here / 'token').read_text()\n"
            f"print(json.dumps(dict(apiVersion='client.authentication.k8s.io/v1', kind='ExecCredential', "
            f"status={status})))\n"
        )
        return {
            "exec": {
                "apiVersion": "client.authentication.k8s.io/v1",
                "command": sys.executable,
                "args": [str(script)],
                "env": [{"name": "PLUGIN", "value": "yes"}],
            }
        }

    (tmp_path / "token").write_text("t0")
    return write


def runs(tmp_path):
    return len((tmp_path / "runs").read_text())


async def test_an_exec_plugin_gives_a_token_that_is_kept(secure, kubeconfig, plugin, tmp_path):
    secure.on_list("pods", page(pod("a")))
    connection = await connect(kubeconfig=kubeconfig(secure.url, plugin()))
    assert await connection.authorization() == {"Authorization": "Bearer t0"}
    assert await pod_names(connection) == ["a"]
    assert runs(tmp_path) == 1


async def test_an_exec_plugin_runs_again_when_its_token_has_expired(secure, kubeconfig, plugin, tmp_path):
    soon = (datetime.now(UTC) + timedelta(seconds=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
    status = f"{{'token': token, 'expirationTimestamp': {soon!r}}}"
    connection = await connect(kubeconfig=kubeconfig(secure.url, plugin(status)))
    (tmp_path / "token").write_text("t1")
    assert await connection.authorization() == {"Authorization": "Bearer t1"}
    assert runs(tmp_path) == 2


async def test_an_exec_plugin_runs_again_when_its_token_is_refused(secure, kubeconfig, plugin, tmp_path):
    secure.tokens = {"t1"}
    connection = await connect(kubeconfig=kubeconfig(secure.url, plugin()))
    (tmp_path / "token").write_text("t1")
    assert await pod_names(connection) == []
    assert runs(tmp_path) == 2


async def test_an_exec_plugin_that_fails_later_is_an_error_of_the_request(secure, kubeconfig, plugin, tmp_path):
    soon = (datetime.now(UTC) + timedelta(seconds=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
    connection = await connect(
        kubeconfig=kubeconfig(secure.url, plugin(f"{{'token': token, 'expirationTimestamp': {soon!r}}}"))
    )
    (tmp_path / "token").unlink()
    with pytest.raises(ApiServerError, match=r"the credential plugin of the kubeconfig failed.*FileNotFoundError"):
        await pod_names(connection)


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ({"exec": {"apiVersion": "v1", "command": "/does/not/exist"}}, "/does/not/exist"),
        ({"exec": {"apiVersion": "v1"}}, "missing key 'command'"),
        ({"exec": {"apiVersion": "v1", "command": "false"}}, "process returned 1"),
        ({"tokenFile": "/does/not/exist"}, "/does/not/exist"),
        ({"client-certificate": "/does/not/exist", "client-key": "/nor/this"}, "/does/not/exist"),
        ({"client-certificate-data": "not base64"}, "cannot be used: Invalid base64"),
        ({"client-certificate-data": "aGVsbG8=", "client-key-data": "aGVsbG8="}, "cannot use the certificates"),
    ],
)
async def test_credentials_that_cannot_be_read_are_told_at_the_start(kubeconfig, user, words):
    with pytest.raises(StartError, match=words):
        await connect(kubeconfig=kubeconfig("https://127.0.0.1:1", user))


async def test_an_exec_plugin_that_hangs_is_given_up(kubeconfig, monkeypatch, tmp_path):
    monkeypatch.setattr(config, "_PLUGIN_SECONDS", 0.2)
    script = f"echo $$ > {tmp_path}/pid; while [ ! -e {tmp_path}/end ]; do sleep 0.02; done"
    user = {"exec": {"apiVersion": "v1", "command": "sh", "args": ["-c", script]}}
    with pytest.raises(StartError, match=r"the credential plugin gave no answer within 0.2 s"):
        await connect(kubeconfig=kubeconfig("https://127.0.0.1:1", user))
    (tmp_path / "end").touch()
    process = Path("/proc", (tmp_path / "pid").read_text().strip())
    await until(lambda: not process.exists())
    await asyncio.sleep(0.05)  # its pipes are closed by the loop


@pytest.mark.parametrize(
    "content",
    [
        "",
        "- a\n- b\n",
        "just text",
        "{]",
        "contexts: 5\n",
        "\x00",
        "apiVersion: v1\n",
        "current-context: x\ncontexts: [{name: x, context: {cluster: nope, user: u}}]\nusers: [{name: u, user: {}}]\n",
    ],
)
async def test_a_file_that_is_no_kubeconfig_is_named(tmp_path, content):
    (tmp_path / "broken").write_text(content)
    with pytest.raises(StartError, match=f"kubeconfig {tmp_path}/broken cannot be used: "):
        await connect(kubeconfig=str(tmp_path / "broken"))


async def test_a_missing_kubeconfig_is_named(tmp_path):
    with pytest.raises(StartError, match=f"kubeconfig {tmp_path}/none does not exist; give its path with auth="):
        await connect(kubeconfig=f"{tmp_path}/none")


async def test_a_context_that_is_not_there_is_named(kubeconfig):
    with pytest.raises(StartError, match=r"\(context nope\) cannot be used: .*nope"):
        await connect(kubeconfig=kubeconfig("https://127.0.0.1:1", {"token": "t0"}), context="nope")


async def test_a_user_that_is_not_there_is_named(kubeconfig):
    with pytest.raises(StartError, match=r"object with name u in .*users"):
        await connect(kubeconfig=kubeconfig("https://127.0.0.1:1", {"token": "t0"}, users=[]))


async def test_a_bare_address_needs_no_credentials(secure, ca_file):
    secure.tokens = None
    assert await pod_names(await connect(server=secure.url, ca_file=str(ca_file))) == []


@pytest.mark.parametrize("server", ["api.example.com", "api:6443", "ftp://api", "https://", "https:///"])
async def test_an_address_of_another_form_is_refused(server):
    with pytest.raises(StartError, match=r"is not of the form https://host\[:port\]"):
        await connect(server=server)


async def test_no_address_at_all_is_told_with_the_ways_to_give_one():
    with pytest.raises(StartError, match=r"no API server is named.*inClusterConfig=true.*auth=<kubeconfig>"):
        await connect()


async def test_address_ca_token_and_verification_can_be_overridden(secure, kubeconfig, ca_file, tmp_path):
    (tmp_path / "other-token").write_text("t0")
    path = kubeconfig("https://elsewhere:1", {"token": "wrong"}, cluster={})
    connection = await connect(
        kubeconfig=path, server=secure.url + "/", ca_file=str(ca_file), token_file=str(tmp_path / "other-token")
    )
    assert connection.endpoint.origin == "the address given on the command line"
    assert await pod_names(connection) == []
    insecure = await connect(kubeconfig=kubeconfig(secure.url, {"token": "t0"}, cluster={}), insecure=True)
    assert not insecure.verified
    assert await pod_names(insecure) == []


async def test_host_and_insecure_of_the_uri_count_beside_a_kubeconfig(secure, kubeconfig):
    path = kubeconfig("https://elsewhere", {"token": "t0"}, cluster={})  # no CA: verified, it would be a stranger
    connection = await connect(kubeconfig=path, server=secure.url, insecure=True)
    assert (connection.url, connection.verified) == (secure.url, False)
    assert await pod_names(connection) == []


async def test_the_mounted_token_takes_the_place_of_the_kubeconfigs_and_is_read_again(secure, kubeconfig, tmp_path):
    secure.tokens = {"t0", "mounted"}
    (tmp_path / "token").write_text("mounted\n")
    path = kubeconfig(secure.url, {"token": "written"})
    connection = await connect(kubeconfig=path, use_service_account=True, service_account=tmp_path)
    assert await connection.authorization() == {"Authorization": "Bearer mounted"}
    (tmp_path / "token").write_text("t0")
    await pod_names(connection)
    assert [s.authorization for s in secure.seen] == ["Bearer t0"]


async def test_without_a_mounted_token_the_kubeconfigs_stays(secure, kubeconfig, tmp_path, caplog):
    path = kubeconfig(secure.url, {"token": "t0"})
    connection = await connect(kubeconfig=path, use_service_account=True, service_account=tmp_path / "none")
    assert await connection.authorization() == {"Authorization": "Bearer t0"}
    assert "useServiceAccount=true has no effect" in caplog.text


async def test_a_certificate_of_a_stranger_is_refused_and_the_ca_named(secure, stranger, tmp_path):
    wrong = tmp_path / "wrong.crt"
    stranger.cert_pem.write_to_path(str(wrong))
    with pytest.raises(ApiServerError, match="its certificate is not accepted") as refused:
        await pod_names(await connect(server=secure.url, ca_file=str(wrong)))
    assert refused.value.lasting
    assert f"checked against CA file {wrong}" in str(refused.value)
    assert "insecure=true" in str(refused.value)


@pytest.mark.parametrize("content", [None, "this is no certificate"])
async def test_a_ca_file_that_cannot_be_used_is_named(tmp_path, content):
    path = tmp_path / "ca.crt"
    if content is not None:
        path.write_text(content)
    with pytest.raises(StartError, match=f"cannot use the certificates for API server https://x.*CA file {path}"):
        await connect(server="https://x", ca_file=str(path))


async def test_a_server_without_tls_is_told(api):
    with pytest.raises(ApiServerError, match=r"no connection|connection broke"):
        await pod_names(await connect(server=api.url.replace("http", "https")))


async def test_keys_written_out_for_openssl_are_readable_by_nobody_else(kubeconfig, stranger):
    client = stranger.issue_cert("heapster@example")
    user = {
        "client-certificate-data": b64(client.cert_chain_pems[0]),
        "client-key-data": b64(client.private_key_pem),
    }
    connection = await connect(kubeconfig=kubeconfig("https://127.0.0.1:1", user))
    mode = Path(connection._configuration.key_file).stat().st_mode
    assert stat.S_IMODE(mode) == 0o600

"""How `heapster` ends when it cannot run, and what it says: as a process (behaviour reference, 1.1 and 1.7)."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from collector import __version__

SOURCE = "--source=kubernetes.summary_api:"
NO_CLUSTER = f"{SOURCE}http://127.0.0.1:1?inClusterConfig=false"
QUIET = ("--listen-ip=127.0.0.1", "--heapster-port=0", "--kube-start-timeout=1s")


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """One run to its end, outside of any cluster."""
    return subprocess.run(
        [sys.executable, "-m", "collector", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": "/usr/bin", "PYTHONPATH": str(Path(__file__).parents[2]), **environ},
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--nonsense"], "--nonsense is no flag"),
        (["-source=kubernetes:"], "-s is no flag"),
        ([SOURCE, "--metric-resolution=60"], "--metric-resolution: '60' is no duration"),
        ([SOURCE, "--sink=influxdb:http://u:geheim@["], "--sink: sink influxdb: what follows"),
        ([SOURCE, "--sink=:http://h"], "sink URI without a name"),
        ([SOURCE, "--version", "--nonsense"], "--nonsense"),
        (["--help"], "Usage: heapster"),
    ],
)
def test_a_command_line_that_cannot_be_read_ends_with_usage_and_status_2(arguments, said):
    done = run(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "--metric-resolution DURATION" in done.stderr
    assert "geheim" not in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no Kubernetes source"),
        ([SOURCE, "--source=kubernetes:"], "one source is supported"),
        (["--source=elsewhere:"], "no Kubernetes source: 'elsewhere'"),
        (["--source=kubernetes.custom:"], "source 'kubernetes.custom' is not known"),
        (["--source=kubernetes:?insecure=maybe"], "insecure is 'maybe'"),
        (["--source=kubernetes:?inClusterConfig=false"], "no API server"),
        ([SOURCE, "--metric-resolution=4999ms"], "--metric-resolution is 4.999s"),
        ([SOURCE, "--tls-cert=pem"], "--tls-key"),
        ([SOURCE, "--main-port=false"], "--main-port=false leaves no server"),
        ([SOURCE, "--tls-client-ca=pem"], "--tls-client-ca"),
        ([SOURCE, "--store-label=hostname"], "--store-label would replace the built-in label hostname"),
        ([SOURCE, "--sink=nowhere:"], "sink 'nowhere' is not known"),
        (
            [NO_CLUSTER, "--sink=graphite:tcp://h:2003", "--sink=influxdb:?concurrency=0"],
            "sink graphite: one of Heapster's",
        ),
    ],
)
def test_a_configuration_that_means_nothing_ends_with_status_255_and_says_why(arguments, said):
    done = run(*arguments, *QUIET)
    assert done.returncode == 255
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_outside_a_cluster_the_remedy_is_named():
    # Even with a host in the URI: inClusterConfig, true by default, wants the cluster's variables.
    done = run(f"{SOURCE}https://kubernetes.default", *QUIET)
    assert done.returncode == 255
    assert "KUBERNETES_SERVICE_HOST" in done.stderr
    assert "inClusterConfig=false" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_ends_with_status_255_before_anybody_is_asked():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run(NO_CLUSTER, "--listen-ip=127.0.0.1", f"--heapster-port={port}")
    assert done.returncode == 255
    assert f"port {port}: the port is in use" in done.stderr


KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: c
clusters: [{{name: n, cluster: {{server: "{server}"{ca}}}}}]
users: [{{name: u, user: {{token: t}}}}]
contexts: [{{name: c, context: {{cluster: n, user: u}}}}]
"""


@pytest.fixture
def refusing_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        yield taken.getsockname()[1]


def test_an_unreachable_api_server_is_named_with_where_its_address_came_from(tmp_path, refusing_port):
    server = f"https://127.0.0.1:{refusing_port}"
    (tmp_path / "kubeconfig").write_text(KUBECONFIG.format(server=server, ca=""))
    done = run(f"{SOURCE}?inClusterConfig=false&auth={tmp_path / 'kubeconfig'}", *QUIET)
    assert done.returncode == 255
    assert server in done.stderr
    assert str(tmp_path / "kubeconfig") in done.stderr
    assert "Traceback" not in done.stderr


def test_a_ca_file_that_is_missing_is_named(tmp_path, refusing_port):
    ca = f", certificate-authority: {tmp_path / 'nowhere.crt'}"
    (tmp_path / "kubeconfig").write_text(KUBECONFIG.format(server=f"https://127.0.0.1:{refusing_port}", ca=ca))
    done = run(f"{SOURCE}?inClusterConfig=false&auth={tmp_path / 'kubeconfig'}", *QUIET)
    assert done.returncode == 255
    assert "nowhere.crt" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_version_comes_before_anything_else():
    done = run("--version", "--metric-resolution=1s", HEAPSTER_COMMIT="0123abc")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"version: {__version__}\ncommit: 0123abc\n", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [("--resolution=1ms", "--resolution"), ("--cycles=-1", "--cycles"), ("--colour", "--colour")],
)
def test_a_wrong_command_line_of_the_demo_ends_with_status_2(arguments, said):
    done = run("demo", arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr

"""The command line: both spellings, Go's forms, every fault at once, and exit statuses."""

import socket
import subprocess
import sys
from dataclasses import fields

import pytest

from collector.errors import UsageError
from collector.options import SECOND, Options, flag_name, parse, parser

SOURCE = "--source=kubernetes.summary_api:"


def test_an_old_manifests_arguments_run_unchanged():
    options = parse(
        ["--source=kubernetes:https://kubernetes.default", "--sink=influxdb:http://monitoring-influxdb:8086", "--v=2"]
    ).validated()
    assert options.source == ("kubernetes:https://kubernetes.default",)
    assert options.sink == ("influxdb:http://monitoring-influxdb:8086",)
    assert options.v == 2


@pytest.mark.parametrize("spelling", ["--metric_resolution=30s", "--metric-resolution=30s", "--metric_resolution 30s"])
def test_underscore_and_dash_are_one(spelling):
    assert parse([SOURCE, *spelling.split()]).metric_resolution == 30 * SECOND


def test_lists_are_given_by_commas_or_by_repeating():
    options = parse([SOURCE, "--ignore-label=a,b", "--ignore-label", 'c,"d,e"'])
    assert options.ignore_label == ("a", "b", "c", "d,e")


def test_a_bare_boolean_is_true_and_takes_no_value_from_the_next_argument():
    options = parse([SOURCE, "--kubelet-insecure-tls", "--heapster-port", "8083"])
    assert options.kubelet_insecure_tls
    assert options.heapster_port == 8083
    assert not parse([SOURCE, "--kubelet-insecure-tls=f"]).kubelet_insecure_tls


def test_positional_arguments_are_ignored():
    assert parse(["stray", SOURCE, "-"]).source == ("kubernetes.summary_api:",)


def test_a_single_letter_flag_takes_its_value_in_both_forms():
    assert parse([SOURCE, "-v", "1"]).v == 1
    assert parse([SOURCE, "-v=2"]).v == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--no-such-flag=1"], ["--no-such-flag"]),
        (["--metric-resolution=60"], ["--metric-resolution", "'60'", "1h30m"]),
        (["--heapster-port=many"], ["--heapster-port", "'many'"]),
        (["--kubelet-insecure-tls=perhaps"], ["--kubelet-insecure-tls", "'perhaps'"]),
        (["--metric-resolution"], ["--metric-resolution"]),
    ],
)
def test_a_malformed_command_line_names_flag_and_value(arguments, words):
    with pytest.raises(UsageError) as error:
        parse([SOURCE, *arguments])
    assert all(word in str(error.value) for word in words)


def test_all_faults_are_reported_at_once_with_value_and_bound():
    with pytest.raises(UsageError) as error:
        parse(["--metric-resolution=4s", "--heapster-port=70000", "--scrape-concurrency=0"]).validated()
    resolution, concurrency, port, source = error.value.faults
    assert "--metric-resolution is 4s" in resolution
    assert "5s" in resolution
    assert "--scrape-concurrency is 0" in concurrency
    assert "--heapster-port is 70000" in port
    assert "--source is given 0 times" in source


def test_every_option_has_a_flag_and_help():
    described = parser().format_help()
    for option in fields(Options):
        assert option.metadata["help"]
        assert f"-{flag_name(option.name)}" in described


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "collector", *arguments], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--nonsense"], "--nonsense"),
        (["--source=elsewhere:"], "elsewhere"),
        ([SOURCE, "--sink=nowhere:"], "nowhere"),
        ([SOURCE, "--sink=influxdb:http://[broken"], "influxdb"),
        ([SOURCE, "--metric-resolution=1s"], "--metric-resolution"),
        (["--source=kubernetes:?insecure=maybe"], "insecure"),
        ([SOURCE, "--sink=log", "--historical-source=log"], "this sink cannot be asked about the past"),
        ([SOURCE, "--sink=log", "--historical-source=influxdb:http://a"], "is none of the sinks"),
        (["demo", "--resolution=1ms"], "--resolution"),
        (["demo", "--cycles=-1"], "--cycles"),
        (["demo", "--colour"], "--colour"),
    ],
)
def test_a_wrong_command_line_ends_with_status_2_and_says_why(arguments, said):
    done = run(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_version_and_help_need_nothing_else():
    version = run("--version")
    assert version.returncode == 0
    assert version.stdout.startswith("version: ")
    shown = run("--help")
    assert shown.returncode == 0
    assert "--metric-resolution" in shown.stdout


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


def test_an_unreachable_api_server_ends_with_status_1_and_says_which_and_why(tmp_path, refusing_port):
    server = f"https://127.0.0.1:{refusing_port}"
    (tmp_path / "kubeconfig").write_text(KUBECONFIG.format(server=server, ca=""))
    source = f"--source=kubernetes.summary_api:?inClusterConfig=false&auth={tmp_path / 'kubeconfig'}"
    done = run(source, "--listen-ip=127.0.0.1", "--heapster-port=0", "--kube-start-timeout=1s")
    assert done.returncode == 1
    assert server in done.stderr
    assert str(tmp_path / "kubeconfig") in done.stderr
    assert "Traceback" not in done.stderr


def test_a_ca_file_that_is_missing_ends_with_status_1_and_is_named(tmp_path, refusing_port):
    ca = f", certificate-authority: {tmp_path / 'nowhere.crt'}"
    (tmp_path / "kubeconfig").write_text(KUBECONFIG.format(server=f"https://127.0.0.1:{refusing_port}", ca=ca))
    source = f"--source=kubernetes.summary_api:?inClusterConfig=false&auth={tmp_path / 'kubeconfig'}"
    done = run(source, "--listen-ip=127.0.0.1", "--heapster-port=0", "--kube-start-timeout=1s")
    assert done.returncode == 1
    assert "nowhere.crt" in done.stderr
    assert "Traceback" not in done.stderr


def test_outside_a_cluster_the_remedy_is_named():
    done = run(SOURCE, "--listen-ip=127.0.0.1", "--heapster-port=0")
    assert done.returncode == 1
    assert "inClusterConfig" in done.stderr or "KUBERNETES_SERVICE_HOST" in done.stderr
    assert "Traceback" not in done.stderr

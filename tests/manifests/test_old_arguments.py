"""Command lines that people have: Heapster's own manifests run unchanged, or fail as they failed."""

import json
from pathlib import Path

import pytest
import yaml

from collector.errors import CommandLineError
from collector.options import SECOND, parse
from collector.sources.settings import SourceSettings
from sinks.base import build

ROOT = Path(__file__).parents[2]

# Heapster's own manifests, word for word (behaviour reference, section 12.1), and two that people wrote.
OLD_ARGUMENTS = {
    "influxdb/heapster.yaml": """
        - --source=kubernetes:https://kubernetes.default
        - --sink=influxdb:http://monitoring-influxdb.kube-system.svc:8086
    """,
    "standalone/heapster-controller.yaml": """
        - --source=kubernetes:https://kubernetes.default
    """,
    "standalone-test/heapster.yaml": """
        - --source=kubernetes.summary_api:''
        - --sink=log
    """,
    "what worked on clusters without a read-only port": """
        - --source=kubernetes.summary_api:?kubeletHttps=true&kubeletPort=10250&insecure=true
    """,
    "the second server, as people ran it": """
        - --source=kubernetes.summary_api:''?useServiceAccount=true&kubeletPort=10250&kubeletHttps=true&insecure=true&auth=/srv/config
        - --api-server
        - --secure-port=6443
    """,  # noqa: E501
}
OLD_AND_BROKEN = {
    "google/heapster.yaml": (
        """
        - --source=kubernetes:https://kubernetes.default
        - --sink=gcm
        - --sink=gcl
        - --poll_duration=2m
        - --stats_resolution=1m
        """,
        ["--poll_duration is no flag", "--stats_resolution is no flag"],
    ),
    "standalone-with-apiserver/heapster-deployment.yaml": (
        """
        - --source=kubernetes.summary_api:''
        - --api-server
        - --service-cluster-ip-range=10.10.0.0/24
        - --secure-port=6443
        - --basic-auth-file=/srv/kubernetes/basic-auth.csv
        - --token-auth-file=/srv/kubernetes/known-tokens.csv
        - --client-ca-file=/srv/kubernetes/ca.crt
        - --tls-cert-file=/srv/kubernetes/server.cert
        - --tls-private-key-file=/srv/kubernetes/server.key
        """,
        ["--service-cluster-ip-range is no flag", "--basic-auth-file is no flag", "--token-auth-file is no flag"],
    ),
}


@pytest.mark.parametrize("name", OLD_ARGUMENTS)
def test_the_arguments_of_heapsters_own_manifests_run_unchanged(name):
    options = parse(yaml.safe_load(OLD_ARGUMENTS[name])).validated()
    assert SourceSettings.parse(options.source[0], {}).in_cluster
    assert [build(uri).name for uri in options.sink] == [
        {"log": "Log Sink", "influxdb": "InfluxDB Sink"}[uri.partition(":")[0]] for uri in options.sink
    ]


@pytest.mark.parametrize("name", OLD_AND_BROKEN)
def test_the_two_that_never_worked_end_as_they_did(name):
    arguments, faults = OLD_AND_BROKEN[name]
    with pytest.raises(CommandLineError) as error:
        parse(yaml.safe_load(arguments))
    assert list(error.value.faults) == faults


def test_the_recorded_command_lines_run_unchanged():
    recorded = sorted((ROOT / "tests" / "captures" / "golden").glob("*/command.json"))
    assert recorded
    for path in recorded:
        program, *arguments = json.loads(path.read_text())["collector"]
        options = parse(arguments).validated()
        assert program == "heapster"
        assert options.metric_resolution == 30 * SECOND
        assert options.listen_ip == "127.0.0.1"
        assert options.historical_source == options.sink[0]
        settings = SourceSettings.parse(options.source[0], {})
        assert (settings.server, settings.in_cluster) == ("http://127.0.0.1:18100", False)

"""The workshop: Prometheus' configuration by the real tools, and Grafana's dashboards by a real InfluxDB."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from collector.api.families import families
from tests.manifests.renders import MANIFESTS, kustomized, named, of_kind
from tests.servers import Influxd, influxd
from tests.sinks.golden import written

WORKSHOP = MANIFESTS / "workshop"
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
DASHBOARDS = MANIFESTS / "components" / "influxdb" / "grafana"
UNKNOWN = "field kubernetes_sd_configs not found"
"""What a promtool says that was built without the discovery of Kubernetes, as Debian's is."""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The configuration as it is in the pod, with the files of a service account beside it."""
    (tmp_path / "token").write_text("token")
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    path = tmp_path / "prometheus.yml"
    path.write_text((WORKSHOP / "prometheus.yml").read_text().replace(ACCOUNT, str(tmp_path)))
    return path


def promtool(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", "check", "config", str(path)], capture_output=True, text=True, check=False)


def without_discovery(path: Path) -> Path:
    """The same with a target written down in the place of every discovery."""
    found = yaml.safe_load(path.read_text())
    for job in found["scrape_configs"]:
        if job.pop("kubernetes_sd_configs", None):
            job["static_configs"] = [{"targets": ["192.0.2.1:10250"]}]
    path.write_text(yaml.safe_dump(found))
    return path


def test_promtool_finds_no_fault_in_the_configuration(config):
    done = promtool(config)
    if UNKNOWN in done.stdout + done.stderr:
        done = promtool(without_discovery(config))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


def test_promtool_would_find_one(config):
    without_discovery(config).write_text(config.read_text().replace("metrics_path", "metricspath"))
    assert promtool(config).returncode != 0


def dry_run(path: Path) -> subprocess.CompletedProcess[str]:
    """VictoriaMetrics reads the same language, with Kubernetes' discovery, and refuses what it does not know."""
    command = ["victoria-metrics", f"-promscrape.config={path}", "-promscrape.config.dryRun", "-loggerLevel=ERROR"]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=path.parent)


def test_the_discovery_is_read_by_a_server_that_knows_it(config):
    done = dry_run(config)
    assert done.returncode == 0, done.stderr
    config.write_text(config.read_text().replace("namespaces:", "namezpaces:", 1))
    assert dry_run(config).returncode != 0


def test_what_prometheus_looks_for_is_there():
    objects = kustomized("workshop")
    jobs = {job["job_name"]: job for job in yaml.safe_load((WORKSHOP / "prometheus.yml").read_text())["scrape_configs"]}
    assert jobs["heapster-cluster"]["metrics_path"] == "/metrics/cluster"
    for job in ("heapster", "etcd"):
        (discovery,) = jobs[job]["kubernetes_sd_configs"]
        service = discovery["selectors"][0]["label"].removeprefix("kubernetes.io/service-name=")
        assert named(objects, "Service", service)["metadata"]["namespace"] in discovery["namespaces"]["names"]
    (daemons,) = of_kind(objects, "DaemonSet")
    label = dict([jobs["node-exporter"]["kubernetes_sd_configs"][0]["selectors"][0]["label"].split("=")])
    assert label.items() <= daemons["spec"]["template"]["metadata"]["labels"].items()
    (slice_,) = of_kind(objects, "EndpointSlice")
    assert slice_["metadata"]["labels"]["kubernetes.io/service-name"] == "etcd"
    assert slice_["ports"][0]["port"] == named(objects, "Service", "etcd")["spec"]["ports"][0]["port"]


def test_the_pods_mount_the_files_that_are_written_here():
    objects = kustomized("workshop")
    maps = {found["metadata"]["name"]: found["data"] for found in of_kind(objects, "ConfigMap")}
    for deployment in of_kind(objects, "Deployment"):
        for volume in deployment["spec"]["template"]["spec"]["volumes"]:
            if "configMap" in volume:
                assert volume["configMap"]["name"] in maps
    (sources,) = [data for name, data in maps.items() if name.startswith("grafana-datasources")]
    urls = {yaml.safe_load(text)["datasources"][0]["url"] for text in sources.values()}
    assert urls == {"http://monitoring-influxdb.kube-system.svc:8086", "http://prometheus.monitoring.svc:9090"}
    for url in urls:
        host, port = re.fullmatch(r"http://([^:]+):(\d+)", url).groups()
        service, namespace, _ = host.split(".")
        found = named(objects, "Service", service)
        assert found["metadata"]["namespace"] == namespace
        assert found["spec"]["ports"][0]["port"] == int(port)


def test_the_queries_of_the_workshop_ask_for_families_that_there_are():
    text = (MANIFESTS.parent / "docs" / "workshop.md").read_text()
    known = {family.name for family in families()}
    asked = set(re.findall(r"\bheapster_(?:cluster|node|namespace|pod|container)_\w+", text))
    assert asked
    assert {name.removesuffix("_total") for name in asked} <= known


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What Heapster wrote of a recorded cluster, in a database of the name it had."""
    with influxd(tmp_path_factory.mktemp("grafana")) as server:
        server.query("CREATE DATABASE k8s")
        for source in ("summary", "kubelet"):
            for lines in written(source):
                server.write("k8s", "\n".join(lines))
        yield server


def test_the_database_takes_its_settings_from_the_environment_of_the_pod():
    (found,) = named(kustomized("overlays/influxdb"), "Deployment", "monitoring-influxdb")["spec"]["template"]["spec"][
        "containers"
    ]
    wanted = {each["name"]: each["value"] for each in found["env"]}
    assert wanted.pop("INFLUXDB_REPORTING_DISABLED") == "true"  # Debian's InfluxDB has it the other way round
    done = subprocess.run(["influxd", "config"], capture_output=True, text=True, check=True, env=os.environ | wanted)
    section, settings = "", {}
    for line in done.stdout.splitlines():
        if heading := re.fullmatch(r"\[(.+)\]", line.strip()):
            section = f"{heading[1]}_"
        elif " = " in line:
            name, _, value = line.strip().partition(" = ")
            settings[f"INFLUXDB_{section}{name}".upper().replace("-", "_")] = value.strip('"')
    assert {name: settings[name] for name in wanted} == wanted
    (data,) = [mount["mountPath"] for mount in found["volumeMounts"] if mount["name"] == "data"]
    assert all(value.startswith(f"{data}/") for name, value in wanted.items() if name.endswith("_DIR"))


def test_prometheus_is_started_with_flags_that_it_has():
    (found,) = named(kustomized("workshop"), "Deployment", "prometheus")["spec"]["template"]["spec"]["containers"]
    known = subprocess.run(["prometheus", "--help"], capture_output=True, text=True, check=False)
    for argument in found["args"]:
        assert argument.partition("=")[0] in known.stdout + known.stderr


def panels() -> list[tuple[str, str]]:
    """Dashboard and query of every target."""
    return [
        (path.stem, target["query"])
        for path in sorted(DASHBOARDS.glob("*.json"))
        for panel in json.loads(path.read_text())["panels"]
        for target in panel["targets"]
    ]


def test_every_query_of_the_dashboards_finds_something(database: Influxd):
    (variables,) = [json.loads(path.read_text())["templating"]["list"] for path in DASHBOARDS.glob("pods.json")]
    namespaces = [row[1] for one in database.query(variables[0]["query"], "k8s") for row in one["values"]]
    assert len(panels()) >= 20
    choices = [
        (namespace, row[1])
        for namespace in namespaces
        for one in database.query(variables[1]["query"].replace("$namespace", namespace), "k8s")
        for row in one["values"]
    ]
    for dashboard, query in panels():
        asked = query.replace("$timeFilter", "time > 0").replace("time($__interval)", "time(1d)")
        for namespace, pod in choices if dashboard == "pods" else [("", "")]:
            if database.query(asked.replace("$namespace", namespace).replace("$pod", pod), "k8s"):
                break
        else:
            pytest.fail(f"{dashboard}: nothing is found by {query}")

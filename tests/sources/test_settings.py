"""The source URI, option by option (behaviour reference, section 1.5)."""

import pytest

from collector.errors import UsageError
from collector.sources.settings import SourceSettings

OUT = "inClusterConfig=false"


def read(text: str, **environ: str) -> SourceSettings:
    return SourceSettings.parse(text, environ)


@pytest.mark.parametrize("text", ["kubernetes", "kubernetes:", "kubernetes.summary_api:", "kubernetes.summary_api:''"])
def test_nothing_given_means_the_cluster_this_pod_is_in(text):
    settings = read(text)
    assert (settings.in_cluster, settings.server, settings.insecure, settings.kubeconfig) == (True, "", False, "")
    assert (settings.kubelet_https, settings.kubelet_port, settings.use_service_account) == (False, 10255, False)
    assert settings.host_id_annotation == ""


@pytest.mark.parametrize(
    ("rest", "server"),
    [
        ("https://kubernetes.default", "https://kubernetes.default"),
        ("http://127.0.0.1:8080/ignored/path?insecure=true", "http://127.0.0.1:8080"),
        ("https://user:pw@[fd00::1]:6443", "https://[fd00::1]:6443"),
        ("https://$APISERVER?insecure=true", "https://10.0.0.1:443"),
        ("https://${APISERVER}", "https://10.0.0.1:443"),
        ("?insecure=true", ""),
    ],
)
def test_scheme_host_and_port_name_the_api_server(rest, server):
    assert read(f"kubernetes:{rest}", APISERVER="10.0.0.1:443").server == server


def test_every_option_is_read():
    settings = read(
        f"kubernetes.summary_api:https://h?{OUT}&insecure=t&auth=/etc/kube/config&useServiceAccount=1&kubeletPort=10250"
        "&kubeletHttps=TRUE&host_id_annotation=a.b/c%20d&kubeletPort=1"
    )
    assert settings == SourceSettings(
        key="kubernetes.summary_api",
        server="https://h",
        in_cluster=False,
        insecure=True,
        kubeconfig="/etc/kube/config",
        use_service_account=True,
        kubelet_port=10250,  # the first value counts
        kubelet_https=True,
        host_id_annotation="a.b/c d",
    )


@pytest.mark.parametrize("option", ["inClusterConfig", "insecure", "useServiceAccount", "kubeletHttps"])
@pytest.mark.parametrize("value", ["yes", "", "TrUe", "2"])
def test_what_is_no_boolean_of_gos_is_refused_and_named(option, value):
    with pytest.raises(UsageError, match=f"option {option} is {value!r}"):
        read(f"kubernetes:?{option}={value}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kubernetes:?kubeletPort=http", "option kubeletPort is 'http'"),
        (f"kubernetes:?{OUT}", "no API server"),
        (f"kubernetes://h?{OUT}&auth=", None),
        ("docker:", "no Kubernetes source: 'docker'"),
        ("kubernetes_x:", "no Kubernetes source"),
        ("kubernetes.nosuch:", "source 'kubernetes.nosuch' is not known"),
    ],
)
def test_what_cannot_be_meant_is_refused(text, said):
    if said is None:
        assert read(text).server == "https://h"
        return
    with pytest.raises(UsageError, match=said):
        read(text)


def test_options_without_effect_are_said(caplog):
    caplog.set_level("INFO", "collector.sources.settings")
    read("kubernetes:?apiVersion=v1&kubeletport=1")
    assert "apiVersion is accepted, without effect" in caplog.text
    assert "no effect of 'kubeletport'; its options are" in caplog.text
    caplog.clear()
    read("kubernetes:?kubeletPort=1")
    assert not caplog.text

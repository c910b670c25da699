"""What a source URI may say, and which endpoints that means."""

import pytest

from collector.errors import UsageError
from collector.sources.endpoints import plan_of
from collector.sources.settings import SourceSettings


def paths(text: str) -> list[str | None]:
    plan = plan_of(SourceSettings.parse(text, {}))
    return [None if endpoint is None else endpoint.path for endpoint in (plan.first, plan.fallback, plan.addition)]


@pytest.mark.parametrize(
    ("text", "first", "fallback", "addition"),
    [
        ("kubernetes.summary_api:", "/stats/summary", "/stats/summary/", None),
        ("kubernetes.summary_api:?cadvisor=true", "/stats/summary", "/stats/summary/", "/metrics/cadvisor"),
        ("kubernetes:", "/stats/container/", "/stats/summary", None),
        ("kubernetes:?cadvisor=1", "/stats/container/", "/stats/summary", "/metrics/cadvisor"),
        ("kubernetes.cadvisor:", "/metrics/cadvisor", None, None),
        ("kubernetes.cadvisor:?cadvisor=true", "/metrics/cadvisor", None, None),
    ],
)
def test_a_key_and_its_option_say_which_endpoints_are_read(
    text: str, first: str, fallback: str | None, addition: str | None
) -> None:
    assert paths(text) == [first, fallback, addition]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kubernetes.docker:", "choose one of kubernetes.summary_api, kubernetes, kubernetes.cadvisor"),
        ("kubernetes:?cadvisor=maybe", "option cadvisor is 'maybe'"),
        ("kubernetes:?cgroups=(", "option cgroups is '('; it must be a regular expression"),
    ],
)
def test_what_is_wrong_is_named(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        SourceSettings.parse(text, {})
    assert said in str(caught.value)


def test_a_pattern_of_cgroups_is_of_whole_names() -> None:
    settings = SourceSettings.parse("kubernetes:?cgroups=system.slice/.%2B%7Ckubelet", {})
    kept = [settings.keep_cgroup(name) for name in ("system.slice/docker.service", "kubelet", "kubelet/x", "kubepods")]
    assert kept == [True, True, False, False]
    assert SourceSettings.parse("kubernetes:", {}).keep_cgroup("anything")


def test_the_annotation_of_the_host_id_is_the_summarys_option() -> None:
    option = "?host_id_annotation=example.com/id"
    assert SourceSettings.parse(f"kubernetes.summary_api:{option}", {}).host_id_annotation == "example.com/id"
    assert not SourceSettings.parse(f"kubernetes:{option}", {}).host_id_annotation

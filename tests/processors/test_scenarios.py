"""Every scenario under tests/scenarios/ holds; and the language says clearly when one does not."""

from pathlib import Path

import pytest

from tests.processors.player import play
from tests.processors.scenario import Scenario, ScenarioError, parse, scenarios_of

SCENARIOS = dict(scenarios_of(Path(__file__).parents[1] / "scenarios"))


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS.keys())
def test_scenario_holds(scenario: Scenario) -> None:
    try:
        failures = play(scenario)
    except ScenarioError as error:
        pytest.fail(str(error), pytrace=False)
    if failures:
        pytest.fail("\n".join(failures), pytrace=False)


def test_every_topic_has_scenarios_and_no_title_is_used_twice() -> None:
    topics = {name.partition(":")[0] for name in SCENARIOS}
    assert topics >= {"rate", "enrichment", "aggregation", "autoscaling"}
    assert len(SCENARIOS) == len(list(scenarios_of(Path(__file__).parents[1] / "scenarios")))
    assert all(
        any(statement.line.text.startswith(("expect", "absent")) for statement in scenario.statements)
        for scenario in SCENARIOS.values()
    )


CLUSTER = """\
scenario A pod
load 10:00:00
    pod default/web-1 on node-a: memory/usage=100 network/rx=5 @ start=09:00:00
tick 10:00:00
"""


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        (CLUSTER + "hope for the best\n", 5, "unknown word 'hope'"),
        ("load 10:00:00\n", 1, "a file starts with a scenario"),
        ("scenario A\n    node node-a:\n", 2, "there is none"),
        (CLUSTER + "    node node-a:\n", 5, "only cluster and load have indented lines"),
        (CLUSTER + "load noon\n", 5, "'noon' is no time of day"),
        (CLUSTER + "load 10:01:00\n    machine node-a:\n", 6, "unknown word 'machine'"),
        (CLUSTER + "load 10:01:00\n    node node-a: cpu/usages=1\n", 6, "no cpu/usages of a node"),
        (CLUSTER + "load 10:01:00\n    node node-a: cpu/usage=much\n", 6, "invalid literal"),
        (CLUSTER + "load 10:01:00\n    node node-a: cpu/usage=1 @ disk=10:00:00\n", 6, "unknown clock 'disk'"),
        (CLUSTER + "load 10:01:00\n    pod default/web-1: cpu/usage=1\n", 6, "NAMESPACE/NAME on NODE"),
        (CLUSTER + "load 10:01:00\n    container default/web-1/c: cpu/usage=1\n", 6, "comes before its pod"),
        (CLUSTER + "cluster\n    pod default/web-1: colour=red\n", 6, "a pod has no colour"),
        (CLUSTER + "cluster\n    gone fishing\n", 6, "write `gone KIND NAME`"),
        (CLUSTER + "cluster\n    namespace default uid=1\n", 6, "write `namespace NAME: name=value"),
        (CLUSTER + "load 10:01:00\n    node node-a cpu/usage=1\n", 6, "write `node NAME: name=value"),
        (CLUSTER + "absent cluster cpu/usage-rate\n", 5, "no metric cpu/usage-rate"),
        (CLUSTER + "expect entities cluster\n", 5, "write `expect only entities`"),
        (CLUSTER + "options colour=red\n", 5, "unknown option colour"),
        (CLUSTER + "expect namespace:default memory/usage\n", 5, "'memory/usage' is no name=value"),
        (CLUSTER + "expect\n", 5, "which entity?"),
    ],
)
def test_what_is_not_of_the_language_is_an_error_with_file_and_line(text: str, where: int, message: str) -> None:
    with pytest.raises(ScenarioError, match=rf"^some\.txt:{where}: .*{message}"):
        play(parse(text, "some.txt")[0])


@pytest.mark.parametrize(
    ("expectation", "wanted", "got"),
    [
        ("expect namespace:default/pod:web-1 memory/usage=101", "memory/usage=101", "memory/usage=100"),
        ("expect namespace:default/pod:web-1 memory/usage=100.0", "memory/usage=100.0", "memory/usage=100"),
        ("expect namespace:default/pod:web-1 memory/rss=1", "memory/rss=1", "memory/rss=absent"),
        ("expect only namespace:default memory/usage=1", "memory/usage=1", "memory/usage=100"),
        ("expect only namespace:default/pod:web-1 memory/usage=100", "usage=100", "network/rx=5 uptime=3600000"),
        ("expect namespace:other memory/usage=1", "the entity", "only cluster namespace:default"),
        (
            "expect only entities cluster",
            "cluster",
            "cluster namespace:default namespace:default/pod:web-1 node:node-a",
        ),
        ("expect labels namespace:default type=pod", "type=pod", "type=ns"),
        ("expect only labels cluster type=cluster a=b", "a=b type=cluster", "a=absent type=cluster"),
        ("expect times namespace:default/pod:web-1 start=09:00:01", "start=09:00:01", "start=2026-01-01T09:00:00Z"),
        ("expect times namespace:default/pod:web-1 scrape=none", "scrape=none", "scrape=2026-01-01T10:00:00Z"),
        ("absent namespace:default", "no such entity", "it, with memory/usage=100"),
        ("absent namespace:default memory/usage", "none of them", "memory/usage"),
        ("absent namespace:other memory/usage", "the entity without these", "no such entity"),
        ("absent labels cluster type", "none of them", "type"),
    ],
)
def test_a_failed_expectation_says_where_what_was_wanted_and_what_was_found(
    expectation: str, wanted: str, got: str
) -> None:
    failures = play(parse(f"{CLUSTER}{expectation}\n", "some.txt")[0])
    assert len(failures) == 1
    first, second, third = failures[0].splitlines()
    assert first == f"some.txt:5: {expectation}"
    assert second.startswith("    wanted ")
    assert second.endswith(wanted)
    assert third.startswith("    got    ")
    assert got in third


def test_expectations_that_hold_are_silent() -> None:
    text = """\
expect namespace:default/pod:web-1 memory/usage=100
expect only namespace:default/pod:web-1 memory/usage=100 network/rx=5 uptime=3600000
expect only entities cluster namespace:default namespace:default/pod:web-1 node:node-a
expect labels namespace:default/pod:web-1 nodename=node-a pod_id=uid-of-default/web-1
expect only labels cluster type=cluster
expect times namespace:default/pod:web-1 start=09:00:00 scrape=10:00:00
expect times cluster start=none scrape=none
absent namespace:other
absent namespace:default memory/rss
absent labels cluster nodename
"""
    assert play(parse(CLUSTER + text, "some.txt")[0]) == []

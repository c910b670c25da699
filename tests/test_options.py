"""The table of flags: what is parsed from it, what it refuses, what it says."""

import re
from dataclasses import fields
from typing import get_type_hints

import pytest

from collector.errors import CommandLineError, UsageError
from collector.flags import value_of
from collector.options import Options, given_in_vain, parse, shown, spelled, usage

SOURCE = "--source=kubernetes.summary_api:"


def test_an_old_manifests_arguments_run_unchanged():
    options = parse(
        ["--source=kubernetes:https://kubernetes.default", "--sink=influxdb:http://monitoring-influxdb:8086", "--v=2"]
    ).validated()
    assert options.source == ("kubernetes:https://kubernetes.default",)
    assert options.sink == ("influxdb:http://monitoring-influxdb:8086",)
    assert options.v == 2


def test_lists_are_given_by_commas_or_by_repeating():
    options = parse([SOURCE, "--ignore-label=a,b", "--ignore_label", 'c,"d,e"'])
    assert options.ignore_label == ("a", "b", "c", "d,e")
    assert parse(["--requestheader-username-headers=x-user"]).requestheader_username_headers == ("x-user",)


def test_positional_arguments_are_ignored():
    assert parse(["stray", SOURCE, "-"]).source == ("kubernetes.summary_api:",)


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
    with pytest.raises(CommandLineError) as error:
        parse([SOURCE, *arguments])
    assert all(word in str(error.value) for word in words)


def test_all_faults_of_form_are_reported_at_once():
    with pytest.raises(CommandLineError) as error:
        parse(["--metric-resolution=60", "--heapster-port=many", "--nonsense", "--sink=influxdb:http://u:geheim@["])
    assert len(error.value.faults) == 4
    assert "geheim" not in str(error.value)


def test_all_faults_of_meaning_are_reported_at_once_with_value_and_bound():
    with pytest.raises(UsageError) as error:
        parse(["--metric-resolution=4s", "--heapster-port=70000", "--scrape-concurrency=0"]).validated()
    assert not isinstance(error.value, CommandLineError)
    resolution, concurrency, port, source = error.value.faults
    assert "--metric-resolution is 4s" in resolution
    assert "5s" in resolution
    assert "--scrape-concurrency is 0" in concurrency
    assert "--heapster-port is 70000" in port
    assert "exactly one --source" in source


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([SOURCE, SOURCE], "--source is given 2 times"),
        ([SOURCE, "--tls-cert=c"], "--tls-cert is given without --tls-key"),
        ([SOURCE, "--tls-key=k"], "--tls-key is given without --tls-cert"),
        ([SOURCE, "--tls-client-ca=ca"], "--tls-client-ca is given without --tls-cert"),
        ([SOURCE, "--kubelet-verify-name=both"], "choose any or address or node"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments, said):
    with pytest.raises(UsageError) as error:
        parse(arguments).validated()
    (fault,) = error.value.faults
    assert said in fault


def test_users_without_a_client_ca_are_accepted_as_they_were():
    assert parse([SOURCE, "--allowed-users=a,b", "--tls-cert=c", "--tls-key=k"]).validated().allowed_users == "a,b"


def test_help_is_asked_for_without_a_fault():
    with pytest.raises(CommandLineError) as error:
        parse(["--help"])
    assert error.value.faults == ()


def test_the_flags_that_do_nothing_are_named_when_they_are_given():
    arguments = [SOURCE, "--logtostderr", "--max_procs=4", "--vmodule=a=1", "--v=2", "--api-server"]
    parse(arguments).validated()
    assert given_in_vain(arguments) == ["--max-procs", "--logtostderr", "--vmodule"]
    assert given_in_vain([SOURCE]) == []


HEAPSTERS = """
    source sink metric-resolution heapster-port listen-ip max-procs tls-cert tls-key tls-client-ca allowed-users
    historical-source label-separator ignore-label store-label disable-export sink-export-data-timeout
    disable-metric-sink api-server version secure-port bind-address cert-dir tls-cert-file tls-private-key-file
    tls-ca-file tls-sni-cert-key client-ca-file requestheader-client-ca-file requestheader-allowed-names
    requestheader-username-headers requestheader-group-headers requestheader-extra-headers-prefix
    authentication-kubeconfig authentication-skip-lookup authentication-token-webhook-cache-ttl
    authorization-kubeconfig authorization-webhook-cache-authorized-ttl authorization-webhook-cache-unauthorized-ttl
    profiling contention-profiling enable-swagger-ui v vmodule logtostderr alsologtostderr stderrthreshold log-dir
    log-backtrace-at log-flush-frequency
"""


def test_every_flag_of_heapsters_is_there():
    assert set(re.findall(r"\S+", HEAPSTERS)) <= {spelled(option.name).lstrip("-") for option in fields(Options)}


def test_every_option_is_in_the_usage_and_its_default_is_a_value_of_its_kind():
    described, types = usage(), get_type_hints(Options)
    for option in fields(Options):
        assert option.metadata["help"]
        assert f"  {spelled(option.name)}" in described
        kind = option.metadata["kind"]
        if isinstance(option.default, tuple):
            assert types[option.name] == tuple[str, ...]
            assert value_of(kind, list(option.default)) == option.default
        else:
            assert type(option.default) is types[option.name]
            assert value_of(kind, [shown(option.default, option.name)]) == option.default

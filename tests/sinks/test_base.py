"""Sink URIs: Heapster's grammar, typed options whose faults name everything, and secrets that stay secret."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.core.visibility import EVERYTHING, HEAPSTERS, Visibility
from collector.errors import UsageError
from collector.uris import masked
from sinks import NOT_THERE_YET, SINKS
from sinks.base import SinkUri, build
from sinks.influxdb import InfluxdbSink
from sinks.influxdb.options import MOST_WRITES, InfluxdbOptions
from tests.sinks.batches import Cluster


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("log", {"key": "log"}),
        ("influxdb:", {"key": "influxdb"}),
        ("influxdb:http://db:8086", {"scheme": "http", "host": "db", "port": 8086}),
        (
            "influxdb:https://u%40:p%3A@[::1]:1/a/b%20c/",
            {"scheme": "https", "user": "u@", "password": "p:", "host": "::1"},
        ),
        ("history:/var/lib/x%20y?retention=7d", {"path": "/var/lib/x y", "host": ""}),
        ("history:data", {"path": "data"}),
        ("influxdb:?db=k8s", {"options": {"db": ["k8s"]}}),
        ("x:?a=1&b=&a=2&c=%2B+%26", {"options": {"a": ["1", "2"], "b": [""], "c": ["+ &"]}}),
    ],
)
def test_a_uri_is_taken_apart(text: str, parts: dict[str, object]) -> None:
    uri = SinkUri.parse(text, {})
    assert {name: getattr(uri, name) for name in parts} == parts


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$NAME", "value"),
        ("${NAME}", "value"),
        ("a${NAME}b", "avalueb"),
        ("$NAMEx", ""),
        ("$MISSING", ""),
        ("${}x", "x"),
        ("a$/b", "a$/b"),
        ("$", "$"),
        ("$1x", "x"),
        ("${NAME", "NAME"),
        ("$$x", "x"),
    ],
)
def test_variables_are_replaced_as_go_replaces_them(text: str, value: str) -> None:
    environ = {"NAME": "value"}
    assert SinkUri.parse(f"x:?v={text}", environ).text("v") == value


@pytest.mark.parametrize("visibility", [HEAPSTERS, EVERYTHING])
def test_a_sink_is_told_which_metrics_to_send(monkeypatch: pytest.MonkeyPatch, visibility: Visibility) -> None:
    seen: list[SinkUri] = []
    monkeypatch.setattr("sinks.log.LogSink.from_uri", seen.append)
    build("log", {}, visibility=visibility)
    assert seen[0].visibility == visibility
    assert SinkUri.parse("log", {}).visibility == HEAPSTERS


def test_variables_are_replaced_in_every_part() -> None:
    environ = {"HOST": "db", "PW": "p%40ss", "KEY": "log"}
    uri = SinkUri.parse("influxdb:http://u:$PW@$HOST:80/?pw=$PW", environ)
    assert (uri.host, uri.password, uri.text("pw")) == ("db", "p@ss", "p@ss")
    assert SinkUri.parse("$KEY", environ).key == "$KEY", "only what follows the name is expanded"


@pytest.mark.parametrize(
    "text", ["", ":x", "influxdb:http://[::1", "influxdb:http://h:port/?pw=geheim", "x:http://h:70000"]
)
def test_a_malformed_uri_is_a_usage_error_that_repeats_no_secret(text: str) -> None:
    with pytest.raises(UsageError, match="sink") as caught:
        SinkUri.parse(text, {})
    assert "geheim" not in str(caught.value)


# Options.


@pytest.mark.parametrize("text", ["1", "t", "T", "TRUE", "true", "True"])
def test_gos_spellings_of_true(text: str) -> None:
    assert SinkUri.parse(f"x:?b={text}", {}).boolean("b") is True


@pytest.mark.parametrize("text", ["0", "f", "F", "FALSE", "false", "False"])
def test_gos_spellings_of_false(text: str) -> None:
    assert SinkUri.parse(f"x:?b={text}", {}).boolean("b", default=True) is False


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("boolean", "yes", "true"),
        ("boolean", "", "true"),
        ("integer", "0", "from 1 to 64"),
        ("integer", "65", "from 1 to 64"),
        ("integer", "1.5", "from 1 to 64"),
        ("integer", "9" * 99, "from 1 to 64"),
        ("integer", "%D9%A1", "from 1 to 64"),
        ("duration", "5", "at least 100ms"),
        ("duration", "-5s", "at least 100ms"),
        ("duration", "99ms", "at least 100ms"),
        ("choice", "v3", "v1, v2"),
        ("file", "/does/not/exist", "can read"),
        ("file", "%00", "can read"),
    ],
)
def test_a_malformed_option_names_sink_option_value_and_what_is_allowed(option: str, value: str, allowed: str) -> None:
    uri = SinkUri.parse(f"influxdb:?{option}={value}&{option}=1", {})
    getters: dict[str, Callable[[], object]] = {
        "boolean": lambda: uri.boolean(option),
        "integer": lambda: uri.integer(option, 1, minimum=1, maximum=64),
        "duration": lambda: uri.duration_ns(option, 1, minimum=100_000_000),
        "choice": lambda: uri.choice(option, ("v1", "v2"), "v1"),
        "file": lambda: uri.file(option),
    }
    with pytest.raises(UsageError, match=rf"sink influxdb: option {option} is ") as caught:
        getters[option]()
    assert repr(uri.text(option)) in str(caught.value)
    assert allowed in str(caught.value)


def test_options_have_defaults_and_the_first_value_counts(tmp_path: Path) -> None:
    uri = SinkUri.parse("x:?n=3&n=oops&d=1m30s&e=", {})
    assert uri.integer("n", 1, minimum=1, maximum=64) == 3
    assert uri.integer("m", 7, minimum=1, maximum=64) == 7
    assert uri.duration_ns("d", 1, minimum=0) == 90_000_000_000
    assert uri.text("e", "default") == ""
    assert uri.text("f", "default") == "default"
    assert uri.choice("g", ("a", "b"), "b") == "b"
    assert uri.file("h") is None
    assert not uri.boolean("i")
    assert uri.unknown() == []


# Secrets.


def test_a_printed_uri_masks_its_secrets() -> None:
    uri = SinkUri.parse("influxdb:https://root:geheim1@h:1/p%20q?db=a%20b&pw=geheim2&token=geheim3&pw=geheim4", {})
    assert str(uri) == "influxdb:https://***@h:1/p%20q?db=a%20b&pw=***&pw=***&token=***"
    assert "geheim" not in repr(uri)
    assert "geheim" not in str(uri.fault("pw", "something else"))
    assert str(SinkUri.parse("log", {})) == "log"
    assert str(SinkUri.parse("influxdb:http://[::1]:8086", {})) == "influxdb:http://[::1]:8086"


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_a_uri_or_a_usage_error(text: str) -> None:
    try:
        uri = SinkUri.parse(text, {"A": "b"})
    except UsageError:
        return
    assert uri.key == text.partition(":")[0]
    assert str(uri).startswith(uri.key)


@pytest.mark.parametrize(
    ("argument", "shown"),
    [
        ("--metric-resolution=60s", "--metric-resolution=60s"),
        (
            "--sink=influxdb:http://h:8086/?db=k8s&user=root&pw=geheim&a=1",
            "--sink=influxdb:http://h:8086/?db=k8s&user=root&pw=***&a=1",
        ),
        ("influxdb:https://u:geheim@h:8086", "influxdb:https://***@h:8086"),
        ("influxdb:https://u:ge@heim@h?x=a@b", "influxdb:https://***@h?x=a@b"),
        ("influxdb:https://u:ge?heim@h/?db=k", "influxdb:https://***@h/?db=k"),
        ("influxdb:https://u:ge=heim@h", "influxdb:https://***@h"),
        ("kafka:?password=ge;h?eim&x=1", "kafka:?password=***;***?***&x=1"),
        ("kafka:?p%61ss=geheim", "kafka:?p%61ss=***"),
        (
            "elasticsearch:?nodes=http://u:geheim@a&nodes=http://u:geheim@b",
            "elasticsearch:?nodes=http://***@a&nodes=http://***@b",
        ),
        ("kubernetes:?auth=/home/a@b/config", "kubernetes:?auth=/home/a@b/config"),
        ("honeycomb:?writekey=$KEY", "honeycomb:?writekey=***"),
    ],
)
def test_an_argument_is_shown_without_its_secrets(argument: str, shown: str) -> None:
    assert masked(argument) == shown


@given(
    st.sampled_from(["pw", "password", "token", "esUserSecret"]),
    st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1),
)
def test_whatever_a_password_is_made_of_it_is_not_shown(name: str, secret: str) -> None:
    marked = f"ge{secret.replace('&', '%26')}heim"
    for argument in (f"s:http://h?{name}={marked}", f"s:http://h?a=1&{name}={marked}&b=2", f"s:?{name}={marked}"):
        assert "heim" not in masked(argument)
        assert "ge" not in masked(argument)


# From a name to a sink.


def test_an_unknown_sink_is_a_usage_error_that_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="'infuxdb' is not known") as caught:
        build("infuxdb:?metrics=all")
    assert all(name in str(caught.value) for name in SINKS)


@pytest.mark.parametrize("name", NOT_THERE_YET)
def test_a_sink_of_heapsters_that_is_not_there_is_no_typing_error(name: str) -> None:
    assert name not in SINKS
    with pytest.raises(UsageError, match=f"sink {name}: one of Heapster's") as caught:
        build(f"{name}:?pw=geheim")
    assert "geheim" not in str(caught.value)


def test_an_unknown_option_is_told_but_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    build("influxdb:http://h:1?retenton=7d&Db=x&pw=geheim")
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "no effect of 'Db', 'retenton'; its options are api, bucket, cacert" in caplog.text
    assert "geheim" not in caplog.text


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("influxdb:?concurrency=0", "option concurrency is '0'"),
        ("influxdb:?max_points=0", "option max_points is '0'; it must be a whole number from 1 to 1000000"),
        ("influxdb:?max_points=5k", "option max_points is '5k'; it must be a whole number from 1"),
        ("influxdb:?retention=59m", "option retention is '59m'; it must be 0 or INF"),
        ("influxdb:?retention=30", "option retention is '30'"),
        ("influxdb:?retention=-1h", "option retention is '-1h'"),
        ("influxdb:?withfields=yes", "option withfields is 'yes'"),
        ("influxdb:ftp://h", "scheme 'ftp' is not known"),
        ("influxdb:?db=", "option db is ''; it must be the name of a database"),
        ("influxdb:?user=a:b", "holds a colon"),
        ("influxdb:?api=v3", "option api is 'v3'; it must be one of v1, v2"),
        ("influxdb:?token_file=/does/not/exist", "option token_file is '/does/not/exist'"),
        ("influxdb:?timeout=1", "option timeout is '1'"),
        ("influxdb:https://h?cacert=/dev/null", "option cacert is '/dev/null'; it must be a file of PEM certificates"),
    ],
)
def test_a_bad_option_of_influxdb_fails_at_start(uri: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        build(uri)
    assert words in str(caught.value)


def test_more_writes_at_once_than_make_sense_are_not_refused() -> None:
    assert InfluxdbOptions.from_uri(SinkUri.parse("influxdb:?concurrency=1000")).concurrency == MOST_WRITES


def test_a_write_has_as_many_points_as_asked_for_and_else_as_many_as_in_heapster() -> None:
    batch = Cluster(pods=40).batch()
    for options, most in (("", 10_000), ("?max_points=7", 7), ("?max_points=7&schema=fields", 7)):
        sink = build(f"influxdb:{options}")
        assert isinstance(sink, InfluxdbSink)
        assert sink.max_points == most
        points = [chunk.points for chunk in sink.encode(batch)]
        assert max(points) == min(most, sum(points))

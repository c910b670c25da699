"""Against a real InfluxDB 1.6: what was sent is asked back, point by point, and equals."""

import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
import trustme

from collector.core.contracts import Sink
from collector.core.entities import EntityTable
from collector.core.metrics import METRICS, MetricTable
from collector.errors import ExportError
from sinks.influxdb import InfluxdbSink
from tests.servers import Influxd, free_port, influxd
from tests.sinks.batches import MINUTE, TIMESTAMP, Cluster, expected_points
from tests.sinks.golden import SOURCES, build, recorded, schema, written
from tests.sinks.test_influxdb_text import written as as_written

Make = Callable[[str], Sink]
Points = dict[tuple[Any, ...], dict[int, int | float]]

NOW = time.time_ns() // MINUTE * MINUTE
"""For databases that keep points for a limited time."""


def stored(server: Influxd, database: str, policy: str = "default") -> Points:
    """Every point of a database: (measurement, tags without the empty ones, field) -> time -> value."""
    found: Points = {}
    names = [values[0] for one in server.query("SHOW MEASUREMENTS", database) for values in one["values"]]
    # One statement each: over several measurements the server would make all values floats.
    statements = [f'SELECT * FROM "{policy}"."{name}" GROUP BY *' for name in names]
    for series in server.query(";".join(statements), database):
        tags = tuple(sorted((k, v) for k, v in series.get("tags", {}).items() if v))
        for row in series["values"]:
            values = dict(zip(series["columns"], row, strict=True))
            at = _ns(values.pop("time"))
            for field, value in values.items():
                if value is not None:
                    found.setdefault((series["name"], tags, field), {})[at] = value
    return found


def sent(batches: list[Any], *, with_fields: bool = False) -> Points:
    """The same of batches, by the slow road."""
    found: Points = {}
    for batch in batches:
        for (name, tags), value in expected_points(batch).items():
            measurement, _, field = name.partition("/") if with_fields else (name, "", "")
            key = tuple((as_written(k), as_written(v)) for k, v in tags)
            found.setdefault((measurement, key, field or "value"), {})[batch.timestamp] = value
    return found


def _ns(text: str) -> int:
    seconds, _, fraction = text.removesuffix("Z").partition(".")
    whole = int(time.mktime(time.strptime(seconds, "%Y-%m-%dT%H:%M:%S"))) - time.timezone
    return whole * 1_000_000_000 + int(fraction.ljust(9, "0") or 0)


@pytest.mark.parametrize("with_fields", [False, True])
@pytest.mark.parametrize("more", ["", "&concurrency=4", "&gzip=true"])
async def test_every_point_of_several_batches_is_found_again(
    shared_influxd: Influxd, made: Make, with_fields: bool, more: str
) -> None:
    database = f"all-{with_fields}-{more}"
    sink = made(f"influxdb:{shared_influxd.url}?db={database.replace('&', '%26')}&withfields={with_fields}{more}")
    cluster = Cluster(pods=12)
    batches = [cluster.batch(TIMESTAMP + i * MINUTE, seed=i) for i in range(3)]
    for batch in batches:
        await sink.export(batch)
    assert stored(shared_influxd, database) == sent(batches, with_fields=with_fields)
    if with_fields:
        return
    for series in shared_influxd.query("SHOW FIELD KEYS", database):
        types = {metric.name: "float" if metric.is_float else "integer" for metric in METRICS}
        types |= {"custom/queue length": "float"}
        assert series["values"] == [["value", types.get(series["name"], "integer")]]


@pytest.mark.parametrize("source", SOURCES)
async def test_heapsters_own_batches_count_and_sum_up_as_heapsters_own_lines(
    shared_influxd: Influxd, made: Make, source: str
) -> None:
    sink = made(f"influxdb:{shared_influxd.url}?db=golden_{source}")
    entities, metrics = EntityTable(), MetricTable()
    for step in recorded(source):
        await sink.export(build(step, entities, metrics))
    counts: dict[str, int] = {}
    sums: dict[str, float] = {}
    for line in (line for lines in written(source) for line in lines):
        name, value = line.partition(",")[0], line.rpartition(" value=")[2].partition(" ")[0]
        counts[name] = counts.get(name, 0) + 1
        sums[name] = sums.get(name, 0) + (int(value[:-1]) if value.endswith("i") else float(value))
    answered = shared_influxd.query("SELECT COUNT(value), SUM(value) FROM /.*/", f"golden_{source}")
    assert {one["name"]: one["values"][0][1] for one in answered} == counts
    for one in answered:
        assert one["values"][0][2] == pytest.approx(sums[one["name"]], rel=1e-9, abs=1e-3)


@pytest.mark.parametrize("source", SOURCES)
async def test_the_schema_of_the_database_is_the_one_heapster_left(
    shared_influxd: Influxd, made: Make, source: str
) -> None:
    database = f"schema-{source}"
    sink = made(f"influxdb:{shared_influxd.url}?db={database}")
    entities, metrics = EntityTable(), MetricTable()
    for step in recorded(source):
        await sink.export(build(step, entities, metrics))
    expected = schema(source)
    (policy,) = expected["retention_policies"]
    assert shared_influxd.policies(database) == {policy["name"]: (policy["duration"], policy["default"])}
    found: dict[str, dict[str, Any]] = {}
    for series in shared_influxd.query("SHOW FIELD KEYS", database):
        found[series["name"]] = {"fields": {name: [kind] for name, kind in series["values"]}}
    for series in shared_influxd.query("SHOW TAG KEYS", database):
        found[series["name"]]["tag_keys"] = [key for (key,) in series["values"]]
    for name, measurement in found.items():
        (count,) = shared_influxd.query(f'SHOW SERIES EXACT CARDINALITY FROM "{name}"', database)
        measurement["series"] = count["values"][0][0]
    assert found == expected["measurements"]


async def test_a_batch_sent_again_overwrites_itself(shared_influxd: Influxd, made: Make) -> None:
    sink, cluster = made(f"influxdb:{shared_influxd.url}?db=again"), Cluster()
    first, second = cluster.batch(seed=1), cluster.batch(seed=2)
    await sink.export(first)
    await sink.export(first)
    assert stored(shared_influxd, "again") == sent([first])
    await sink.export(second)
    assert stored(shared_influxd, "again") == sent([second])


async def test_names_that_need_quoting_are_quoted(shared_influxd: Influxd, made: Make) -> None:
    sink, batch = (
        made(f'influxdb:{shared_influxd.url}?db=k8s-"prod"%20é&rp=two weeks&retention=2w'),
        Cluster().batch(NOW),
    )
    await sink.export(batch)
    assert shared_influxd.policies('k8s-\\"prod\\" é') == {"two weeks": ("336h0m0s", True)}
    assert stored(shared_influxd, 'k8s-"prod" é', "two weeks") == sent([batch])


# Policies.


@pytest.mark.parametrize(
    ("prepared", "options", "policies"),
    [
        ([], "", {"default": ("0s", True)}),
        ([], "&retention=0", {"default": ("0s", True)}),
        ([], "&retention=24h", {"default": ("24h0m0s", True)}),
        ([], "&retention=30d&rp=month", {"month": ("720h0m0s", True)}),
        (['CREATE DATABASE "{db}"'], "", {"autogen": ("0s", True)}),
        (['CREATE DATABASE "{db}"'], "&retention=INF", {"autogen": ("0s", True)}),
        (['CREATE DATABASE "{db}"'], "&retention=7d", {"autogen": ("0s", False), "default": ("168h0m0s", True)}),
        (['CREATE DATABASE "{db}"'], "&rp=mine&retention=7d", {"autogen": ("0s", True), "mine": ("168h0m0s", False)}),
        (['CREATE DATABASE "{db}" WITH NAME "default"'], "", {"default": ("0s", True)}),
        (['CREATE DATABASE "{db}" WITH NAME "default"'], "&retention=1h", {"default": ("1h0m0s", True)}),
        (['CREATE DATABASE "{db}" WITH NAME "default"'], "&retention=52w", {"default": ("8736h0m0s", True)}),
        (['CREATE DATABASE "{db}" WITH DURATION 48h NAME "default"'], "", {"default": ("48h0m0s", True)}),
        (['CREATE DATABASE "{db}" WITH DURATION 48h NAME "default"'], "&retention=INF", {"default": ("0s", True)}),
        (
            ['CREATE DATABASE "{db}"', 'DROP RETENTION POLICY "autogen" ON "{db}"'],
            "&retention=3d",
            {"default": ("72h0m0s", True)},
        ),
    ],
    ids=(f"case{i}" for i in range(14)),
)
async def test_the_retention_policy_is_as_asked_and_what_was_there_is_respected(
    shared_influxd: Influxd,
    made: Make,
    request: pytest.FixtureRequest,
    prepared: list[str],
    options: str,
    policies: dict[str, tuple[str, bool]],
) -> None:
    database = f"policy-{request.node.callspec.id}"
    for statement in prepared:
        shared_influxd.query(statement.format(db=database))
    sink, batch = made(f"influxdb:{shared_influxd.url}?db={database}{options}"), Cluster().batch(NOW)
    await sink.export(batch)
    assert shared_influxd.policies(database) == policies
    name = next(name for name in ("mine", "month", "default", "autogen") if name in policies)
    assert stored(shared_influxd, database, name) == sent([batch])


# Faults.


async def test_a_database_dropped_while_running_is_made_again(
    shared_influxd: Influxd, made: Make, caplog: pytest.LogCaptureFixture
) -> None:
    sink, batch = made(f"influxdb:{shared_influxd.url}?db=dropped&retention=5d"), Cluster().batch(NOW)
    await sink.export(batch)
    shared_influxd.query('DROP DATABASE "dropped"')
    await sink.export(batch)
    assert shared_influxd.policies("dropped") == {"default": ("120h0m0s", True)}
    assert stored(shared_influxd, "dropped") == sent([batch])
    assert "making it again" in caplog.text


async def test_a_policy_dropped_while_running_is_made_again(shared_influxd: Influxd, made: Make) -> None:
    sink, batch = made(f"influxdb:{shared_influxd.url}?db=policydrop"), Cluster().batch(NOW)
    await sink.export(batch)
    shared_influxd.query('DROP RETENTION POLICY "default" ON "policydrop"')
    await sink.export(batch)
    assert stored(shared_influxd, "policydrop") == sent([batch])


async def test_what_the_server_refuses_does_not_keep_the_rest_back(shared_influxd: Influxd, made: Make) -> None:
    shared_influxd.query('CREATE DATABASE "conflict" WITH NAME "default"')
    await made(f"influxdb:{shared_influxd.url}?db=conflict&cluster_name=other").export(Cluster().batch())
    shared_influxd.query('DROP MEASUREMENT "cpu/usage_rate"', "conflict")
    # The type of a field is kept per shard: the same week decides.
    shared_influxd.write("conflict", f"cpu/usage_rate,x=y value=1.5 {TIMESTAMP}\n")
    sink, batch = made(f"influxdb:{shared_influxd.url}?db=conflict"), Cluster(pods=60).batch()
    with pytest.raises(ExportError, match="field type conflict") as caught:
        await sink.export(batch)
    assert not caught.value.retryable
    assert "writes were refused" in str(caught.value)
    assert len(str(caught.value)) < 600
    found = stored(shared_influxd, "conflict")
    expected = {key: values for key, values in sent([batch]).items() if key[0] != "cpu/usage_rate"}
    assert {key: values for key, values in found.items() if key in expected} == expected


async def test_a_server_that_is_down_at_start_is_used_once_it_is_up(own_influxd: Influxd, made: Make) -> None:
    own_influxd.stop()
    sink, batch = made(f"influxdb:{own_influxd.url}?db=late"), Cluster().batch()
    for _ in range(2):
        with pytest.raises(ExportError, match="cannot be reached") as caught:
            await sink.export(batch)
        assert caught.value.retryable
    own_influxd.start()
    await sink.export(batch)
    assert stored(own_influxd, "late") == sent([batch])


async def test_a_restarted_server_loses_no_batch(own_influxd: Influxd, made: Make) -> None:
    sink, cluster = made(f"influxdb:{own_influxd.url}?db=restarted"), Cluster()
    batches = [cluster.batch(TIMESTAMP + i * MINUTE, seed=i) for i in range(3)]
    for batch in batches:
        await sink.export(batch)
        own_influxd.stop()
        own_influxd.start()
    assert stored(own_influxd, "restarted") == sent(batches)


async def test_a_frozen_server_is_given_up_after_the_time_limit(own_influxd: Influxd, made: Make) -> None:
    sink, batch = made(f"influxdb:{own_influxd.url}?db=frozen&timeout=300ms"), Cluster().batch()
    own_influxd.freeze()
    with pytest.raises(ExportError, match=r"did not answer within 0\.3 s") as caught:
        await sink.export(batch)
    assert caught.value.retryable
    own_influxd.thaw()
    await sink.export(batch)
    assert stored(own_influxd, "frozen") == sent([batch])


# Users, passwords, certificates.


async def test_users_are_told_apart_and_passwords_told_nobody(
    tmp_path_factory: pytest.TempPathFactory,
    made: Make,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.DEBUG)
    with influxd(tmp_path_factory.mktemp("auth"), {"auth-enabled": True}) as server:
        server.user = "admin0"
        server.query("CREATE USER admin0 WITH PASSWORD 'admin0' WITH ALL PRIVILEGES")
        server.query("CREATE USER writer WITH PASSWORD 'pass word+1'")
        host, batch = server.url.removeprefix("http://"), Cluster().batch()

        with pytest.raises(ExportError, match=r"401.*check the options user and pw") as caught:
            await made(f"influxdb:{server.url}?user=admin0&pw=wrong-secret").export(batch)
        assert "wrong-secret" not in str(caught.value)

        secret = tmp_path_factory.mktemp("secret") / "password"
        secret.write_text("of yesterday\n")
        renewing = made(f"influxdb:{server.url}?db=renewed&user=admin0&pw_file={secret}")
        assert isinstance(renewing, InfluxdbSink)
        with pytest.raises(ExportError, match="401"):
            await renewing.export(batch)
        assert not renewing.is_changed()
        secret.write_text("admin0\n")
        assert renewing.is_changed()
        await renewing.export(batch)
        assert not renewing.is_changed()
        assert stored(server, "renewed") == sent([batch])

        monkeypatch.setenv("INFLUX_PW", "admin0")
        await made(f"influxdb:http://admin0:$INFLUX_PW@{host}").export(batch)
        assert stored(server, "k8s") == sent([batch])

        writer = made(f"influxdb:{server.url}?db=team&user=writer&pw=pass%20word%2B1")
        with pytest.raises(ExportError, match=r"403|not found|authoriz") as caught:
            await writer.export(batch)
        server.query('CREATE DATABASE "team"')
        server.query('GRANT WRITE ON "team" TO writer')
        await writer.export(batch)
        assert stored(server, "team", "autogen") == sent([batch])
    for secret in ("wrong-secret", "pass word", "pass%20word", "YWRtaW4w"):
        assert secret not in caplog.text


async def test_https_is_verified_against_the_given_authority(
    tmp_path_factory: pytest.TempPathFactory, made: Make
) -> None:
    directory, authority = tmp_path_factory.mktemp("tls"), trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(directory / "server.pem")
    https: dict[str, str | bool] = {"https-enabled": True, "https-certificate": str(directory / "server.pem")}
    batch = Cluster().batch()
    with influxd(directory, https) as server:
        with pytest.raises(ExportError, match="certificate verify failed"):
            await made(f"influxdb:{server.url}").export(batch)
        await made(f"influxdb:{server.url}?cacert={directory}/ca.pem").export(batch)
        plain = server.url.replace("https:", "http:")
        await made(f"influxdb:{plain}?secure=true&insecuressl=true").export(batch)


async def test_no_connection_is_opened_before_the_first_export(made: Make) -> None:
    sink = made(f"influxdb:http://127.0.0.1:{free_port()}?timeout=1s")
    await sink.stop()

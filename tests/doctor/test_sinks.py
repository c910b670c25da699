"""Sinks and the past, with a real InfluxDB: what is broken there, by its exact remedy, and no point written."""

import os
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from collector.doctor.finding import Finding, State
from collector.doctor.sinks import _probed
from collector.history.layout import METRICS_TABLE
from collector.sim import SimConfig, SimulatedCluster
from sinks.base import build
from sinks.history import HistorySink
from tests.doctor.setup import Ward, of_state, states
from tests.servers import Influxd, free_port, influxd, victoria_metrics


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influxd]:
    """With users: an administrator, one who may only write to `team`, one who may only read it, one who may nothing."""
    with influxd(tmp_path_factory.mktemp("influx"), {"auth-enabled": True}) as started:
        started.user = "admin0"
        started.query("CREATE USER admin0 WITH PASSWORD 'admin0' WITH ALL PRIVILEGES")
        started.query('CREATE DATABASE "team"')
        for user in ("writer", "reader", "nobody"):
            started.query(f"CREATE USER {user} WITH PASSWORD 'pass-of-{user}'")
        started.query('GRANT WRITE ON "team" TO writer')
        started.query('GRANT READ ON "team" TO reader')
        yield started


@pytest.fixture
async def ward(tmp_path: Path) -> AsyncIterator[Ward]:
    (tmp_path / "state").mkdir()
    async with SimulatedCluster(SimConfig(nodes=1, pods=1, containers=1)) as cluster:
        made = Ward(cluster, tmp_path / "state")
        made.flags["spool-max-bytes"] = str(1 << 20)
        yield made


async def broken(ward: Ward) -> list[tuple[str, Finding]]:
    return of_state(await ward.examined(), State.BROKEN)


async def test_a_sink_that_may_write_is_fine_and_has_nothing_written(ward: Ward, server: Influxd) -> None:
    ward.flags["sink"] = f"influxdb:{server.url}?db=team&user=writer&pw=pass-of-writer"
    results = await ward.examined()
    assert not of_state(results, State.BROKEN)
    (said,) = next(result.findings for result in results if result.check.name == "sinks")
    assert said.words == f"{server.url} takes writes to database 'team'"
    assert server.query('SHOW SERIES ON "team"') == []
    assert "pass-of-writer" not in str(results)


async def test_a_database_that_is_made_by_the_first_write_is_fine_and_not_made(ward: Ward, server: Influxd) -> None:
    ward.flags["sink"] = f"influxdb:{server.url}?db=coming&user=admin0&pw=admin0"
    results = await ward.examined()
    assert not of_state(results, State.BROKEN)
    (said,) = next(result.findings for result in results if result.check.name == "sinks")
    assert said.words == f"{server.url} answers; database 'coming' is not there yet, the first write makes it"
    (databases,) = server.query("SHOW DATABASES")
    assert ["coming"] not in databases["values"]


@pytest.mark.parametrize(
    ("options", "cause", "remedy"),
    [
        ("db=team&user=writer&pw=wrong", "sink-unauthorized", "Correct user= and pw= in --sink={sink}."),
        (
            "db=team&user=nobody&pw=pass-of-nobody",
            "sink-forbidden",
            'On that server: GRANT WRITE ON "team" TO "nobody"',
        ),
        (
            "db=absent&user=writer&pw=pass-of-writer",
            "sink-no-database",
            'On that server, as an administrator: CREATE DATABASE "absent"; then GRANT WRITE ON "absent" TO "writer"',
        ),
        (
            "api=v2&bucket=team",
            "sink-other-api",
            "Choose the API that this server has in --sink={sink}: InfluxDB before 1.8 api=v1, from 2 on api=v2.",
        ),
    ],
)
async def test_what_a_server_refuses(ward: Ward, server: Influxd, options: str, cause: str, remedy: str) -> None:
    ward.flags["sink"] = f"influxdb:{server.url}?{options}"
    ((check, finding),) = await broken(ward)
    assert (check, finding.cause, finding.remedy) == ("sinks", cause, remedy.format(sink=finding.subject))
    assert not any(secret in str(finding) for secret in ("wrong", "pass-of"))


async def test_a_server_that_is_down(ward: Ward) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    ward.flags["sink"] = f"influxdb:{url}"
    ((check, finding),) = await broken(ward)
    assert (check, finding.cause) == ("sinks", "sink-unreachable")
    assert finding.remedy == f"Start the server, or correct the address in --sink=influxdb:{url}."


async def test_a_server_that_does_not_answer_costs_its_own_timeout(ward: Ward, tmp_path: Path) -> None:
    with influxd(tmp_path) as own:
        own.freeze()
        ward.flags["sink"] = f"influxdb:{own.url}?timeout=300ms"
        ((check, finding),) = await broken(ward)
        own.thaw()
    assert (check, finding.cause) == ("sinks", "sink-unreachable")
    assert "did not answer within 0.3 s" in finding.words


async def test_a_past_that_may_not_be_read(ward: Ward, server: Influxd) -> None:
    sink = f"influxdb:{server.url}?db=team&user=writer&pw=pass-of-writer"
    ward.flags |= {"sink": sink, "historical-source": sink}
    ((check, finding),) = await broken(ward)
    assert (check, finding.cause) == ("history", "history-forbidden")
    assert finding.remedy == 'On that server: GRANT ALL ON "team" TO "writer"'


async def test_a_past_that_can_be_read(ward: Ward, server: Influxd) -> None:
    sink = f"influxdb:{server.url}?db=team&user=admin0&pw=admin0"
    ward.flags |= {"sink": sink, "historical-source": sink}
    results = await ward.examined()
    assert not of_state(results, State.BROKEN)
    assert states(results)["history"] is State.OK


async def test_a_history_whose_files_are_damaged(ward: Ward) -> None:
    table = ward.directory / "history" / METRICS_TABLE
    table.mkdir(parents=True)
    (table / f"{datetime.now(UTC):%Y-%m-%dT%H}.000001-000060.parquet").write_bytes(b"no parquet")
    ((check, finding),) = await broken(ward)
    assert (check, finding.cause) == ("history", "history-files")
    assert finding.remedy == "See what is wrong with the files, or move the directory away: a new one is made."


async def test_the_second_api_is_asked_by_a_comment(ward: Ward, tmp_path: Path) -> None:
    with victoria_metrics(tmp_path) as own:
        ward.flags["sink"] = f"influxdb:{own.url}?api=v2&bucket=b"
        results = await ward.examined()
        assert own.export() == {}
    assert not of_state(results, State.BROKEN)
    assert states(results)["sinks"] is State.OK


async def test_a_directory_in_use_is_told_with_its_owner(ward: Ward) -> None:
    sink = HistorySink(ward.directory / "history")
    sink.start()
    results = await ward.examined()
    await sink.stop()
    assert not of_state(results, State.BROKEN)
    places = next(result.findings for result in results if result.check.name == "places")
    assert f"in use by process {os.getpid()}" in next(each.words for each in places if each.subject == "history")


@pytest.mark.parametrize(
    ("status", "answer", "options", "cause"),
    [
        (401, {"code": "unauthorized", "message": "unauthorized access"}, "token=t&bucket=b", "sink-unauthorized-v2"),
        (403, {"code": "forbidden", "message": "insufficient permissions"}, "token=t&bucket=b", "sink-forbidden-v2"),
        (404, {"code": "not found", "message": 'bucket "b" not found'}, "token=t&bucket=b", "sink-no-bucket"),
        (404, {"message": "page not found"}, "token=t&bucket=b", "sink-other-api"),
        (400, {"code": "invalid", "message": "org is required"}, "token=t&bucket=b", "sink-refused"),
        (400, {"code": "invalid", "message": "writing requires points"}, "token=t&bucket=b", ""),
        (503, {"message": "starting"}, "token=t&bucket=b", "sink-refused"),
        (500, {"error": "engine is closed"}, "db=d", "sink-refused"),
    ],
)
async def test_what_a_server_of_today_says(status: int, answer: dict[str, str], options: str, cause: str) -> None:
    """By recorded words of InfluxDB 2: there is none here to ask."""
    bodies = []

    async def handle(request: web.Request) -> web.Response:
        bodies.append(await request.read())
        return web.json_response(answer, status=status)

    app = web.Application()
    app.router.add_post("/{path:.*}", handle)
    async with TestServer(app) as server:
        text = f"influxdb:http://127.0.0.1:{server.port}?{options}"
        sink = build(text)
        finding = await _probed(text, sink)
        await sink.stop()
    assert finding.cause == cause
    assert set(bodies) <= {b"", b"# is this written to?\n"}
    assert bool(finding.remedy) is bool(cause)

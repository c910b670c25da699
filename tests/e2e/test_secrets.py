"""One collector with a secret in every place that takes one: none of them is in anything it says."""

import asyncio
import contextlib
import re
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import aiohttp
from aiohttp import web

from collector.api import ROUTES
from collector.sim import SimConfig, SimulatedCluster
from tests.e2e.process import BRISK, heapster, source

SECRETS = {
    "user info": "userinfo-geheim-1",
    "option pw": "opt pw/geheim&2",
    "pw_file": "pwfile-geheim-3",
    "option token": "opttoken-geheim-4",
    "token_file": "tokenfile-geheim-5",
    "environment": "environ-geheim-6",
    "broken sink": "broken-geheim-7",
    "kubelet token": "kubelet-geheim-8",
}

SLOW = frozenset({"/debug/pprof/profile", "/debug/pprof/trace"})


@dataclass
class Database:
    """Says no to everybody, and remembers who has asked."""

    port: int = 0
    given: set[str] = field(default_factory=set)

    async def answer(self, request: web.Request) -> web.Response:
        kind, _, credentials = request.headers.get("Authorization", "").partition(" ")
        self.given.add(b64decode(credentials).decode() if kind == "Basic" else credentials)
        return web.json_response({"error": "authorization failed"}, status=401)


@contextlib.asynccontextmanager
async def database() -> AsyncIterator[Database]:
    found = Database()
    app = web.Application()
    app.router.add_route("*", "/{any:.*}", found.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.port = runner.addresses[0][1]
    try:
        yield found
    finally:
        await runner.cleanup()


def forms(secret: str) -> set[str]:
    """The secret as it may be written: plain, escaped, in base64 (whose middle is the same wherever it begins)."""
    encoded = {b64encode(b" " * shift + secret.encode()).decode()[4:-4] for shift in range(3)}
    return {secret, quote(secret, safe=""), quote(secret), secret.rsplit(maxsplit=1)[-1], *encoded}


async def everything(url: str) -> dict[str, str]:
    """What every route without parameters says, and some with them, headers included."""
    paths = {route.path for route in ROUTES if "{" not in route.path and route.path not in SLOW}
    paths |= {"/metrics", "/healthz", "/readyz?verbose", "/livez?verbose", "/api/v1/historical/nodes/"}
    paths |= {"/debug/pprof/goroutine?debug=2", "/debug/pprof/heap?debug=1", "/debug/pprof/cmdline", "/nothing/there"}
    said: dict[str, str] = {}
    async with aiohttp.ClientSession() as session:
        for path in sorted(paths):
            async with session.get(url + path) as answer:
                said[path] = f"{answer.status} {answer.headers}\n" + (await answer.read()).decode("utf-8", "replace")
    return said


async def test_no_secret_is_told(tmp_path: Path) -> None:
    password_file, token_file = tmp_path / "password", tmp_path / "token"
    password_file.write_text(f"{SECRETS['pw_file']}\n")
    token_file.write_text(f"{SECRETS['token_file']}\n")
    config = SimConfig(nodes=2, pods=2, token=SECRETS["kubelet token"])
    async with database() as base, SimulatedCluster(config) as cluster:
        at = f"127.0.0.1:{base.port}"
        arguments = (
            source(cluster),
            f"--sink=influxdb:http://me:{SECRETS['user info']}@{at}",
            f"--sink=influxdb:http://{at}?user=me&pw={quote(SECRETS['option pw'], safe='')}",
            f"--sink=influxdb:http://{at}?user=me&pw_file={password_file}",
            f"--sink=influxdb:http://{at}?bucket=b&org=o&token={SECRETS['option token']}",
            f"--sink=influxdb:http://{at}?bucket=b&org=o&token_file={token_file}",
            f"--sink=influxdb:http://{at}?user=me&pw=$DB_PASSWORD",
            f"--sink=influxdb:http://me:{SECRETS['broken sink']}@{at}?concurrency=0&pw={SECRETS['broken sink']}",
            f"--sink=history:{tmp_path / 'history'}",
            f"--historical-source=influxdb:http://{at}?user=me&pw_file={password_file}",
            f"--spool-dir={tmp_path / 'spool'}",
            "--stop-timeout=1s",
            "--v=5",
        )
        async with heapster(*BRISK, *arguments, DB_PASSWORD=SECRETS["environment"]) as running:
            await running.until("2 nodes answered", times=2)
            url = await running.url()
            said = await everything(url)
            for _ in range(100):
                if base.given >= expected():
                    break
                await asyncio.sleep(0.1)
            said |= {f"{path} later": text for path, text in (await everything(url)).items()}
            # A secret that is renewed counts at once.
            password_file.write_text("pwfile-new-geheim")
            for _ in range(200):
                if "me:pwfile-new-geheim" in base.given:
                    break
                await asyncio.sleep(0.1)
            assert await running.stop() == 0
        said["log"] = running.said
    assert base.given >= expected() | {"me:pwfile-new-geheim"}, "each of them was used"
    assert "authorization failed" in said["/api/v1/ledger later"], "the sinks' troubles are told"
    assert "***" in said["/debug/pprof/cmdline"]
    for path, text in said.items():
        for place, secret in SECRETS.items():
            found = [form for form in forms(secret) if form in text]
            assert not found, f"{path} tells the secret of {place}: {_around(text, found[0])}"
        assert "pwfile-new" not in text, path


def expected() -> set[str]:
    """What the database must have been given."""
    names = ("user info", "option pw", "pw_file", "environment")
    return {f"me:{SECRETS[name]}" for name in names} | {SECRETS["option token"], SECRETS["token_file"]}


def _around(text: str, form: str) -> str:
    return re.sub(r"\s+", " ", text[max(0, text.index(form) - 80) :][:200])

"""Real database servers for tests, on loopback: started on a free port in a temporary directory, stopped by their pid.

with influxd(tmp_path) as server:
    ...  # server.url
"""

import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from tests.faults.smalldisk import SmallDisk

START_LIMIT = 60.0
"""Seconds a server may take to answer for the first time."""

STOP_LIMIT = 20.0
"""Seconds it may take to end before it is killed."""


class Server:
    """One server process that can be stopped, frozen and started again on its old port and data."""

    def __init__(self, command: Sequence[str], port: int, ready: str, log: Path, scheme: str = "http") -> None:
        self.port = port
        self.url = f"{scheme}://127.0.0.1:{port}"
        self._command = command
        self._ready = ready
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it and wait until it answers; it must not be running."""
        assert self._process is None
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + START_LIMIT
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"{self._command[0]} did not start:\n{self._log.read_text()[-4000:]}")
            time.sleep(0.02)
        return self

    def _answers(self) -> bool:
        if self.url.startswith("https"):  # that it listens must do: the test brings the certificate's authority
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0
        try:
            with urlopen(f"{self.url}{self._ready}", timeout=5) as answer:
                return bool(answer.status < 300)
        except (URLError, OSError):
            return False

    def stop(self, how: signal.Signals = signal.SIGTERM, *, thaw: bool = True) -> None:
        """End it, at once with SIGKILL, without `thaw` even while it is frozen; no effect when it is not running."""
        process, self._process = self._process, None
        if process is None:
            return
        if thaw:
            process.send_signal(signal.SIGCONT)
        process.send_signal(how)
        try:
            process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_LIMIT)

    def freeze(self) -> None:
        """Let it accept connections (its kernel does) and do nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


class Influxd(Server):
    """InfluxDB 1.x with a question to ask it."""

    user = ""
    """Who asks, where there are users; the password is the same."""

    def query(self, statement: str, database: str = "") -> list[dict[str, Any]]:
        """The series that InfluxQL statements answer with; an error in the answer fails."""
        user = {"u": self.user, "p": self.user} if self.user else {}
        form = {"q": statement, "db": database}
        request = Request(f"{self.url}/query?{urlencode(user)}", urlencode(form).encode())
        with urlopen(request, timeout=30) as answer:
            results = json.load(answer)["results"]
        assert not any("error" in result for result in results), results
        return [series for result in results for series in result.get("series", ())]

    def write(self, database: str, lines: str) -> None:
        """Write line protocol into the database's default policy."""
        with urlopen(Request(f"{self.url}/write?{urlencode({'db': database})}", lines.encode()), timeout=30):
            pass

    def policies(self, database: str) -> dict[str, tuple[str, bool]]:
        """Retention policy -> duration and whether it is the default one."""
        series = self.query(f'SHOW RETENTION POLICIES ON "{database}"')
        return {values[0]: (values[1], values[4]) for one in series for values in one["values"]}


@contextmanager
def influxd(
    directory: Path, http: Mapping[str, str | bool] | None = None, *, disk: SmallDisk | None = None
) -> Iterator[Influxd]:
    """An InfluxDB 1.x; `http` are further settings of its [http] section. What it stores lies on `disk`."""
    port = free_port()
    settings = {"bind-address": f"127.0.0.1:{port}", "log-enabled": False, "flux-enabled": False} | dict(http or {})
    root = directory / f"influxd-{port}"
    root.mkdir()
    stored = root if disk is None else disk.path
    config = root / "influxdb.conf"
    config.write_text(
        "\n".join(
            (
                "reporting-disabled = true",
                'bind-address = "127.0.0.1:0"',
                f'[meta]\ndir = "{stored}/meta"',
                f'[data]\ndir = "{stored}/data"\nwal-dir = "{stored}/wal"\nquery-log-enabled = false',
                "[monitor]\nstore-enabled = false",
                "[continuous_queries]\nenabled = false",
                "[http]",
                *(f"{name} = {json.dumps(value)}" for name, value in settings.items()),
            )
        )
    )
    scheme = "https" if settings.get("https-enabled") else "http"
    within = () if disk is None else disk.within
    server = Influxd((*within, "influxd", "-config", str(config)), port, "/ping", root / "log", scheme)
    try:
        yield server.start()
    finally:
        server.stop()


class VictoriaMetrics(Server):
    """VictoriaMetrics with its export to ask."""

    def export(self) -> dict[tuple[tuple[str, str], ...], dict[int, float]]:
        """Everything it holds: sorted labels, `__name__` among them -> time in ms -> value."""
        with urlopen(f"{self.url}/internal/force_flush", timeout=30):
            pass
        query = urlencode({"match[]": '{__name__!=""}', "reduce_mem_usage": 1})
        found: dict[tuple[tuple[str, str], ...], dict[int, float]] = {}
        with urlopen(f"{self.url}/api/v1/export?{query}", timeout=30) as answer:
            for line in answer:
                series = json.loads(line)
                values = zip(series["timestamps"], series["values"], strict=True)
                found.setdefault(tuple(sorted(series["metric"].items())), {}).update(values)
        return found


@contextmanager
def victoria_metrics(directory: Path, *flags: str, disk: SmallDisk | None = None) -> Iterator[VictoriaMetrics]:
    """A single-node VictoriaMetrics. What it stores lies on `disk`."""
    port = free_port()
    root = (directory if disk is None else disk.path) / f"victoria-metrics-{port}"
    command = (
        *(() if disk is None else disk.within),
        "victoria-metrics",
        f"-storageDataPath={root}",
        f"-httpListenAddr=127.0.0.1:{port}",
        "-retentionPeriod=100y",
        "-search.disableCache",
        "-memory.allowedBytes=64MiB",
        *flags,
    )
    server = VictoriaMetrics(command, port, "/health", directory / f"victoria-metrics-{port}.log")
    try:
        yield server.start()
    finally:
        server.stop()


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

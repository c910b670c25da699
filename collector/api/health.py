"""`/healthz`, Heapster's: whether what is answered is fresh (behaviour reference, 8.8); and `/livez`, `/readyz`.

The last two are Kubernetes' own: a process that is not alive is started again, one that is not ready gets no requests.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

from collector.api.route import ANY, Answer, Context, Handler, Request, Route, Style, text_answer
from collector.api.spec import Parameter, Spec
from collector.vitals import LIGHT, LOOP, TICKS

MAX_AGE_NS = 180 * 1_000_000_000
"""The latest batch may be this old. With a resolution near or above it the check fails now and then, as it did."""


def batch_fault(context: Context) -> str | None:
    """What is wrong with the latest batch, None when nothing is."""
    batch = context.latest()
    if batch is None:
        return "no batch has been collected yet"
    age = (context.now() - batch.timestamp) / 1e9
    if age > MAX_AGE_NS / 1e9:
        return f"the latest batch is {age:.0f} s old, at most {MAX_AGE_NS // 10**9} s are allowed; see the log for why"
    if not batch.nodes:
        return "the latest batch holds no node; see heapster_scrape_failures_total in /metrics for why"
    return None


Check: TypeAlias = Callable[[Context], str | None]
"""Finds the fault; None when there is none."""

CHECKS: Mapping[str, Check] = {"healthz": batch_fault}
"""Name -> check of the main port. `/healthz` asks all of them, `/healthz/<name>` one and tells the reason."""


def _sync_fault(context: Context) -> str | None:
    return None if context.vitals.synced else "nodes, pods and namespaces are not listed yet"


def _storage_fault(context: Context) -> str | None:
    """A first answer of either cadence will do: how old it may get is `/healthz`'s business."""
    light = context.light()
    if context.latest() is not None or (light is not None and light.nodes):
        return None
    return "no node has been asked yet"


def _shutdown_fault(context: Context) -> str | None:
    return "the process is stopping" if context.vitals.stopping else None


ALIVE: Mapping[str, Check] = {
    "ping": lambda _context: None,
    LOOP: lambda context: context.vitals.fault(LOOP),
    TICKS: lambda context: context.vitals.fault(TICKS),
    LIGHT: lambda context: context.vitals.fault(LIGHT),
}
"""Name -> check of `/livez`. Old data and slow nodes are no reason to start a process again; being stuck is."""

READY: Mapping[str, Check] = {
    "ping": lambda _context: None,
    "informer-sync": _sync_fault,
    "metric-storage-ready": _storage_fault,
    "shutdown": _shutdown_fault,
}
"""Name -> check of `/readyz`; the names are those of Kubernetes' own servers where they mean the same."""

PROBES: Mapping[str, Mapping[str, Check]] = {"livez": ALIVE, "readyz": READY}

OPEN_PATHS = frozenset(f"/{probe}" for probe in PROBES)
"""Probes come without credentials: these answer everybody, on every server."""


def all_checks(checks: Mapping[str, Check], probe: str = "healthz") -> Handler:
    """The handler of `/healthz`, or of another probe; Heapster's knew no `exclude`."""

    def healthz(context: Context, request: Request) -> Answer:
        """`ok`, or 500; which check failed is told, why is not. `?verbose` tells of each check."""
        excluded = frozenset(request.query.get("exclude", ())) if probe in PROBES else frozenset()
        faults = {name: None if name in excluded else check(context) for name, check in checks.items()}
        report = "".join(_line(name, fault, excluded=name in excluded) for name, fault in faults.items())
        if any(faults.values()):
            return _failure(f"{report}{probe} check failed\n")
        return text_answer(f"{report}{probe} check passed\n" if "verbose" in request.query else "ok")

    return healthz


def _line(name: str, fault: str | None, *, excluded: bool) -> str:
    if excluded:
        return f"[+]{name} excluded: ok\n"
    return f"[-]{name} failed: reason withheld\n" if fault else f"[+]{name} ok\n"


def single_check(check: Check) -> Handler:
    """The handler of one check."""

    def healthz(context: Context, _request: Request) -> Answer:
        """`ok`, or 500 and the reason."""
        fault = check(context)
        return _failure(f"internal server error: {fault}\n") if fault else text_answer("ok")

    return healthz


def _failure(text: str) -> Answer:
    return Answer(text.encode(), "text/plain; charset=utf-8", 500, {"X-Content-Type-Options": "nosniff"})


_ALL = Spec(query=(Parameter("verbose", "Tell of each check.", {"type": "string"}),), errors=(500,))
_ONE = Spec(errors=(500,), about="`ok`, or 500 and the reason.")
_EXCLUDE = Parameter("exclude", "A check that does not count; may be repeated.", {"type": "string"})
_ABOUT = {
    "livez": "`ok` while the event loop and the cadences give signs of life, else 500: then start the process again.",
    "readyz": "`ok` from the first answers until the process is told to stop, else 500: then ask another one.",
}


def routes(checks: Mapping[str, Check], probe: str = "healthz") -> tuple[Route, ...]:
    """`/healthz`, or another probe, and a path for each check."""
    spec = replace(_ALL, query=(*_ALL.query, _EXCLUDE), about=_ABOUT[probe]) if probe in PROBES else _ALL
    return (
        Route(ANY, f"/{probe}", all_checks(checks, probe), Style.PLAIN, probe, spec),
        *(
            Route(ANY, f"/{probe}/{name}", single_check(check), Style.PLAIN, probe, _ONE)
            for name, check in checks.items()
        ),
    )


PROBE_ROUTES = tuple(route for probe, checks in PROBES.items() for route in routes(checks, probe))
"""The same on every server."""

ROUTES = (*routes(CHECKS), *PROBE_ROUTES)

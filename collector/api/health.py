"""`/healthz`: whether what the other routes answer is fresh, with a node in it (behaviour reference, 8.8)."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from collector.api.route import ANY, Answer, Context, Handler, Request, Route, Style, text_answer
from collector.api.spec import Parameter, Spec

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


def all_checks(checks: Mapping[str, Check]) -> Handler:
    """The handler of `/healthz`."""

    def healthz(context: Context, request: Request) -> Answer:
        """`ok`, or 500; which check failed is told, why is not. `?verbose` tells of each check."""
        faults = {name: check(context) for name, check in checks.items()}
        report = "".join(
            f"[-]{name} failed: reason withheld\n" if fault else f"[+]{name} ok\n" for name, fault in faults.items()
        )
        if any(faults.values()):
            return _failure(f"{report}healthz check failed\n")
        return text_answer(f"{report}healthz check passed\n" if "verbose" in request.query else "ok")

    return healthz


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


def routes(checks: Mapping[str, Check]) -> tuple[Route, ...]:
    """`/healthz` and a path for each check."""
    return (
        Route(ANY, "/healthz", all_checks(checks), Style.PLAIN, "healthz", _ALL),
        *(
            Route(ANY, f"/healthz/{name}", single_check(check), Style.PLAIN, "healthz", _ONE)
            for name, check in checks.items()
        ),
    )


ROUTES = routes(CHECKS)

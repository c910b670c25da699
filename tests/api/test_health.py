import numpy as np
import pytest

from collector.api import API_ROOTS, ROUTES, offered
from collector.api.dispatch import Dispatcher
from collector.api.health import MAX_AGE_NS
from collector.api.route import Context, LastBatch
from collector.core.batch import DataBatch
from collector.core.entities import EntityTable
from collector.core.metrics import MetricTable
from collector.core.store import MetricStore
from collector.selfmetrics import SelfMetrics

SECOND = 10**9
AT = 1_000 * SECOND


async def asked(path: str, *, now: int, node: bool = True, batch: bool = True) -> tuple[int, str]:
    store = MetricStore(clock=lambda: now / SECOND)
    if batch:
        entities = EntityTable()
        made = DataBatch(entities, MetricTable(), AT)
        if node:
            made.exists[np.array([entities.node_row("n")])] = True
        made.freeze()
        store.add(made)
    context = Context(store, SelfMetrics(), clock=lambda: now / SECOND)
    answer = (await Dispatcher(context, ROUTES, API_ROOTS).answer("GET", path, {})).answer
    return answer.status, answer.body.decode()


async def test_a_fresh_batch_with_a_node_is_healthy():
    assert await asked("/healthz", now=AT + MAX_AGE_NS) == (200, "ok")
    assert await asked("/healthz?verbose", now=AT) == (200, "[+]healthz ok\nhealthz check passed\n")
    assert await asked("/healthz/healthz", now=AT) == (200, "ok")


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({"now": AT, "batch": False}, "no batch has been collected yet"),
        (
            {"now": AT, "node": False},
            "the latest batch holds no node; see heapster_scrape_failures_total in /metrics for why",
        ),
        (
            {"now": AT + MAX_AGE_NS + SECOND},
            "the latest batch is 181 s old, at most 180 s are allowed; see the log for why",
        ),
    ],
)
async def test_a_fault_is_told_by_the_single_check_only(state, reason):
    assert await asked("/healthz", **state) == (500, "[-]healthz failed: reason withheld\nhealthz check failed\n")
    assert await asked("/healthz/healthz", **state) == (500, f"internal server error: {reason}\n")


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (None, (500, "internal server error: no batch has been collected yet\n")),
        (LastBatch(AT, 3), (200, "ok")),
        (LastBatch(AT, 0), (500, None)),
        (LastBatch(AT - MAX_AGE_NS - SECOND, 3), (500, None)),
    ],
)
async def test_where_no_batch_is_kept_the_cycle_is_asked(last, said):
    context = Context(MetricStore(), SelfMetrics(), clock=lambda: AT / SECOND, last_batch=lambda: last)
    dispatcher = Dispatcher(context, *offered(context))
    answer = (await dispatcher.answer("GET", "/healthz/healthz", {})).answer
    assert answer.status == said[0]
    assert said[1] in {None, answer.body.decode()}
    assert (await dispatcher.answer("GET", "/api/v1/model/metrics", {})).answer.body == b"404: Page Not Found"
    assert (await dispatcher.answer("GET", "/metrics/cluster", {})).answer.status == 404
    assert (await dispatcher.answer("GET", "/metrics", {})).answer.status == 200

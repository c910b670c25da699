"""A real Prometheus scrapes both endpoints, and its queries give the numbers of the batch."""

from api.test_exposition import as_samples, slow_samples

from collector.core.batch import DataBatch
from collector.core.metrics import Kind

NODE_MEMORY = "heapster_node_memory_usage_bytes"


async def test_a_real_prometheus_returns_the_numbers_of_the_batch(served, prometheus):
    await prometheus.wait_for('up{job="cluster"} == 1 and on() heapster_cluster_batch_timestamp_seconds')
    await prometheus.wait_for('http_requests_total{job="own", handler="prometheusCluster"} > 0')
    assert set((await prometheus.query("up")).values()) == {1.0}
    batch = served.replay.store.latest()
    assert batch is not None
    found = {}
    for series, value in (await prometheus.query('{job="cluster", __name__=~"heapster_.*"}')).items():
        labels = dict(series)
        name = labels.pop("__name__")
        assert (labels.pop("job"), labels.pop("instance")) == ("cluster", served.address)
        found[name, frozenset(labels.items())] = value
    assert found == as_samples(slow_samples(batch))
    pods = await prometheus.query('sum by (namespace) (heapster_pod_memory_usage_bytes{job="cluster"})')
    namespaces = await prometheus.query('sum by (namespace) (heapster_namespace_memory_usage_bytes{job="cluster"})')
    assert pods == namespaces
    assert len(pods) == 4
    # A node that is gone from the batch is gone from the next answer, without a wait for staleness.
    gone, left = (batch.entities.name[row] for row in batch.rows_of(Kind.NODE).tolist()[:2])
    served.replay.store.add(without_node(batch, gone))
    await prometheus.wait_for(f'{NODE_MEMORY}{{node="{gone}"}}', empty=True)
    assert await prometheus.query(f'{NODE_MEMORY}{{node="{left}"}}')


def without_node(batch: DataBatch, name: str) -> DataBatch:
    """The same batch, but for one node."""
    made = DataBatch(batch.entities, batch.metrics, batch.timestamp)
    kept = batch.exists[: batch.rows].copy()
    kept[batch.entities.find_node(name)] = False
    made.exists[: batch.rows] = kept
    made.cells[:, : batch.rows] = batch.cells[:, : batch.rows]
    made.present[:, : batch.rows] = batch.present[:, : batch.rows] & kept
    made.freeze()
    return made

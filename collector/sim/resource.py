"""Writes /metrics/resource: the light endpoint, in the Prometheus text format, from the samples the summary shows.

Metric names, help texts and order are those of a recorded 1.36.2 kubelet; sample times have milliseconds here.
"""

from collector.sim.identity import pod_identity
from collector.sim.plan import Plan
from collector.sim.summary import SummaryWriter

_NANO = 1_000_000_000


def write_resource(plan: Plan, writer: SummaryWriter, node: int, now: float) -> bytes:
    """The body for `node` at `now` (seconds since 1970)."""
    _, row, samples = writer.samples(node, now)
    containers, pods, nodes = samples.containers, samples.pods, samples.nodes
    ended = samples.lives.birth[row] + plan.slots.lifetime[node] <= int(now - plan.origin)
    cpu: list[str] = []
    memory: list[str] = []
    started: list[str] = []
    pod_cpu: list[str] = []
    pod_memory: list[str] = []
    swap: list[str] = []
    pod_swap: list[str] = []
    for slot in (pods.present[row] & ~ended).nonzero()[0].tolist():
        pod = pod_identity(plan, node, slot, int(samples.lives.generation[row, slot]))
        labels = f'{{namespace="{pod.namespace}",pod="{pod.name}"}}'
        stamp = int(pods.milliseconds[row, slot])
        pod_cpu.append(f"pod_cpu_usage_seconds_total{labels} {_seconds(int(pods.cpu[row, slot]))} {stamp}")
        pod_memory.append(f"pod_memory_working_set_bytes{labels} {int(pods.working_set[row, slot])} {stamp}")
        pod_swap.append(f"pod_swap_usage_bytes{labels} 0 {stamp}")
        specs = plan.workloads[plan.slots.workload[node, slot]].containers
        for place in containers.present[row, slot].nonzero()[0].tolist():
            labels = f'{{container="{specs[place].name}",namespace="{pod.namespace}",pod="{pod.name}"}}'
            stamp = int(containers.milliseconds[row, slot, place])
            used = _seconds(int(containers.cpu[row, slot, place]))
            cpu.append(f"container_cpu_usage_seconds_total{labels} {used} {stamp}")
            memory.append(
                f"container_memory_working_set_bytes{labels} {int(containers.working_set[row, slot, place])} {stamp}"
            )
            started.append(f"container_start_time_seconds{labels} {int(containers.started[row, slot, place])}")
            swap.append(f"container_swap_usage_bytes{labels} 0 {stamp}")
    stamp = int(nodes.milliseconds[row])
    families = {
        "container_cpu_usage_seconds_total": cpu,
        "container_memory_working_set_bytes": memory,
        "container_start_time_seconds": started,
        "container_swap_usage_bytes": swap,
        "node_cpu_usage_seconds_total": [f"node_cpu_usage_seconds_total {_seconds(int(nodes.cpu[row]))} {stamp}"],
        "node_memory_working_set_bytes": [f"node_memory_working_set_bytes {int(nodes.working_set[row])} {stamp}"],
        "node_swap_usage_bytes": [f"node_swap_usage_bytes 0 {stamp}"],
        "pod_cpu_usage_seconds_total": pod_cpu,
        "pod_memory_working_set_bytes": pod_memory,
        "pod_swap_usage_bytes": pod_swap,
        "resource_scrape_error": ["resource_scrape_error 0"],
    }
    lines = [line for name, rows in families.items() if rows for line in (*_HEADS[name], *sorted(rows))]
    return ("\n".join(lines) + "\n").encode()


def _seconds(nanoseconds: int) -> str:
    """Nanoseconds as seconds, exact."""
    whole, rest = divmod(nanoseconds, _NANO)
    return f"{whole}.{rest:09d}".rstrip("0").rstrip(".")


def _head(name: str, stability: str, text: str, kind: str) -> tuple[str, str]:
    return f"# HELP {name} [{stability}] {text}", f"# TYPE {name} {kind}"


_HEADS = {
    name: _head(name, stability, text, kind)
    for name, stability, text, kind in (
        (
            "container_cpu_usage_seconds_total",
            "STABLE",
            "Cumulative cpu time consumed by the container in core-seconds",
            "counter",
        ),
        ("container_memory_working_set_bytes", "STABLE", "Current working set of the container in bytes", "gauge"),
        ("container_start_time_seconds", "STABLE", "Start time of the container since unix epoch in seconds", "gauge"),
        (
            "container_swap_usage_bytes",
            "ALPHA",
            "Current amount of the container swap usage in bytes. Reported only on non-windows systems",
            "gauge",
        ),
        (
            "node_cpu_usage_seconds_total",
            "STABLE",
            "Cumulative cpu time consumed by the node in core-seconds",
            "counter",
        ),
        ("node_memory_working_set_bytes", "STABLE", "Current working set of the node in bytes", "gauge"),
        (
            "node_swap_usage_bytes",
            "ALPHA",
            "Current swap usage of the node in bytes. Reported only on non-windows systems",
            "gauge",
        ),
        ("pod_cpu_usage_seconds_total", "STABLE", "Cumulative cpu time consumed by the pod in core-seconds", "counter"),
        ("pod_memory_working_set_bytes", "STABLE", "Current working set of the pod in bytes", "gauge"),
        (
            "pod_swap_usage_bytes",
            "ALPHA",
            "Current amount of the pod swap usage in bytes. Reported only on non-windows systems",
            "gauge",
        ),
        (
            "resource_scrape_error",
            "STABLE",
            "1 if there was an error while getting container metrics, 0 otherwise",
            "gauge",
        ),
    )
}

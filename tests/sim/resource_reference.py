"""/metrics/resource written line by line: what the fast writer is held against."""

from collector.sim.identity import pod_identity
from collector.sim.resource_families import END, FAMILIES
from collector.sim.samples import Sampler
from collector.sim.sampling import GROUP_NODES


def write_resource(plan, node, now):
    """The body for `node` at `now` (seconds since 1970)."""
    second = int(now - plan.origin)
    tick = second // plan.config.housekeeping * plan.config.housekeeping
    first = node // GROUP_NODES * GROUP_NODES  # the last digit of a sum depends on how many are summed together
    row = node - first
    samples = Sampler(plan, slice(first, min(first + GROUP_NODES, plan.config.nodes))).sample(tick)
    containers, pods, nodes = samples.containers, samples.pods, samples.nodes
    ended = samples.lives.birth[row] + plan.slots.lifetime[node] <= second
    rows = {family.name: [] for family in FAMILIES}
    add(rows, "node", "", seconds(nodes.cpu[row]), nodes.working_set[row], nodes.milliseconds[row])
    for slot in (pods.present[row] & ~ended).nonzero()[0]:
        pod = pod_identity(plan, node, int(slot), int(samples.lives.generation[row, slot]))
        names = f'namespace="{pod.namespace}",pod="{pod.name}"'
        stamp = pods.milliseconds[row, slot]
        add(rows, "pod", f"{{{names}}}", seconds(pods.cpu[row, slot]), pods.working_set[row, slot], stamp)
        specs = plan.workloads[plan.slots.workload[node, slot]].containers
        for place in containers.present[row, slot].nonzero()[0]:
            labels = f'{{container="{specs[place].name}",{names}}}'
            at = row, slot, place
            add(
                rows,
                "container",
                labels,
                seconds(containers.cpu[at]),
                containers.working_set[at],
                containers.milliseconds[at],
            )
            rows["container_start_time_seconds"].append(
                f"container_start_time_seconds{labels} {containers.started[at]}\n"
            )
    texts = [family.head + "".join(sorted(rows[family.name])) for family in FAMILIES if rows[family.name]]
    return ("".join(texts) + END).encode()


def add(rows, subject, labels, used, memory, stamp):
    for metric, value in (("cpu_usage_seconds_total", used), ("memory_working_set_bytes", memory)):
        rows[f"{subject}_{metric}"].append(f"{subject}_{metric}{labels} {value} {stamp}\n")
    rows[f"{subject}_swap_usage_bytes"].append(f"{subject}_swap_usage_bytes{labels} 0 {stamp}\n")


def seconds(nanoseconds):
    """Nanoseconds as seconds, exact."""
    whole, rest = divmod(int(nanoseconds), 1_000_000_000)
    return f"{whole}.{rest:09d}".rstrip("0").rstrip(".")

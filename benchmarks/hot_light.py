"""The decoders of the light endpoint: many answers at once, one by one, and prometheus-client's parser."""

from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.timing import Function
from collector.sim.config import SimConfig
from collector.sim.world import InventedWorld
from collector.sources.resource import decode_resource
from collector.sources.resourceforms import decode_forms, decode_new

ORIGIN = 1_800_000_000
ROUND_S = 15.0
MOST_NODES = 64
"""As many answers as are decoded together."""


def functions(nodes: int) -> Iterator[Function]:
    """Each knows the layouts of the answers before, as in every round but the first; new forms are apart."""
    now = [float(ORIGIN)]
    count = min(nodes, MOST_NODES)
    world = InventedWorld(SimConfig(nodes=count, pods=30, containers=2, clock=lambda: now[0]), ORIGIN)
    before = [bytes(world.resource(node) or b"") for node in range(count)]
    now[0] += ROUND_S
    bodies = [bytes(world.resource(node) or b"") for node in range(count)]
    names = [f"node-{node}" for node in range(count)]
    size = sum(map(len, bodies)) / 1e6
    on = f"{count} light answers of {1000 * size / count:.0f} KB"
    forms = [(decode_new(body, "node") or decode_resource(body, "node", 1)).layout for body in before]
    layouts = [decode_resource(body, "node", 1).layout for body in before]

    def one_by_one(_: object) -> None:
        for body, layout in zip(bodies, layouts, strict=True):
            decode_resource(body, "node", 1, layout)

    def library(_: object) -> None:
        for body in bodies:
            for family in text_string_to_metric_families(body.decode()):
                assert family.samples

    yield Function("decode_forms", on, size, "MB", lambda _: decode_forms(names, forms, bodies))
    yield Function("decode_new", on, size, "MB", lambda _: [decode_new(body, "node") for body in bodies])
    yield Function("decode_resource", on, size, "MB", one_by_one, beside="decode_forms")
    yield Function("prometheus-client's parser", on, size, "MB", library, beside="decode_forms")

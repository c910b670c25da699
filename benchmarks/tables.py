"""What was measured, for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from benchmarks.parts import WATCHED
from benchmarks.timing import Result


def _table(title: str, *columns: str, left: int = 1) -> Table:
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < left else "right")
    return table


def micro_table(results: Sequence[Result]) -> Table:
    """A row for each function, the library's way behind ours."""
    table = _table("One function, one core (CPU time, best run)", "function", "on", "CPU ms", "rate", "ours", left=2)
    for result in results:
        table.add_row(
            f"  {result['function']}" if result["beside"] else result["function"],
            result["on"],
            f"{1000 * result['cpu_s']:.2f}",
            f"{result['rate']:,.0f} {result['unit']}/s",
            f"{result['ratio']:.1f} x" if result["ratio"] else "",
            style="dim" if result["beside"] else None,
        )
    return table


def cycle_table(cycles: Mapping[str, Mapping[str, Any]]) -> Table:
    """A row for each shape: spreads over all cycles of all runs."""
    table = _table(
        "One cycle: fetch over verified TLS, decode, process, store, sinks (CPU seconds user+sys)",
        *("shape", "entities", "answered", "CPU s least", "p50", "p90", "ms a node", "processors ms", "first CPU s"),
        *("MB read", "MB written", "peak MiB", "simulator CPU s"),
    )
    for name, found in cycles.items():
        cpu = found["cpu_s"]
        table.add_row(
            name,
            f"{found['entities']:,}",
            f"{found['answered']:,} of {found['nodes']:,}",
            *(f"{cpu[key]:.2f}" for key in ("least", "p50", "p90")),
            f"{found['cpu_ms_a_node']['least']:.2f}",
            f"{1000 * found['processors_s']['p50']:.0f}",
            f"{found['first_cycle_cpu_s']['least']:.2f}",
            f"{found['bytes_read']['p50'] / 1e6:.0f}",
            f"{found['bytes_written']['p50'] / 1e6:.0f}",
            f"{found['peak_mib']['most']:,.0f}",
            f"{found['simulator_cpu_s']['p50']:.2f}",
        )
    return table


def stages_table(found: Mapping[str, Mapping[str, Any]]) -> Table:
    """A row for each part of a cycle, its share and its floor; the parts of a cluster sum to its whole."""
    table = _table(
        "Where a cycle's CPU time goes (ms a node, medians of watched cycles)",
        *("cluster", "part", "ms a node", "share", "floor ms"),
        left=2,
    )
    for cluster, one in found.items():
        whole = one["ms_a_node"][WATCHED]
        for part, ms in one["ms_a_node"].items():
            floor = one["floors_ms_a_node"].get(part)
            table.add_row(cluster, part, f"{ms:.3f}", f"{ms / whole:.0%}", f"{floor:.3f}" if floor else "")
        table.add_row(cluster, "whole, not watched", f"{one['whole_ms_a_node']:.3f}")
        bare, times = one["bare_client_ms_a_node"], one["times_the_bare_client"]
        aim = one["goal_times_the_bare_client"]
        table.add_row(cluster, f"a bare client's download: 1/{times:.1f} of that (aim: 1/{aim:g})", f"{bare:.3f}")
    return table


def exposition_table(found: Mapping[str, Mapping[str, Any]]) -> Table:
    """A row for each cluster whose Prometheus text was written."""
    table = _table(
        "Prometheus text of a cluster, and prometheus-client's registry (CPU time, best run)",
        *("cluster", "entities", "samples", "MB", "CPU s", "largest piece KB", "samples/s", "the registry's", "ours"),
    )
    for name, one in found.items():
        table.add_row(
            name,
            f"{one['entities']:,}",
            f"{one['samples']:,}",
            f"{one['bytes'] / 1e6:.0f}",
            f"{one['cpu_s']:.2f}",
            f"{one['largest_piece_bytes'] / 1e3:.0f}",
            f"{one['samples_a_cpu_s']:,.0f}",
            f"{one['registry']['samples_a_cpu_s']:,.0f}",
            f"{one['times_the_registry']:.1f} x",
        )
    return table


def light_table(lights: Mapping[str, Mapping[str, Any]]) -> Table:
    """A row for each cluster whose light endpoint was read."""
    table = _table(
        "One light round: fetch of /metrics/resource over verified TLS, decode, store (CPU seconds user+sys)",
        *("cluster", "answered", "CPU s least", "p50", "p90", "ms a node", "first CPU s", "MB read", "adds MiB"),
        *("longest block ms", "of it CPU", "simulator CPU s"),
    )
    for name, found in lights.items():
        cpu = found["cpu_s"]
        table.add_row(
            name,
            f"{found['answered']:,} of {found['nodes']:,}",
            *(f"{cpu[key]:.3f}" for key in ("least", "p50", "p90")),
            f"{found['cpu_ms_a_node']['least']:.3f}",
            f"{found['first_round_cpu_s']['least']:.2f}",
            f"{found['bytes_read']['p50'] / 1e6:.0f}",
            f"{found['added_mib']['p50']:.0f}",
            *(f"{found['blocks'][name]:.0f}" for name in ("longest_ms", "longest_cpu_ms")),
            f"{found['simulator_cpu_s']['p50']:.2f}",
        )
    return table


def latency_table(found: Mapping[str, Mapping[str, Any]]) -> Table:
    """A row for each cluster and question."""
    table = _table(
        "Answers while cycles run (ms, wall time seen by a client process)",
        *("cluster", "question", "asked", "KB", "p50", "p90", "p99", "most", "goal p99"),
        left=2,
    )
    for cluster, one in found.items():
        for question, spread in one["answers_ms"].items():
            goal = one["goals_ms"].get(question)
            table.add_row(
                cluster,
                question,
                str(spread["count"]),
                f"{one['bytes'][question] / 1e3:,.0f}",
                *(f"{spread[key]:.1f}" for key in ("p50", "p90", "p99", "most")),
                f"{goal:g}" if goal else "",
            )
    return table


def kubectl_table(found: Mapping[str, Mapping[str, Any]]) -> Table:
    """A row for each cluster, moment and server."""
    table = _table(
        "The real kubectl top pods -A (seconds; answer ready: of a server that has the same bytes ready)",
        *("cluster", "when", "asked of", "runs", "wall least", "p50", "most", "kubectl's CPU p50", "collector's CPU"),
        *("kubectl before others",),
        left=3,
    )
    for cluster, one in found.items():
        for row in one["kubectl"].get("rows", ()):
            table.add_row(
                cluster,
                row["when"],
                row["server"],
                str(row["wall_s"]["count"]),
                *(f"{row['wall_s'][key]:.2f}" for key in ("least", "p50", "most")),
                f"{row['kubectl_cpu_s']['p50']:.2f}",
                f"{one['kubectl']['collector_cpu_s']:.2f}" if row["collector"] else "",
                "yes" if one["kubectl"]["clients_first"] else "not permitted",
            )
    return table


def block_table(found: Mapping[str, Mapping[str, Any]]) -> Table:
    """The event loop's longest blocks, and where they were."""
    table = _table(
        "The event loop held up (ms; CPU: without waiting for a core)",
        *("cluster", "when", "longest", "longest CPU", "above 50", "above 50 CPU", "where the longest was"),
        left=2,
    )
    for cluster, one in found.items():
        for when, key in (("first cycle", "blocks_first_cycle"), ("later", "blocks")):
            blocks = one[key]
            where = next((each for block in blocks["longest"][:1] for each in block["where"]), "")
            table.add_row(
                cluster,
                when,
                *(f"{blocks[name]:.0f}" for name in ("longest_ms", "longest_cpu_ms", "above_50_ms", "above_50_ms_cpu")),
                " < ".join(where.split(" < ")[:2]),
            )
    return table


def against_table(found: Mapping[str, Any]) -> Table:
    """Another collector and ours, on the same cluster."""
    title = f"{found['nodes']} nodes, a cycle every {found['resolution']}"
    table = _table(title, "collector", "CPU ms a node and cycle", "CPU s", "cycles", "peak MiB")
    for name in ("other", "ours"):
        one = found[name]
        table.add_row(
            one["command"] if name == "other" else "ours",
            f"{one['cpu_ms_a_node_and_cycle']:.2f}",
            f"{one['cpu_s']:.2f}",
            f"{one['cycles']:.1f}",
            f"{one['peak_mib']:,.0f}",
        )
    return table

"""What the demo shows: one batch as tables, one tick as a line. Reads frozen batches only."""

from collections.abc import Sequence

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from collector.core.batch import DataBatch
from collector.core.metrics import INDEX, Kind
from collector.manager import Tick

NODES_SHOWN = 10
PODS_SHOWN = 10
NAMES = {"node": 30, "namespace": 20, "pod": 36}
"""Columns of names, and the most characters shown: the whole fits a terminal of 80."""

_CPU = INDEX["cpu/usage_rate"]
_MEMORY = INDEX["memory/working_set"]
_CPU_ALLOCATABLE = INDEX["cpu/node_allocatable"]
_MEMORY_ALLOCATABLE = INDEX["memory/node_allocatable"]


def screen(tick: Tick | None, cycle: int, history: Sequence[str], urls: Sequence[str]) -> RenderableType:
    """The whole screen; before the first tick, `tick` is None."""
    links = Text.assemble(*(f"  curl {url}\n" for url in urls), style="cyan")
    if tick is None:
        return Group(Text("waiting for the first cycle ...", style="bold"), links)
    return Group(
        Text(f"cycle {cycle}: {cost(tick)}", style="bold"),
        nodes(tick.batch),
        busiest_pods(tick.batch),
        Text("\n".join(history), style="dim"),
        links,
    )


def cost(tick: Tick) -> str:
    """One tick in one line."""
    batch = tick.batch
    counts = {kind: batch.count(kind) for kind in (Kind.NODE, Kind.POD, Kind.POD_CONTAINER)}
    values = int(np.count_nonzero(batch.present[:, : batch.rows])) + sum(
        int(np.count_nonzero(table.present)) for table in batch.labeled.values()
    )
    per_node = f", {1000 * tick.cpu_seconds / counts[Kind.NODE]:.2f} ms a node" if counts[Kind.NODE] else ""
    return (
        f"{counts[Kind.NODE]} nodes, {counts[Kind.POD]} pods, {counts[Kind.POD_CONTAINER]} containers, "
        f"{values:,} values in {tick.seconds:.2f} s; {1000 * tick.cpu_seconds:.0f} ms CPU{per_node}"
    )


def nodes(batch: DataBatch) -> Table:
    """The busiest nodes by CPU."""
    table = _table("Nodes", "node", "CPU", "CPU %", "memory", "mem %", "pods")
    rows = batch.rows_of(Kind.NODE)
    pods = np.bincount(batch.entities.node[batch.rows_of(Kind.POD)].clip(0), minlength=batch.rows)
    shown = _busiest(batch, rows, NODES_SHOWN)
    for row in shown:
        cpu, memory = batch.value(row, _CPU), batch.value(row, _MEMORY)
        table.add_row(
            batch.entities.name[row],
            _millicores(cpu),
            _share(cpu, batch.value(row, _CPU_ALLOCATABLE)),
            _bytes(memory),
            _share(memory, batch.value(row, _MEMORY_ALLOCATABLE)),
            str(pods[row]),
        )
    _add_rest(table, rows.size - len(shown))
    return table


def busiest_pods(batch: DataBatch) -> Table:
    """The busiest pods by CPU."""
    table = _table("Busiest pods", "namespace", "pod", "CPU", "memory")
    rows = batch.rows_of(Kind.POD)
    shown = _busiest(batch, rows, PODS_SHOWN)
    entities = batch.entities
    for row in shown:
        table.add_row(
            entities.name[entities.parent[row]],
            entities.name[row],
            _millicores(batch.value(row, _CPU)),
            _bytes(batch.value(row, _MEMORY)),
        )
    _add_rest(table, rows.size - len(shown))
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", expand=False)
    for column in columns:
        if column in NAMES:
            table.add_column(column, no_wrap=True, overflow="ellipsis", max_width=NAMES[column])
        else:
            table.add_column(column, justify="right", no_wrap=True)
    return table


def _add_rest(table: Table, count: int) -> None:
    if count > 0:
        table.add_row(f"... and {count:,} more", style="dim")


def _busiest(batch: DataBatch, rows: np.ndarray[tuple[int, ...], np.dtype[np.intp]], count: int) -> list[int]:
    """`rows` by CPU rate, highest first; by memory while there is no rate yet."""
    metric = _CPU if batch.present[_CPU, rows].any() else _MEMORY
    value = np.where(batch.present[metric, rows], batch.cells[metric, rows], -1)
    busiest: list[int] = rows[np.argsort(-value, kind="stable")[:count]].tolist()
    return busiest


def _millicores(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}m"


def _bytes(value: float | None) -> str:
    return "-" if value is None else f"{value / 2**20:,.0f} Mi"


def _share(value: float | None, of: float | None) -> str:
    return "-" if value is None or not of else f"{100 * value / of:.0f} %"

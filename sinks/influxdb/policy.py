"""Database and retention policy of InfluxDB 1.x: what to say to a server so that writes are kept as asked.

Pure: statements out, rows in. The policy written to is the one named `default` (Heapster's, so that old databases go
on). In a database that has none it is that database's own default policy, taken as it is: others may be using it. When
a retention is asked for that it does not have, `default` is created beside it and becomes the one that queries read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from collector.durations import parse_duration_ns
from collector.history.influxql import identifier

HEAPSTER_POLICY = "default"

HOUR = 3_600_000_000_000
DAY = 24 * HOUR


@dataclass(frozen=True, slots=True)
class Policy:
    """A row of SHOW RETENTION POLICIES."""

    name: str
    duration_ns: int
    """0 for ever."""
    shard_ns: int
    default: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """Where to write, and what to do before."""

    policy: str
    statement: str | None
    """To be executed first; None when all is as it should be."""


def read_policies(series: Sequence[Mapping[str, Any]]) -> list[Policy] | None:
    """The rows of an answer's series; None when the server has no retention policies (VictoriaMetrics)."""
    found = []
    for one in series:
        columns = one.get("columns", ())
        if "name" not in columns or "duration" not in columns:
            return None
        for values in one.get("values", ()):
            row = dict(zip(columns, values, strict=False))
            found.append(
                Policy(
                    row["name"],
                    parse_duration_ns(row["duration"]),
                    parse_duration_ns(row.get("shardGroupDuration", "0s")),
                    bool(row.get("default")),
                )
            )
    return found


def show(database: str) -> str:
    """The question `read_policies` reads the answer of."""
    return f"SHOW RETENTION POLICIES ON {identifier(database)}"


def create_database(database: str, policy: str | None, retention_ns: int | None) -> str:
    """A database whose default policy is ours."""
    name = identifier(policy or HEAPSTER_POLICY)
    return f"CREATE DATABASE {identifier(database)} WITH DURATION {duration(retention_ns)} REPLICATION 1 NAME {name}"


def plan(database: str, found: Sequence[Policy], policy: str | None, retention_ns: int | None) -> Plan:
    """What has to be done in a database that has the policies `found`."""
    wanted = policy or HEAPSTER_POLICY
    existing = next((one for one in found if one.name == wanted), None)
    if existing is None and policy is None:
        own = next((one for one in found if one.default), None)
        if own is not None and retention_ns in {None, own.duration_ns}:
            return Plan(own.name, None)
    if existing is None:
        statement = f"CREATE RETENTION POLICY {identifier(wanted)} ON {identifier(database)}"
        statement += f" DURATION {duration(retention_ns)} REPLICATION 1"
        # Of a policy that was chosen by name, those who query it know the name too.
        return Plan(wanted, statement if policy is not None else f"{statement} DEFAULT")
    if retention_ns is None or existing.duration_ns == retention_ns:
        return Plan(wanted, None)
    statement = f"ALTER RETENTION POLICY {identifier(wanted)} ON {identifier(database)}"
    statement += f" DURATION {duration(retention_ns)}"
    if 0 < retention_ns < existing.shard_ns or existing.shard_ns == 0:
        # A shard is deleted whole: the server refuses one that outlives the policy.
        statement += f" SHARD DURATION {duration(shard_ns(retention_ns))}"
    return Plan(wanted, statement)


def shard_ns(retention_ns: int) -> int:
    """InfluxDB's own choice of shard length for a retention."""
    if retention_ns == 0 or retention_ns > 180 * DAY:
        return 7 * DAY
    return DAY if retention_ns >= 2 * DAY else HOUR


def duration(ns: int | None) -> str:
    """A duration in InfluxQL."""
    if not ns:
        return "INF"
    return f"{ns // 1_000_000_000}s" if ns % 1_000_000_000 == 0 else f"{ns}ns"

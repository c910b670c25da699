"""Types of fields: what the database has against what would be written, found out before anything is refused. Pure.

InfluxDB gives a field one type a shard, by its first value there; a value of another type is refused, and with it the
line it is in. Integers and floats meet so when other software, or another version of it, has written to the database.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from collector.history.influxql import identifier
from sinks.influxdb.layout import Place

MOST_TOLD = 10
"""Conflicts that are told one by one."""


class Conflict(NamedTuple):
    """A field that the database has under another type."""

    place: Place
    theirs: str
    ours: str


def show(database: str, policy: str, ours: Mapping[Place, str]) -> str:
    """The question `conflicts` reads the answer of; about our measurements, as there may be many others."""
    names = "|".join(re.escape(name).replace("/", "\\/") for name in sorted({place.measurement for place in ours}))
    where = f"{identifier(database)}.{identifier(policy)}"
    return f"SHOW FIELD KEYS ON {identifier(database)} FROM {where}./^({names})$/"


def conflicts(series: Sequence[Mapping[str, Any]], ours: Mapping[Place, str]) -> list[Conflict]:
    """The fields of an answer's series that have types, but not ours."""
    theirs: dict[Place, list[str]] = {}
    for one in series:
        for row in one.get("values", ()):
            if len(row) == 2:  # before 1.0 it did not tell types
                theirs.setdefault(Place(one.get("name", ""), row[0]), []).append(row[1])
    return [
        Conflict(place, " and ".join(kinds), ours[place])
        for place, kinds in sorted(theirs.items())
        if place in ours and ours[place] not in kinds
    ]


def told(database: str, policy: str, found: Sequence[Conflict]) -> str:
    """Conflicts in words, and the way out."""
    each = [f"{place.measurement} {place.field} ({theirs}, not {ours})" for place, theirs, ours in found[:MOST_TOLD]]
    more = f" and {len(found) - MOST_TOLD} more" if len(found) > MOST_TOLD else ""
    return (
        f"database {database!r}, retention policy {policy!r}, has fields of another type, whose points it will refuse: "
        f"{', '.join(each)}{more}; write to another database (option db), retention policy (rp) or schema (schema), or "
        "drop these measurements; all other points are taken"
    )

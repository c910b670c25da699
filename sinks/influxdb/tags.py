"""The tag part of every series, rendered once per entity and kept until its label set changes."""

from bisect import bisect_left
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collector.core.entities import EntityTable
from sinks.influxdb.text import escape_key

DROPPED = frozenset({"namespace_id", "pod_id", "hostname", "host_id"})
"""Labels that are no tags: they would give an entity a new series without telling more about it (section 9.1). One
option of the sink makes `pod_id` a tag all the same."""

LABELED_KEY = "resource_id"
"""The one label of nearly every labelled value."""

KEY_LIMIT = 65_000
"""Bytes of tags beyond which a series is left out: InfluxDB refuses keys above 65,535, measurement included."""

_NO_PLACE = -1


class TagTable:
    """Row -> `,cluster_name=default,container_name=nginx,...`, for one EntityTable.

    `refresh` brings rows up to date; `texts` and `places` are then read by row. A row costs its text (200 to 300 bytes)
    and is rendered again only when its `label_version` has changed, which is unique to one label set of one owner.
    """

    def __init__(self, entities: EntityTable, cluster_name: str, *, with_pod_id: bool = False) -> None:
        self.entities = entities
        self.texts: NDArray[np.object_] = np.empty(0, object)
        """(rows,) str."""
        self.usable: NDArray[np.bool_] = np.empty(0, np.bool_)
        """(rows,) bool: whether the tags are within KEY_LIMIT."""
        self._places: NDArray[np.int32] = np.empty(0, np.int32)
        self._versions: NDArray[np.int64] = np.empty(0, np.int64)
        self._labels: list[tuple[tuple[tuple[str, str], ...], str] | None] = []
        self._added = {"cluster_name": cluster_name} if cluster_name else {}
        self._dropped = DROPPED - {"pod_id"} if with_pod_id else DROPPED

    def refresh(self, rows: NDArray[Any]) -> None:
        """Render the tags of those of `rows` whose label sets are new or have changed."""
        self._make_room()
        versions = self.entities.label_version
        stale = rows[self._versions[rows] != versions[rows]]
        for row in stale.tolist():
            pairs = self._pairs(self.entities.label_set(row))
            tags = [_tag(*pair) for pair in pairs]
            text = "".join(tags)
            self.texts[row] = text
            self.usable[row] = len(text) <= KEY_LIMIT // 4 or len(text.encode("utf-8", "replace")) <= KEY_LIMIT
            place = bisect_left(pairs, (LABELED_KEY,))
            taken = place < len(pairs) and pairs[place][0] == LABELED_KEY
            self._places[row] = _NO_PLACE if taken else len("".join(tags[:place]))
        self._versions[stale] = versions[stale]

    def labeled(self, rows: NDArray[Any], labels: NDArray[Any]) -> list[str]:
        """The tags of labelled values: those of `rows[i]` (refreshed), and among them the label set `labels[i]`."""
        return [
            f"{text[:place]}{own}{text[place:]}"
            if place != _NO_PLACE and (own := self._own(label)) is not None
            else self._merged(row, label)
            for row, label, text, place in zip(
                rows.tolist(), labels.tolist(), self.texts[rows].tolist(), self._places[rows].tolist(), strict=True
            )
        ]

    def _own(self, label: int) -> str | None:
        """The tag that the label set `label` adds; None if it is more than one LABELED_KEY."""
        if label >= len(self._labels):
            self._labels.extend([None] * (label + 1 - len(self._labels)))
        known = self._labels[label]
        pairs = self.entities.labels.pairs[label] or ()
        if known is not None and known[0] is pairs:  # a label's number is given out again, its tuple is not
            return known[1]
        if len(pairs) != 1 or pairs[0][0] != LABELED_KEY:
            return None
        text = _tag(*pairs[0]) if pairs[0][1] else ""
        self._labels[label] = (pairs, text)
        return text

    def _merged(self, row: int, label: int) -> str:
        """The same for any label set: slow, for accelerators."""
        own = dict(self.entities.labels.pairs[label] or ())
        return "".join([_tag(*pair) for pair in self._pairs(self.entities.label_set(row) | own)])

    def _pairs(self, labels: Mapping[str, str]) -> list[tuple[str, str]]:
        return sorted((k, v) for k, v in {**labels, **self._added}.items() if v and k and k not in self._dropped)

    def _make_room(self) -> None:
        grow = self.entities.label_version.size - self.texts.size
        if grow > 0:
            self.texts = np.concatenate([self.texts, np.full(grow, "", object)])
            self.usable = np.concatenate([self.usable, np.zeros(grow, np.bool_)])
            self._places = np.concatenate([self._places, np.zeros(grow, np.int32)])
            self._versions = np.concatenate([self._versions, np.zeros(grow, np.int64)])


def _tag(key: str, value: str) -> str:
    return f",{escape_key(key)}={escape_key(value)}"

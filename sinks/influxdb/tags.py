"""The tag part of every series, rendered once per entity and kept until its label set changes."""

from bisect import bisect_left
from collections.abc import Mapping
from operator import is_
from typing import Any, cast

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

    `refresh` brings rows up to date; `texts` and `usable` are then read by row. A row costs its text (200 to 300 bytes)
    and is rendered again only when its `label_version` has changed, which is unique to one label set of one owner.
    """

    def __init__(self, entities: EntityTable, cluster_name: str, *, with_pod_id: bool = False) -> None:
        self.entities = entities
        self.texts: NDArray[np.object_] = np.empty(0, object)
        """(rows,) bytes, UTF-8."""
        self.usable: NDArray[np.bool_] = np.empty(0, np.bool_)
        """(rows,) bool: whether the tags are within KEY_LIMIT."""
        self._places: NDArray[np.int32] = np.empty(0, np.int32)
        self._versions: NDArray[np.int64] = np.empty(0, np.int64)
        self._known: list[tuple[tuple[str, str], ...] | None] = []
        self._own: list[bytes | None] = []
        """The tag that each label set known adds; None if it is more than one LABELED_KEY."""
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
            self.texts[row] = text = b"".join(tags)
            self.usable[row] = len(text) <= KEY_LIMIT
            place = bisect_left(pairs, (LABELED_KEY,))
            taken = place < len(pairs) and pairs[place][0] == LABELED_KEY
            self._places[row] = _NO_PLACE if taken else sum(map(len, tags[:place]))
        self._versions[stale] = versions[stale]

    def labeled(self, rows: NDArray[Any], labels: NDArray[Any]) -> tuple[list[bytes], NDArray[np.int32], list[bytes]]:
        """The tags of labelled values, of the label sets `labels[i]` among those of `rows[i]` (refreshed).

        Texts, and where in each which other text is to be put in.
        """
        texts, places = self.texts[rows], self._places[rows]
        numbers = labels.tolist()
        self._learn(numbers)
        own = [self._own[label] for label in numbers]
        odd = np.flatnonzero(places == _NO_PLACE).tolist()
        if None in own:
            odd += [i for i, text in enumerate(own) if text is None]
        for i in odd:
            texts[i], places[i], own[i] = self._merged(int(rows[i]), numbers[i]), 0, b""
        return texts.tolist(), places, cast("list[bytes]", own)

    def _learn(self, labels: list[int]) -> None:
        """Know the tags that label sets add."""
        every = self.entities.labels.pairs
        if len(every) > len(self._own):
            self._known.extend([None] * (len(every) - len(self._own)))
            self._own.extend([None] * (len(every) - len(self._own)))
        # A label's number is given out again, its tuple is not.
        if all(map(is_, map(self._known.__getitem__, labels), map(every.__getitem__, labels))):
            return
        for label in labels:
            pairs = every[label] or ()
            if self._known[label] is not pairs:
                self._known[label] = pairs
                one = pairs[0] if len(pairs) == 1 and pairs[0][0] == LABELED_KEY else None
                self._own[label] = None if one is None else _tag(*one) if one[1] else b""

    def _merged(self, row: int, label: int) -> bytes:
        """The same for any label set: slow, for accelerators."""
        own = dict(self.entities.labels.pairs[label] or ())
        return b"".join([_tag(*pair) for pair in self._pairs(self.entities.label_set(row) | own)])

    def _pairs(self, labels: Mapping[str, str]) -> list[tuple[str, str]]:
        return sorted((k, v) for k, v in {**labels, **self._added}.items() if v and k and k not in self._dropped)

    def _make_room(self) -> None:
        grow = self.entities.label_version.size - self.texts.size
        if grow > 0:
            self.texts = np.concatenate([self.texts, np.full(grow, b"", object)])
            self.usable = np.concatenate([self.usable, np.zeros(grow, np.bool_)])
            self._places = np.concatenate([self._places, np.zeros(grow, np.int32)])
            self._versions = np.concatenate([self._versions, np.zeros(grow, np.int64)])


def _tag(key: str, value: str) -> bytes:
    return f",{escape_key(key)}={escape_key(value)}".encode("utf-8", "replace")

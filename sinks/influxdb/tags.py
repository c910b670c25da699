"""The tag part of every series, rendered once per entity and kept until its label set changes."""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from operator import is_
from types import MappingProxyType
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from collector.core.entities import EntityTable
from collector.core.labels import BUILT_IN
from sinks.influxdb.text import escape_key

DROPPED = frozenset({"namespace_id", "pod_id", "hostname", "host_id"})
"""Labels that are no tags: they would give an entity a new series without telling more about it (section 9.1). One
option of the sink makes `pod_id` a tag all the same."""

LEAN = frozenset({"type", "nodename", "namespace_name", "pod_name", "container_name", "cluster_name"})
"""The tags of the lean schema: what names an entity, and nothing that may change while it lives."""

JOINED = "labels"
"""The label that holds all Kubernetes labels of an object as one text, `app:web,team:blue`."""

LABELED_KEY = "resource_id"
"""The one label of nearly every labelled value."""

KEY_LIMIT = 65_000
"""Bytes of tags beyond which a series is left out: InfluxDB refuses keys above 65,535, measurement included."""

_NO_PLACE = -1
_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Tagging:
    """Which labels of an entity are tags. Own labels of a value (`resource_id`, `accelerator_id`) always are."""

    lean: bool = False
    """Only those of LEAN, and what the next two add."""
    with_pod_id: bool = False
    """Whether `pod_id` is one."""
    labels: frozenset[str] | None = None
    """The Kubernetes labels that are tags, each under its own name in place of the joined `labels`, and the only ones
    stored under a name of their own that are kept; None: `labels` and all stored ones, in the lean schema none."""
    separator: str = ","
    """What stands between two labels in `labels`."""

    def tags(self, labels: Mapping[str, str]) -> dict[str, str]:
        """Those of an entity's labels that are tags."""
        if self.labels is None and not self.lean:
            dropped = DROPPED - {"pod_id"} if self.with_pod_id else DROPPED
            return {key: value for key, value in labels.items() if key not in dropped}
        kept = {key: value for key, value in labels.items() if self._keeps(key)}
        if self.labels:
            for pair in labels.get(JOINED, "").split(self.separator):
                key, _, value = pair.partition(":")
                if key in self.labels:
                    kept.setdefault(key, value)
        return kept

    def _keeps(self, key: str) -> bool:
        """The same for one label, where some are chosen."""
        if key == "pod_id":
            return self.with_pod_id
        if key == JOINED or key not in BUILT_IN:
            return key in (self.labels or ()) or (self.labels is None and not self.lean)
        return key in LEAN if self.lean else key not in DROPPED


HEAPSTERS = Tagging()
"""As Heapster had it."""


class TagTable:
    """Row -> `,cluster_name=default,container_name=nginx,...`, for one EntityTable.

    `refresh` brings rows up to date; `texts` and `usable` are then read by row. A row costs its text (200 to 300 bytes)
    and is rendered again only when its `label_version` has changed, which is unique to one label set of one owner.
    """

    def __init__(self, entities: EntityTable, cluster_name: str, tagging: Tagging = HEAPSTERS) -> None:
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
        self._tagging = tagging

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
        return b"".join([_tag(*pair) for pair in self._pairs(self.entities.label_set(row), own)])

    def _pairs(self, labels: Mapping[str, str], own: Mapping[str, str] = _NOTHING) -> list[tuple[str, str]]:
        tags = {**self._tagging.tags(labels), **own, **self._added}
        return sorted((k, v) for k, v in tags.items() if v and k)

    def _make_room(self) -> None:
        grow = self.entities.label_version.size - self.texts.size
        if grow > 0:
            self.texts = np.concatenate([self.texts, np.full(grow, b"", object)])
            self.usable = np.concatenate([self.usable, np.zeros(grow, np.bool_)])
            self._places = np.concatenate([self._places, np.zeros(grow, np.int32)])
            self._versions = np.concatenate([self._versions, np.zeros(grow, np.int64)])


def _tag(key: str, value: str) -> bytes:
    return f",{escape_key(key)}={escape_key(value)}".encode("utf-8", "replace")

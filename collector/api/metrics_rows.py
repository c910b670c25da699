"""The rows of the containers of many pods: in C where `_objects.c` was built (docs/decisions/0018), else in Python."""

from collections.abc import Sequence

import numpy as np

from collector.api.metrics_objects import Version
from collector.api.metrics_shown import Rows
from collector.core.entities import NULL, EntityTable
from collector.kube.objects import Pod

try:
    from collector.api import _objects as extension
except ImportError:  # no compiler when it was installed
    AVAILABLE = False
else:
    AVAILABLE = True


def rows_of(entities: EntityTable, pods: Sequence[Pod], version: Version) -> tuple[list[str], Rows, Rows]:
    """Of the containers of all `pods` names and rows, NULL where there is none; and where those of each pod end."""
    if not AVAILABLE:
        return rows_plainly(entities, pods, version)
    names, rows, ends = extension.find_rows(pods, *entities.maps, version.sampled)
    return names, np.frombuffer(rows, np.int64), np.frombuffer(ends, np.int64)


def rows_plainly(entities: EntityTable, pods: Sequence[Pod], version: Version) -> tuple[list[str], Rows, Rows]:
    """`rows_of`, without the extension."""
    names: list[str] = []
    rows: list[int] = []
    ends: list[int] = []
    for pod in pods:
        below = entities.children(entities.find_pod(pod.namespace, pod.name))
        for container in version.containers(pod):
            names.append(container.name)
            rows.append(below.get(container.name, NULL))
        ends.append(len(rows))
    return names, np.array(rows, np.int64), np.array(ends, np.int64)

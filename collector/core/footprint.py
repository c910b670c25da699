"""What entities cost: the bytes of a batch, by its columns, and the bytes of a row that stays.

    part of a batch               bytes
    a value                       CELL, its cell and its presence
    an entity                     ENTITY, its times and whether it is there
    a label set (`/`, `logs`)     LABELED of its group

    beside the batches            bytes
    a row                         ROW, the columns of the entity table; its names come on top
    a tick of the long window     WINDOW a row, the two metrics kept for 15 minutes

docs/performance.md, "Memory", says what that comes to for a container, a pod and a node; a test holds it to this.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from collector.core.batch import DataBatch
from collector.core.metrics import GROUPS, Clock

CELL: Final = 8 + 1
ENTITY: Final = 8 * len(Clock) + 1 + 1
LABELED: Final[Mapping[str, int]] = {group.name: 4 + 4 + CELL * len(group.metrics) for group in GROUPS}
ROW: Final = 8 + 8 + 8 + 8 + 4 + 4 + 1 + 1 + 1
WINDOW: Final = 2 * 4 + 2 / 8


def batch_bytes(batch: DataBatch) -> int:
    """The bytes that a batch holds, to the value; memory is taken in pages of some hundred rows."""
    values = sum(int(np.count_nonzero(batch.presence(m))) for m in range(len(batch.metrics)))
    entities = int(np.count_nonzero(batch.exists[: batch.rows]))
    labeled = sum(len(table) * LABELED[name] for name, table in batch.labeled.items())
    return values * CELL + entities * ENTITY + labeled

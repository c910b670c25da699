"""Warm restart: the last columns on disk, so that a new process answers, and computes rates, from its first moment.

Directory
---------
    DIR/lock                        held by the one collector that writes here
    DIR/00000007/                   what one process left; rows are numbered as they were in it
        names.jsonl                 who owns which row: a line for each entity and change, the last one of a row counts
        <timestamp>.batch.npz       a whole batch: the three latest
        <timestamp>.window.npz      the two metrics that the store keeps for longer: of the last 15 minutes
        light.npz                   the light cadence's samples, as of the latest batch

A file is whole or absent: it is written under another name and renamed; a line that is cut short is no line. Nothing is
forced to the disk: what a loss of power damages is noticed (the archives carry checksums) and left out, and costs two
ticks. What older processes left goes once it is older than what the store keeps, and of more than three the oldest.

The files are NumPy's archives without pickled objects; `columns` says which arrays are in them. They are for the next
process of the same version of this layout, and for nobody else: the history (`sinks/history`) is what lasts.

The modules: `names` (entities as lines), `columns` (batches as arrays), `files` (the directory), `sink` (writes it),
`restore` (reads it).
"""

from sinks.warm.restore import Restored, restore
from sinks.warm.sink import WarmSink

__all__ = ["Restored", "WarmSink", "restore"]

"""What one node's answer may hold, so that a hostile kubelet costs neither its neighbours nor the process anything.

    what                                                   limit                       beyond it
    bytes, unpacked                                        --max-answer-bytes          the answer is refused
    pods; containers; system containers; labelled values
    of one group (volumes, devices, accelerators)          --max-answer-entities each  the answer is refused
    values (of JSON) or lines (of text)                    PIECES for each of these    the answer is refused
    nesting                                                MAX_DEPTH                   the answer is refused
    characters of a name                                   MAX_NAME, MAX_PATH          what bears it is left out

The door is cheap: it looks at whole answers, never at single values.
"""

import re
from collections import Counter
from typing import Final

import numpy as np

from collector.core.light import LightSample
from collector.core.sample import NodeSample
from collector.errors import DecodeError

MAX_ENTITIES: Final = 16_384
"""The default of --max-answer-entities. Kubernetes is made for 110 pods a node; the largest known have 500."""

MAX_DEPTH: Final = 64
"""Objects and arrays within each other; a kubelet's own answers have eight. The extension's MAX_DEPTH is the same."""

PIECES: Final = 128
"""Values or lines for each entity that an answer may have; a kubelet writes some 80 a container, text included."""

JSON_PIECES: Final = b",{["
"""What begins each value of a JSON document but the first."""
TEXT_PIECES: Final = b"\n}"
"""What ends each line of Prometheus' text, and each of its label lists."""

_TEXT: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_BRACKETS: Final = bytes(1 if each in b"{[" else 0xFF for each in range(256))
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"{}[]"))


def check_pieces(body: bytes | memoryview, pieces: bytes, most: int) -> None:
    """Raise DecodeError for more values or lines than `most` entities can need, before any of them takes memory."""
    allowed = most * PIECES
    if len(body) <= allowed:  # as nearly always
        return
    text = bytes(body)
    found = sum(text.count(piece) for piece in (pieces[at : at + 1] for at in range(len(pieces))))
    if found > allowed:
        raise DecodeError(
            f"the answer has {found} values or lines, more than the {allowed} that {most} pods and containers can need "
            "(--max-answer-entities)"
        )


def check_depth(body: bytes | memoryview) -> None:
    """Raise DecodeError for JSON nested deeper than MAX_DEPTH.

    Closing brackets within texts can hide depth: who does that meets the decoders' own guards against recursion.
    """
    text = bytes(body)
    if _depth(text) > MAX_DEPTH and _depth(_TEXT.sub(b"", text)) > MAX_DEPTH:
        raise too_deep()


def _depth(text: bytes) -> int:
    """How deep brackets are nested, those within texts included."""
    brackets = text.translate(_BRACKETS, _NO_BRACKETS)
    return int(np.cumsum(np.frombuffer(brackets, np.int8), dtype=np.int64).max(initial=0))


def too_deep() -> DecodeError:
    """What is said of an answer that is nested too deeply."""
    return DecodeError(f"the answer is nested deeper than the {MAX_DEPTH} levels that are read: no kubelet writes that")


def check_sample(sample: NodeSample | LightSample, most: int) -> None:
    """Raise DecodeError when there is more of one sort in an answer than `most`."""
    if isinstance(sample, LightSample):
        counts = Counter({"containers": sample.values.shape[1] - 1})
    else:
        counts = Counter(
            {
                "pods": len(sample.pod_names),
                "containers": len(sample.container_names),
                "system containers": len(sample.system_names),
                "application metrics": len(sample.custom),
            }
        )
        for block in sample.labeled:
            counts[f"{block.group.name} values"] += len(block.owners) if not isinstance(block.labels, str) else 0
    what, count = max(counts.items(), key=lambda item: item[1])
    if count > most:
        raise DecodeError(
            f"the answer has {count} {what}, more than the {most} of one node that are read (--max-answer-entities)"
        )

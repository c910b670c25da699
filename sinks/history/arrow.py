"""NumPy columns as Arrow arrays that share their memory."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

ArrowArray: TypeAlias = Any
"""An array of the type its function tells; the published stubs know too few of their methods to name them."""

ArrowType: TypeAlias = Any

Codes = NDArray[np.int32]

NONE = -1
"""The code of a text that is absent."""


def with_nulls(kind: ArrowType, values: NDArray[Any], present: NDArray[np.bool_]) -> ArrowArray:
    """`values`, (n,), as an array of type `kind` on the same memory; null where not `present`."""
    count = int(np.count_nonzero(present))
    if count == 0:
        return pa.nulls(values.size, kind)
    buffer: Any = pa.py_buffer
    mask = None if count == values.size else buffer(np.packbits(present, bitorder="little"))
    return pa.Array.from_buffers(kind, values.size, [mask, buffer(values)], values.size - count)


def text_array(texts: Sequence[str | None]) -> ArrowArray:
    """Texts, None for null; what is no Unicode (half of a surrogate pair) becomes `?`."""
    try:
        return pa.array(texts, pa.string())
    except UnicodeEncodeError:
        clean = [text if text is None else text.encode("utf-8", "replace").decode() for text in texts]
        return pa.array(clean, pa.string())


def text_ranks(words: ArrowArray) -> Codes:
    """The place of each of these different texts in byte order, from 1 on.

    One element longer than `words`: the last, which NONE finds, is 0.
    """
    ranks = np.zeros(len(words) + 1, np.int32)
    ranks[pc.array_sort_indices(words).to_numpy()] = np.arange(1, len(words) + 1)
    return ranks


def trimmed(codes: Codes, words: ArrowArray) -> ArrowArray:
    """A text column with only those words it uses: Parquet stores the dictionary with every row group.

    `codes` is (n,) into `words`, NONE for null; the result's words are in the order of their first use.
    """
    present = codes != NONE
    valid = np.flatnonzero(present)
    used = codes[valid]
    place = np.empty(len(words), np.int32)
    place[used[::-1]] = np.arange(used.size - 1, -1, -1, dtype=np.int32)  # of equal ones the first stays
    first = place[used] == np.arange(used.size)
    place[used[first]] = np.arange(np.count_nonzero(first), dtype=np.int32)
    indices = np.zeros(codes.size, np.int32)
    indices[valid] = place[used]
    return pa.DictionaryArray.from_arrays(
        with_nulls(pa.int32(), indices, present), words.take(pa.array(used[first])), safe=False
    )


def combined(ranks: Sequence[NDArray[Any]]) -> NDArray[np.int64]:
    """One number for each position, which orders as the columns `ranks` do one after the other.

    Each is (n,) and not negative.
    """
    total = ranks[0].astype(np.int64)
    for column in ranks[1:]:
        width = int(column.max(initial=0)) + 1
        if int(total.max(initial=0)) >= 2**62 // width:
            total = np.unique(total, return_inverse=True)[1]  # below n, so that n times a width fits again
        total = total * width + column
    return total

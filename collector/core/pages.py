"""Memory for large columns."""

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray


def untouched(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Zeros that cost memory only where they are written.

    Rows come in slabs of one kind, and most metrics belong to few kinds: with small pages most of a batch stays
    untouched. NumPy's own zeros ask for huge pages, which would make one written cell cost 2 MiB, and the kernel may
    need tens of milliseconds to find one.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if size < 1 << 20:
        return np.zeros(shape, dtype)
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        pages.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(pages, dtype).reshape(shape)

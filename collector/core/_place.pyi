from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

def scatter(
    rows: NDArray[np.int32],
    metrics: Sequence[int],
    columns: Sequence[NDArray[np.int64]],
    cells: NDArray[np.int64],
    present: NDArray[np.bool_] | None,
    /,
) -> None: ...
def find(
    keys: NDArray[np.uint64],
    slots: NDArray[np.int32],
    owner: NDArray[np.uint64],
    found: NDArray[np.int32],
    /,
) -> None: ...

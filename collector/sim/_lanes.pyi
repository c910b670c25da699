import numpy as np
from numpy.typing import NDArray

def write_numbers(numbers: NDArray[np.int64], out: NDArray[np.uint32], /) -> None: ...
def scatter(
    text: NDArray[np.uint32],
    positions: NDArray[np.int32],
    lanes: NDArray[np.uint32],
    sources: NDArray[np.int32],
    /,
) -> None: ...

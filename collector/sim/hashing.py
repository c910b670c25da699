"""Randomness that needs no memory: every draw is a hash of (seed, stream name, index).

The simulated cluster must give the same bytes for the same seed and clock whatever was asked before, so nothing
may advance a generator. The mixing step is the finaliser of splitmix64 (Steele, Lea and Flood, 2014).
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLIER_1 = np.uint64(0xBF58476D1CE4E5B9)
_MULTIPLIER_2 = np.uint64(0x94D049BB133111EB)


def mix(state: U64) -> U64:
    """Sixty-four well-mixed bits for each of `state` (any shape); arithmetic wraps on purpose."""
    mixed = state ^ (state >> np.uint64(30))
    mixed *= _MULTIPLIER_1
    mixed ^= mixed >> np.uint64(27)
    mixed *= _MULTIPLIER_2
    mixed ^= mixed >> np.uint64(31)
    return mixed


def unit(bits: U64) -> F64:
    """The upper 53 of 64 bits as float64 in [0, 1)."""
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


class Stream:
    """One named sequence of draws: `name` tells it from the other streams of the same seed."""

    def __init__(self, seed: int, name: str) -> None:
        digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
        self._salt = np.frombuffer(digest, dtype=np.uint64)

    def bits(self, index: I64) -> U64:
        """Sixty-four bits for each non-negative index; same shape as `index`."""
        return mix(np.atleast_1d(index).astype(np.uint64) * GOLDEN + self._salt).reshape(index.shape)

    def unit(self, index: I64) -> F64:
        """A float64 in [0, 1) for each index."""
        return unit(self.bits(index))

    def between(self, index: I64, low: float, high: float) -> F64:
        """A float64 in [low, high) for each index."""
        return low + (high - low) * self.unit(index)

    def below(self, index: I64, limit: int) -> I64:
        """An int64 in [0, limit) for each index."""
        return (self.unit(index) * limit).astype(np.int64)

"""The heart: NumPy columns keyed by entity row. It knows no network, no clock and no log.

Read `contracts` first, then `descriptors` and `metrics` (the columns), `entities` (the rows), `batch` (one tick) and
`store` (the past ticks); `visibility` says which metrics an answer of Heapster's may hold. `docs/data-model.md` is the
specification these modules follow.
"""

"""The heart: NumPy columns keyed by entity row. It knows no network, no clock and no log.

Read `contracts` first, then `metrics` (the columns), `entities` (the rows), `batch` (one tick) and `store` (the past
ticks). `docs/data-model.md` is the specification these modules follow.
"""

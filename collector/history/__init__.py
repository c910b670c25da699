"""The historical store, as the historical API asks it: `contracts` first, then `parquet`, the embedded history."""

"""Other libraries: data frames, progress bars, Redis, Dask. Each needs its extra."""

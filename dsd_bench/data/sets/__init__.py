"""The data sets themselves; all are components of :mod:`dsd_bench.data.builtin`."""

"""Suites: files that describe many runs, such as one figure or table of a paper.

:mod:`.schema` reads a file, :mod:`.cells` turns it into cells of a grid and their configurations;
:mod:`.quantities`, :mod:`.tables` and :mod:`.plots` are views over the finished runs. What is run,
and in which order, is :mod:`dsd_bench.executors.planning`'s.
"""
